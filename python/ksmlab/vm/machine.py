"""Boot a kernel in a virtual machine that uses the host's files, run commands in it, and end it.

virtme-ng boots the kernel. The guest sees the host's file system, read-only and with a writable overlay in memory, so
all programs of the host are available in the guest. Commands are sent over the console; the kernel's log has a
separate channel.

    with Machine(kernel) as vm:
        done = vm.run(["uname", "-r"])
        print(done.status, done.output)
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from ksmlab.closing import Closing
from ksmlab.vm import accel as accel_module
from ksmlab.vm.channel import (
    PANIC_SECONDS,
    READY,
    Channel,
    ChannelClosed,
    Limit,
    Output,
    Overdue,
    Request,
)
from ksmlab.vm.config import MachineConfig, guest_script, slowness, virtme_command
from ksmlab.vm.console import Console
from ksmlab.vm.errors import (
    BootTimeout,
    CommandTimeout,
    KernelPanic,
    LostVM,
    SessionTimeout,
    VmError,
)
from ksmlab.vm.splat import clean, panic_section

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ksmlab.vm.accel import Accel
    from ksmlab.vm.kernels import Kernel

PANIC = "Kernel panic - not syncing"
ENDED = "The VM has been ended, and nothing on the host was changed."
TAIL_LINES = 40


@dataclass(frozen=True)
class Completed:
    """The result of a command that ended by itself.

    Attributes:
        status: Its exit status, or 128 plus the number of the signal that ended it.
        output: Its standard output and standard error, interleaved; only the end if it printed more than 16 million
            characters.
        seconds: The elapsed time in seconds, measured on the host.
    """

    status: int
    output: str
    seconds: float


class Machine(Closing):
    """A VM. Use it as a context manager: it is booted at the start of the block, and ended at its end.

    Args:
        kernel: The kernel to boot.
        config: The configuration of the VM.
        accel: The way to run its CPUs; by default, `accel.probe` decides.
        on_log: Called with each line of the kernel's log, on another thread.
    """

    def __init__(
        self,
        kernel: Kernel,
        config: MachineConfig | None = None,
        *,
        accel: Accel | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        self.kernel = kernel
        self.accel = accel or accel_module.probe()
        config = config or MachineConfig()
        self.config = replace(
            config, deadlines=config.deadlines.under(self.accel, kernel.spec.slow)
        )
        self._on_log = on_log
        self._channel: Channel | None = None
        self._panicked = threading.Event()
        seconds = self.config.deadlines.session
        self._session = Limit(
            seconds,
            SessionTimeout(
                f"The session with {kernel.name} exceeded its time limit of {seconds:.0f} s.",
                untouched=ENDED,
            ),
        )

    def __enter__(self) -> Self:
        """Boot the VM, and wait until the guest accepts commands.

        Raises:
            BootTimeout: The guest did not accept commands in time.
            KernelPanic: Its kernel panicked.
            LostVM: QEMU ended.
            VmError: virtme-ng is not installed, a directory cannot be used by a VM, or this object has been used to
                boot a VM before.
        """
        if self._channel is not None:
            raise VmError(
                "This Machine object has already booted a VM. Create another object to boot again."
            )
        # Some of the tools are in directories that only root has in its PATH.
        env = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
        seconds = self.config.deadlines.boot
        late = BootTimeout(
            f"{self.kernel.name} did not boot within {seconds:.0f} s.", untouched=ENDED
        )
        self._session.start = time.monotonic()
        console = Console(virtme_command(self.kernel, self.config, self.accel), env, self._log_line)
        self._channel = Channel(console, self._panicked, self.slowness)
        try:
            self._read_to(READY, [Limit(seconds, late)])
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End the VM with all its processes. May be called again, and from another thread."""
        if self._channel is not None:
            self._channel.console.close()

    @property
    def channel(self) -> Channel:
        """The channel to the guest.

        Raises:
            VmError: The VM has not been booted.
        """
        if self._channel is None:
            raise VmError("The VM has not been booted. Use the Machine object in a with statement.")
        return self._channel

    @property
    def slowness(self) -> float:
        """The factor by which it is slower than a VM with KVM and an ordinary kernel."""
        return slowness(self.accel, self.kernel.spec.slow)

    @property
    def pid(self) -> int:
        """The PID of the leader of the VM's process group."""
        return self.channel.console.process.pid

    @property
    def alive(self) -> bool:
        """Whether QEMU still runs."""
        return self._channel is not None and self._channel.console.process.poll() is None

    @property
    def log(self) -> list[str]:
        """The lines of the kernel's log so far, up to config.log_level."""
        return list(self.channel.console.log.lines)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        on_output: Callable[[str], None] | None = None,
        size: tuple[int, int] = (120, 40),
    ) -> Completed:
        """Run a command in the guest, as root, and wait for its end.

        Args:
            argv: The command and its arguments, which are passed on exactly. Its output is a terminal, and its input
                is empty.
            env: Variables to add to its environment.
            cwd: Its working directory, instead of config.cwd.
            timeout: The time limit in seconds, instead of config.deadlines.command. It is not multiplied by the
                slowness of the VM.
            idle_timeout: The most seconds without output; unlimited by default.
            on_output: Called with each piece of output as it arrives.
            size: The columns and rows of the terminal.

        Raises:
            CommandTimeout: The command exceeded its time limit; the VM has been ended.
            SessionTimeout: The session exceeded its time limit; the VM has been ended.
            KernelPanic: The kernel panicked.
            LostVM: QEMU ended.
        """
        start = time.monotonic()
        name = f"`{shlex.join(argv)}`"
        hint = "Either the command hangs, or it needs a longer time limit."
        seconds = self.config.deadlines.command if timeout is None else timeout
        late = CommandTimeout(
            f"{name} was still running after {seconds:.0f} s.", untouched=ENDED, hint=hint
        )
        limits = [Limit(seconds, late)]
        if idle_timeout is not None:
            silent = CommandTimeout(
                f"{name} has printed nothing for {idle_timeout:.0f} s.", untouched=ENDED, hint=hint
            )
            limits.append(Limit(idle_timeout, silent, idle=True))
        request = self._request(
            "run", guest_script(argv, env=env, cwd=cwd or self.config.cwd, size=size)
        )
        output = Output(on_output)
        self._read_to(request.begin, limits)
        end = self._read_to(request.end, limits, output.feed)
        return Completed(int(end[1]), output.text, time.monotonic() - start)

    def start_shell(self, script: str, *, size: tuple[int, int]) -> Request:
        """Start an interactive shell on the console; `interact` then connects the user's terminal to it.

        Args:
            script: A bash script to run before the shell.
            size: The columns and rows of the user's terminal.

        Returns:
            The request. The guest sends its end mark when the shell ends.

        Raises:
            VmError: The shell did not start, or the VM has ended.
        """
        columns, rows = size
        request = self._request("shell", f"stty cols {columns} rows {rows}\n{script}")
        seconds = self.config.deadlines.command
        late = CommandTimeout(f"The shell did not start within {seconds:.0f} s.", untouched=ENDED)
        self._read_to(request.begin, [Limit(seconds, late)])
        return request

    def lost(self) -> VmError:
        """Return the error that says why the VM ended.

        Call this only when the VM's console has closed or its kernel has panicked.
        """
        console = self.channel.console
        if not (self.config.hold and self._panicked.is_set()):
            console.wait_gone(PANIC_SECONDS)
            self.close()
        log = self.log
        if any(PANIC in line for line in log):
            return KernelPanic(
                f"The guest's kernel ({self.kernel.name}) panicked.",
                untouched=ENDED,
                hint="The log of the panic is above, from the first report on.",
                log=panic_section(log),
            )
        return LostVM(
            f"The VM ({self.kernel.name}) ended without a panic (QEMU's status is {console.process.returncode}).",
            untouched="Nothing on the host was changed.",
            hint="Another process ended it, or QEMU could not run it. The end of its log is above.",
            log=self._tail(),
        )

    def _request(self, verb: str, script: str) -> Request:
        try:
            return self.channel.request(verb, script)
        except ChannelClosed:
            raise self.lost() from None

    def _read_to(
        self,
        mark: re.Pattern[bytes],
        limits: Sequence[Limit],
        on_bytes: Callable[[bytes], None] = lambda _: None,
    ) -> re.Match[bytes]:
        try:
            return self.channel.read_to(mark, [*limits, self._session], on_bytes)
        except ChannelClosed:
            raise self.lost() from None
        except Overdue as overdue:
            error = overdue.limit.error.with_log(self._tail())
            self.close()
            raise error from None

    def _tail(self) -> str:
        return "\n".join(clean(line) for line in self.log[-TAIL_LINES:])

    def _log_line(self, line: str) -> None:
        if PANIC in line:
            self._panicked.set()
        if self._on_log is not None:
            self._on_log(line)

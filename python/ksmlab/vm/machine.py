"""A virtual machine: boot a kernel over the host's own files, run commands in it, and always end it.

virtme-ng boots the kernel. The guest sees the host's file system (read-only, with a writable layer in memory), so what
is installed here is installed there. Commands go over the console; the kernel's log comes by a channel of its own.

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
ENDED = "The VM has been ended; nothing on the host was changed."
TAIL_LINES = 40


@dataclass(frozen=True)
class Completed:
    """A command that ended by itself.

    Attributes:
        status: Its exit status, 128 and more for a signal.
        output: What it printed, standard output and error output as they came; its last 16 MiB, if it is more.
        seconds: How long it took, as the host saw it.
    """

    status: int
    output: str
    seconds: float


class Machine(Closing):
    """A VM, from boot to end; use it with `with`.

    Args:
        kernel: What to boot.
        config: What it is made of.
        accel: How to run it; the host is asked if it is not given.
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
        """Keep the arguments; see the class."""
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
                f"The session with {kernel.name} ran past its {seconds:.0f} s.", untouched=ENDED
            ),
        )

    def __enter__(self) -> Self:
        """Boot, and wait until the guest takes commands.

        Raises:
            BootTimeout: It did not, in time.
            KernelPanic: Its kernel panicked instead.
            LostVM: QEMU ended instead.
            VmError: virtme-ng is not installed, a directory that the VM uses is not fit for it, or this machine has
                been booted before.
        """
        if self._channel is not None:
            raise VmError("This VM has been booted already: make another one to boot again.")
        # Some of the tools are where only root's PATH looks.
        env = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
        seconds = self.config.deadlines.boot
        late = BootTimeout(
            f"{self.kernel.name} did not come up within {seconds:.0f} s.", untouched=ENDED
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
        """End the VM and every process of it. May be called again, and from another thread."""
        if self._channel is not None:
            self._channel.console.close()

    @property
    def channel(self) -> Channel:
        """The line to the guest.

        Raises:
            VmError: The VM has not been booted.
        """
        if self._channel is None:
            raise VmError("The VM has not been booted: use it with `with`.")
        return self._channel

    @property
    def slowness(self) -> float:
        """How many times as long as on hardware, and on an ordinary kernel, things take in it."""
        return slowness(self.accel, self.kernel.spec.slow)

    @property
    def pid(self) -> int:
        """The process that leads the VM's process group."""
        return self.channel.console.process.pid

    @property
    def alive(self) -> bool:
        """Whether QEMU still runs."""
        return self._channel is not None and self._channel.console.process.poll() is None

    @property
    def log(self) -> list[str]:
        """The kernel's log so far, one line each, at config.log_level."""
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
        """Run a command in the guest, as root, to its end.

        Args:
            argv: The command and its arguments, passed on exactly. It gets a terminal as its output, and no input.
            env: Variables to add to its environment.
            cwd: Where to start it, instead of config.cwd.
            timeout: Seconds, instead of config.deadlines.command; not stretched under emulation.
            idle_timeout: Seconds that it may go without printing anything; no such limit if it is not given.
            on_output: Called with each piece of output as it arrives.
            size: Columns and rows of the terminal.

        Raises:
            CommandTimeout: It ran past its deadline; the VM has been ended.
            SessionTimeout: The session did; the VM has been ended.
            KernelPanic: The kernel panicked meanwhile.
            LostVM: QEMU ended meanwhile.
        """
        start = time.monotonic()
        name = f"`{shlex.join(argv)}`"
        hint = "It hangs, or it needs a longer deadline."
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
        """Turn the console into an interactive shell; `interact` then connects a person to it.

        Args:
            script: bash, run before the shell starts.
            size: Columns and rows of the person's terminal.

        Returns:
            The request, whose end mark comes when the shell ends.
        """
        columns, rows = size
        request = self._request("shell", f"stty cols {columns} rows {rows}\n{script}")
        seconds = self.config.deadlines.command
        late = CommandTimeout(f"The shell did not start within {seconds:.0f} s.", untouched=ENDED)
        self._read_to(request.begin, [Limit(seconds, late)])
        return request

    def lost(self) -> VmError:
        """Say why the VM is gone. Call it when its console has closed or its kernel has panicked."""
        console = self.channel.console
        if not (self.config.hold and self._panicked.is_set()):
            console.wait_gone(PANIC_SECONDS)
            self.close()
        log = self.log
        if any(PANIC in line for line in log):
            return KernelPanic(
                f"The guest's kernel ({self.kernel.name}) panicked.",
                untouched=ENDED,
                hint="The panic is above, from its first report on.",
                log=panic_section(log),
            )
        return LostVM(
            f"The VM ({self.kernel.name}) went away without a panic (status {console.process.returncode}).",
            untouched="Nothing on the host was changed.",
            hint="It was ended from outside, or QEMU could not run it; the end of its log is above.",
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

"""Whether this host's KVM is worth using.

That /dev/kvm opens proves nothing: some hosts have it, and emulate what is behind it, too slowly or too badly to run a
kernel. So a loop is run in a KVM guest, and its speed is the judge. Without KVM, QEMU emulates (TCG), in one thread:
with more, a text patch of the guest's kernel can be missed by another CPU, and the kernel dies of a stale int3.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Limits of CPU time, which does not grow while a busy host runs another process. Hardware needs about a millisecond for
# the loop, emulated KVM over a third of a second. The script has itself ended after LOOP_SECONDS.
FAST_SECONDS = 0.05
LOOP_SECONDS = 0.1
# Elapsed time after which a probe that uses no CPU time is ended; enough for Python to start on a busy host.
PROBE_SECONDS = 20.0
OVERRIDE = "KSMLAB_ACCEL"


@dataclass(frozen=True)
class Accel:
    """How guests are run.

    Attributes:
        kvm: By KVM; if not, by emulation in one thread.
        why: One line for a person.
    """

    kvm: bool
    why: str

    @property
    def virtme_options(self) -> list[str]:
        """The options for virtme-run, apart from QEMU's own."""
        return [] if self.kvm else ["--disable-kvm"]

    @property
    def qemu_options(self) -> list[str]:
        """The options for QEMU."""
        return [] if self.kvm else ["-accel", "tcg,thread=single"]


def judge(returncode: int | None, output: str) -> Accel:
    """Decide from what the probe did.

    Args:
        returncode: Its exit status, -SIGPROF if the loop took too long, None if it did not end at all.
        output: The loop's seconds of CPU time, or what went wrong.
    """
    if returncode is None:
        return Accel(
            kvm=False,
            why=f"KVM opens but does not run (a short loop hung for {PROBE_SECONDS:.0f} s): using TCG, one thread",
        )
    if returncode == -signal.SIGPROF:
        return Accel(
            kvm=False,
            why=f"KVM opens but is emulated (a short loop was not done in {LOOP_SECONDS} s): using TCG, one thread",
        )
    if returncode:
        reason = output.strip().splitlines()[-1] if output.strip() else "the probe failed"
        return Accel(kvm=False, why=f"no usable KVM ({reason}): using TCG, one thread")
    seconds = float(output)
    if seconds > FAST_SECONDS:
        return Accel(
            kvm=False,
            why=f"KVM works but is emulated (a short loop took {seconds:.2f} s): using TCG, one thread",
        )
    return Accel(kvm=True, why=f"using KVM (a short loop took {seconds * 1000:.1f} ms)")


def probe() -> Accel:
    """Find out, which takes half a second where KVM is emulated. Nothing is remembered from one call to the next.

    The environment variable KSMLAB_ACCEL, set to "kvm" or "tcg", decides instead.
    """
    match os.environ.get(OVERRIDE):
        case "kvm":
            return Accel(kvm=True, why=f"using KVM, as {OVERRIDE} says")
        case "tcg":
            return Accel(kvm=False, why=f"using TCG, one thread, as {OVERRIDE} says")
    if not Path("/dev/kvm").exists():
        return judge(1, "there is no /dev/kvm")
    script = Path(__file__).with_name("kvm_loop.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(script), str(LOOP_SECONDS)],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=PROBE_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return judge(None, "")
    return judge(done.returncode, done.stdout if done.returncode == 0 else done.stderr)

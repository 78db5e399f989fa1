"""Decide whether to run VMs with KVM or by emulation.

A host may have a /dev/kvm that is itself emulated, and too slow or too incomplete to boot a kernel. So `probe` runs a
loop in a KVM guest, and uses KVM only if the loop is fast. Otherwise QEMU emulates the CPUs (TCG) in a single thread.
With one thread per CPU, a CPU may miss that the guest's kernel patched its own code, and the kernel crashes with an
unexpected int3.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Limits of CPU time, which is not affected by the host's load. The loop takes about 1 ms on hardware, and more than
# 300 ms on emulated KVM. The script ends itself after LOOP_SECONDS of CPU time.
FAST_SECONDS = 0.05
LOOP_SECONDS = 0.1
# Limit of elapsed time, for a probe that hangs without using CPU time. Python can start in this time on a busy host.
PROBE_SECONDS = 20.0
OVERRIDE = "KSMLAB_ACCEL"
#: The most MiB of translated code. For each store to a page with code, QEMU walks the list of all translations of that
#: page, and each address at which a process maps a library adds its own. With QEMU's usual limit of 1 GiB, the list
#: becomes so long during a test run that clearing a page takes seconds, and the kernel reports a soft lockup.
TRANSLATIONS_MIB = 64
#: Without ERMS and FSRM, the kernel does not use `rep stosb` and `rep movsb` to clear and copy memory. QEMU emulates
#: them byte by byte.
EMULATED_CPU = "max,-erms,-fsrm"


@dataclass(frozen=True)
class Accel:
    """The way to run the CPUs of a VM.

    Attributes:
        kvm: True for KVM, False for emulation in one thread.
        why: The decision and its reason, as one line to show to the user.
    """

    kvm: bool
    why: str

    @property
    def virtme_options(self) -> list[str]:
        """The options for virtme-run."""
        return [] if self.kvm else ["--disable-kvm"]

    @property
    def qemu_options(self) -> list[str]:
        """The options for QEMU."""
        if self.kvm:
            return []
        return ["-accel", f"tcg,thread=single,tb-size={TRANSLATIONS_MIB}", "-cpu", EMULATED_CPU]


def judge(returncode: int | None, output: str) -> Accel:
    """Decide from the result of the script kvm_loop.py.

    Args:
        returncode: Its exit status; -SIGPROF if the loop used too much CPU time, None if the script did not end.
        output: The CPU time of the loop in seconds, or an error message.
    """
    if returncode is None:
        return Accel(
            kvm=False,
            why=f"using TCG with one thread, since KVM does not work (a short loop hung for {PROBE_SECONDS:.0f} s)",
        )
    if returncode == -signal.SIGPROF:
        return Accel(
            kvm=False,
            why=f"using TCG with one thread, since KVM is emulated (a short loop took more than {LOOP_SECONDS} s)",
        )
    if returncode:
        reason = output.strip().splitlines()[-1] if output.strip() else "the probe failed"
        return Accel(
            kvm=False, why=f"using TCG with one thread, since KVM cannot be used ({reason})"
        )
    seconds = float(output)
    if seconds > FAST_SECONDS:
        return Accel(
            kvm=False,
            why=f"using TCG with one thread, since KVM is emulated (a short loop took {seconds:.2f} s)",
        )
    return Accel(kvm=True, why=f"using KVM (a short loop took {seconds * 1000:.1f} ms)")


def probe() -> Accel:
    """Test the host's KVM, and decide. Each call repeats the test, which takes half a second if KVM is emulated.

    If the environment variable KSMLAB_ACCEL is "kvm" or "tcg", it decides, and nothing is tested.
    """
    match os.environ.get(OVERRIDE):
        case "kvm":
            return Accel(kvm=True, why=f"using KVM, as set by {OVERRIDE}")
        case "tcg":
            return Accel(kvm=False, why=f"using TCG with one thread, as set by {OVERRIDE}")
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

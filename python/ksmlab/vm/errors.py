"""What can go wrong between the host and a VM, each as its own type."""

from __future__ import annotations


class VmError(Exception):
    """An expected failure: said to a person in full, never shown as a traceback.

    Args:
        what: What happened, as a sentence.
        untouched: What was left as it was, if that is worth saying.
        hint: What to do next.
        log: The text that explains it (compiler output, kernel log), shown below the sentence.
    """

    def __init__(self, what: str, *, untouched: str = "", hint: str = "", log: str = "") -> None:
        """Keep the parts; see the class."""
        super().__init__(what)
        self.what = what
        self.untouched = untouched
        self.hint = hint
        self.log = log

    def with_log(self, log: str) -> VmError:
        """Add the log, and give the error itself."""
        self.log = log
        return self

    def __str__(self) -> str:
        """Give every part, one a line, the log first."""
        parts = [self.log.rstrip(), self.what, self.untouched, self.hint]
        return "\n".join(part for part in parts if part)


class FetchError(VmError):
    """A kernel could not be fetched from the archive."""


class BuildError(VmError):
    """A module did not build; `log` is the compiler's output."""


class LockTimeout(VmError):
    """Another process holds a lock for longer than anything should take."""


class BootTimeout(VmError):
    """The guest did not come up before its deadline."""


class CommandTimeout(VmError):
    """A command in the guest ran past its deadline; the VM has been ended."""


class SessionTimeout(VmError):
    """The whole session ran past its deadline; the VM has been ended."""


class LostVM(VmError):
    """The VM is gone, or of no more use: killed, or QEMU itself failed, or one of the kinds below."""


class KernelPanic(LostVM):
    """The guest's kernel panicked; `log` is the cleaned section of its log."""


class GuestMemory(LostVM):
    """The guest ran out of memory, and its kernel killed what the host was talking to."""


class GuestEnded(LostVM):
    """What the host was talking to in the guest ended by itself, before its time."""


class Hang(LostVM):
    """Nothing came from the guest before the deadline."""

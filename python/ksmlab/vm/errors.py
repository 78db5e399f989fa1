"""The exceptions of this package."""

from __future__ import annotations


class VmError(Exception):
    """An expected failure, which commands report as a message instead of a traceback.

    Args:
        what: What failed, on which object, and why, as a sentence.
        untouched: What was not changed, as a sentence.
        hint: What to do next.
        log: A text that explains the failure, such as the output of a compiler or the log of a kernel. It is shown
            before the message.
    """

    def __init__(self, what: str, *, untouched: str = "", hint: str = "", log: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.untouched = untouched
        self.hint = hint
        self.log = log

    def with_log(self, log: str) -> VmError:
        """Set the log, and return this error."""
        self.log = log
        return self

    def __str__(self) -> str:
        """Return all parts that are not empty, each on its own line, the log first."""
        parts = [self.log.rstrip(), self.what, self.untouched, self.hint]
        return "\n".join(part for part in parts if part)


class FetchError(VmError):
    """A kernel could not be fetched from the archive."""


class BuildError(VmError):
    """A module or a kernel could not be built; `log` is the compiler's output."""


class LockTimeout(VmError):
    """Another process has held a lock for longer than any task should take."""


class BootTimeout(VmError):
    """The guest did not boot before its deadline."""


class CommandTimeout(VmError):
    """A command in the guest exceeded its deadline; the VM has been ended."""


class SessionTimeout(VmError):
    """The session exceeded its deadline; the VM has been ended."""


class LostVM(VmError):
    """The VM has ended or cannot be used any more, for example because QEMU was killed. See also the subclasses."""


class KernelPanic(LostVM):
    """The guest's kernel panicked; `log` is the section of its log that explains the panic."""


class GuestMemory(LostVM):
    """The guest ran out of memory, and its kernel killed the process that the host communicates with."""


class GuestEnded(LostVM):
    """The guest process that the host communicates with ended too early, by itself."""


class Hang(LostVM):
    """The guest sent nothing before the deadline."""

"""The lines that the module writes to the log, and the parameters with which it refuses to load."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import pytest

MODULE = Path(__file__).with_name("greet.so")
LOG_BYTES = 4096
HELLO, GOODBYE = "greet: hello", "greet: goodbye"


class Module:
    """The module, and a kernel log of its own."""

    def __init__(self, times: int) -> None:
        """Set the parameter, and clear the log."""
        self._code = ctypes.CDLL(str(MODULE))
        ctypes.POINTER(ctypes.c_int).in_dll(self._code, "param_times")[0] = times
        self._log = (ctypes.c_char * LOG_BYTES).in_dll(self._code, "kernel_log")
        self._log.value = b""

    def insmod(self) -> int:
        """Call the init function."""
        return self._code.init_module()

    def rmmod(self) -> None:
        """Call the exit function."""
        self._code.cleanup_module()

    @property
    def log(self) -> list[str]:
        """The lines of the log."""
        return self._log.value.decode().splitlines()


def check_log(module: Module, wanted: list[str], situation: str, where: str) -> None:
    """Compare the log with the lines that it must have.

    Args:
        module: the module, after the steps of the situation.
        wanted: the lines that the log must have.
        situation: the steps, and the reason for these lines, in words.
        where: the section of the lesson that explains it, as a sentence.
    """
    assert module.log == wanted, (
        f"{situation} Expected in the log: {quoted(wanted)}. Your module wrote: {quoted(module.log)}. {where}"
    )


def quoted(lines: list[str]) -> str:
    """Return the lines of a log in quotation marks."""
    return ", ".join(f'"{line}"' for line in lines) or "no line"


@pytest.mark.parametrize("times", [1, 3])
def test_init_greets_and_the_module_is_loaded(times: int) -> None:
    module = Module(times)
    status = module.insmod()
    assert status == 0, (
        f"The parameter is {times}, which is valid. So greet_init() must return 0, and then the module stays loaded; "
        f"it returned {status}. See 'Hint 1'."
    )
    check_log(
        module,
        [HELLO] * times,
        f"The parameter sets the number of lines, {times}, and \\n ends each line.",
        "See 'A module of two functions'.",
    )


@pytest.mark.parametrize("times", [0, -1])
def test_init_refuses_an_invalid_parameter(times: int) -> None:
    module = Module(times)
    status = module.insmod()
    assert status == -errno.EINVAL, (
        f"The parameter is {times}, which is below 1. So greet_init() must return -EINVAL, which is {-errno.EINVAL}, "
        f"and then insmod fails; it returned {status}. See 'The same with the driver'."
    )
    check_log(
        module,
        [],
        f"The parameter is {times}, so the module is not loaded, and must not greet. Check the parameter first.",
        "See 'Hint 2'.",
    )


def test_exit_says_goodbye() -> None:
    module = Module(1)
    module.insmod()
    module.rmmod()
    check_log(
        module,
        [HELLO, GOODBYE],
        "The parameter is 1. The kernel calls greet_init() for insmod, and then greet_exit() for rmmod.",
        "See 'Unload it'.",
    )

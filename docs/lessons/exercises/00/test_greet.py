"""What the module writes to the log, and when it refuses to load."""

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


@pytest.mark.parametrize("times", [1, 3])
def test_init_greets_and_the_module_is_loaded(times: int) -> None:
    module = Module(times)
    assert module.insmod() == 0
    assert module.log == [HELLO] * times


@pytest.mark.parametrize("times", [0, -1])
def test_init_refuses_an_invalid_parameter(times: int) -> None:
    module = Module(times)
    assert module.insmod() == -errno.EINVAL
    assert module.log == []


def test_exit_says_goodbye() -> None:
    module = Module(1)
    module.insmod()
    module.rmmod()
    assert module.log == [HELLO, GOODBYE]

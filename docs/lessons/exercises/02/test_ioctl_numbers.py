"""What the answer has to do; the expected values are the driver's own."""

import ctypes

import pytest
from ioctl_numbers import NONE, READ, WRITE, number, parts, region

from ksmlab import abi
from ksmlab.lab_device import KSM_LAB_CALL


@pytest.mark.parametrize(
    ("expected", "direction", "nr", "size"),
    [
        (abi.KSM_GET_API_VERSION, NONE, 0x00, 0),
        (abi.KSM_REGISTER_MEMORY_REGION, WRITE, 0x20, 24),
        (abi.KSM_REGISTER_MEMORY_REGION_V16, WRITE, 0x20, 16),
        (abi.KSM_REMOVE_MEMORY_REGION, NONE, 0x21, 0),
        (KSM_LAB_CALL, READ | WRITE, 0x80, 40),
    ],
)
def test_numbers(expected: int, direction: int, nr: int, size: int) -> None:
    assert number(direction, abi.KSMIO, nr, size) == expected
    assert parts(expected) == (direction, abi.KSMIO, nr, size)


def test_a_region() -> None:
    made = region(1024, 0x7F00_1234_5000)
    assert len(made) == ctypes.sizeof(abi.MemoryRegion)
    there = abi.MemoryRegion.from_buffer_copy(made)
    assert (there.npages, there.addr) == (1024, 0x7F00_1234_5000)

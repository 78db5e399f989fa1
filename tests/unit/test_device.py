"""What a person reads when the driver refuses; the calls themselves are tested in a VM."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from ksmlab import abi
from ksmlab.device import Area, DeviceError, KsmDevice, KsmError, RegisterError, RemoveError
from ksmlab.memory import Arena

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def area() -> Iterator[Area]:
    with Area(os.open("/dev/null", os.O_RDWR)) as made:
        yield made


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    numbers: list[int] = []

    def ioctl(*_: object) -> int:
        raise OSError(numbers[0], os.strerror(numbers[0]))

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return numbers


def test_a_missing_device_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"no such device\. Nothing was changed\. Next: load"
    ) as e:
        KsmDevice(tmp_path / "ksm")
    assert e.value.errno == errno.ENOENT


def test_another_file_is_no_area(area: Area) -> None:
    with pytest.raises(RegisterError, match="is not a KSM area"):
        area.register(0, 1)
    with pytest.raises(RemoveError, match="is not a KSM area"):
        area.remove()


@pytest.mark.parametrize(
    "number", [errno.EINVAL, errno.ERANGE, errno.EEXIST, errno.ENOSPC, errno.EIO]
)
def test_refusals_keep_the_errno(area: Area, refuse: list[int], number: int) -> None:
    refuse.append(number)
    with pytest.raises(
        RegisterError, match=r"cannot register 2 pages at 0x1000: .* was not changed\. Next:"
    ) as e:
        area.register(0x1000, 2)
    assert e.value.errno == number
    assert isinstance(e.value, KsmError | OSError)


def test_an_arena_is_registered_whole(area: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int, bytes]] = []
    monkeypatch.setattr(fcntl, "ioctl", lambda *call: calls.append(call))
    with Arena(5) as arena:
        area.register(arena)
        area.register_v16(arena.address, 3)
        area.remove()
        whole = abi.MemoryRegion(npages=5, addr=arena.address)
        short = abi.MemoryRegionV16(npages=3, addr=arena.address)
    fd = area.fileno()
    assert calls == [
        (fd, 0x4018AB20, bytes(whole)),
        (fd, 0x4010AB20, bytes(short)),
        (fd, 0xAB21),
    ]


def test_closed_descriptors_say_so(area: Area) -> None:
    area.close()
    area.close()
    assert area.closed
    with pytest.raises(ValueError, match="closed"):
        area.remove()

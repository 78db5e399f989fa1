"""VMs that are kept: found again, ended, and not taken for what has their process number by now."""

from __future__ import annotations

import gc
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ksmlab.vm import keep as keep_module
from ksmlab.vm import ports as ports_module
from ksmlab.vm.console import Console
from ksmlab.vm.errors import VmError
from ksmlab.vm.keep import FACTS, Kept, find, keep, kept, start_time
from ksmlab.vm.ports import Ports

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """Something as a VM is: a process on a console, and one that its log comes from."""
    for module in (ports_module, keep_module):
        monkeypatch.setattr(module, "SOCKETS", tmp_path)
    console = Console(["sleep", "300"], os.environ, lambda _line: None)
    machine: Any = SimpleNamespace(
        kernel=SimpleNamespace(name="k"), pid=console.process.pid, log=["a line"],
        channel=SimpleNamespace(console=console),
    )  # fmt: skip
    made = keep(machine, Ports(()), "it failed", {}, {})
    # Python would warn now if the Popen had been freed while its process runs.
    gc.collect()
    yield made
    console.process.kill()
    console.process.wait()
    os.close(console.terminal)


def test_it_is_found_and_ended(made: Kept) -> None:
    assert kept() == [made]
    assert find(None) == find(made.name) == made
    with pytest.raises(VmError, match="There is no kept VM called other") as caught:
        find("other")
    assert made.name in caught.value.hint
    made.end()
    assert start_time(made.pid) is None
    assert kept() == []


def test_another_process_of_its_number_is_left_alone(made: Kept) -> None:
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as other:
        try:
            stale = replace(made, pid=other.pid)
            stale.save()
            assert kept() == []
            assert not Path(made.directory).exists()
            stale.end()
            assert other.poll() is None
        finally:
            other.kill()


def test_vms_of_other_users_are_not_listed(made: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert kept() == []
    assert Path(made.directory, FACTS).is_file()


def test_what_does_not_describe_a_vm_is_passed_over(made: Kept) -> None:
    for text in ("{", "[]", '{"name": "older"}'):
        Path(made.directory, FACTS).write_text(text)
        assert kept() == []

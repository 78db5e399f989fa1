"""A dump of a kept VM: what QEMU is told, the facts beside the dump, and what a debugger finds in it."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ksmlab import debugger
from ksmlab.debugger import DebugError, find_vmcoreinfo
from ksmlab.vm import dump as dump_module
from ksmlab.vm.dump import DumpFacts, dump, facts_path
from ksmlab.vm.errors import VmError
from ksmlab.vm.keep import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INFO = b"OSRELEASE=6.1.0-56-amd64\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffff82a10000\n"


def kept(directory: Path) -> Kept:
    return Kept(
        name="x", kernel="debian-6.1", pid=1, started=1, directory=str(directory),
        why="a test failed", objects={"ksm": "/ksm.ko"}, sections={"ksm": {".text": "0xff"}},
    )  # fmt: skip


@contextmanager
def qemu(directory: Path, answers: dict[str, dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Answer one client as QEMU does, and return the commands of the client."""
    told: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "qmp.sock"))
        server.listen()

        def serve() -> None:
            client, _ = server.accept()
            with client, client.makefile("rw") as stream:
                stream.write('{"QMP": {}}\n')
                stream.flush()
                for line in stream:
                    told.append(json.loads(line))
                    answer = answers.get(told[-1]["execute"], {"return": {}})
                    stream.write('{"event": "STOP"}\n' + json.dumps(answer) + "\n")
                    stream.flush()

        thread = threading.Thread(target=serve)
        thread.start()
        yield told
        thread.join(10)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_module, "DUMP_BYTES", 0)


@pytest.mark.usefixtures("small")
def test_dump_has_its_facts_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    with qemu(tmp_path, {}) as told:
        dump(kept(tmp_path), path)
    assert [each["execute"] for each in told] == ["qmp_capabilities", "dump-guest-memory"]
    assert told[1]["arguments"] == {"paging": False, "protocol": f"file:{path}"}
    facts = DumpFacts.load(path)
    assert (facts.kernel, facts.why) == ("debian-6.1", "a test failed")
    assert facts.sections == {"ksm": {".text": "0xff"}}


@pytest.mark.usefixtures("small")
def test_refusal_of_qemu_is_passed_on_and_leaves_no_facts(tmp_path: Path) -> None:
    refusal = {"dump-guest-memory": {"error": {"desc": "no space"}}}
    path = tmp_path / "memory"
    with qemu(tmp_path, refusal), pytest.raises(VmError, match="dump-guest-memory: no space"):
        dump(kept(tmp_path), path)
    assert not facts_path(path).exists()


def test_dump_of_another_tool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VmError, match=r"memory\.json cannot be read") as caught:
        debugger.dumped(tmp_path / "memory")
    assert "ksmlab vm dump" in caught.value.hint


def test_vmcoreinfo_is_found_behind_its_format_string(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    # The kernel's code contains the format string, and memory may contain the lines of another kernel.
    other = b"OSRELEASE=5.0\nPAGESIZE=4096\n"
    path.write_bytes(b"OSRELEASE=%s\n\0" + other + bytes(9000) + INFO + bytes(100))
    assert find_vmcoreinfo(path) == INFO


def test_dump_without_vmcoreinfo_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(bytes(9000))
    with pytest.raises(DebugError, match="CONFIG_CRASH_CORE"):
        find_vmcoreinfo(path)


def test_dump_of_a_vm_without_the_driver_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(INFO)
    facts_path(path).write_text(
        json.dumps({"kernel": "k", "why": "", "objects": {}, "sections": {}})
    )
    with pytest.raises(DebugError, match="the driver was not one of the modules"):
        debugger.dumped(path)

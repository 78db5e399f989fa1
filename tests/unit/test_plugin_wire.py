"""The line between the two pytests, and how a guest finds its end."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path

import pytest

from ksmlab.pytest_plugin.wire import Line
from ksmlab.vm.guest_shell import find_port


def test_frames_arrive_whole_and_in_order() -> None:
    here, there = socket.socketpair()
    with here, there, here.makefile("rwb") as one, there.makefile("rwb") as other:
        near, far = Line(one), Line(other)
        frames = [{"is": "report", "text": "a\nb\x1e\u2028é"}, {"is": "done", "many": "x" * 10_000}]
        for frame in frames:
            near.send(frame)
        assert [far.receive(), far.receive()] == frames
        far.send({"do": "finish"})
        assert near.receive() == {"do": "finish"}


def test_what_json_does_not_know_goes_as_text() -> None:
    stream = io.BytesIO()
    Line(stream).send({"properties": [["where", Path("/x")]]})
    assert json.loads(stream.getvalue()) == {"properties": [["where", "/x"]]}


def test_a_frame_that_was_cut_off_is_the_end() -> None:
    here, there = socket.socketpair()
    with there, there.makefile("rwb") as other:
        here.sendall(b'{"is": "rep')
        here.close()
        assert Line(other).receive() is None


def test_a_port_is_found_by_its_name(tmp_path: Path) -> None:
    for device, name in (("vport1p0", ""), ("vport2p1", "reports"), ("vport2p2", "shell")):
        (tmp_path / device).mkdir()
        if name:
            (tmp_path / device / "name").write_text(f"{name}\n")
    assert find_port("shell", tmp_path) == Path("/dev/vport2p2")
    with pytest.raises(FileNotFoundError, match="called other"):
        find_port("other", tmp_path)

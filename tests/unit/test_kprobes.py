"""Kprobe events: the text of a trace, and the files of tracefs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ksmlab.kprobes import Call, Kprobes, KprobesError, Probe, parse

if TYPE_CHECKING:
    from pathlib import Path

TRACE = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 2/2   #P:2
#
           kksmd-93      [000] d..2.    31.204516: wrprotect: (ksm_page_wrprotect+0x0/0x1b0 [ksm]) nr=0x20
  kworker/0:1-7  [001] .....    31.204600: flush: (flush_tlb+0x4/0x160) start=0x7f00 end=0xffffffffffffffff left=-2
"""


def test_calls_have_times_and_arguments() -> None:
    assert parse(TRACE) == [
        Call(31.204516, "wrprotect", {"nr": 32}),
        Call(31.204600, "flush", {"start": 0x7F00, "end": (1 << 64) - 1, "left": -2}),
    ]


def test_lost_events_are_an_error() -> None:
    with pytest.raises(KprobesError, match="2 of 5 events"):
        parse(TRACE.replace("2/2", "2/5"))


def test_the_probes_of_others_stay(tmp_path: Path) -> None:
    definitions = tmp_path / "kprobe_events"
    definitions.write_text("p:other/open do_sys_open\n")
    (tmp_path / "instances").mkdir()
    # The kernel makes the files of a probe, which no ordinary directory does.
    with pytest.raises(FileNotFoundError), Kprobes(Probe("flush", "f", "nr=%dx"), tracing=tmp_path):
        pass
    assert definitions.read_text() == (
        "p:other/open do_sys_open\np:ksmlab/flush f nr=%dx\n-:ksmlab/flush\n"
    )
    assert not list((tmp_path / "instances").iterdir())

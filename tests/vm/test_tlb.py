"""Rule 1: a CPU that has a page in its TLB is told before the page is compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from clients import Client

    from ksmlab.sysfs import KsmSysfs

SWITCHES = 10
#: Each takes two passes of kksmd, which has to share its CPUs.
DEADLINE = 180.0


def test_no_write_goes_to_the_frame_from_before_the_merge(
    start_client: Callable[..., Client], scanning: KsmSysfs
) -> None:
    """See tests/clients/stale_tlb.c: its page merges, and is written and so private again, all the time."""
    client = start_client("stale_tlb", str(SWITCHES))
    found = re.fullmatch(r"switched (\d+) lost (\d+)", client.wait_line("switched", DEADLINE))
    assert found, client.lines
    switched, lost = map(int, found.groups())
    assert lost == 0, f"{lost} of {switched} writes after a merge are lost"
    assert switched == SWITCHES
    assert client.finish(DEADLINE) == 0

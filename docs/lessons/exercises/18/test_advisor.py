"""What the advisor decides. The recorded scans are those of a VM with Linux 6.12."""

from __future__ import annotations

import pytest
from advisor import MIN_CPU, Advisor

#: By the first pages_to_scan and the target in seconds. Of each scan: its time in seconds, the CPU use of ksmd in
#: percent, and the pages_to_scan that the kernel set.
RECORDED = {
    (10, 1): [(5, 120, 15), (3, 4, 30), (1, 7, 40), (1, 10, 40), (1, 7, 50), (1, 5, 100)],
    (500, 200): [(1, 651, 10), (5, 3, 30), (1, 7, 40), (1, 8, 50), (1, 8, 60), (1, 8, 70)],
}


@pytest.mark.parametrize(("first", "target"), RECORDED)
def test_decisions_are_those_of_the_kernel(first: int, target: int) -> None:
    advisor = Advisor(pages_to_scan=first, target=target)
    scans = RECORDED[first, target]
    assert [advisor.after_scan(seconds, cpu) for seconds, cpu, _ in scans] == [
        pages for _, _, pages in scans
    ]


def test_slow_scan_gets_more_pages() -> None:
    advisor = Advisor(pages_to_scan=1000, change=100, last=400)
    assert advisor.after_scan(400, 20) == 2000


def test_fast_scan_gets_fewer_pages() -> None:
    advisor = Advisor(pages_to_scan=1000, change=100, last=100)
    assert advisor.after_scan(100, 20) == 500


def test_growing_scan_time_gets_more_pages() -> None:
    # The scan is at its target, but takes twice as long as the last one: 70% of 100 and 30% of 200 are 130.
    advisor = Advisor(pages_to_scan=1000, change=100, last=100)
    assert advisor.after_scan(200, 20) == 1300
    assert (advisor.change, advisor.last) == (130, 200)


@pytest.mark.parametrize(("seconds", "percent"), [(4000, 70), (1, MIN_CPU)])
def test_cpu_use_is_limited_in_both_directions(seconds: int, percent: int) -> None:
    advisor = Advisor(pages_to_scan=1000, change=100, last=seconds)
    assert advisor.after_scan(seconds, 20) == 1000 // 20 * percent


def test_pages_are_limited() -> None:
    advisor = Advisor(pages_to_scan=20000, change=100, last=4000)
    assert advisor.after_scan(4000, 20) == advisor.max_pages


def test_one_percent_of_a_cpu_is_at_least_one_page() -> None:
    advisor = Advisor(pages_to_scan=5, change=100, last=1)
    assert advisor.after_scan(1, 90) == MIN_CPU

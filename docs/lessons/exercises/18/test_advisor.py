"""The decisions of the advisor. The recorded scans are those of a VM with Linux 6.12."""

from __future__ import annotations

import pytest
from advisor import MIN_CPU, Advisor

#: The first pages_to_scan, the target in seconds, and of each scan: its time in seconds, the CPU use of ksmd in
#: percent, and the pages_to_scan that the kernel set.
RECORDED = {
    (10, 1): [(4, 125, 12), (4, 3, 40), (1, 8, 50), (1, 7, 70), (1, 6, 110), (1, 10, 110)],
    (500, 200): [(1, 551, 10), (4, 2, 50), (1, 4, 120), (1, 6, 200), (1, 12, 160), (1, 13, 120)],
}


def check_pages(advisor: Advisor, seconds: int, cpu: int, wanted: int, why: str) -> None:
    """Let the advisor decide after a scan, and compare the number of pages.

    Args:
        advisor: the advisor.
        seconds: the time of the scan.
        cpu: the CPU use of ksmd, in percent.
        wanted: the new pages_to_scan.
        why: how it is computed, and the section of the lesson that explains it.
    """
    before = f"pages_to_scan {advisor.pages_to_scan}, change {advisor.change}, last {advisor.last}"
    got = advisor.after_scan(seconds, cpu)
    assert got == wanted, (
        f"Before the scan: {before}. Time of the scan: {seconds} s; CPU use: {cpu}%. Expected: {wanted} pages. "
        f"after_scan() returned: {got}. {why}"
    )


@pytest.mark.parametrize(("first", "target"), RECORDED)
def test_decisions_are_those_of_the_kernel(first: int, target: int) -> None:
    advisor = Advisor(pages_to_scan=first, target=target)
    for number, (seconds, cpu, pages) in enumerate(RECORDED[first, target], 1):
        check_pages(
            advisor,
            seconds,
            cpu,
            pages,
            f"This is scan {number} of a VM with a target of {target} seconds, and the number that its kernel has set. "
            "See 'How fast? ksmtuned and the advisor'.",
        )


def test_slow_scan_gets_more_pages() -> None:
    check_pages(
        Advisor(pages_to_scan=1000, change=100, last=400),
        400,
        20,
        2000,
        "The scan took twice the target of 200 seconds, so the factor is 50. Step 1 gives 1000 * 100 / 50 pages. See "
        "'How fast? ksmtuned and the advisor'.",
    )


def test_fast_scan_gets_fewer_pages() -> None:
    check_pages(
        Advisor(pages_to_scan=1000, change=100, last=100),
        100,
        20,
        500,
        "The scan took half of the target of 200 seconds, so the factor is 200. Step 1 gives 1000 * 100 / 200 pages. "
        "See 'How fast? ksmtuned and the advisor'.",
    )


def test_growing_scan_time_gets_more_pages() -> None:
    advisor = Advisor(pages_to_scan=1000, change=100, last=100)
    check_pages(
        advisor,
        200,
        20,
        1300,
        "The scan took the target time, but twice as long as the scan before. In step 2, change is 70% of 100 plus "
        "30% of 200, which is 130. See 'How fast? ksmtuned and the advisor'.",
    )
    assert (advisor.change, advisor.last) == (130, 200), (
        "The advisor must store change and the time of the scan for the next call. Expected: change 130, "
        f"last 200. They are: change {advisor.change}, last {advisor.last}. See 'Hint 2'."
    )


@pytest.mark.parametrize(("seconds", "percent"), [(4000, 70), (1, MIN_CPU)])
def test_cpu_use_is_limited_in_both_directions(seconds: int, percent: int) -> None:
    check_pages(
        Advisor(pages_to_scan=1000, change=100, last=seconds),
        seconds,
        20,
        1000 // 20 * percent,
        f"In step 3, 1% of a CPU was enough for 1000 / 20 = 50 pages. ksmd may use from {MIN_CPU}% to 70% of a CPU, "
        f"which is from {50 * MIN_CPU} to 3500 pages. See 'How fast? ksmtuned and the advisor'.",
    )


def test_pages_are_limited() -> None:
    advisor = Advisor(pages_to_scan=20000, change=100, last=4000)
    check_pages(
        advisor,
        4000,
        20,
        advisor.max_pages,
        f"The CPU limit is 70000 pages, but step 4 limits the pages to max_pages, {advisor.max_pages}. See 'How fast? "
        "ksmtuned and the advisor'.",
    )


def test_one_percent_of_a_cpu_is_at_least_one_page() -> None:
    check_pages(
        Advisor(pages_to_scan=5, change=100, last=1),
        1,
        90,
        MIN_CPU,
        f"In step 3, 5 / 90 rounds down to 0, so use 1 page for 1% of a CPU. ksmd may use at least {MIN_CPU}%, which "
        f"is {MIN_CPU} pages. See 'How fast? ksmtuned and the advisor'.",
    )

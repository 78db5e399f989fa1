"""What the advisor does: print its decision after each scan of some memory.

advisor.py FIRST TARGET: the first pages_to_scan, and the wanted time of a scan in seconds
"""

import sys
from pathlib import Path

from watch import MADV_MERGEABLE, wait_scans, write

from ksmlab import content
from ksmlab.memory import Arena

PAGES = 2048
SCANS = 6
TRACING = Path("/sys/kernel/tracing")


def decisions() -> list[str]:
    """Return the text of each ksm_advisor event in the trace."""
    lines = (TRACING / "trace").read_text().splitlines()
    return [line.partition("ksm_advisor: ")[2] for line in lines if "ksm_advisor: " in line]


def main(first: str, target: str) -> None:
    """Let the advisor control some scans."""
    event = TRACING / "events/ksm/ksm_advisor/enable"
    write("smart_scan", 0)
    write("advisor_min_pages_to_scan", first)
    write("advisor_target_scan_time", target)
    # This resets the advisor.
    write("advisor_mode", "none")
    write("advisor_mode", "scan-time")
    (TRACING / "trace").write_text("")
    event.write_text("1")
    with Arena(PAGES, huge=False) as arena:
        arena.fill(content.unique(PAGES))
        arena.advise(MADV_MERGEABLE)
        wait_scans(SCANS)
    event.write_text("0")
    write("smart_scan", 1)
    print("\n".join(decisions()[:SCANS]))


if __name__ == "__main__":
    main(*sys.argv[1:])

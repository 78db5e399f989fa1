"""What smart scan saves: scan unique pages for a while, without it and with it."""

from watch import MADV_MERGEABLE, read, wait_scans, write

from ksmlab import content
from ksmlab.memory import Arena

PAGES = 2048
SCANS = 20


def measure(smart_scan: int) -> tuple[int, int]:
    """Return how many pages ksmd scanned, and how many it skipped."""
    write("smart_scan", smart_scan)
    with Arena(PAGES, huge=False) as arena:
        arena.fill(content.unique(PAGES))
        scanned, skipped = read("pages_scanned"), read("pages_skipped")
        arena.advise(MADV_MERGEABLE)
        wait_scans(SCANS)
        return read("pages_scanned") - scanned, read("pages_skipped") - skipped


if __name__ == "__main__":
    for smart_scan in (0, 1):
        scanned, skipped = measure(smart_scan)
        print(f"smart_scan={smart_scan}: {scanned} pages scanned, {skipped} skipped")

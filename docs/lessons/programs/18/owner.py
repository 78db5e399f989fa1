"""A program with equal pages that knows nothing of KSM: it never calls madvise()."""

from watch import wait_scans

from ksmlab import content, pagemap
from ksmlab.memory import Arena

PAGES = 200

if __name__ == "__main__":
    with Arena(PAGES, huge=False) as arena:
        arena.fill(content.equal(PAGES))
        wait_scans(5)
        frames = pagemap.distinct(pagemap.frames(None, arena.address, PAGES))
        print(f"{PAGES} pages, frames: {frames}")

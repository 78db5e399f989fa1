"""Two KVM guests whose memory merges while they read and write it; kvm_guests.c is the guests."""

import re
import subprocess
import sys
import time

from ksmlab import pagemap

MOST = 0.6
MORE_ROUNDS = 10
SECONDS = 400


def main() -> None:
    """Wait until most of what is equal has merged, then until each guest has read all of it ten times."""
    guests: list[tuple[int, int, int]] = []
    wanted = until = 0
    wrong = ""
    end = time.monotonic() + SECONDS
    program = subprocess.Popen(
        ["./kvm_guests"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    for line in program.stdout:
        if time.monotonic() > end:
            sys.exit("the guests are too slow, or nothing merges")
        if found := re.match(r"guest \d pid=(\d+) addr=(\S+) pages=\d+ shared=(\d+)", line):
            guests.append((int(found[1]), int(found[2], 16), int(found[3])))
            wanted = int(guests[0][2] * MOST)
        elif line.startswith("rounds") and len(guests) == 2:
            rounds = min(map(int, line.split()[1:]))
            one, other = (pagemap.frames(*guest) for guest in guests)
            both = sum(a == b != 0 for a, b in zip(one, other, strict=True))
            if not until and both >= wanted:
                print(
                    f"most of the {guests[0][2]} pages that are equal in both have one frame",
                    flush=True,
                )
                until = rounds + MORE_ROUNDS
            if until and rounds >= until:
                break
        elif "WRONG" in line and not wrong:
            wrong = line
    program.communicate("\n" if program.poll() is None else None)
    print(wrong or "no guest has read a byte that it did not write", end="" if wrong else "\n")


if __name__ == "__main__":
    main()

"""Two KVM guests whose memory merges while they read and write it; kvm_guests.c is the guests."""

import re
import subprocess
import sys
import time

from ksmlab import pagemap

MOST = 0.6
MORE_ROUNDS = 10
SECONDS = 400


def in_one_frame(guests: list[tuple[int, int, int]]) -> int:
    """Count the pages that both guests have in one frame; a guest that has ended has none."""
    try:
        one, other = (pagemap.frames(*guest) for guest in guests)
    except OSError:
        return 0
    return sum(a == b != 0 for a, b in zip(one, other, strict=True))


def main() -> None:
    """Wait until most of the equal pages have merged, then until each guest has finished MORE_ROUNDS more rounds."""
    guests: list[tuple[int, int, int]] = []
    until = 0
    wrong: list[str] = []
    end = time.monotonic() + SECONDS
    program = subprocess.Popen(
        ["./kvm_guests", "--hog", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    for line in program.stdout:
        if time.monotonic() > end:
            sys.exit("the guests are too slow, or nothing merges")
        if found := re.match(r"guest \d pid=(\d+) addr=(\S+) pages=\d+ shared=(\d+)", line):
            guests.append((int(found[1]), int(found[2], 16), int(found[3])))
        elif line.startswith("rounds") and len(guests) == 2:
            rounds = min(map(int, line.split()[1:]))
            if not until and in_one_frame(guests) >= MOST * guests[0][2]:
                until = rounds + MORE_ROUNDS
            if until and rounds >= until:
                break
        elif "WRONG" in line:
            wrong.append(line)
    # At a line, the guests come to their end.
    rest, _ = program.communicate("\n" if program.poll() is None else None)
    wrong += [line for line in rest.splitlines() if "WRONG" in line]
    if wrong:
        sys.exit(wrong[0].strip())
    if program.returncode or not until:
        sys.exit(f"the guests have ended with status {program.returncode}")
    print(f"{guests[0][2]} pages are equal in both guests; most of them have shared a frame")
    print(
        f"after that, each guest has read all of its memory {MORE_ROUNDS} times, without an error"
    )


if __name__ == "__main__":
    main()

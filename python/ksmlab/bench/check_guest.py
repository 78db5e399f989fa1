"""Measure the figures of `ksmlab bench --check` in the guest: those of guest.py, then the holds of ksm_lock.

python -m ksmlab.bench.check_guest PLAN
"""

from __future__ import annotations

import sys
from dataclasses import asdict

from ksmlab.bench import guest, holds
from ksmlab.bench.plan import Plan


def main() -> None:
    """Measure the plan in the first argument, and print the results."""
    guest.take_the_cpu()
    session = guest.Session(Plan.from_json(sys.argv[1]))
    guest.say("guest", asdict(session.guest()))
    for sample in session.samples():
        guest.say("sample", asdict(sample))
    for one in holds.measure(session):
        guest.say("hold", asdict(one))


if __name__ == "__main__":
    main()

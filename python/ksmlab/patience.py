"""How long to wait for something: as long as it takes where the CPU is emulated, or checks itself.

What starts the tests in a VM says in the environment how many times as long things take there.
"""

from __future__ import annotations

import os

#: In the environment: a number, 1 where it is not set.
SLOW_VARIABLE = "KSMLAB_SLOW"


def patient(seconds: float) -> float:
    """Stretch a deadline that is meant for an ordinary CPU, in seconds.

    Raises:
        ValueError: The environment has something else than a number.
    """
    return seconds * float(os.environ.get(SLOW_VARIABLE, "1"))

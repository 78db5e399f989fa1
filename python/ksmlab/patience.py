"""Adapt time limits to the speed of a VM, which is slower with an emulated CPU or a debug kernel.

The program that starts the tests in a VM passes the factor in the environment.
"""

from __future__ import annotations

import os

#: The environment variable with the factor by which this machine is slower; 1 if it is not set.
SLOW_VARIABLE = "KSMLAB_SLOW"


def patient(seconds: float) -> float:
    """Multiply a time limit by the slowness of this machine.

    Args:
        seconds: The time limit for an ordinary machine, in seconds.

    Raises:
        ValueError: The value in the environment is not a number.
    """
    return seconds * float(os.environ.get(SLOW_VARIABLE, "1"))

"""Have Hypothesis play a machine of the fuzzer, and fail with a program that replays what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz_script import script_of
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import run_state_machine_as_test

if TYPE_CHECKING:
    from fuzz_machine import FuzzMachine

STEPS = 30
#: A sequence that fails is made shorter for so long; a step is slow in a VM.
SHRINK_SECONDS = 120


class FuzzError(AssertionError):
    """A sequence failed.

    Attributes:
        program: What replays it.
    """

    def __init__(self, why: str, program: str) -> None:
        """Keep both."""
        super().__init__(why)
        self.program = program


def play(
    machine: type[FuzzMachine],
    examples: int,
    number: int,
    *,
    steps: int = STEPS,
    options: str = "",
) -> None:
    """Play sequences.

    Args:
        machine: the rules and the model.
        examples: how many sequences.
        number: the seed.
        steps: the most that a sequence has.
        options: for ``ksmlab vm run`` in that program.

    Raises:
        FuzzError: one failed.
    """
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    machine.failed = []
    old, engine.MAX_SHRINKING_SECONDS = engine.MAX_SHRINKING_SECONDS, SHRINK_SECONDS
    try:
        run_state_machine_as_test(seed(number)(machine), settings=how)
    except Exception as error:
        program = script_of(machine, f"{type(error).__name__}: {error}", options)
        # As output it gets into the report as it is.
        print(program)
        why = f"seed {number}: {error}\n\nThe program that replays it is in the captured output."
        raise FuzzError(why, program) from error
    finally:
        engine.MAX_SHRINKING_SECONDS = old

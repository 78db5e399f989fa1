"""`ksmlab lesson`, `ksmlab lessons`: play a lesson to a reader, list them, record them."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ksmlab.lab import CHECKOUT, Lab
from ksmlab.lessons import driver_tests, play, read_along, recorded, source
from ksmlab.lessons import exercise as exercise_module
from ksmlab.lessons.source import LessonError
from ksmlab.lessons.vm import Room
from ksmlab.progress import Progress
from ksmlab.vm.errors import VmError
from ksmlab.vm.machine import ENDED
from ksmlab.vm.path_checks import check_checkout

if TYPE_CHECKING:
    from collections.abc import Callable

Found = TypeVar("Found")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The lessons: list, record.")


def _shown(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _known(find: Callable[[int], Found], number: int, untouched: str) -> Found:
    """Look up a lesson or an exercise.

    Raises:
        VmError: There is none of that number.
    """
    try:
        return find(number)
    except LessonError as error:
        raise VmError(str(error), untouched=untouched) from None


def lesson(
    number: Annotated[int, typer.Argument(help="Which: `ksmlab lessons list`.")],
    kernel: Annotated[
        str | None,
        typer.Option(
            "--kernel",
            help="Default: the kernel that the lesson was recorded on, or the newest tested kernel of the host's "
            "archive if that lacks it.",
        ),
    ] = None,
) -> None:
    """Play a lesson in a VM, step by step, waiting for a key; then the VM is yours."""
    found = _known(source.find, number, "No VM was booted.")
    lab = Lab(Progress())
    kernel = kernel or lab.kernel_like(found.kernel)
    try:
        with (
            Room(lab) as room,
            room.lesson(found, kernel, _shown) as (terminal, machine),
        ):
            read_along.play_to_reader(found, terminal, machine)
            # It may be anywhere by now: in the middle of a program, or gone.
            room.close()
    except LessonError as error:
        raise VmError(
            str(error), untouched=ENDED, hint=f"Play it again: make lesson N={number}"
        ) from None


def exercise(
    number: Annotated[int, typer.Argument(help="Of which lesson.")],
) -> None:
    """Copy the exercise of a lesson to build/exercise, unless it is there; build it, and run its tests.

    If the exercise has a step in the driver, build the driver and test it in a VM after all other tests have passed.
    """
    found = _known(exercise_module.find, number, "Nothing was copied.")
    check_checkout(CHECKOUT)
    target = CHECKOUT / f"build/exercise/{number:02}"
    try:
        for path in exercise_module.copy(found.skeleton, found, target):
            print(f"new: {path}")
        if found.driver:
            exercise_module.copy_driver(found, CHECKOUT, target)
        exercise_module.build(target)
        done = exercise_module.run_tests(target)
    except LessonError as error:
        raise VmError(str(error), untouched=f"Your files in {target} are unchanged.") from None
    print(done.stdout, end="", flush=True)
    status = done.returncode
    if status < 0:
        name = signal.Signals(-status).name
        print(f"{name} ended the tests. Your C code probably used a wrong pointer or index.")
    elif status > 1:
        print(done.stderr, end="")
    if not status and found.driver:
        print(
            "Next: the driver is built and tested in a VM, which takes a few minutes.", flush=True
        )
        kernel = Lab(Progress()).kernel_like(exercise_module.driver_kernel(found))
        run = driver_tests.run(found.driver, CHECKOUT, target, kernel)
        print(run.text)
        status = run.status
    if status:
        print(f"Not solved yet. Edit the files in {target}, then: make exercise N={number}")
    else:
        print("Solved.")
    raise typer.Exit(min(abs(status), 1))


@app.command("list")
def list_() -> None:
    """List the lessons."""
    for each in source.read_all().values():
        print(f"{each.title}  ({each.kernel}, {each.minutes} minutes)")


@app.command("record")
def record(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Which; all, if none is given.")
    ] = None,
) -> None:
    """Play lessons in a VM, and write their output into their pages."""
    progress = Progress()
    failed: list[str] = []
    try:
        lessons = source.read_all()
        chosen = [source.find(number) for number in numbers] if numbers else list(lessons.values())
    except LessonError as error:
        raise VmError(str(error), untouched="Nothing was recorded.") from None
    with Room(Lab(progress)) as room:
        for each in chosen:
            try:
                with (
                    room.lesson(each) as (terminal, machine),
                    progress.step(f"lesson {each.number}: playing"),
                ):
                    steps = play.record(each, terminal)
                    release, kvm = machine.kernel.release, machine.accel.kvm
                    recorded.save(each, steps, release, kvm=kvm)
            except LessonError as error:
                progress.say(str(error))
                failed.append(str(each.number))
    if failed:
        raise VmError("\n".join(failed), untouched="The pages of these lessons are unchanged.")

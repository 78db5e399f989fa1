"""The commands `ksmlab lesson`, `ksmlab exercise` and `ksmlab lessons`."""

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

    from ksmlab.lessons.session import Exchange

Found = TypeVar("Found")

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List the lessons, or record their output."
)


def _shown(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _known(find: Callable[[int], Found], number: int, untouched: str) -> Found:
    """Look up a lesson or an exercise.

    Args:
        find: Looks it up.
        number: Its number.
        untouched: The part of an error message that says what was not changed.

    Raises:
        VmError: There is none with this number.
    """
    try:
        return find(number)
    except LessonError as error:
        raise VmError(str(error), untouched=untouched) from None


def lesson(
    number: Annotated[
        int, typer.Argument(help="The number of the lesson, from `ksmlab lessons list`.")
    ],
    kernel: Annotated[
        str | None,
        typer.Option(
            "--kernel",
            help="The kernel to boot. Default: the kernels that the lesson was recorded on, or, if the host's archive "
            "lacks one of them, the newest tested kernel.",
        ),
    ] = None,
) -> None:
    """Play a lesson in a VM, one step for each press of Enter. After the last step, you can use the VM."""
    found = _known(source.find, number, "No VM was booted.")
    lab = Lab(Progress())
    try:
        with Room(lab) as room:
            for stage in found.stages:
                name = kernel or lab.kernel_like(stage.kernel)
                with room.lesson(found, name, _shown) as (terminal, machine):
                    more = read_along.play_to_reader(found, stage, terminal, machine)
                    # The state of the shell and of the VM is unknown now, so do not use the VM again.
                    room.close()
                if not more:
                    break
    except LessonError as error:
        raise VmError(
            str(error), untouched=ENDED, hint=f"To play it again:  make lesson N={number}"
        ) from None


def exercise(
    number: Annotated[int, typer.Argument(help="The number of the lesson.")],
) -> None:
    """Copy the exercise of a lesson to build/exercise, build it, and run its tests.

    Files that are already there are not replaced. If the exercise has a step in the driver, the driver is
    built and tested in a VM after all other tests have passed.
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
        list[int] | None, typer.Argument(help="The numbers of the lessons. Default: all lessons.")
    ] = None,
) -> None:
    """Play lessons in a VM, and write their output to their pages."""
    progress = Progress()
    failed: list[str] = []
    try:
        lessons = source.read_all()
        chosen = [source.find(number) for number in numbers] if numbers else list(lessons.values())
    except LessonError as error:
        raise VmError(str(error), untouched="Nothing was recorded.") from None
    with Room(Lab(progress)) as room:
        for each in chosen:
            steps: list[tuple[Exchange, ...]] = []
            releases: dict[str, str] = {}
            kvm = False
            try:
                for stage in each.stages:
                    with (
                        room.lesson(each, stage.kernel) as (terminal, machine),
                        progress.step(f"lesson {each.number}: playing on {stage.kernel}"),
                    ):
                        steps += play.record(each, stage, terminal)
                        releases[stage.kernel] = machine.kernel.release
                        kvm = machine.accel.kvm
                recorded.save(each, steps, releases, kvm=kvm)
            except LessonError as error:
                progress.say(str(error))
                failed.append(str(each.number))
    if failed:
        raise VmError(
            f"These lessons could not be recorded: {', '.join(failed)}.",
            untouched="Their pages are unchanged.",
            hint="The reasons are above.",
        )

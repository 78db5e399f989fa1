"""The check that the files of the driver call each other in one direction only."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksmlab.layers import read_layers, upward_calls
from ksmlab.vm.errors import BuildError

KERNEL = Path(__file__).resolve().parents[2] / "kernel"

HEADER = """\
/*
 * The types of a driver.
 *
 * Layers, topmost first. A file calls only files
 * that are listed after it:
 *
 *	top, middle		two files
 *	bottom			one file
 *
 * Locking order, outermost first:
 *
 *	some_lock		(no layer)
 */
"""
TOP = "0000000000000000 T top_run\n                 U middle_run\n                 U kfree\n"
MIDDLE = "0000000000000000 T middle_run\n0000000000000010 t helper\n                 U bottom_run\n"
BOTTOM = "0000000000000000 T bottom_run\n0000000000000000 D bottom_data\n"


def test_the_list_ends_with_the_first_blank_line() -> None:
    assert read_layers(HEADER) == ["top", "middle", "bottom"]


def test_a_header_without_a_list_is_refused() -> None:
    with pytest.raises(BuildError, match="does not list the layers"):
        read_layers("/* The types of a driver. */")


def test_downward_calls_and_calls_of_the_kernel_are_allowed() -> None:
    assert upward_calls(read_layers(HEADER), {"top": TOP, "middle": MIDDLE, "bottom": BOTTOM}) == []


@pytest.mark.parametrize("symbol", ["top_run", "middle_run"])
def test_an_upward_use_is_reported(symbol: str) -> None:
    bottom = f"{BOTTOM}                 U {symbol}\n"
    (problem,) = upward_calls(read_layers(HEADER), {"top": TOP, "middle": MIDDLE, "bottom": bottom})
    owner = symbol.removesuffix("_run")
    assert problem == f"bottom.c uses {symbol} of {owner}.c, which is listed before it"


def test_the_list_and_the_files_agree() -> None:
    assert upward_calls(read_layers(HEADER), {"top": TOP, "other": BOTTOM}) == [
        "other.c is in no layer",
        "layer middle has no file",
        "layer bottom has no file",
    ]


def test_the_driver_lists_each_of_its_files() -> None:
    layers = read_layers((KERNEL / "ksm.h").read_text())
    assert sorted(layers) == sorted(source.stem for source in KERNEL.glob("*.c"))

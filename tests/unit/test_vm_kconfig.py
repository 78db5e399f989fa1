"""Kconfig fragments: each says why it is there, they agree, and what did not survive is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksmlab.vm.errors import BuildError, VmError
from ksmlab.vm.kconfig import Fragment, Lost, lost, merged, options, read_fragment
from ksmlab.vm.kernel_build import check_config, fragments_of
from ksmlab.vm.kernels import load_specs

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = """#
# Automatically generated file; DO NOT EDIT.
#
CONFIG_SMP=y
# CONFIG_KSM is not set
CONFIG_NR_CPUS=8
CONFIG_LOCALVERSION="-debug"
CONFIG_BLK_DEV_NBD=m
"""


def fragment(name: str = "f", **wants: str) -> Fragment:
    return Fragment(name, "why", wants)


def test_the_options_of_a_configuration() -> None:
    assert options(CONFIG) == {
        "SMP": "y",
        "KSM": "n",
        "NR_CPUS": "8",
        "LOCALVERSION": '"-debug"',
        "BLK_DEV_NBD": "m",
    }


@pytest.mark.parametrize(
    ("option", "wanted", "got"),
    [
        ("KASAN", "y", "n"),
        ("KSM", "y", "n"),
        ("SMP", "n", "y"),
        ("BLK_DEV_NBD", "y", "m"),
        ("NR_CPUS", "4", "8"),
    ],
)
def test_a_wish_that_did_not_survive_is_named(option: str, wanted: str, got: str) -> None:
    fragments = [fragment("kept", SMP="y", KSM="n", NOTHING="n"), fragment("f", **{option: wanted})]
    (found,) = [each for each in lost(fragments, CONFIG) if each.fragment == "f"]
    assert found == Lost("f", option, wanted, got)
    assert str(found) == f"f: CONFIG_{option} is {got} instead of {wanted}"
    assert lost(fragments[:1], CONFIG) == []


def test_a_build_fails_over_it(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(CONFIG)
    check_config("k", [fragment(SMP="y")], tmp_path / "config")
    with pytest.raises(BuildError, match="Kconfig did not accept the options") as caught:
        check_config("k", [fragment("debug", KASAN="y", KSM="y")], tmp_path / "config")
    assert "debug: CONFIG_KASAN is n instead of y" in caught.value.log


def test_fragments_make_one_text() -> None:
    text = merged([fragment(A="y", B="n"), fragment("g", B="n", C="7")])
    assert text == "CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=7\n"


def test_fragments_that_do_not_agree() -> None:
    with pytest.raises(
        VmError, match="f and g cannot be combined: they set CONFIG_A to y and to n"
    ):
        merged([fragment(A="y"), fragment("g", A="n")])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("CONFIG_A=y\n", "does not begin with a comment"),
        ("# why\nCONFIG_A y\n", "not an option: CONFIG_A y"),
        ("# why\nA=y\n", "not an option: A=y"),
    ],
)
def test_a_fragment_that_is_none(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "f.config"
    path.write_text(text)
    with pytest.raises(VmError, match=problem):
        read_fragment(path)


def test_a_fragment_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="fragment nothing cannot be read"):
        read_fragment(tmp_path / "nothing.config")


def test_comments_within_a_fragment(tmp_path: Path) -> None:
    path = tmp_path / "f.config"
    path.write_text("# why,\n# and why\nCONFIG_A=y\n\n# more\nCONFIG_B=n\n")
    assert read_fragment(path) == Fragment("f", "why, and why", {"A": "y", "B": "n"})


BUILT = [spec for spec in load_specs(CHECKOUT / "vm/kernels.toml").values() if spec.built]


@pytest.mark.parametrize("spec", BUILT, ids=lambda spec: spec.name)
def test_the_fragments_of_the_repository(spec: object) -> None:
    fragments = fragments_of(spec)  # type: ignore[arg-type]
    assert all(each.reason for each in fragments)
    assert merged(fragments)


def test_what_each_kernel_is_for() -> None:
    wants = {spec.name: options(merged(fragments_of(spec))) for spec in BUILT}
    assert wants["classic-6.1"]["KSM"] == "n"
    assert "KASAN" not in wants["classic-6.1"]
    for name in ("debug-6.1", "debug-6.12"):
        for option in ("KSM", "KASAN", "PROVE_LOCKING", "DEBUG_VM_PGFLAGS", "FAULT_INJECTION"):
            assert wants[name][option] == "y", (name, option)
    for option in ("KSM", "PREEMPT", "PREEMPT_TRACER", "IRQSOFF_TRACER"):
        assert wants["latency-6.12"][option] == "y", option
    for option in ("KSM", "PREEMPT", "KCSAN"):
        assert wants["race-6.12"][option] == "y", option
    # KCSAN excludes KASAN.
    assert "KASAN" not in wants["race-6.12"]
    # It would be the checks that take longest.
    assert not {"PROVE_LOCKING", "DEBUG_VM", "KASAN"} & set(wants["latency-6.12"])


def test_every_fragment_is_used() -> None:
    used = {path.name for spec in BUILT for path in spec.fragments}
    assert used == {path.name for path in (CHECKOUT / "vm/kconfig").iterdir()}

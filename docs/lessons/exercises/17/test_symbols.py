"""Names that resolve() finds, and names that it reports as missing."""

import pytest
from symbols import MissingError, resolve

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81012340 T vm_normal_page
ffffffff81012380 t page_add_file_rmap
ffffffff810123c0 t vm_normal_page
ffffffff82000000 D page_data
ffffffffc0001000 t page_remove_rmap\t[ksm]
ffffffffc0001040 t vm_normal_page\t[ksm]
"""


def missing(kallsyms: str, names: list[str]) -> list[str]:
    """Return the names that resolve() reports as missing."""
    try:
        found = resolve(kallsyms, names)
    except MissingError as error:
        return error.names
    return pytest.fail(
        f"Some of the names {names} are missing, so resolve() must raise MissingError; it returned {found}. See "
        "'All or "
        "nothing'.",
        pytrace=False,
    )


def test_functions_of_the_kernel_are_found() -> None:
    wanted = {"vm_normal_page": 0xFFFFFFFF81012340, "page_add_file_rmap": 0xFFFFFFFF81012380}
    got = resolve(KALLSYMS, list(wanted))
    assert isinstance(got, dict), (
        f"resolve() must return a dict from name to address; it returned {got!r}."
    )
    for name, address in wanted.items():
        assert got.get(name) == address, (
            f"The first function {name} of the kernel is at {address:#x}; resolve() returned {got.get(name)!r}. A "
            "module can have a function with the same name, the kernel can have a second one, and an address is a "
            "number, not a text. See 'Lookup by name'."
        )
    assert got == wanted, (
        f"resolve() must return the requested names only; it returned {sorted(got)}."
    )


def test_all_missing_names_are_reported_at_once() -> None:
    wanted = ["split_huge_page", "page_remove_rmap", "page_data"]
    got = missing(KALLSYMS, ["split_huge_page", "vm_normal_page", "page_remove_rmap", "page_data"])
    assert got == wanted, (
        "split_huge_page is in no line, page_remove_rmap only in a module, and page_data is no function (type D). So "
        f"`names` of the error must be {wanted}, in this order; it is {got}. See 'All or nothing'."
    )


def test_addresses_of_0_count_as_missing() -> None:
    got = missing("0000000000000000 T vm_normal_page\n", ["vm_normal_page"])
    assert got == ["vm_normal_page"], (
        "The kernel shows the address 0 to users without privileges, so the name counts as missing. `names` of "
        "the error "
        f"must contain it; it is {got}."
    )

"""Which names are found, and what is said of those that are not."""

import pytest
from symbols import MissingError, resolve

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81012340 T vm_normal_page
ffffffff81012380 t page_add_file_rmap
ffffffff82000000 D page_data
ffffffffc0001000 t page_remove_rmap\t[ksm]
ffffffffc0001040 t vm_normal_page\t[ksm]
"""


def test_functions_of_the_kernel() -> None:
    assert resolve(KALLSYMS, ["vm_normal_page", "page_add_file_rmap"]) == {
        "vm_normal_page": 0xFFFFFFFF81012340,
        "page_add_file_rmap": 0xFFFFFFFF81012380,
    }


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(MissingError) as caught:
        resolve(KALLSYMS, ["split_huge_page", "vm_normal_page", "page_remove_rmap", "page_data"])
    assert caught.value.names == ["split_huge_page", "page_remove_rmap", "page_data"]


def test_who_may_not_see_addresses_gets_none() -> None:
    with pytest.raises(MissingError):
        resolve("0000000000000000 T vm_normal_page\n", ["vm_normal_page"])

"""The reference has everything that the sources define, each with its meaning."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ksmlab import abi, lab_device
from ksmlab.lessons.excerpt import CHECKOUT
from ksmlab.site import definitions, identifiers, kernel_doc, plugin, tables
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from pathlib import Path

KERNEL = CHECKOUT / "kernel"


def shown(part: str) -> set[str]:
    """Give what stands in the first column of a part of the reference, or as a heading."""
    return set(re.findall(r"^(?:\| |#+ )`([\w/]+)`", tables.render(part), re.MULTILINE))


@pytest.mark.parametrize(
    "page",
    sorted((CHECKOUT / "docs/reference").rglob("*.md")),
    ids=lambda page: str(page.relative_to(CHECKOUT / "docs/reference")),
)
def test_no_page_shows_the_marks_of_kernel_doc(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"`[^`]*`", "", prose)
    assert not re.findall(r".*(?<!\w)[@%&][A-Za-z_].*", prose)


def test_marked_name_is_shown_as_code_under_its_public_name() -> None:
    names = {"shared": "pages_shared"}
    text = definitions.unmarked("not in @shared, see @hashed and &struct ksm_node.", names)
    assert text == "not in `pages_shared`, see `hashed` and `struct ksm_node`."
    assert definitions.unmarked("100 % of A & B") == "100 % of A & B"


def test_meaning_of_a_counter_names_other_files_not_fields() -> None:
    meanings = {each.name: each.meaning for each in definitions.attributes()}
    assert "not part of `pages_shared`" in meanings["zero_pages"]
    assert meanings["pages_volatile"].startswith("pages found in the last complete pass")


def test_every_sysfs_attribute_is_there() -> None:
    text = (KERNEL / "sysfs.c").read_text()
    attributes = set(re.findall(r"^ATTR_R[OW]\((\w+)\);", text, re.MULTILINE))
    attributes |= set(re.findall(r"^(?:SETTING|COUNTER)\((\w+),", text, re.MULTILINE))
    reasons = {f"skipped/{name}" for name in re.findall(r"SKIPPED\(\w+, \"(\w+)\"\)", text)}
    assert len(attributes) >= 9
    assert len(reasons) == 20
    assert shown("sysfs") == attributes | reasons
    python = {name for name in vars(KsmSysfs) if not name.startswith("_")}
    assert python & attributes >= {"run", "sleep", "pages_shared"}


def test_a_setting_can_be_written_and_a_counter_cannot() -> None:
    writable = {each.name: each.writable for each in definitions.attributes()}
    assert writable["run"]
    assert writable["sleep"]
    assert not writable["pages_shared"]
    assert not writable["metadata_bytes"]


def test_every_ioctl_is_there_with_its_errnos() -> None:
    header = (CHECKOUT / definitions.HEADER).read_text()
    names = set(re.findall(r"^#define (KSM_\w+)\s+_IO", header, re.MULTILINE))
    assert shown("ioctls") == names
    assert names == {name for name in vars(abi) if re.fullmatch(r"KSM_(?!API)\w+", name)}
    errors = {each.name: dict(each.errors) for each in definitions.ioctls()}
    assert set(errors["KSM_REGISTER_MEMORY_REGION"]) == {
        "EFAULT", "EINVAL", "ERANGE", "EEXIST", "ENOSPC", "ENOMEM", "EINTR",
    }  # fmt: skip
    for name in re.findall(r"^ \*  -(E\w+):", header, re.MULTILINE):
        assert any(name in each for each in errors.values())
    assert f"{abi.KSM_REGISTER_MEMORY_REGION:#010x}" in tables.render("ioctls")
    assert lab_device.KSM_LAB_CALL not in {each.number for each in definitions.ioctls()}


def test_every_tracepoint_is_there() -> None:
    text = (KERNEL / "trace.h").read_text()
    names = set(re.findall(r"TRACE_EVENT\((\w+)", text))
    assert names
    words = {each.field: dict(each.meanings) for each in definitions.tracepoint_words()}
    assert shown("tracepoints") == names.union(words, *words.values())
    for each in definitions.tracepoints():
        assert each.meaning
        assert all(field.shown.upper() in each.form and field.meaning for field in each.fields)
        assert "%" not in each.form
    (merge,) = (each for each in definitions.tracepoints() if each.name == "devksm_merge")
    assert merge.form == "KIND mm=MM addr=0xADDR pfn=0xPFN kernel_pfn=0xKERNEL_PFN"
    assert [(field.name, field.type) for field in merge.fields] == [
        ("kind", "int"), ("mm", "void *"), ("addr", "unsigned long"), ("pfn", "unsigned long"),
        ("kpfn", "unsigned long"),
    ]  # fmt: skip
    assert "- `kernel_pfn`, `unsigned long` (field `kpfn`): " in tables.render("tracepoints")
    assert set(words["kind"]) == {"stable", "unstable"}
    reasons = {each.name.removeprefix("skipped/") for each in definitions.skip_reasons()}
    assert set(words["why"]) == reasons


def test_each_setting_has_a_default_and_a_range_and_run_its_errnos() -> None:
    found = {each.name: (each.default, each.most) for each in definitions.attributes()}
    assert found["run"] == ("0", "2")
    assert found["pages_to_scan"] == ("512", "2^32 - 1")
    assert found["max_kernel_pages"] == ("totalram_pages() / 4", "2^64 - 1")
    assert found["pages_shared"] == ("", "")
    assert found["threads"] == ("1", "16")
    assert found["max_page_sharing"] == ("256", "511")
    least = {each.name: each.least for each in definitions.attributes() if each.least != "0"}
    assert least == {"threads": "1", "max_page_sharing": "2"}
    assert set(dict(definitions.run_errors())) == {"EINVAL", "EINTR", "ENOMEM", "EFAULT"}


def test_every_sysfs_attribute_has_a_type_and_all_but_run_a_unit() -> None:
    found = {each.name: (each.type, each.unit) for each in definitions.attributes()}
    assert found["sleep"] == ("unsigned int", "µs")
    assert found["max_kernel_pages"] == ("unsigned long", "pages")
    assert found["metadata_bytes"] == ("unsigned long", "bytes")
    assert [name for name, (_, unit) in found.items() if not unit] == ["run"]
    assert {each.type for each in definitions.skip_reasons()} == {"unsigned long"}


@pytest.mark.parametrize(("part", "of"), [("ioctls", ""), ("tracepoints", ""), ("kernel-doc", "pte.c"),
                                          ("kernel-doc", "ksm.h")])  # fmt: skip
def test_each_definition_links_to_its_line(part: str, of: str) -> None:
    text = tables.render(part, of)
    sections = re.findall(
        r"^## `(?:enum |struct )?(\w+)`\n\n(?:.+\n)+\n(?:```text\n.*\n```\n\n)?"
        r"\[`([\w/.]+):(\d+)`\]\((?:\.\./)+\2#L\3\)$",
        text,
        re.MULTILINE,
    )
    words = len(definitions.tracepoint_words()) if part == "tracepoints" else 0
    assert len(sections) == text.count("\n## ") + text.startswith("## ") - words
    for name, path, line in sections:
        assert name in (CHECKOUT / path).read_text().splitlines()[int(line) - 1]


def test_the_lines_of_fdinfo_are_there() -> None:
    assert [name for name, _ in definitions.fdinfo()] == ["ksm-regions", "ksm-pages", "ksm-merged"]


def test_every_option_and_key_of_the_plugin_is_there() -> None:
    text = (CHECKOUT / "python/ksmlab/pytest_plugin/__init__.py").read_text()
    options = set(re.findall(r"\"(--[a-z-]+)\"", text))
    keys = set(re.findall(r"addini\(\s*\"(\w+)\"", text))
    assert {each.form.split()[0] for each in plugin.asked()["options"]} == options
    assert {each.form for each in plugin.asked()["keys"]} == keys


def test_every_parameter_is_there() -> None:
    names = {
        name
        for path in KERNEL.glob("*.c")
        for name in re.findall(r"^module_param\w*\((\w+),", path.read_text(), re.MULTILINE)
    }
    assert names
    assert shown("parameters") == names


def test_every_command_is_there() -> None:
    text = tables.render("command")
    for name in ("demo", "lesson", "lessons record", "exercise", "bench", "vm run", "kernels list"):
        assert f"## `ksmlab {name}`\n" in text
    assert "`--kernel KERNEL`" in text
    assert "`--cpus CPUS`: The number of virtual CPUs. (default: `2`)" in text
    assert "(default: `--module`)" in text
    # Outside of code two dashes become one long one.
    assert not re.search(r"--", re.sub(r"`[^`]*`", "", text))


@pytest.mark.parametrize(
    "path", sorted((CHECKOUT / "kernel").glob("*.[ch]")), ids=lambda path: path.name
)
def test_every_kernel_doc_is_on_the_page_of_its_file(path: Path) -> None:
    starts = re.findall(r"^/\*\*$", path.read_text(), re.MULTILINE)
    page = CHECKOUT / f"docs/{identifiers.page_of(path.name)}.md"
    listed = (CHECKOUT / "docs/reference/driver.md").read_text()
    if not starts:
        assert not page.exists()
        return
    assert f"<!-- kernel-doc {path.name} -->\n" in page.read_text()
    assert f"[{path.name}](driver/{page.name})" in listed
    assert f"\ndriver/{page.stem}\n" in listed
    assert len(kernel_doc.docs(path.name)) == len(starts)


def test_types_are_shown_with_their_members() -> None:
    docs = {doc.name: doc.prototype for doc in kernel_doc.docs("ksm.h")}
    assert "u32 pfn;" in docs["struct ksm_node"]
    assert "KSM_SKIP_SWAPPED," in docs["enum ksm_skip"]


def test_opening_comment_keeps_its_tables() -> None:
    opening = kernel_doc.opening("ksm.h")
    assert opening.startswith("The driver's types")
    assert re.search(r"^```text\nkernel page +a page", opening, re.MULTILINE)
    assert "SPDX" not in opening


def test_functions_and_types_have_an_anchor() -> None:
    found = identifiers.targets()
    assert found["get_pte()"] == found["get_pte"] == ("reference/driver/pte_c", "get-pte")
    assert found["struct ksm_node"] == ("reference/driver/ksm_h", "struct-ksm-node")

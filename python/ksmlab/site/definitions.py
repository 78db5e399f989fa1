"""Read the driver's interface to user space from its sources, for the reference."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab import abi
from ksmlab.lessons import excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping

KERNEL = excerpt.CHECKOUT / "kernel"
HEADER = "kernel/include/uapi/linux/ksm.h"

ATTRIBUTE = re.compile(r"&devksm_(\w+)_attr\.attr")
SETTING = re.compile(r"^SETTING\((\w+), (\w+), (\w+)\);", re.MULTILINE)
COUNTER = re.compile(r"^COUNTER\((\w+), (\w+)\);", re.MULTILINE)
MACRO_MAXIMA = {"UINT_MAX": "2^32 - 1", "ULONG_MAX": "2^64 - 1", "KSM_MAX_SHARING": "511"}
#: The limits of settings that have their own store function.
PARSED = re.compile(r"parse\(buf, (\w+), \w+, &(\w+)\)")
LEAST_SHARING = re.compile(r"^#define KSM_MIN_SHARING\s+(\d+)$", re.MULTILINE)
INITIAL = re.compile(r"^\t\.(\w+) = (\w+),$", re.MULTILINE)
STARTED = re.compile(r"int ksm_scan_init\(void\)\n\{\n\treturn ksm_scan_set_(threads)\((\d+)\);")
MOST_THREADS = re.compile(r"^#define KSM_MAX_THREADS\s+(\d+)$", re.MULTILINE)
SET_AT_LOAD = re.compile(r"^\tksm_settings\.(\w+) = (.*);$", re.MULTILINE)
LAST_RUN = re.compile(r"enum \{ ((?:KSM_RUN_\w+(?:, )?)+) \};")
FDINFO = re.compile(r"(ksm-\w+):\\t%")
FDINFO_MEANING = re.compile(r"^(ksm-\w+): (.*)$")
MEMBER_TYPE = re.compile(r"^\t(unsigned \w+) (\w+);$", re.MULTILINE)
PRINTED_NUMBER = re.compile(r"sysfs_emit\(buf, \"(%l?u)\\n\"")
PRINTED_TYPES = {"%u": "unsigned int", "%lu": "unsigned long"}
#: What the number in each file counts or measures.
UNITS = {
    "run": "",
    "pages_to_scan": "pages",
    "sleep": "µs",
    "max_kernel_pages": "pages",
    "max_page_sharing": "mappings",
    "threads": "threads",
    "pages_shared": "page frames",
    "kernel_pages_allocated": "pages",
    "zero_pages": "page frames",
    "full_scans": "passes",
    "pages_volatile": "pages",
    "metadata_bytes": "bytes",
}
WRITABLE = re.compile(r"^ATTR_RW\((\w+)\)", re.MULTILINE)
SKIPPED = re.compile(r"SKIPPED\((KSM_SKIP_\w+), \"(\w+)\"\)")
PARAMETER = re.compile(r"^module_param(?:_cb)?\((\w+), .*?(\d+)\);", re.MULTILINE)
DESCRIPTION = re.compile(r"^MODULE_PARM_DESC\((\w+), \"(.*)\"\);", re.MULTILINE)
DEFAULT = re.compile(r"static char \*(\w+) = \"(\w+)\";")
IOCTL = re.compile(r"^#define (KSM_\w+)\s+(_IO[WR]*\([^)]*\))", re.MULTILINE)
EVENT = re.compile(r"^TRACE_EVENT\((\w+),$", re.MULTILINE)
PRINTED = re.compile(r"TP_printk\(\"([^\"]*)\",\s*(.*)\)\n\);?", re.DOTALL)
FIELD = re.compile(r"(?:(\w+)=)?(0x)?%\w+")
STORED = re.compile(r"__entry->(\w+)")
DECLARED = re.compile(r"__field\(([^,]+), (\w+)\)")
SHOWN_BY = re.compile(r"show_(\w+)\(__entry->(\w+)\)")
NAMED = re.compile(r"\{ (KSM_\w+),\s*\"(\w+)\" \}")
MEMBER = re.compile(r"^@(\w+): ?(.*)$")
# The notation of kernel-doc for parameters, constants and types.
NAME = re.compile(r"\*?[@%][A-Za-z_]\w*|&(?:struct |enum )?[A-Za-z_][\w>.-]*\w")
ERRNO = re.compile(r"^\s*-(E[A-Z0-9]+): (.*)$")


class DefinitionError(Exception):
    """A definition in a source is missing or has an unexpected form; the text names the source."""


@dataclass(frozen=True)
class Attribute:
    """A file in /sys/kernel/mm/ksm.

    Attributes:
        name: Its name.
        writable: Whether it can be written.
        meaning: The meaning of its number.
        type: The type of its number in C.
        unit: What its number counts or measures; empty for a state.
        default: The value when the driver is loaded; empty for a counter.
        most: The largest valid number; empty for a counter.
        least: The smallest valid number.
    """

    name: str
    writable: bool
    meaning: str
    type: str
    unit: str
    default: str = ""
    most: str = ""
    least: str = "0"


@dataclass(frozen=True)
class Parameter:
    """A parameter of the module. A read-only parameter has no default."""

    name: str
    meaning: str
    default: str


@dataclass(frozen=True)
class Ioctl:
    """An ioctl.

    Attributes:
        name: The name of its macro.
        line: The line of the header on which it is defined.
        macro: The definition of its macro.
        number: Its number.
        summary: Its purpose, as a phrase.
        text: The rest of its description, as paragraphs.
        errors: Pairs of an errno and its condition.
    """

    name: str
    line: int
    macro: str
    number: int
    summary: str
    text: str
    errors: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Field:
    """A field of a tracepoint.

    Attributes:
        shown: Its name in a line of the trace.
        name: Its name in filters and programs.
        type: Its type in C.
        meaning: Its meaning.
    """

    shown: str
    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class Tracepoint:
    """A tracepoint of the system devksm.

    Attributes:
        name: Its name.
        line: The line of kernel/trace.h on which it is defined.
        meaning: The event that it reports.
        form: The format of a line of the trace, with the names of fields instead of values.
        fields: Its fields.
    """

    name: str
    line: int
    meaning: str
    form: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Words:
    """The words that a field of a tracepoint may contain.

    Attributes:
        field: The name of the field.
        meanings: Pairs of a word and its meaning.
    """

    field: str
    meanings: tuple[tuple[str, str], ...]


def _read(path: str) -> str:
    return (KERNEL / path).read_text()


def comment_lines(comment: str) -> list[str]:
    """Return the lines of a C comment without its delimiters."""
    inner = comment.strip().removeprefix("/**").removeprefix("/*").removesuffix("*/")
    lines = [re.sub(r"^\s*\* ?", "", line.rstrip()) for line in inner.splitlines()]
    return [line.strip() if number == 0 else line for number, line in enumerate(lines)]


def unmarked(text: str, names: Mapping[str, str] | None = None) -> str:
    """Return text of kernel-doc with each marked name as code, in Markdown.

    Args:
        text: The text.
        names: The names to show in place of names of the source, if they differ.
    """

    def code(found: re.Match[str]) -> str:
        name = re.sub("[@%&]", "", found[0])
        return f"`{(names or {}).get(name, name)}`"

    return NAME.sub(code, text)


def members(path: str, name: str) -> dict[str, str]:
    """Return the meanings of the members of a type, from its kernel-doc."""
    return _meanings(comment_lines(excerpt.find(path, name).comment), MEMBER)


def _meanings(lines: list[str], pattern: re.Pattern[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    last = ""
    for line in lines:
        if match := pattern.match(line):
            last = match[1]
            found[last] = match[2]
        elif last and line.strip():
            found[last] += " " + line.strip()
        else:
            last = ""
    return found


def attributes() -> list[Attribute]:
    """Return the files of /sys/kernel/mm/ksm.

    Raises:
        DefinitionError: A file is described neither in kernel/ksm.h nor in the comment above its show function, or it
            has no type or no unit, or a writable one has no default or no maximum.
    """
    text = _read("sysfs.c")
    settings = members("kernel/ksm.h", "struct ksm_settings")
    counters = members("kernel/ksm.h", "struct ksm_counters")
    names = dict(COUNTER.findall(text))
    shown_as = {counter: name for name, counter in names.items()}
    defaults, most = _defaults(text), _maxima(text)
    least = _minima(text)
    types = {
        member: kind
        for kind, member in MEMBER_TYPE.findall(
            excerpt.find("kernel/ksm.h", "struct ksm_settings").text
        )
    }
    writable = {name for name, _, _ in SETTING.findall(text)} | set(WRITABLE.findall(text))
    result = []
    for name in ATTRIBUTE.findall(text):
        meaning = settings.get(name) or counters.get(names.get(name, ""))
        if meaning is None:
            comment = excerpt.find("kernel/sysfs.c", f"devksm_{name}_show").comment
            meaning = " ".join(comment_lines(comment)).strip().rstrip(".")
            # Begin with a lower-case letter, as the other meanings do.
            meaning = meaning[:1].lower() + meaning[1:]
        if not meaning or name not in UNITS:
            raise DefinitionError(
                f"kernel/sysfs.c: the attribute {name} has no description, or no unit in UNITS"
            )
        if same := re.fullmatch(r"the same, of (the last complete pass)", meaning):
            before = counters[names[name].replace("_last", "_now")].replace(" so far", "")
            meaning = before.replace("this pass", same[1]).replace("the last one", "the one before")
        result.append(
            Attribute(
                name,
                name in writable,
                unmarked(meaning, shown_as),
                types.get(name) or _printed_type(text, name),
                UNITS[name],
                defaults.get(name, ""),
                most.get(name, ""),
                least.get(name, "0"),
            )
        )
    if unknown := [
        each.name for each in result if each.writable and not (each.default and each.most)
    ]:
        raise DefinitionError(
            f"kernel/sysfs.c: no default or no maximum was found for {', '.join(unknown)}"
        )
    return result


def _printed_type(text: str, name: str) -> str:
    """Return the type of the number that a show function prints, by its format."""
    shown = text.partition(f"devksm_{name}_show(")[2] or text.partition("devksm_##_name##_show(")[2]
    printed = PRINTED_NUMBER.search(shown)
    if printed is None:
        raise DefinitionError(f"kernel/sysfs.c: the type of {name} is not known")
    return PRINTED_TYPES[printed[1]]


def _run_names() -> list[str]:
    found = LAST_RUN.search(_read("ksm.h"))
    if found is None:
        raise DefinitionError("kernel/ksm.h has no enum with the values of run")
    return found[1].split(", ")


def _defaults(text: str) -> dict[str, str]:
    initial = excerpt.find("kernel/core.c", "ksm_settings").text
    numbers = {name: str(number) for number, name in enumerate(_run_names())}
    found = {name: numbers.get(value, value) for name, value in INITIAL.findall(initial)}
    return found | dict(SET_AT_LOAD.findall(text)) | dict(STARTED.findall(_read("scan.c")))


def _minima(text: str) -> dict[str, str]:
    numbers = {"KSM_MIN_SHARING": "".join(LEAST_SHARING.findall(_read("ksm.h")))}
    found = {name: least for name, least, _ in SETTING.findall(text)}
    found |= {name: least for least, name in PARSED.findall(text)}
    found = {name: numbers.get(least, least) for name, least in found.items()}
    return {name: least for name, least in found.items() if least.isdigit()}


def _maxima(text: str) -> dict[str, str]:
    return {
        name: MACRO_MAXIMA[most] for name, _, most in SETTING.findall(text) if most in MACRO_MAXIMA
    } | {
        "run": str(len(_run_names()) - 1),
        "threads": "".join(MOST_THREADS.findall(_read("ksm.h"))),
    }


def run_errors() -> tuple[tuple[str, str], ...]:
    """Return the errnos of a write to run, each with its condition."""
    return tuple(
        _errors(comment_lines(excerpt.find("kernel/sysfs.c", "devksm_run_store").comment))[1]
    )


def fdinfo() -> list[tuple[str, str]]:
    """Return the lines that an area adds to /proc/PID/fdinfo/FD, each with its meaning.

    Raises:
        DefinitionError: The lines differ from those that the comment describes.
    """
    piece = excerpt.find("kernel/dev.c", "area_show_fdinfo")
    meanings = _meanings(comment_lines(piece.comment), FDINFO_MEANING)
    names = FDINFO.findall(piece.text)
    if list(meanings) != names:
        raise DefinitionError(
            f"kernel/dev.c: fdinfo has the lines {names}, but its comment describes {list(meanings)}"
        )
    return [(name, unmarked(meaning)) for name, meaning in meanings.items()]


def skip_reasons() -> list[Attribute]:
    """Return the files of skipped/, each with its meaning from enum ksm_skip."""
    meanings = members("kernel/ksm.h", "enum ksm_skip")
    text = _read("sysfs.c")
    printed = PRINTED_NUMBER.search(excerpt.find("kernel/sysfs.c", "skipped_show").text)
    if printed is None:
        raise DefinitionError("kernel/sysfs.c: the type of the files of skipped/ is not known")
    kind = PRINTED_TYPES[printed[1]]
    return [
        Attribute(
            f"skipped/{name}",
            writable=False,
            meaning=unmarked(meanings[constant]),
            type=kind,
            unit="pages",
        )
        for constant, name in SKIPPED.findall(text)
    ]


def parameters() -> list[Parameter]:
    """Return the parameters of ksm.ko.

    Raises:
        DefinitionError: A parameter has no description.
    """
    result = []
    for path in sorted(KERNEL.glob("*.c")):
        text = path.read_text()
        descriptions, defaults = dict(DESCRIPTION.findall(text)), dict(DEFAULT.findall(text))
        for name, _mode in PARAMETER.findall(text):
            if name not in descriptions:
                raise DefinitionError(f"{path.name}: the parameter {name} has no MODULE_PARM_DESC")
            result.append(Parameter(name, descriptions[name], defaults.get(name, "")))
    return result


def ioctls() -> list[Ioctl]:
    """Return the ioctls of the interface header, with their numbers from ksmlab.abi.

    Raises:
        DefinitionError: An ioctl has no comment, or ksmlab.abi does not define it.
    """
    result = []
    text = (excerpt.CHECKOUT / HEADER).read_text().replace("\\\n", " ")
    for name, macro in IOCTL.findall(text):
        piece = excerpt.find(HEADER, name)
        lines = comment_lines(piece.comment)
        summary = " ".join(lines).partition(" - ")[2].split("  ")[0] if lines else ""
        number = getattr(abi, name, None)
        if not summary or number is None:
            raise DefinitionError(
                f"{HEADER}: {name} has no comment, or ksmlab.abi does not define it"
            )
        body, errors = _errors(lines[2:] if not lines[0] else lines[1:])
        result.append(
            Ioctl(
                name,
                piece.first,
                re.sub(r"\s+", " ", macro),
                number,
                summary,
                body,
                tuple(errors),
            )
        )
    return result


def _errors(lines: list[str]) -> tuple[str, list[tuple[str, str]]]:
    errors: list[tuple[str, str]] = []
    body: list[str] = []
    for line in map(unmarked, lines):
        if found := ERRNO.match(line):
            errors.append((found[1], found[2]))
        elif errors and line.strip():
            errors[-1] = (errors[-1][0], f"{errors[-1][1]} {line.strip()}")
        else:
            body.append(line)
    return "\n".join(body).strip(), errors


def tracepoints() -> list[Tracepoint]:
    """Return the tracepoints, each with its comment.

    Raises:
        DefinitionError: A tracepoint has no comment or no format, or a field is not described.
    """
    result = []
    text = _read("trace.h")
    explained = _meanings(
        comment_lines(text[text.index("/*\n") : text.index("*/\n#undef") + 2]), MEMBER
    )
    for name in EVENT.findall(text):
        piece = excerpt.find("kernel/trace.h", name)
        printed = PRINTED.search(piece.text)
        if not piece.comment or printed is None:
            raise DefinitionError(f"kernel/trace.h: {name} has no comment, or no TP_printk()")
        meaning = " ".join(comment_lines(piece.comment)).strip()
        by_word = [field for _, field in SHOWN_BY.findall(printed[2])]
        fields = [found[1] or by_word.pop(0) for found in FIELD.finditer(printed[1])]
        if unknown := set(fields) - explained.keys():
            raise DefinitionError(
                f"kernel/trace.h: the opening comment does not describe the fields {unknown} of {name}"
            )
        types = {name: kind for kind, name in DECLARED.findall(piece.text)}
        stored = STORED.findall(printed[2])
        if unknown := set(stored) - types.keys():
            raise DefinitionError(
                f"kernel/trace.h: {name} prints {unknown}, which is no field with a type"
            )
        # Replace each value in the format by the name of its field.
        form = printed[1]
        for found, field in reversed(list(zip(FIELD.finditer(form), fields, strict=True))):
            key = f"{found[1]}={found[2] or ''}" if found[1] else ""
            form = form[: found.start()] + key + field.upper() + form[found.end() :]
        result.append(
            Tracepoint(
                name,
                piece.first,
                unmarked(meaning),
                form,
                tuple(
                    Field(shown, field, types[field], unmarked(explained[shown]))
                    for shown, field in zip(fields, stored, strict=True)
                ),
            )
        )
    return result


def tracepoint_words() -> list[Words]:
    """Return the words for the values of enums in a trace, each with its meaning.

    Raises:
        DefinitionError: The words do not match the values of an enum.
    """
    result = []
    for show, field, path, enum, silent in (
        ("show_kind", "kind", "kernel/index.h", "enum ksm_kind", set()),
        ("show_break", "how", "kernel/ksm.h", "enum ksm_break", set()),
        ("show_skip", "why", "kernel/ksm.h", "enum ksm_skip", {"KSM_SKIP_NONE", "KSM_NR_SKIP"}),
    ):
        meanings = members(path, enum)
        words = dict(NAMED.findall(excerpt.find("kernel/trace.h", show).text))
        if words.keys() != meanings.keys() - silent:
            raise DefinitionError(
                f"kernel/trace.h: {show} has the values {list(words)}, which differ from {enum}"
            )
        result.append(
            Words(field, tuple((word, unmarked(meanings[name])) for name, word in words.items()))
        )
    return result

"""What userspace sees of the driver, read from the driver's sources: the one place where each thing is defined."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ksmlab import abi
from ksmlab.lessons import excerpt

KERNEL = excerpt.CHECKOUT / "kernel"
HEADER = "kernel/include/uapi/linux/ksm.h"

ATTRIBUTE = re.compile(r"&devksm_(\w+)_attr\.attr")
SETTING = re.compile(r"^SETTING\((\w+), (\w+), (\w+)\);", re.MULTILINE)
COUNTER = re.compile(r"^COUNTER\((\w+), (\w+)\);", re.MULTILINE)
MACRO_MAXIMA = {"UINT_MAX": "2^32 - 1", "ULONG_MAX": "2^64 - 1", "KSM_MAX_SHARING": "511"}
#: The limits of a setting that is not only stored.
PARSED = re.compile(r"parse\(buf, (\w+), \w+, &(\w+)\)")
LEAST_SHARING = re.compile(r"^#define KSM_MIN_SHARING\s+(\d+)$", re.MULTILINE)
INITIAL = re.compile(r"^\t\.(\w+) = (\w+),$", re.MULTILINE)
STARTED = re.compile(r"int ksm_scan_init\(void\)\n\{\n\treturn ksm_scan_set_(threads)\((\d+)\);")
MOST_THREADS = re.compile(r"^#define KSM_MAX_THREADS\s+(\d+)$", re.MULTILINE)
SET_AT_LOAD = re.compile(r"^\tksm_settings\.(\w+) = (.*);$", re.MULTILINE)
LAST_RUN = re.compile(r"enum \{ ((?:KSM_RUN_\w+(?:, )?)+) \};")
FDINFO = re.compile(r"(ksm-\w+):\\t%")
FDINFO_MEANING = re.compile(r"^(ksm-\w+): (.*)$")
WRITABLE = re.compile(r"^ATTR_RW\((\w+)\)", re.MULTILINE)
SKIPPED = re.compile(r"SKIPPED\((KSM_SKIP_\w+), \"(\w+)\"\)")
PARAMETER = re.compile(r"^module_param(?:_cb)?\((\w+), .*?(\d+)\);", re.MULTILINE)
DESCRIPTION = re.compile(r"^MODULE_PARM_DESC\((\w+), \"(.*)\"\);", re.MULTILINE)
DEFAULT = re.compile(r"static char \*(\w+) = \"(\w+)\";")
IOCTL = re.compile(r"^#define (KSM_\w+)\s+(_IO[WR]*\([^)]*\))", re.MULTILINE)
EVENT = re.compile(r"^TRACE_EVENT\((\w+),$", re.MULTILINE)
PRINTED = re.compile(r"TP_printk\(\"([^\"]*)\",\s*(.*)\)\n\);?", re.DOTALL)
FIELD = re.compile(r"(?:(\w+)=)?(0x)?%\w+")
SHOWN_BY = re.compile(r"show_(\w+)\(__entry->(\w+)\)")
NAMED = re.compile(r"\{ (KSM_\w+),\s*\"(\w+)\" \}")
MEMBER = re.compile(r"^@(\w+): ?(.*)$")
ERRNO = re.compile(r"^\s*-(E[A-Z0-9]+): (.*)$")


class DefinitionError(Exception):
    """A source does not say what it should; the text says which, and what is missing."""


@dataclass(frozen=True)
class Attribute:
    """A file in /sys/kernel/mm/ksm.

    Attributes:
        name: Its name.
        writable: Whether it can be written.
        meaning: What its number is.
        default: What it is when the driver is loaded; empty for a counter.
        most: The largest number that is taken; empty for a counter.
        least: The smallest.
    """

    name: str
    writable: bool
    meaning: str
    default: str = ""
    most: str = ""
    least: str = "0"


@dataclass(frozen=True)
class Parameter:
    """A parameter of the module; no default where it is for reading only."""

    name: str
    meaning: str
    default: str


@dataclass(frozen=True)
class Ioctl:
    """An ioctl.

    Attributes:
        name: Its macro.
        macro: How the number is made.
        number: It.
        summary: What it does, in a phrase.
        text: What else is said of it, as paragraphs.
        errors: Errno and when it comes.
    """

    name: str
    macro: str
    number: int
    summary: str
    text: str
    errors: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tracepoint:
    """A tracepoint of the system devksm.

    Attributes:
        name: Its name.
        meaning: When it is passed.
        form: What a line of the trace looks like, values as the names of their fields.
        fields: Each field and what it means.
    """

    name: str
    meaning: str
    form: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Words:
    """The words that a field of a tracepoint can be.

    Attributes:
        field: Its name.
        meanings: Each word and what it means.
    """

    field: str
    meanings: tuple[tuple[str, str], ...]


def _read(path: str) -> str:
    return (KERNEL / path).read_text()


def comment_lines(comment: str) -> list[str]:
    """Give the lines of a C comment without its marks."""
    inner = comment.strip().removeprefix("/**").removeprefix("/*").removesuffix("*/")
    lines = [re.sub(r"^\s*\* ?", "", line.rstrip()) for line in inner.splitlines()]
    return [line.strip() if number == 0 else line for number, line in enumerate(lines)]


def members(path: str, name: str) -> dict[str, str]:
    """Give the meaning of each member of a type, from the kernel-doc above it."""
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
    """Give the files of /sys/kernel/mm/ksm.

    Raises:
        DefinitionError: One has no meaning in kernel/ksm.h, nor in the comment above it.
    """
    text = _read("sysfs.c")
    settings = members("kernel/ksm.h", "struct ksm_settings")
    counters = members("kernel/ksm.h", "struct ksm_counters")
    names = dict(COUNTER.findall(text))
    defaults, most = _defaults(text), _maxima(text)
    least = _minima(text)
    writable = {name for name, _, _ in SETTING.findall(text)} | set(WRITABLE.findall(text))
    result = []
    for name in ATTRIBUTE.findall(text):
        meaning = settings.get(name) or counters.get(names.get(name, ""))
        if meaning is None:
            comment = excerpt.find("kernel/sysfs.c", f"devksm_{name}_show").comment
            meaning = " ".join(comment_lines(comment)).strip().rstrip(".")
            # As all the others begin.
            meaning = meaning[:1].lower() + meaning[1:]
        if not meaning:
            raise DefinitionError(f"kernel/sysfs.c: nothing says what {name} means")
        if same := re.fullmatch(r"the same, of (the last complete pass)", meaning):
            before = counters[names[name].replace("_last", "_now")]
            meaning = before.replace("this pass", same[1]).replace("the last one", "the one before")
        result.append(
            Attribute(
                name,
                name in writable,
                meaning,
                defaults.get(name, ""),
                most.get(name, ""),
                least.get(name, "0"),
            )
        )
    if unknown := [
        each.name for each in result if each.writable and not (each.default and each.most)
    ]:
        raise DefinitionError(f"kernel/sysfs.c: no default, or no most, of {', '.join(unknown)}")
    return result


def _run_names() -> list[str]:
    found = LAST_RUN.search(_read("ksm.h"))
    if found is None:
        raise DefinitionError("kernel/ksm.h has no enum of what run can be")
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
    """Give the errnos of a write to run, and when each comes."""
    return tuple(
        _errors(comment_lines(excerpt.find("kernel/sysfs.c", "devksm_run_store").comment))[1]
    )


def fdinfo() -> list[tuple[str, str]]:
    """Give the lines that an area adds to /proc/PID/fdinfo/FD, each with its meaning.

    Raises:
        DefinitionError: One has none.
    """
    piece = excerpt.find("kernel/dev.c", "area_show_fdinfo")
    meanings = _meanings(comment_lines(piece.comment), FDINFO_MEANING)
    names = FDINFO.findall(piece.text)
    if list(meanings) != names:
        raise DefinitionError(f"kernel/dev.c: fdinfo has {names}, and its comment {list(meanings)}")
    return list(meanings.items())


def skip_reasons() -> list[Attribute]:
    """Give the files of skipped/, each with its reason from enum ksm_skip."""
    meanings = members("kernel/ksm.h", "enum ksm_skip")
    return [
        Attribute(f"skipped/{name}", writable=False, meaning=meanings[constant])
        for constant, name in SKIPPED.findall(_read("sysfs.c"))
    ]


def parameters() -> list[Parameter]:
    """Give the parameters of ksm.ko.

    Raises:
        DefinitionError: One has no description.
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
    """Give the ioctls of the interface header, with the numbers that Python computes for them.

    Raises:
        DefinitionError: One has no comment, or Python does not know it.
    """
    result = []
    text = (excerpt.CHECKOUT / HEADER).read_text().replace("\\\n", " ")
    for name, macro in IOCTL.findall(text):
        lines = comment_lines(excerpt.find(HEADER, name).comment)
        summary = " ".join(lines).partition(" - ")[2].split("  ")[0] if lines else ""
        number = getattr(abi, name, None)
        if not summary or number is None:
            raise DefinitionError(f"{HEADER}: {name} has no comment, or ksmlab.abi has it not")
        body, errors = _errors(lines[2:] if not lines[0] else lines[1:])
        result.append(Ioctl(name, re.sub(r"\s+", " ", macro), number, summary, body, tuple(errors)))
    return result


def _errors(lines: list[str]) -> tuple[str, list[tuple[str, str]]]:
    errors: list[tuple[str, str]] = []
    body: list[str] = []
    # As kernel-doc names a member.
    for line in (line.replace("@", "") for line in lines):
        if found := ERRNO.match(line):
            errors.append((found[1], found[2]))
        elif errors and line.strip():
            errors[-1] = (errors[-1][0], f"{errors[-1][1]} {line.strip()}")
        else:
            body.append(line)
    return "\n".join(body).strip(), errors


def tracepoints() -> list[Tracepoint]:
    """Give the tracepoints, each with the comment above it.

    Raises:
        DefinitionError: One has no comment, or no format.
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
            raise DefinitionError(f"kernel/trace.h: its head does not explain {unknown} of {name}")
        # In the form, each value is the name of its field.
        form = printed[1]
        for found, field in reversed(list(zip(FIELD.finditer(form), fields, strict=True))):
            key = f"{found[1]}={found[2] or ''}" if found[1] else ""
            form = form[: found.start()] + key + field.upper() + form[found.end() :]
        result.append(
            Tracepoint(name, meaning, form, tuple((field, explained[field]) for field in fields))
        )
    return result


def tracepoint_words() -> list[Words]:
    """Give the words that stand for the values of enums in a trace, each with its meaning.

    Raises:
        DefinitionError: A value has no word.
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
            raise DefinitionError(f"kernel/trace.h: {show} has {list(words)}, {enum} is another")
        result.append(Words(field, tuple((word, meanings[name]) for name, word in words.items())))
    return result

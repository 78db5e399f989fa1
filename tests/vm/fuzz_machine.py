"""The fuzzer: rules that drive the driver and the memory of several processes, and a model of both.

The model knows the errno of each ioctl and the content of every page of every process. Each rule is
a method with plain numbers for arguments, taken modulo what there is, so a sequence of calls can be
replayed without Hypothesis: fuzz_script.py prints it as a program.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from cgroups import Cgroup, find_hierarchy
from fuzz_process import WINDOW, WINDOW_PAGES, Driver, Process, RealDriver, adopt_orphans
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from memory_errors import kernel_handles_errors
from swap import swap

from ksmlab import libc, pagemap
from ksmlab.libc import PAGE_SIZE
from ksmlab.memory import MADV_COLLAPSE, MADV_PAGEOUT
from ksmlab.pagemap import PageFlag
from ksmlab.pytest_plugin.kernel_log import KernelLog, complaints
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RW = mmap.PROT_READ | mmap.PROT_WRITE
PROTECTIONS = {"rw": RW, "r": mmap.PROT_READ, "none": libc.PROT_NONE}
ADVICE = {
    "hugepage": mmap.MADV_HUGEPAGE,
    "nohugepage": mmap.MADV_NOHUGEPAGE,
    "collapse": MADV_COLLAPSE,
    "pageout": MADV_PAGEOUT,
}
#: Advice that the kernel may decline.
MAY_FAIL = {"collapse", "pageout"}
#: What is refused, by file; each is no number, or too large.
GARBAGE = {
    "run": ["3", "-1", "x", "1 2", "18446744073709551616"],
    "pages_to_scan": ["4294967296", "x", "-1", "0x10"],
    "sleep": ["4294967296", "", "1.5"],
    "max_kernel_pages": ["18446744073709551616", "many"],
    "max_page_sharing": ["1", "512", "-1", "many"],
}
SETTINGS = {
    "pages_to_scan": [1, 16, 2000],
    "sleep": [0, 200],
    "max_kernel_pages": [0, 1, 3],
    "max_page_sharing": [2, 4, 256],
}
QUICK = {"pages_to_scan": 2000, "sleep": 200, "max_kernel_pages": 0, "max_page_sharing": 4}
SECONDS = 30.0
MOST_DESCRIPTORS = 6
CLEAR_WARN_ONCE = Path("/sys/kernel/debug/clear_warn_once")
#: The steps of a sequence: names of methods, with their arguments.
History: TypeAlias = list[tuple[str, dict[str, object]]]
#: Pages that are written and registered before the first step.
FIRST_REGION = 16

number = st.integers(min_value=0, max_value=7)
#: Most of what happens is within a few pages, so that it meets.
firsts = st.integers(min_value=0, max_value=24)
counts = st.integers(min_value=1, max_value=12)
bytes_ = st.sampled_from([0, FIRST_REGION // 2, 255])
tags = st.sampled_from([0, 0, 0, 1, 2])
GROUPS = range(3)
groups = st.sampled_from(GROUPS)


class Sysfs(Protocol):
    """What the fuzzer needs of ksmlab.sysfs.KsmSysfs."""

    def read(self, name: str) -> int:
        """Read one attribute."""

    def write(self, name: str, value: int | str) -> None:
        """Write one attribute."""

    def wait_full_scans(self, _count: int, _deadline: float, /) -> None:
        """Wait for whole passes."""

    def wait_until(self, condition: Callable[[Any], bool], deadline: float, what: str = "") -> None:
        """Wait until a condition holds."""


@dataclass(frozen=True)
class Page:
    """What a mapped page should be."""

    prot: int
    byte: int = 0
    tag: int = 0
    #: Has it been written since it was mapped? The driver skips pages that have not.
    touched: bool = False
    #: Is there a memory error in it? An access to such a page can kill the process.
    poisoned: bool = False


@dataclass
class Member:
    """One process, as the model knows it."""

    process: Process
    parent: Member | None
    pages: dict[int, Page] = field(default_factory=dict)
    #: Descriptors of areas: which area, by descriptor.
    areas: dict[int, int] = field(default_factory=dict)

    def runs(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """Give the mapped stretches of a range, as first pages and counts."""
        start = None
        for page in range(first, first + count + 1):
            if page < first + count and page in self.pages:
                start = page if start is None else start
            elif start is not None:
                yield start, page - start
                start = None


@dataclass(frozen=True)
class Region:
    """A registered range, in pages from address 0."""

    owner: int
    area: int
    start: int
    end: int


#: Opened once: it begins with the oldest there is.
kernel_log = functools.cache(KernelLog)


def named(number: int) -> str:
    """Give the name of an errno."""
    return errno.errorcode.get(number, str(number)) if number else "OK"


def step(**strategies: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Make a rule of a method: its calls are noted, and everything is checked after each."""

    def decorate(method: Callable[..., None]) -> Any:
        @functools.wraps(method)
        def noted(self: FuzzMachine, **arguments: object) -> None:
            self.note(method.__name__, arguments)
            with self.failing():
                method(self, **arguments)
                self.check()
                self.check_kernel_log()

        return rule(**strategies)(noted)  # type: ignore[call-overload]

    return decorate


class FuzzMachine(RuleBasedStateMachine):
    """The rules and the model."""

    most_members = 4
    driver: Callable[[], Driver] = RealDriver
    #: The file that each step is logged to, so that the steps are known after a crash.
    log: str | None = "/dev/kmsg"
    #: Of the sequence that was begun last, and of the one that failed last.
    history: History = []  # noqa: RUF012 - the class's own
    failed: History = []  # noqa: RUF012 - the class's own
    #: The largest value seen: a fuzzer under which nothing merges tests nothing.
    most_shared = 0
    #: The largest number of memory errors in a sequence.
    most_poisoned = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).history = []
        # What was said before is not this sequence's.
        self.listen()
        adopt_orphans()
        self.cgroup_root = self.find_cgroups()
        self.memory_errors = self.can_poison()
        self.sysfs = self.find_sysfs()
        for name, value in QUICK.items():
            self.sysfs.write(name, value)
        self.sysfs.write("run", 1)
        self.run = 1
        # The largest value of max_page_sharing that the driver has had.
        self.most_sharing = QUICK["max_page_sharing"]
        self.members = [Member(Process.start(self.driver), None)]
        self.regions: list[Region] = []
        self.serial = 0
        # Pages of regions whose process is gone: kksmd forgets them in its own time.
        self.stale: list[Region] = []
        #: Frames with a memory error, which the kernel never allocates again.
        self.poisoned: set[int] = set()
        self.set_up(self.members[0])

    def set_up(self, member: Member) -> None:
        """Give a process one region with two contents, so that pages merge soon."""
        member.process.ask("map", 0, WINDOW_PAGES, RW)
        member.process.ask("advise", 0, WINDOW_PAGES, mmap.MADV_NOHUGEPAGE)
        member.pages = {page: Page(RW) for page in range(WINDOW_PAGES)}
        for first in (0, FIRST_REGION // 2):
            count = FIRST_REGION // 2
            member.process.ask("write", first, count, first, 0)
            for page in range(first, first + count):
                member.pages[page] = Page(RW, first, 0, touched=True)
        self.serial += 1
        area = self.serial
        fd = member.process.ask("create")
        member.areas[fd] = area
        member.process.ask("register", fd, WINDOW, FIRST_REGION)
        start = WINDOW // PAGE_SIZE
        self.regions.append(Region(member.process.pid, area, start, start + FIRST_REGION))

    @classmethod
    @contextlib.contextmanager
    def surroundings(cls, place: Path) -> Iterator[None]:
        """Have swap, and leave no setting of the driver behind.

        Args:
            place: A directory, for a file.
        """
        with swap(place), KsmSysfs.find().settings(run=0, **QUICK):
            yield

    def find_sysfs(self) -> Sysfs:
        """Give the driver's settings and counters."""
        return KsmSysfs.find()

    def find_cgroups(self) -> Path | None:
        """Return the root directory of the cgroup hierarchy, or None if the kernel has no memory controller."""
        return find_hierarchy()

    def can_poison(self) -> bool:
        """Return whether memory errors can be simulated."""
        return kernel_handles_errors()

    def listen(self) -> list[str]:
        """Give what the kernel has logged since the last call.

        What it says once in a boot it says once in each sequence: so one that is made shorter fails again.
        """
        if CLEAR_WARN_ONCE.exists() and not self.history:
            CLEAR_WARN_ONCE.write_text("1")
        return kernel_log().take()

    def check_kernel_log(self) -> None:
        splats, _ = complaints(self.listen())
        shown = "\n\n".join("\n".join(splat.lines) for splat in splats)
        assert not splats, f"the kernel reported errors: {'; '.join(map(str, splats))}\n\n{shown}"

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Keep the steps of a sequence that fails in the block."""
        try:
            yield
        except BaseException:
            type(self).failed = self.history
            raise

    def note(self, name: str, arguments: dict[str, object]) -> None:
        """Remember a step before it is made."""
        type(self).history.append((name, arguments))
        if self.log:
            text = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            with open(self.log, "w") as log:
                log.write(f"<4>fuzz: {len(self.history)}: {name}({text})\n")

    def member(self, which: int) -> Member:
        return self.members[which % len(self.members)]

    def area(self, member: Member, which: int) -> int | None:
        """Choose a descriptor of an area."""
        fds = sorted(member.areas)
        return fds[which % len(fds)] if fds else None

    def expect(self, wanted: int, member: Member, name: str, *arguments: object) -> Any:
        """Make a call that should end with this errno, 0 for success."""
        try:
            value = member.process.ask(name, *arguments)
        except OSError as error:
            got = error.errno or 0
            value = None
        else:
            got = 0
        assert got == wanted, f"{name}{arguments} ended with {named(got)}, not {named(wanted)}"
        return value

    # Areas and regions.

    @step(process=number)
    def create_area(self, process: int) -> None:
        member = self.member(process)
        if len(member.areas) >= MOST_DESCRIPTORS:
            return
        self.serial += 1
        member.areas[self.expect(0, member, "create")] = self.serial

    @step(
        process=number,
        area=number,
        first=firsts,
        npages=st.integers(min_value=0, max_value=16) | st.just(WINDOW_PAGES),
        offset=st.sampled_from([0, 0, 0, 0, 8, 4095]),
        where=st.sampled_from(["window", "window", "window", "hole", "wrap", "outside"]),
    )
    def register(
        self, process: int, area: int, first: int, npages: int, offset: int, where: str
    ) -> None:
        member = self.member(process)
        fd = self.area(member, area)
        if fd is None:
            return
        base = {
            "window": WINDOW,
            "hole": WINDOW + 16 * WINDOW_PAGES * PAGE_SIZE,
            "wrap": (1 << 64) - (first + 1) * PAGE_SIZE,
            "outside": 1 << 60,
        }[where]
        addr = base + (first * PAGE_SIZE if where != "wrap" else 0) + offset
        region = Region(
            member.process.pid, member.areas[fd], addr // PAGE_SIZE, addr // PAGE_SIZE + npages
        )
        wanted = 0
        if not npages or offset:
            wanted = errno.EINVAL
        elif where in {"wrap", "outside"}:
            wanted = errno.ERANGE
        elif any(
            old.owner == region.owner and old.start < region.end and region.start < old.end
            for old in self.regions
        ):
            wanted = errno.EEXIST
        self.expect(wanted, member, "register", fd, addr % (1 << 64), npages)
        if not wanted:
            self.regions.append(region)

    @step(process=number, area=number)
    def remove(self, process: int, area: int) -> None:
        member = self.member(process)
        fd = self.area(member, area)
        if fd is None:
            return
        self.expect(0, member, "remove", fd)
        self.leave(member.areas[fd])

    @step(process=number, area=number, how=st.sampled_from(["close", "dup", "pass"]), to=number)
    def descriptor(self, process: int, area: int, how: str, to: int) -> None:
        """Close a descriptor of an area, double it, or pass it to another process."""
        member, other = self.member(process), self.member(to)
        fd = self.area(member, area)
        if fd is None:
            return
        if how == "close":
            self.expect(0, member, "close", fd)
            self.let_go(member.areas.pop(fd))
        elif how == "dup" and len(member.areas) < MOST_DESCRIPTORS:
            member.areas[self.expect(0, member, "dup", fd)] = member.areas[fd]
        elif how == "pass" and member is not other and len(other.areas) < MOST_DESCRIPTORS:
            other.areas[member.process.give(fd, other.process)] = member.areas[fd]

    def let_go(self, area: int) -> None:
        """A descriptor of an area is closed; with the last one its regions go."""
        if not any(area in member.areas.values() for member in self.members):
            self.leave(area)

    def leave(self, area: int) -> None:
        """The regions of an area are gone, and their pages are private."""
        for region in self.regions:
            if region.area == area:
                self.look_for_kernel_pages(region)
        self.regions = [region for region in self.regions if region.area != area]
        self.stale = [region for region in self.stale if region.area != area]

    def look_for_kernel_pages(self, region: Region) -> None:
        first = region.start - WINDOW // PAGE_SIZE
        if not 0 <= first < WINDOW_PAGES:
            return
        count = min(region.end - region.start, WINDOW_PAGES - first)
        (owner,) = [member for member in self.members if member.process.pid == region.owner]
        left = owner.process.ask("kernel_pages", first, count)
        assert not left, f"pages {[*left]} of process {region.owner} are merged after the removal"

    # Memory.

    @step(process=number, first=firsts, count=counts, prot=st.sampled_from(sorted(PROTECTIONS)))
    def map(self, process: int, first: int, count: int, prot: str) -> None:
        member = self.member(process)
        member.process.ask("map", first, count, PROTECTIONS[prot])
        for page in range(first, first + count):
            member.pages[page] = Page(PROTECTIONS[prot])

    @step(process=number, first=firsts, count=counts)
    def unmap(self, process: int, first: int, count: int) -> None:
        member = self.member(process)
        member.process.ask("unmap", first, count)
        for page in range(first, first + count):
            member.pages.pop(page, None)

    @step(process=number, first=firsts, count=counts, to=firsts)
    def mremap(self, process: int, first: int, count: int, to: int) -> None:
        member = self.member(process)
        for start, length in list(member.runs(first, count)):
            target = to + start - first
            if abs(target - start) < length:
                continue
            # Some that were to be moved may have been moved over.
            if any(page not in member.pages for page in range(start, start + length)):
                continue
            member.process.ask("move", start, length, target)
            moved = [member.pages.pop(page) for page in range(start, start + length)]
            member.pages.update({target + at: page for at, page in enumerate(moved)})

    @step(process=number, first=firsts, count=counts, prot=st.sampled_from(sorted(PROTECTIONS)))
    def mprotect(self, process: int, first: int, count: int, prot: str) -> None:
        member = self.member(process)
        for start, length in member.runs(first, count):
            member.process.ask("protect", start, length, PROTECTIONS[prot])
        for page in set(range(first, first + count)) & member.pages.keys():
            member.pages[page] = replace(member.pages[page], prot=PROTECTIONS[prot])

    @step(process=number, first=firsts, count=counts)
    def dontneed(self, process: int, first: int, count: int) -> None:
        member = self.member(process)
        for start, length in member.runs(first, count):
            member.process.ask("advise", start, length, mmap.MADV_DONTNEED)
        for page in set(range(first, first + count)) & member.pages.keys():
            member.pages[page] = replace(member.pages[page], byte=0, tag=0, poisoned=False)

    @step(process=number, advice=st.sampled_from(sorted(ADVICE)), whole=st.booleans(), first=firsts)
    def advise(self, process: int, advice: str, whole: bool, first: int) -> None:
        member = self.member(process)
        span = (0, WINDOW_PAGES) if whole else (first, 16)
        for start, length in member.runs(*span):
            with contextlib.suppress(OSError) if advice in MAY_FAIL else contextlib.nullcontext():
                member.process.ask("advise", start, length, ADVICE[advice])

    @step(process=number, first=firsts, count=counts, byte=bytes_, tag=tags)
    def write(self, process: int, first: int, count: int, byte: int, tag: int) -> None:
        member = self.member(process)
        for start, length in member.runs(first, count):
            pages = range(start, start + length)
            if any(member.pages[page].prot != RW or member.pages[page].poisoned for page in pages):
                continue
            member.process.ask("write", start, length, byte, tag)
            for page in pages:
                member.pages[page] = Page(RW, byte, tag, touched=True)

    # Processes.

    @step(process=number)
    def fork(self, process: int) -> None:
        member = self.member(process)
        if len(self.members) >= self.most_members:
            return
        child = Member(member.process.fork(), member, dict(member.pages), dict(member.areas))
        self.members.append(child)

    @step()
    def start(self) -> None:
        """Start a process whose pages have the same content as those of the first process."""
        if len(self.members) < self.most_members:
            member = Member(Process.start(self.driver), None)
            self.members.append(member)
            self.set_up(member)

    @step(process=number, how=st.sampled_from(["exit", "exec", "kill"]))
    def end(self, process: int, how: str) -> None:
        if len(self.members) > 1:
            member = self.member(process)
            if how == "kill":
                member.process.kill()
            else:
                member.process.end(how)
            self.bury(member)
            self.sysfs.wait_until(
                lambda s: s.read("kernel_pages_allocated") <= len(self.mapped_kernel_pages()),
                SECONDS,
                "the kernel pages of a process that has ended to be freed",
            )

    def mapped_kernel_pages(self) -> set[int]:
        """Return the frames of all kernel pages that a living process maps."""
        return {
            frame
            for member in self.members
            for frame in member.process.ask("kernel_pages", 0, WINDOW_PAGES).values()
        }

    def bury(self, member: Member) -> None:
        """A process is about to be gone: its memory, its regions, its descriptors."""
        if member.parent in self.members:
            assert member.parent is not None
            member.parent.process.ask("reap", member.process.pid)
        else:
            member.process.reap()
        self.members.remove(member)
        pid = member.process.pid
        self.stale += [region for region in self.regions if region.owner == pid]
        self.regions = [region for region in self.regions if region.owner != pid]
        for area in set(member.areas.values()):
            self.let_go(area)

    # Memory cgroups.

    @step(process=number, group=groups)
    def move_to_cgroup(self, process: int, group: int) -> None:
        """Move a process into a cgroup, which is created if it does not exist."""
        if self.cgroup_root:
            cgroup = Cgroup(self.cgroup_root / f"fuzz{group}")
            cgroup.path.mkdir(exist_ok=True)
            cgroup.add(self.member(process).process.pid)

    @step(group=groups)
    def remove_cgroup(self, group: int) -> None:
        """Remove a cgroup after its processes have moved; the pages that are charged to it remain merged."""
        self.remove_cgroup_directory(group)

    def remove_cgroup_directory(self, group: int) -> None:
        if self.cgroup_root:
            cgroup = Cgroup(self.cgroup_root / f"fuzz{group}")
            if cgroup.path.exists():
                cgroup.empty()
                cgroup.remove()

    # Memory errors.

    @step(process=number, page=firsts)
    def poison(self, process: int, page: int) -> None:
        """Simulate a memory error in a page. All processes that map its frame lose the page."""
        member = self.member(process)
        at = member.pages.get(page)
        if not self.memory_errors or at is None or at.prot == libc.PROT_NONE or at.poisoned:
            return
        # Nothing merges while the error is simulated, so that the model knows which pages map the frame.
        self.sysfs.write("run", 0)
        mapped = {id(each): each.process.ask("frames") for each in self.members}
        frame = mapped[id(member)][page]
        if frame and PageFlag.ZERO_PAGE not in pagemap.page_flags([frame])[frame]:
            member.process.ask("poison", page)
            self.poisoned.add(frame)
            for each in self.members:
                for number, one in each.pages.items():
                    if mapped[id(each)][number] == frame:
                        each.pages[number] = replace(one, poisoned=True)
            type(self).most_poisoned = max(type(self).most_poisoned, len(self.poisoned))
        self.sysfs.write("run", self.run)

    def check_poisoned_frames(self) -> None:
        """Check that no page maps a frame with a memory error that it did not map when the error occurred."""
        for member in self.members if self.poisoned else ():
            frames = member.process.ask("frames")
            new = [
                number
                for number, page in member.pages.items()
                if not page.poisoned and frames[number] in self.poisoned
            ]
            assert not new, f"process {self.members.index(member)} maps poisoned pages at {new}"

    # The scanner.

    @step(run=st.sampled_from([1, 1, 0, 2]))
    def set_run(self, run: int) -> None:
        self.sysfs.write("run", run)
        self.run = run
        if run == 2:
            assert self.sysfs.read("pages_shared") == 0

    @step(name=st.sampled_from(sorted(SETTINGS)), which=number)
    def set_number(self, name: str, which: int) -> None:
        values = SETTINGS[name]
        self.sysfs.write(name, values[which % len(values)])
        assert self.sysfs.read(name) == values[which % len(values)]
        if name == "max_page_sharing":
            self.most_sharing = max(self.most_sharing, values[which % len(values)])

    @step(name=st.sampled_from(sorted(GARBAGE)), which=number)
    def write_garbage(self, name: str, which: int) -> None:
        before = self.sysfs.read(name)
        garbage = GARBAGE[name][which % len(GARBAGE[name])]
        try:
            # An empty string is no write at all; a newline alone is one.
            self.sysfs.write(name, garbage or "\n")
        except OSError as error:
            got = error.errno
        else:
            got = 0
        assert got == errno.EINVAL, f"{garbage!r} to {name}: {named(got or 0)}"
        assert self.sysfs.read(name) == before

    @step(passes=st.integers(min_value=1, max_value=3))
    def wait(self, passes: int) -> None:
        if self.run == 1 and self.regions:
            self.sysfs.wait_full_scans(passes, SECONDS)

    # Chosen twice as often.
    wait_and_see = wait

    # What must hold after each step.

    def check(self) -> None:
        for member in self.members:
            pages = [
                (at, page.byte, page.tag)
                for at, page in member.pages.items()
                if page.touched and page.prot != libc.PROT_NONE and not page.poisoned
            ]
            fds = sorted(member.areas)
            wrong, found, mappings = member.process.ask("look", pages, fds)
            assert wrong == [], f"process {self.members.index(member)}: {wrong} of {pages}"
            assert mappings <= self.most_sharing, f"{mappings} mappings of one kernel page"
            for area, regions in zip(map(member.areas.get, fds), found, strict=True):
                alive = sum(region.area == area for region in self.regions)
                stale = sum(region.area == area for region in self.stale)
                assert alive <= regions <= alive + stale, f"{regions} regions, not {alive}+{stale}"
        shared = self.sysfs.read("pages_shared")
        most = sum(region.end - region.start for region in self.regions + self.stale)
        assert shared <= most, f"{shared} pages shared, of {most}"
        type(self).most_shared = max(type(self).most_shared, shared)
        assert self.sysfs.read("run") == self.run
        self.check_poisoned_frames()

    def teardown(self) -> None:
        """Kill all processes; then the driver must free everything, and the kernel must not complain."""
        for member in self.members:
            member.process.kill()
        for member in self.members:
            member.process.reap()
        self.members = []
        with self.failing():
            self.sysfs.wait_until(
                lambda s: (
                    not any(
                        s.read(name)
                        for name in ("kernel_pages_allocated", "pages_shared", "zero_pages")
                    )
                ),
                SECONDS,
                "nothing left",
            )
            for group in GROUPS:
                self.remove_cgroup_directory(group)
            self.sysfs.write("run", 0)
            self.check_kernel_log()

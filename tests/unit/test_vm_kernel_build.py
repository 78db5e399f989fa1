"""Kernels that are built here: the cache, and a build that fails. The source package is a toy of a few files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from odd_paths import KBUILD_SHELL, ODD, named, odd_environment

from ksmlab.vm import kernel_build
from ksmlab.vm import kernels as kernels_module
from ksmlab.vm.apt import Package, PrivateApt
from ksmlab.vm.errors import BuildError, FetchError, VmError
from ksmlab.vm.kernels import Kernel, KernelSpec, KernelStore, load_specs
from ksmlab.vm.long_run import run_logged

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "linux-source-6.1"
# As much of a kernel's Makefile as a build here calls. `lib/modules` has what depmod wants.
MAKEFILE = f"""
RELEASE := 6.1.9-toy
all:
allnoconfig:
{KBUILD_SHELL}
\tgrep -v LOST $(KCONFIG_ALLCONFIG) > .config
modules: bzImage
bzImage:
\ttest ! -e hook || sh hook
\tmkdir -p arch/x86/boot arch/x86/include include/config scripts tools/objtool
\techo $(RELEASE) > include/config/kernel.release
\ttouch arch/x86/boot/bzImage System.map vmlinux Module.symvers Kbuild tools/objtool/objtool junk.o
modules_install:
\tmkdir -p $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)
\ttouch $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)/modules.order
\ttouch $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)/modules.builtin
"""


class FakeApt:
    """An archive with one source package, which each unpack() creates again."""

    def __init__(self, version: str = "6.1.9-1", hook: str = "") -> None:
        self.version = version
        self.hook = hook
        self.updates = 0
        self.incomplete: FetchError | None = None

    def update(self, _report: Callable[[str], None]) -> None:
        self.updates += 1

    not_found = PrivateApt.not_found

    def show(self, name: str, version: str | None = None) -> Package | None:
        return Package(name, self.version, (), 1) if version in (None, self.version) else None

    def unpack(self, _package: Package, root: Path) -> None:
        tree = root / "usr/src" / NAME
        tree.mkdir(parents=True)
        (tree / "Makefile").write_text(MAKEFILE)
        if self.hook:
            (tree / "hook").write_text(self.hook)
        packed = tree.with_suffix(tree.suffix + ".tar.xz")
        subprocess.run(["tar", "-cJf", packed, "-C", tree.parent, NAME], check=True)


@pytest.fixture
def spec(tmp_path: Path) -> KernelSpec:
    fragment = tmp_path / "f.config"
    fragment.write_text("# why\nCONFIG_SMP=y\n")
    return KernelSpec("k", "6.1", "toy", source=NAME, fragments=(fragment,), cpu_minutes=8)


@pytest.fixture
def store(tmp_path: Path, spec: KernelSpec) -> KernelStore:
    return KernelStore({"k": spec}, tmp_path / "cache")


def use(monkeypatch: pytest.MonkeyPatch, apt: FakeApt) -> FakeApt:
    monkeypatch.setattr(kernels_module, "PrivateApt", lambda _home: apt)
    return apt


def shelf(store: KernelStore) -> list[str]:
    """Give what is on the shelf, apart from the log."""
    place = store.cache / "kernels/k"
    return [path.name for path in place.iterdir() if path.name != "build.log"]


def test_build_once_then_use(monkeypatch: pytest.MonkeyPatch, store: KernelStore) -> None:
    apt = use(monkeypatch, FakeApt())
    lines: list[str] = []
    kernel = store.get("k", lines.append)
    assert kernel.release == "6.1.9-toy"
    for path in (kernel.image, kernel.config, kernel.system_map, kernel.vmlinux):
        assert path.is_file(), path
    assert (kernel.build_dir / "tools/objtool/objtool").is_file()
    assert (kernel.modules_dir / "build").resolve() == kernel.build_dir.resolve()
    assert (kernel.modules_dir / "modules.dep").is_file()
    assert not list(kernel.root.rglob("junk.o")), "the tree that it was built in is not kept"
    assert store.get("k") == store.find("k") == kernel
    assert apt.updates == 1
    assert shelf(store) == [kernel.root.name]


def test_how_long_it_takes_is_said_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore
) -> None:
    use(monkeypatch, FakeApt())
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    lines: list[str] = []
    store.get("k", lines.append)
    said = [line for line in lines if "about 4 min on 2 CPUs" in line]
    assert said
    assert lines.index(said[0]) < lines.index("k: configuring")


def test_a_build_that_fails_leaves_nothing_but_its_log(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore
) -> None:
    use(monkeypatch, FakeApt(hook="echo mm/ksm.c:1: error: oops >&2; exit 1"))
    with pytest.raises(BuildError, match="`make` failed") as caught:
        store.get("k", lambda _: None)
    assert "mm/ksm.c:1: error: oops" in caught.value.log
    assert "mm/ksm.c:1: error: oops" in (store.cache / "kernels/k/build.log").read_text()
    assert shelf(store) == []
    assert store.find("k") is None


def test_an_option_that_does_not_survive_stops_the_build(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore, spec: KernelSpec
) -> None:
    use(monkeypatch, FakeApt(hook="echo must not be reached; exit 1"))
    spec.fragments[0].write_text("# why\nCONFIG_SMP=y\nCONFIG_LOST=y\n")
    with pytest.raises(BuildError, match="Kconfig did not accept the options") as caught:
        store.get("k", lambda _: None)
    assert caught.value.log == "f: CONFIG_LOST is n instead of y"
    assert shelf(store) == []


def test_the_source_that_is_here_will_do(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore, spec: KernelSpec
) -> None:
    use(monkeypatch, FakeApt())
    old = store.get("k", lambda _: None)
    newer = use(monkeypatch, FakeApt("6.1.10-1"))
    spec.fragments[0].write_text("# why\nCONFIG_SMP=y\nCONFIG_NEW=y\n")
    assert store.find("k") is None, "its fragments changed"
    again = store.get("k", lambda _: None)
    assert (again.version, newer.updates) == ("6.1.9-1", 0)
    assert again.root != old.root
    newest = store.build("k", lambda _: None)
    assert (newest.version, newer.updates) == ("6.1.10-1", 1)
    assert store.find("k") == newest
    assert store.build("k", lambda _: None) == newest
    assert len(store.entries("k")) == 3


def test_a_pin_chooses_the_source(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore, spec: KernelSpec
) -> None:
    use(monkeypatch, FakeApt("6.1.10-1"))
    pinned = KernelStore({"k": replace(spec, pin="6.1.9-1")}, store.cache)
    with pytest.raises(
        FetchError, match=r"k of version 6\.1\.9-1 not in this archive \(\w+ has 6\.1\.10-1\)"
    ):
        pinned.get("k", lambda _: None)
    use(monkeypatch, FakeApt("6.1.9-1"))
    assert pinned.get("k", lambda _: None).version == "6.1.9-1"
    use(monkeypatch, FakeApt("6.1.10-1"))
    assert store.build("k", lambda _: None).version == "6.1.10-1"
    assert pinned.get("k").version == "6.1.9-1"


@pytest.mark.parametrize("change", ["option", "flavour", "compiler", "recipe", "reason", "boot"])
def test_what_a_build_depends_on(
    monkeypatch: pytest.MonkeyPatch, spec: KernelSpec, change: str
) -> None:
    before = kernel_build.recipe(spec)
    match change:
        case "option":
            spec.fragments[0].write_text("# why\nCONFIG_SMP=n\n")
        case "flavour":
            spec = replace(spec, flavour="other")
        case "compiler":
            monkeypatch.setattr(kernel_build, "compiler", lambda: "gcc 99")
        case "recipe":
            monkeypatch.setattr(kernel_build, "RECIPE", "other")
        case "reason":
            spec.fragments[0].write_text("# another reason\nCONFIG_SMP=y\n")
        case "boot":
            spec = replace(spec, boot=("quiet",), slow=9.0)
    # What is only said, or given at boot, does not change what is built.
    assert (kernel_build.recipe(spec) != before) is (change not in {"reason", "boot"})


def test_rm(monkeypatch: pytest.MonkeyPatch, store: KernelStore, spec: KernelSpec) -> None:
    use(monkeypatch, FakeApt())
    store.get("k", lambda _: None)
    spec.fragments[0].write_text("# why\nCONFIG_SMP=y\nCONFIG_NEW=y\n")
    kernel = store.get("k", lambda _: None)
    assert store.remove("k", unused=True) == 1
    assert store.entries("k") == [kernel]
    assert (store.cache / "sources" / NAME).is_dir()
    assert store.remove("k") == 1
    assert shelf(store) == []
    assert not (store.cache / "sources" / NAME).exists()
    assert store.remove("k") == 0


def test_fetch_and_build_are_not_the_same(store: KernelStore) -> None:
    with pytest.raises(VmError, match="since it is built from source") as caught:
        store.fetch("k")
    assert "ksmlab kernels build k" in caught.value.hint
    stock = KernelStore({"d": KernelSpec("d", "6.1", "amd64", ("p",))}, store.cache)
    with pytest.raises(VmError, match="a kernel of the distribution"):
        stock.build("d")


def test_a_source_of_another_series_is_refused(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore
) -> None:
    use(monkeypatch, FakeApt("6.12.1-1"))
    with pytest.raises(FetchError, match=r"6\.12\.1-1 is not Linux 6\.1\."):
        store.get("k", lambda _: None)


@pytest.mark.parametrize("odd", ODD)
def test_no_variable_with_an_odd_directory_reaches_kbuild(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore, tmp_path: Path, odd: str
) -> None:
    odd_environment(monkeypatch, named(tmp_path, odd))
    use(monkeypatch, FakeApt())
    store.get("k", lambda _: None)
    log = (store.cache / "kernels/k/build.log").read_text()
    assert f"TMPDIR={store.cache}/" in log
    assert "pwned" not in log
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("odd", ODD)
def test_build_rejects_a_cache_that_kbuild_gives_to_a_shell(
    monkeypatch: pytest.MonkeyPatch, spec: KernelSpec, tmp_path: Path, odd: str
) -> None:
    use(monkeypatch, FakeApt())
    with pytest.raises(VmError, match="The path of the kernel cache contains"):
        KernelStore({"k": spec}, named(tmp_path, odd)).build("k", lambda _: None)
    assert not list(tmp_path.rglob("pwned"))


def test_a_tool_that_is_missing(monkeypatch: pytest.MonkeyPatch, store: KernelStore) -> None:
    use(monkeypatch, FakeApt())
    monkeypatch.setattr(kernel_build, "TOOLS", ("gcc", "no-such-tool"))
    with pytest.raises(BuildError, match="host lacks no-such-tool"):
        store.get("k", lambda _: None)


@pytest.mark.parametrize("table", ['series = "6.1"\nflavour = "x"\n', 'source = "s"\n'])
def test_a_table_that_says_too_little(tmp_path: Path, table: str) -> None:
    path = tmp_path / "kernels.toml"
    path.write_text(f"[k]\n{table}")
    with pytest.raises(VmError, match="table k"):
        load_specs(path)


def _build(spec: KernelSpec, cache: Path, hook: str) -> None:
    with mock.patch.object(kernels_module, "PrivateApt", return_value=FakeApt(hook=hook)):
        KernelStore({"k": spec}, cache).get("k", lambda _: None)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_one_builds_and_the_other_waits_and_uses_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: KernelStore, spec: KernelSpec
) -> None:
    apt = use(monkeypatch, FakeApt())
    context = multiprocessing.get_context("spawn")
    begun, go = tmp_path / "begun", tmp_path / "go"
    hook = f"touch {begun}; until test -e {go}; do echo line; sleep 0.05; done; touch {begun}-and-ended"
    process = context.Process(target=_build, args=(spec, store.cache, hook))
    process.start()
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if line == kernels_module.BUILDING:
            assert store.find("k") is None, "half of a kernel is none"
            go.touch()

    try:
        wait_for(begun)
        kernel = store.get("k", report)
    finally:
        process.kill()
        process.join()
    assert lines == [kernels_module.BUILDING]
    assert isinstance(kernel, Kernel)
    assert (tmp_path / "begun-and-ended").exists()
    assert apt.updates == 0


def test_a_build_that_is_killed_leaves_no_entry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: KernelStore, spec: KernelSpec
) -> None:
    context = multiprocessing.get_context("spawn")
    begun = tmp_path / "begun"
    # Like a build, it prints until the reader of its output is gone.
    hook = f"echo $$ > {begun}.new; mv {begun}.new {begun}; while echo line; do sleep 0.05; done"
    process = context.Process(target=_build, args=(spec, store.cache, hook))
    process.start()
    wait_for(begun)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    child = int(begun.read_text())
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}/cmdline").exists(), (
        "the compiler still runs although the build was killed"
    )
    assert store.find("k") is None
    assert shelf(store), "it was killed before it could clean up"
    use(monkeypatch, FakeApt("6.1.10-1"))
    kernel = store.build("k", lambda _: None)
    assert shelf(store) == [kernel.root.name], "the next build cleans up"


def test_a_command_that_hangs_meets_its_deadline(tmp_path: Path) -> None:
    start = time.monotonic()
    argv = ["sh", "-c", 'echo begun; echo $$ > "$0"; sleep 1000', str(tmp_path / "pid")]
    with pytest.raises(BuildError, match="did not end within 2 s") as caught:
        run_logged(argv, tmp_path / "log", env=dict(os.environ), timeout=2, untouched="x")
    assert time.monotonic() - start < 20
    assert caught.value.log == "begun\n"
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()

"""Kernels as data, and the cache that they are kept in."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_apt import FORKY, FakeApt, archive, use

from ksmlab.vm import fetch
from ksmlab.vm.errors import FetchError, LockTimeout, VmError
from ksmlab.vm.kernels import Kernel, KernelSpec, KernelStore, cache_root, load_specs
from ksmlab.vm.lock import file_lock

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from ksmlab.vm.apt import Package

CHECKOUT = Path(__file__).resolve().parents[2]
SPEC = KernelSpec("k", "6.1", "amd64", ("linux-image-amd64",))


@pytest.fixture
def store(tmp_path: Path) -> KernelStore:
    return KernelStore({"k": SPEC}, tmp_path)


def test_a_field_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "kernels.toml"
    path.write_text('[x]\nseries = "6.1"\nflavor = "amd64"\npackages = []\n')
    with pytest.raises(VmError, match="flavor"):
        load_specs(path)


@pytest.mark.parametrize(
    ("release", "matches"),
    [
        ("6.1.0-56-amd64", True),
        ("6.12.117+deb12-amd64", False),
        ("6.1.0-56-cloud-amd64", True),
        ("6.1.0-56-rt", False),
    ],
)
def test_series(release: str, matches: bool) -> None:
    assert SPEC.matches(release) is matches


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("KSMLAB_CACHE", raising=False)
    assert cache_root() == Path("/x/ksmlab")
    monkeypatch.setenv("KSMLAB_CACHE", str(tmp_path))
    assert cache_root() == tmp_path


def test_fetch_once_then_use(monkeypatch: pytest.MonkeyPatch, store: KernelStore) -> None:
    apt = use(monkeypatch, FakeApt(archive()))
    lines: list[str] = []
    kernel = store.get("k", lines.append)
    assert kernel.release == "6.1.0-9-amd64"
    assert kernel.image.is_file()
    text = (kernel.build_dir / "Makefile").read_text()
    assert (
        text
        == "include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-6.1.0-9-common/Makefile\n"
    )
    assert store.get("k", lines.append) == kernel
    assert apt.updates == 1
    assert any("fetching linux-image" in line for line in lines)


def test_refresh_takes_a_newer_revision(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore
) -> None:
    use(monkeypatch, FakeApt(archive()))
    old = store.get("k")
    assert store.fetch("k") == old
    use(monkeypatch, FakeApt(archive("6.1.6-1")))
    new = KernelStore(store.specs, store.cache).fetch("k")
    assert new.version == "6.1.6-1"
    assert old.image.is_file(), "the old entry stays for its users"
    assert store.find("k") == new


def test_a_broken_download_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore
) -> None:
    use(monkeypatch, FakeApt(archive(), broken="linux-headers-6.1.0-9-amd64"))
    with pytest.raises(FetchError, match="broken"):
        store.get("k")
    assert store.find("k") is None
    assert list((store.cache / "kernels/k").iterdir()) == []
    use(monkeypatch, FakeApt(archive()))
    assert KernelStore(store.specs, store.cache).get("k").image.is_file()


def test_the_newest_is_the_one_with_the_highest_version_whichever_came_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = KernelStore({"k": SPEC}, tmp_path)
    use(monkeypatch, FakeApt(archive("6.1.10-1")))
    newest = store.get("k")
    pinned = KernelStore({"k": dataclasses.replace(SPEC, pin="6.1.9-1")}, tmp_path)
    use(monkeypatch, FakeApt(archive("6.1.9-1")))
    old = pinned.get("k")
    assert (old.version, newest.version) == ("6.1.9-1", "6.1.10-1")
    assert store.find("k") == newest
    assert [kernel.version for kernel in store.entries("k")] == [newest.version, old.version]
    # Each is here: nothing is fetched again, and what a VM may run stays in its place.
    use(monkeypatch, FakeApt(archive("6.1.10-1"), broken=f"linux-image-{newest.release}"))
    inode = newest.image.stat().st_ino
    assert store.fetch("k") == newest
    use(monkeypatch, FakeApt(archive("6.1.9-1"), broken=f"linux-image-{newest.release}"))
    assert pinned.fetch("k") == old
    assert KernelStore(store.specs, tmp_path).fetch("k").root == old.root
    assert newest.image.stat().st_ino == inode


class SlowApt(FakeApt):
    """Says when it is unpacking, and goes on when it may."""

    def __init__(self, begun: Event, go_on: Event) -> None:
        super().__init__(archive())
        self.begun, self.go_on = begun, go_on

    def unpack(self, package: Package, root: Path) -> None:
        super().unpack(package, root)
        self.begun.set()
        assert self.go_on.wait(60)


def _fetch(store: KernelStore) -> None:
    store.get("k", lambda _line: None)


def test_a_fetch_that_is_killed_leaves_no_entry_and_the_next_one_its_place(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore
) -> None:
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    use(monkeypatch, SlowApt(begun, context.Event()))
    process = context.Process(target=_fetch, args=(store,))
    process.start()
    assert begun.wait(60)
    process.kill()
    process.join()
    shelf = store.cache / "kernels/k"
    assert store.find("k") is None
    assert len(list(shelf.iterdir())) == 1, "what it had made is still there"
    use(monkeypatch, FakeApt(archive()))
    kernel = store.get("k")
    assert list(shelf.iterdir()) == [kernel.root]


def test_of_two_processes_at_once_one_fetches(
    monkeypatch: pytest.MonkeyPatch, store: KernelStore
) -> None:
    context = multiprocessing.get_context("fork")
    begun, go_on, waited = context.Event(), context.Event(), context.Event()
    use(monkeypatch, SlowApt(begun, go_on))
    first = context.Process(target=_fetch, args=(store,))
    first.start()
    assert begun.wait(60)

    def other() -> None:
        use(monkeypatch, FakeApt([], broken="all of it"))
        store.get("k", lambda line: waited.set() if "another process" in line else None)

    second = context.Process(target=other)
    second.start()
    assert waited.wait(60)
    go_on.set()
    for process in (first, second):
        process.join(60)
        assert process.exitcode == 0
    found = store.find("k")
    assert found is not None
    assert list((store.cache / "kernels/k").iterdir()) == [found.root]


@pytest.mark.parametrize(
    "text",
    [
        "include elsewhere\n",
        "include /usr/src/a/Makefile\nOTHER=/usr/src/b\n",
        "include /usr/src/a/Makefile\ninclude /usr/src/b/Makefile\n",
    ],
)
def test_headers_of_an_unknown_form_are_refused(tmp_path: Path, text: str) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text(text)
    with pytest.raises(FetchError, match="unexpected paths"):
        fetch.relocate_headers(makefile)


def test_an_unknown_name(store: KernelStore) -> None:
    with pytest.raises(VmError, match="no kernel called x"):
        store.find("x")


def test_a_pin_chooses_among_entries(tmp_path: Path) -> None:
    for version in ("1", "2"):
        entry = tmp_path / "kernels/k" / version
        entry.mkdir(parents=True)
        facts = {"release": f"6.1.{version}-amd64", "version": version}
        (entry / fetch.ENTRY).write_text(json.dumps(facts))
    pinned = KernelSpec("k", "6.1", "amd64", (), pin="1")
    found = KernelStore({"k": pinned}, tmp_path).find("k")
    assert isinstance(found, Kernel)
    assert found.version == "1"


def _hold(path: Path, held: Event, release: Event) -> None:
    with file_lock(path):
        held.set()
        release.wait(10)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path, held, release = tmp_path / "lock", context.Event(), context.Event()
    waited: list[bool] = []
    process = context.Process(target=_hold, args=(path, held, release))
    process.start()
    try:
        assert held.wait(20)
        with (
            pytest.raises(LockTimeout),
            file_lock(path, timeout=0.2, on_wait=lambda: waited.append(True)),
        ):
            pass
        assert waited == [True]
        release.set()
        start = time.monotonic()
        with file_lock(path, timeout=10):
            assert time.monotonic() - start < 10
    finally:
        release.set()
        process.join()


def test_a_cache_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(VmError, match=r"cannot be written to: Not a directory") as caught,
        file_lock(tmp_path / "file/cache/fetch.lock"),
    ):
        pass
    assert "KSMLAB_CACHE" in caught.value.hint


@pytest.mark.parametrize("modules", ["lib/modules", "usr/lib/modules"])
@pytest.mark.parametrize("release", ["6.1.0-9-amd64", "6.12.118+deb13-amd64", "7.3.4+deb14-amd64"])
def test_every_file_of_an_entry_is_found_in_every_layout_of_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, modules: str, release: str
) -> None:
    series = ".".join(release.split(".")[:2])
    use(monkeypatch, FakeApt(archive(release=release), modules=modules))
    spec = KernelSpec("k", series, "amd64", ("linux-image-amd64",))
    kernel = KernelStore({"k": spec}, tmp_path / "cache").get("k", lambda _line: None)
    assert kernel.release == release
    for path in (kernel.image, kernel.config):
        assert path.is_file(), path
    for top in ("lib/modules", "usr/lib/modules"):
        assert (kernel.root / top / release / "modules.dep").is_file()
    assert (kernel.modules_dir / "build").resolve() == kernel.build_dir.resolve()
    # Moved elsewhere, as into another cache, it still is whole: nothing in it is an absolute path.
    moved = dataclasses.replace(kernel, root=tmp_path / "moved")
    kernel.root.rename(moved.root)
    assert moved.image.is_file()
    done = subprocess.run(
        ["make", "-s", "-C", str(moved.modules_dir / "build")],
        capture_output=True,
        text=True,
        check=False,
    )
    output = moved.build_dir if release.startswith("7") else ""
    assert done.stdout.strip() == f"output={output}", done.stderr


def test_packages_without_an_image_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages = [each for each in FORKY if not each.name.startswith("linux-binary")]
    use(monkeypatch, FakeApt(packages))
    store = KernelStore({"k": KernelSpec("k", "7.3", "amd64", ("linux-image-amd64",))}, tmp_path)
    with pytest.raises(FetchError, match="do not have an image and modules"):
        store.get("k")
    assert store.find("k") is None

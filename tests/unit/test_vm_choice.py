"""Which kernel is taken: by what is cached, and by what the host's archive has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_apt import BOOKWORM, FORKY, TRIXIE, FakeApt, use

from ksmlab.vm import kernels as kernels_module
from ksmlab.vm.errors import FetchError, VmError
from ksmlab.vm.fetch import ENTRY
from ksmlab.vm.kernels import KernelStore, load_specs
from ksmlab.vm.specs import KernelSpec

SPECS = load_specs(Path(__file__).resolve().parents[2] / "vm/kernels.toml")
ARCHIVES = {"bookworm": BOOKWORM, "trixie": TRIXIE, "forky": FORKY}
DESCRIBE = "Use Debian 12 or 13, or describe another kernel: docs/how-to/add-a-kernel.md."
NEW, OLD = "debian-6.12", "debian-6.1"


class Host:
    """A host with one of the archives and an empty cache.

    Args:
        monkeypatch: pytest's.
        cache: Where its cache is.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        self._monkeypatch = monkeypatch
        self.cache = cache
        self.lines: list[str] = []

    def store(self, codename: str, *, unreachable: bool = False) -> KernelStore:
        """Give the store of a process that starts now."""
        self.apt = use(self._monkeypatch, FakeApt(ARCHIVES[codename]))
        self.apt.unreachable = unreachable
        self._monkeypatch.setattr(kernels_module, "host_codename", lambda: codename)
        return KernelStore(SPECS, self.cache)

    def put(self, name: str) -> None:
        """Make an entry of the cache."""
        entry = self.cache / "kernels" / name / "1"
        entry.mkdir(parents=True)
        (entry / ENTRY).write_text(json.dumps({"release": name, "version": "1"}))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    return Host(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("codename", "chosen", "available"),
    [("bookworm", NEW, [OLD, NEW]), ("trixie", NEW, [NEW])],
)
def test_default_is_the_newest_tested_kernel_of_the_archive(
    host: Host, codename: str, chosen: str, available: list[str]
) -> None:
    store = host.store(codename)
    assert store.choose(store.tested, host.lines.append) == chosen
    assert store.available(store.tested[::-1], host.lines.append) == available
    assert host.apt.updates == 1, "one process brings the package lists up to date once"
    assert [line for line in host.lines if line.startswith("left out")] == (
        []
        if OLD in available
        else [f"left out: {OLD} not in this archive (trixie has 6.12). Use --kernel {NEW}."]
    )


def test_choice_does_not_depend_on_an_older_kernel_in_the_cache(host: Host) -> None:
    host.put(OLD)
    store = host.store("bookworm")
    assert store.choose(store.tested, host.lines.append) == NEW


def test_archive_is_not_asked_if_the_newest_tested_kernel_is_cached(host: Host) -> None:
    host.put(NEW)
    store = host.store("trixie", unreachable=True)
    assert store.choose(store.tested, host.lines.append) == NEW
    assert host.apt.updates == 0
    assert not host.lines


def test_older_cached_kernel_is_used_if_the_archive_cannot_be_asked(host: Host) -> None:
    host.put(OLD)
    store = host.store("bookworm", unreachable=True)
    assert store.choose(store.tested, host.lines.append) == OLD
    assert host.lines[-1].startswith(
        f"{OLD} is used instead of {NEW}: The package lists of x could"
    )


def test_empty_cache_and_unreachable_archive_is_an_error(host: Host) -> None:
    store = host.store("bookworm", unreachable=True)
    for ask in (store.choose, store.available):
        with pytest.raises(FetchError, match="package lists of x could not be downloaded"):
            ask(store.tested, host.lines.append)


def test_kernel_that_is_in_no_list_is_not_called_missing_if_a_server_failed(host: Host) -> None:
    for name in (OLD, "debug-6.1"):
        store = host.store("trixie")
        host.apt.incomplete = FetchError("The package lists of x could not be downloaded.")
        with pytest.raises(FetchError) as caught:
            store.get(name, host.lines.append)
        assert caught.value.what == (
            f"{name} not found. The package lists of x could not be downloaded."
        )
        assert store.available([OLD, NEW], host.lines.append) == [NEW]
        assert host.lines[-1] == f"left out: {OLD} not found. {host.apt.incomplete.what}"


@pytest.mark.parametrize(
    ("name", "codename", "message"),
    [
        (OLD, "trixie", f"{OLD} not in this archive (trixie has 6.12). Use --kernel {NEW}."),
        (
            "debug-6.1",
            "trixie",
            "debug-6.1 not in this archive (trixie has linux-source-6.12). Use --kernel debug-6.12.",
        ),
        (
            "latency-6.12",
            "bookworm",
            f"latency-6.12 not in this archive (bookworm has linux-source-6.1). {DESCRIBE}",
        ),
        (
            NEW,
            "forky",
            f"{NEW} not in this archive (forky has 7.3.4-1). {DESCRIBE}",
        ),
    ],
)
def test_named_kernel_that_the_archive_lacks_is_refused_with_an_alternative(
    host: Host, name: str, codename: str, message: str
) -> None:
    with pytest.raises(FetchError) as caught:
        host.store(codename).get(name, host.lines.append)
    assert str(caught.value) == message


def test_no_tested_kernel_in_the_archive_is_an_error(host: Host) -> None:
    store = host.store("forky")
    for ask in (store.choose, store.available):
        with pytest.raises(FetchError, match=rf"{NEW}, {OLD} not in this archive \(forky has 7"):
            ask(store.tested, host.lines.append)


def test_archive_without_kernels_of_debian_says_what_works(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHIVES, "noble", [])
    with pytest.raises(FetchError, match=r"noble has no kernel of Debian\)\. Without a Debian"):
        host.store("noble").get(NEW, host.lines.append)


def test_kernel_that_has_to_be_built_is_the_last_choice(host: Host) -> None:
    names = ["classic-6.1", NEW]
    store = host.store("trixie")
    assert store.choose(names, host.lines.append) == NEW
    assert store.choose(["classic-6.1", OLD], host.lines.append) == "classic-6.1"
    host.put(OLD)
    assert store.choose(["classic-6.1", OLD], host.lines.append) == OLD


def test_newest_tested_kernel_is_by_number_and_neither_built_nor_untested(tmp_path: Path) -> None:
    def spec(name: str, *, tested: bool = True, **fields: str) -> KernelSpec:
        return KernelSpec(name, name, "amd64", tested=tested, **fields)  # type: ignore[arg-type]

    specs = [spec("6.9"), spec("6.12"), spec("6.1"), spec("7.3", tested=False)]
    specs += [spec("7.2", source="linux-source-7.2")]
    store = KernelStore({each.name: each for each in specs}, tmp_path)
    assert store.tested == ["6.12", "6.9", "6.1"]


def test_unknown_name_among_choices_is_an_error(host: Host) -> None:
    with pytest.raises(VmError, match="There is no kernel called none"):
        host.store("trixie").choose(["none", NEW])


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '"x"', '{"release": "x"}', '{"version": "1"}', '{"release": "x", "version": "a:1"}'],
)  # fmt: skip
def test_damaged_entry_is_replaced_by_the_next_fetch(host: Host, content: str) -> None:
    entry = host.cache / "kernels" / NEW / "6.12.118-1"
    entry.mkdir(parents=True)
    (entry / ENTRY).write_text(content)
    store = host.store("trixie")
    assert store.find(NEW) is None
    assert store.get(NEW, host.lines.append).root == entry
    assert store.find(NEW) is not None


def test_damaged_entry_is_removed_with_the_others(host: Host) -> None:
    entry = host.cache / "kernels" / NEW / "6.12.118-1"
    entry.mkdir(parents=True)
    (entry / ENTRY).write_bytes(b"\xff\xfe")
    assert host.store("trixie").remove(NEW, host.lines.append) == 1
    assert not entry.exists()

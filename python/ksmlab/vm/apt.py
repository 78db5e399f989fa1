"""A private apt: the host's archive, keys and network settings; its own lists and cache; no root.

Nothing of the host's package state is read or written. apt itself checks the signatures, with the keys that the
host's configuration names.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterable

UPDATE_SECONDS = 600
DOWNLOAD_SECONDS = 1800
QUERY_SECONDS = 120
UNTOUCHED = "What was fetched before is as it was."
POCKETS = ("", "-updates", "-security", "-backports")
RELEASE_ALIASES = ("stable", "oldstable")
ONE_LINE = re.compile(
    r"^deb\s+(?P<options>\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$"
)


def host_codename(os_release: Path = Path("/etc/os-release")) -> str:
    """Give the host's release name, such as "bookworm" (from os-release's VERSION_CODENAME)."""
    for line in os_release.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip().strip('"')
    raise FetchError(
        f"{os_release} does not name a release.",
        untouched="Nothing was fetched.",
        hint="Kernels are fetched on Debian hosts only.",
    )


def wanted_suite(suite: str, codename: str) -> bool:
    """Say whether `suite` is the distribution's own, and not some third party's."""
    suite = suite.strip("/").removesuffix("/updates")
    names = (codename, *RELEASE_ALIASES)
    return any(suite == name + pocket for name in names for pocket in POCKETS)


def debian_one_line(text: str, codename: str) -> list[str]:
    """Pick the distribution's own entries from a file in the one-line format."""
    kept = []
    for raw in text.splitlines():
        found = ONE_LINE.match(raw.split("#", 1)[0].strip())
        if found is None or "main" not in found["components"].split():
            continue
        if wanted_suite(found["suite"], codename):
            kept.append(f"deb {found['options'] or ''}{found['uri']} {found['suite']} main")
    return kept


def debian_deb822(text: str, codename: str) -> list[str]:
    """Pick the distribution's own stanzas from a file in the deb822 format, cut down to binary packages of main."""
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    kept = []
    for stanza in re.split(r"\n\s*\n", text.strip()):
        fields: dict[str, str] = {}
        for key, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.MULTILINE):
            fields[key.lower()] = value
        suites = [
            suite for suite in fields.get("suites", "").split() if wanted_suite(suite, codename)
        ]
        if (
            "deb" not in fields.get("types", "").split()
            or "main" not in fields.get("components", "").split()
            or fields.get("enabled", "yes").strip().lower() in {"no", "false", "0"}
            or not suites
        ):
            continue
        fields |= {"types": " deb", "suites": " " + " ".join(suites), "components": " main"}
        kept.append("\n".join(f"{key}:{value}" for key, value in fields.items()))
    return kept


def clean_acquire(dump: str) -> list[str]:
    """Keep from `apt-config dump` what concerns the network (proxies, certificates, date checks)."""
    return [
        line
        for line in dump.splitlines()
        if line.startswith("Acquire::")
        and not line.startswith(
            ("Acquire::IndexTargets", "Acquire::CompressionTypes", "Acquire::Languages")
        )
    ]


@dataclass(frozen=True)
class Package:
    """One version of a package, as the archive describes it.

    Attributes:
        name: The package's name.
        version: Its version.
        depends: The names it depends on; the first of each group of alternatives.
        size: Bytes to download.
    """

    name: str
    version: str
    depends: tuple[str, ...]
    size: int


def parse_show(text: str) -> Package | None:
    """Read the first stanza of `apt-cache show`, None if there is none."""
    fields = dict(re.findall(r"^([\w-]+): (.*)$", text.split("\n\n", 1)[0], re.MULTILINE))
    if "Package" not in fields:
        return None
    groups = [group.split("|")[0].split() for group in fields.get("Depends", "").split(",")]
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        depends=tuple(words[0].split(":")[0] for words in groups if words),
        size=int(fields.get("Size", "0")),
    )


class PrivateApt:
    """apt with a state of its own under `home`.

    Hold a lock on `home` while using it: apt's own locks fail at once instead of waiting.
    """

    def __init__(self, home: Path, *, etc: Path = Path("/etc/apt")) -> None:
        """Keep the paths; nothing is done before `update`.

        Args:
            home: The directory for lists, cache and configuration, created if need be.
            etc: The host's apt configuration directory, only read.
        """
        self.home = home
        self.etc = etc

    def _configure(self) -> None:
        codename = host_codename()
        one_line = [
            self.etc / "sources.list",
            *sorted((self.etc / "sources.list.d").glob("*.list")),
        ]
        deb822 = sorted((self.etc / "sources.list.d").glob("*.sources"))
        lines = [
            line
            for path in one_line
            if path.is_file()
            for line in debian_one_line(path.read_text(), codename)
        ]
        stanzas = [
            stanza for path in deb822 for stanza in debian_deb822(path.read_text(), codename)
        ]
        if not lines and not stanzas:
            raise FetchError(
                f"No package source for {codename} was found in {self.etc}.",
                untouched="Nothing was fetched.",
                hint=f"Give this host a source of Debian's packages ({self.etc}/sources.list), then try again.",
            )
        for name in ("lists/partial", "archives/partial", "sources.list.d", "parts"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        (self.home / "status").touch()
        (self.home / "sources.list").write_text("".join(line + "\n" for line in lines))
        (self.home / "sources.list.d/host.sources").write_text("\n\n".join(stanzas) + "\n")
        dump = subprocess.run(
            ["apt-config", "dump"], capture_output=True, text=True, check=True
        ).stdout
        settings = {
            "Dir::State": self.home,
            "Dir::State::lists": self.home / "lists",
            "Dir::State::status": self.home / "status",
            "Dir::Cache": self.home,
            "Dir::Cache::archives": self.home / "archives",
            "Dir::Etc::parts": self.home / "parts",
            "Dir::Etc::main": self.home / "none",
            "Dir::Etc::preferences": self.home / "none",
            "Dir::Etc::preferencesparts": self.home / "parts",
            "Dir::Etc::sourcelist": self.home / "sources.list",
            "Dir::Etc::sourceparts": self.home / "sources.list.d",
            # The archive's user cannot write under a home directory; without this, root's apt says so and goes on.
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": 3,
        }
        conf = [*clean_acquire(dump), *(f'{key} "{value}";' for key, value in settings.items())]
        (self.home / "apt.conf").write_text("\n".join(conf) + "\n")

    def _run(
        self, argv: Iterable[str], timeout: float, *, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "APT_CONFIG": str(self.home / "apt.conf"), "LC_ALL": "C"}
        argv = list(argv)
        try:
            return subprocess.run(
                argv,
                env=env,
                cwd=cwd,
                timeout=timeout,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise FetchError(
                f"{argv[0]} is not here.",
                untouched="Nothing was fetched.",
                hint="Kernels are fetched on Debian hosts only; elsewhere, build for a kernel of your own (KDIR=…).",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise FetchError(
                f"`{' '.join(argv[:2])}` did not end within {timeout:.0f} s.",
                untouched=UNTOUCHED,
                hint="Look at the network, then try again.",
            ) from error

    def update(self) -> None:
        """Fetch the package lists.

        Raises:
            FetchError: The host names no source, or no list could be had.
        """
        self._configure()
        done = self._run(["apt-get", "update", "--quiet"], UPDATE_SECONDS)
        # One broken source must not stand in the way of the others: `show` says what is missing in the end.
        if done.returncode and not any((self.home / "lists").glob("*_Packages*")):
            raise FetchError(
                "The package lists could not be fetched.",
                untouched=UNTOUCHED,
                hint="Look at the network and at the host's apt configuration (apt-get update), then try again.",
                log=done.stdout + done.stderr,
            )

    def show(self, name: str, version: str | None = None) -> Package | None:
        """Describe the newest version of a package, or `version` of it; None if the archive has none."""
        spec = f"{name}={version}" if version else name
        done = self._run(["apt-cache", "show", "--no-all-versions", spec], QUERY_SECONDS)
        return None if done.returncode else parse_show(done.stdout)

    def download(self, package: Package, spool: Path) -> Path:
        """Download a package, and let apt check it.

        Args:
            package: What `show` gave.
            spool: The directory to put it in, created if need be.

        Returns:
            The .deb file.

        Raises:
            FetchError: The download failed, or does not match the archive's signed lists.
        """
        spool.mkdir(parents=True, exist_ok=True)
        spec = f"{package.name}={package.version}"
        done = self._run(["apt-get", "download", "--quiet", spec], DOWNLOAD_SECONDS, cwd=spool)
        files = list(spool.glob(f"{package.name}_*.deb"))
        if done.returncode or len(files) != 1:
            raise FetchError(
                f"{spec} could not be downloaded, or failed its check.",
                untouched=UNTOUCHED,
                hint="Try again; if it fails again, look at the network and the apt configuration.",
                log=done.stdout + done.stderr,
            )
        return files[0]

    def unpack(self, package: Package, root: Path) -> None:
        """Download a package and unpack it under `root`, as if that were the root directory.

        Raises:
            FetchError: The download failed, or there is no room.
        """
        root.mkdir(parents=True, exist_ok=True)
        deb = self.download(package, root.parent / "debs")
        done = self._run(["dpkg", "-x", str(deb), str(root)], DOWNLOAD_SECONDS)
        deb.unlink()
        if done.returncode:
            raise FetchError(
                f"{package.name} could not be unpacked.",
                untouched=UNTOUCHED,
                hint="Look at the free space (df -h), then try again.",
                log=done.stderr,
            )

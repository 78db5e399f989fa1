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

from ksmlab.doctor import ELSEWHERE
from ksmlab.vm.errors import FetchError
from ksmlab.vm.failures import UNTOUCHED, fetch_errors, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UPDATE_SECONDS = 600
DOWNLOAD_SECONDS = 1800
QUERY_SECONDS = 120
#: What apt-cache says of a package or a version that no list has.
NOT_FOUND = "No packages found"
POCKETS = ("", "-updates", "-security", "-backports")
RELEASE_ALIASES = ("stable", "oldstable")
ONE_LINE = re.compile(
    r"^deb\s+(?P<options>\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$"
)


def host_codename(os_release: Path = Path("/etc/os-release")) -> str:
    """Give the host's release name, such as "bookworm" (from os-release's VERSION_CODENAME).

    Raises:
        FetchError: os-release cannot be read, or names no release.
    """
    try:
        lines = os_release.read_text(errors="replace").splitlines()
    except OSError as error:
        raise FetchError(
            f"The host's release is unknown: {reason(error)}.",
            untouched="Nothing was fetched.",
            hint=ELSEWHERE,
        ) from error
    for line in lines:
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME" and value.strip("\"' "):
            return value.strip("\"' ")
    raise FetchError(
        f"{os_release} does not name a release.", untouched="Nothing was fetched.", hint=ELSEWHERE
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
    if "Package" not in fields or "Version" not in fields:
        return None
    groups = [group.split("|")[0].split() for group in fields.get("Depends", "").split(",")]
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        depends=tuple(words[0].split(":")[0] for words in groups if words),
        size=int(size) if (size := fields.get("Size", "").strip()).isdecimal() else 0,
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

    def _sources(self) -> tuple[list[str], list[str]]:
        """Read the distribution's own sources: lines of the one-line format, and stanzas of deb822.

        A file that cannot be read is left out: hosts protect sources of third parties that name a password.

        Raises:
            FetchError: There are none.
        """
        codename = host_codename()
        more = self.etc / "sources.list.d"
        paths = [self.etc / "sources.list", *more.glob("*.list"), *more.glob("*.sources")]
        lines, stanzas, unreadable = [], [], []
        for path in sorted(paths):
            try:
                text = path.read_text(errors="replace")
            except FileNotFoundError:
                continue
            except OSError as error:
                unreadable.append(reason(error))
                continue
            if path.suffix == ".sources":
                stanzas += debian_deb822(text, codename)
            else:
                lines += debian_one_line(text, codename)
        if not lines and not stanzas:
            raise FetchError(
                f"No package source for {codename} was found in {self.etc}.",
                untouched="Nothing was fetched.",
                hint=f"Give this host a source of Debian's packages ({self.etc}/sources.list), then try again. "
                + ELSEWHERE,
                log="\n".join(unreadable),
            )
        return lines, stanzas

    def _configure(self) -> None:
        lines, stanzas = self._sources()
        for name in ("lists/partial", "archives/partial", "sources.list.d", "parts"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        (self.home / "status").touch()
        (self.home / "sources.list").write_text("".join(line + "\n" for line in lines))
        (self.home / "sources.list.d/host.sources").write_text("\n\n".join(stanzas) + "\n")
        host = {"APT_CONFIG": os.environ.get("APT_CONFIG", "")}
        dump = self._run(["apt-config", "dump"], QUERY_SECONDS, env=host)
        if dump.returncode:
            raise FetchError(
                f"`apt-config dump` failed (status {dump.returncode}).",
                untouched=UNTOUCHED,
                hint=f"Mend the host's apt configuration ({self.etc}/apt.conf.d), then try again.",
                log=dump.stderr,
            )
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
        conf = [
            *clean_acquire(dump.stdout),
            *(f'{key} "{value}";' for key, value in settings.items()),
        ]
        (self.home / "apt.conf").write_text("\n".join(conf) + "\n")

    def _run(
        self,
        argv: Iterable[str],
        timeout: float,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the private configuration.

        Raises:
            FetchError: The command is not installed, cannot be run, or did not end in time.
        """
        whole = {**os.environ, "APT_CONFIG": str(self.home / "apt.conf"), "LC_ALL": "C"}
        argv = list(argv)
        try:
            return subprocess.run(
                argv,
                env=whole | dict(env or {}),
                cwd=cwd,
                timeout=timeout,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise FetchError(
                f"{argv[0]} is not installed.", untouched="Nothing was fetched.", hint=ELSEWHERE
            ) from error
        except subprocess.TimeoutExpired as error:
            raise FetchError(
                f"`{' '.join(argv[:2])}` did not end within {timeout:.0f} s.",
                untouched=UNTOUCHED,
                hint="Look at the network and at the free space (df -h), then try again.",
            ) from error
        except OSError as error:
            raise FetchError(
                f"`{argv[0]}` cannot be run: {reason(error)}.",
                untouched=UNTOUCHED,
                hint="make doctor lists what this host lacks.",
            ) from error

    @fetch_errors("Preparing a private apt")
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
        """Describe the newest version of a package, or `version` of it; None if the archive has none.

        Raises:
            FetchError: apt-cache failed for another reason.
        """
        spec = f"{name}={version}" if version else name
        done = self._run(["apt-cache", "show", "--no-all-versions", spec], QUERY_SECONDS)
        if not done.returncode:
            return parse_show(done.stdout)
        if NOT_FOUND in done.stderr:
            return None
        raise FetchError(
            f"`apt-cache show {spec}` failed (status {done.returncode}).",
            untouched=UNTOUCHED,
            hint=f"apt's message is above. If its lists are damaged, remove {self.home} and try again.",
            log=done.stderr,
        )

    @fetch_errors("Downloading a package")
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

    @fetch_errors("Unpacking a package")
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
                f"{package.name} could not be unpacked: dpkg ended with status {done.returncode}.",
                untouched=UNTOUCHED,
                hint="dpkg's message is above. Look at the free space (df -h), then try again.",
                log=done.stderr,
            )

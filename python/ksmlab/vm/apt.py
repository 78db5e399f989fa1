"""Use apt without root, with its own package lists and cache, and with the host's archive, keys and network settings.

The host's package state is neither read nor written. apt itself verifies the signatures, with the keys that the host's
configuration names.
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
    from collections.abc import Callable, Iterable, Mapping, Sequence

UPDATE_SECONDS = 600
DOWNLOAD_SECONDS = 1800
QUERY_SECONDS = 120
#: The message of apt-cache about a package or a version that is in no list.
NOT_FOUND = "No packages found"
POCKETS = ("", "-updates", "-security", "-backports")
RELEASE_ALIASES = ("stable", "oldstable")
#: The address of an archive, in a source or in a message of apt about a list or about the archive.
ADDRESS = re.compile(r"(?<!\S)'?([a-z][a-z0-9+]*:/[^\s']+?)/?(?=/dists/|[\s']|$)")
#: A message of apt-get update about a list that could not be downloaded or verified.
FAILURE = re.compile(
    r"^(?:(?:E|Error): |(?:W|Warning): .*(?:Failed to fetch|GPG error)).*$", re.MULTILINE
)
ONE_LINE = re.compile(
    r"^deb\s+(?P<options>\[[^]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$"
)


def host_codename(os_release: Path = Path("/etc/os-release")) -> str:
    """Return the name of the host's release, such as "bookworm": VERSION_CODENAME in /etc/os-release.

    Raises:
        FetchError: The file cannot be read, or does not name a release.
    """
    try:
        lines = os_release.read_text(errors="replace").splitlines()
    except OSError as error:
        raise FetchError(
            f"The release of this host is unknown: {reason(error)}.",
            untouched="Nothing was fetched.",
            hint=ELSEWHERE,
        ) from error
    for line in lines:
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME" and value.strip("\"' "):
            return value.strip("\"' ")
    raise FetchError(
        f"The release of this host is unknown: {os_release} has no VERSION_CODENAME.",
        untouched="Nothing was fetched.",
        hint=ELSEWHERE,
    )


def wanted_suite(suite: str, codename: str) -> bool:
    """Return whether a suite belongs to the distribution itself, rather than to a third party."""
    suite = suite.strip("/").removesuffix("/updates")
    names = (codename, *RELEASE_ALIASES)
    return any(suite == name + pocket for name in names for pocket in POCKETS)


def debian_one_line(text: str, codename: str) -> list[str]:
    """Return the distribution's own entries of a sources file in the one-line format, reduced to main."""
    kept = []
    for raw in text.splitlines():
        found = ONE_LINE.match(raw.split("#", 1)[0].strip())
        if found is None or "main" not in found["components"].split():
            continue
        if wanted_suite(found["suite"], codename):
            kept.append(f"deb {found['options'] or ''}{found['uri']} {found['suite']} main")
    return kept


def debian_deb822(text: str, codename: str) -> list[str]:
    """Return the distribution's own stanzas of a file in the deb822 format, reduced to binary packages of main."""
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


def addresses(texts: Sequence[str]) -> list[str]:
    """Return the addresses of the archives that sources or messages of apt name, each once."""
    return list(dict.fromkeys(address for text in texts for address in ADDRESS.findall(text)))


def clean_acquire(dump: str) -> list[str]:
    """Return the lines of `apt-config dump` that concern the network: proxies, certificates, date checks."""
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
        depends: The names of the packages that it depends on; the first of each group of alternatives.
        size: The size of the download, in bytes.
    """

    name: str
    version: str
    depends: tuple[str, ...]
    size: int


def parse_show(text: str) -> Package | None:
    """Parse the first stanza of the output of `apt-cache show`; return None if there is none."""
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
    """An apt whose state is in a private directory.

    Hold a lock on that directory while using it: apt's own locks fail immediately instead of waiting.

    Attributes:
        incomplete: The error about the lists that the last `update` could not download, if it could use others.
    """

    def __init__(self, home: Path, *, etc: Path = Path("/etc/apt")) -> None:
        """Set the paths. Call `update` before any other method.

        Args:
            home: The directory for package lists, cache and configuration; created if it does not exist.
            etc: The host's apt configuration directory, which is only read.
        """
        self.home = home
        self.etc = etc
        self.incomplete: FetchError | None = None
        self._archives: list[str] = []

    def _sources(self) -> tuple[list[str], list[str]]:
        """Read the distribution's own sources: lines in the one-line format, and stanzas in the deb822 format.

        Files that cannot be read are skipped, since hosts protect third-party sources that contain a password.

        Raises:
            FetchError: There is no such source.
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
                hint=f"Add a source of Debian packages to {self.etc}/sources.list, then try again. "
                + ELSEWHERE,
                log="\n".join(unreadable),
            )
        return lines, stanzas

    def _configure(self) -> None:
        lines, stanzas = self._sources()
        self._archives = addresses([*lines, *stanzas])
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
                hint=f"Correct the host's apt configuration in {self.etc}/apt.conf.d, then try again.",
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
            # The user _apt cannot write to a home directory. Without this setting, apt warns about that if run by root.
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
        hint: str = "Check the network and the free space (df -h), then try again.",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the private configuration.

        Args:
            argv: The command and its arguments.
            timeout: The most seconds that it may take.
            cwd: Its working directory.
            env: Variables to add to its environment.
            hint: What to do if it does not end in time.

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
                hint=hint,
            ) from error
        except OSError as error:
            raise FetchError(
                f"`{argv[0]}` cannot be run: {reason(error)}.",
                untouched=UNTOUCHED,
                hint="`make doctor` lists what this host lacks.",
            ) from error

    @fetch_errors("Preparing a private apt")
    def update(self, report: Callable[[str], None]) -> None:
        """Download the package lists.

        If some lists cannot be downloaded, use the others and those of the last update, and set `incomplete`.

        Args:
            report: Called if some lists cannot be downloaded.

        Raises:
            FetchError: The host has no package source, or there is no list.
        """
        self._configure()
        servers = " and ".join(self._archives)
        done = self._run(
            ["apt-get", "update", "--quiet"],
            UPDATE_SECONDS,
            hint=f"Check the network, and that these servers answer: {servers}. Then try again.",
        )
        # apt-get ends with status 0 if it cannot reach a server.
        failures = FAILURE.findall(done.stderr)
        usable = any((self.home / "lists").glob("*_Packages*"))
        self.incomplete = None
        if usable and not done.returncode and not failures:
            return
        failed = " and ".join(addresses(failures)) or servers
        error = FetchError(
            f"The package lists of {failed} could not be downloaded.",
            untouched=UNTOUCHED,
            hint="The messages of apt-get update are above. "
            f"Check the network and the apt configuration in {self.etc}, then try again.",
            log=done.stderr,
        )
        if not usable:
            raise error
        self.incomplete = error
        report(f"{error.what} The other lists and older ones are used.")

    def not_found(self, what: str) -> FetchError | None:
        """Return the error for something that is in no list if the lists are incomplete, otherwise None.

        Args:
            what: The beginning of a sentence, such as "debian-6.12".
        """
        if self.incomplete is None:
            return None
        return FetchError(
            f"{what} not found. {self.incomplete.what}",
            untouched=UNTOUCHED,
            hint=self.incomplete.hint,
            log=self.incomplete.log,
        )

    def show(self, name: str, version: str | None = None) -> Package | None:
        """Return the newest version of a package, or `version` of it; None if the archive does not have it.

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
            hint=f"The message of apt is above. If its lists are damaged, remove {self.home} and try again.",
            log=done.stderr,
        )

    @fetch_errors("Downloading a package")
    def download(self, package: Package, spool: Path) -> Path:
        """Download a package. apt verifies it.

        Args:
            package: The package, as returned by `show`.
            spool: The directory to download to; created if it does not exist.

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
                f"{spec} could not be downloaded, or apt could not verify it.",
                untouched=UNTOUCHED,
                hint="Try again. If it fails again, check the network and the apt configuration.",
                log=done.stdout + done.stderr,
            )
        return files[0]

    @fetch_errors("Unpacking a package")
    def unpack(self, package: Package, root: Path) -> None:
        """Download a package, and unpack it with `root` as the root directory.

        Raises:
            FetchError: The package could not be downloaded or unpacked.
        """
        root.mkdir(parents=True, exist_ok=True)
        deb = self.download(package, root.parent / "debs")
        done = self._run(["dpkg", "-x", str(deb), str(root)], DOWNLOAD_SECONDS)
        deb.unlink()
        if done.returncode:
            raise FetchError(
                f"{package.name} could not be unpacked: dpkg ended with status {done.returncode}.",
                untouched=UNTOUCHED,
                hint="The message of dpkg is above. Check the free space (df -h), then try again.",
                log=done.stderr,
            )

"""Directories with any name: no part of a path reaches a shell, and what cannot work is rejected before QEMU starts."""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from odd_paths import ODD, named, odd_environment

from ksmlab.lab import Lab, shell_script
from ksmlab.progress import Progress
from ksmlab.vm import config as config_module
from ksmlab.vm.accel import Accel
from ksmlab.vm.config import MachineConfig, guest_script
from ksmlab.vm.errors import LostVM, VmError
from ksmlab.vm.kernels import Kernel, KernelSpec
from ksmlab.vm.machine import Machine
from ksmlab.vm.path_checks import check_characters
from ksmlab.vm.ports import Ports

ROOT = Path(__file__).resolve().parents[2]
TCG = Accel(kvm=False, why="")
RELEASE = "6.1.0-9-amd64"
FAKE_QEMU = """#!{python}
import json, sys
if sys.argv[1:] == ["--version"]:
    print("QEMU emulator version 7.2.0")
elif "-kernel" in sys.argv:
    with open({told!r}, "w") as file:
        json.dump(sys.argv[1:], file)
"""


class Host:
    """A host whose QEMU only stores its command line.

    Args:
        directory: What is made is in here.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.told = directory / "told.json"
        binaries = directory / "bin"
        binaries.mkdir()
        qemu = binaries / "qemu-system-x86_64"
        qemu.write_text(FAKE_QEMU.format(python=sys.executable, told=str(self.told)))
        qemu.chmod(0o755)

    def kernel(self, root: Path) -> Kernel:
        """Make what virtme-run takes for a kernel."""
        kernel = Kernel(KernelSpec("k", "6.1", "amd64"), RELEASE, "1", root)
        kernel.image.parent.mkdir(parents=True, exist_ok=True)
        kernel.image.write_bytes(b"no kernel")
        kernel.modules_dir.mkdir(parents=True, exist_ok=True)
        return kernel

    def boot(self, kernel: Kernel, config: MachineConfig) -> list[str]:
        """Boot, and return the command line of QEMU."""
        with pytest.raises(LostVM), Machine(kernel, config, accel=TCG):
            pass
        told: list[str] = json.loads(self.told.read_text())
        return told

    def pwned(self) -> list[Path]:
        """Give the files that a shell has made."""
        return list(self.directory.rglob("*pwned")) + list(Path.cwd().glob("*pwned*"))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return made


@pytest.mark.parametrize("place", ["cache", "writable"])
@pytest.mark.parametrize("odd", ODD)
def test_vm_with_an_odd_path_is_rejected_before_qemu_starts(
    host: Host, odd: str, place: str
) -> None:
    directory = named(host.directory, odd)
    kernel = host.kernel((directory if place == "cache" else host.directory) / "k")
    writable = (directory,) if place == "writable" else ()
    what = {"cache": "kernel cache", "writable": "writable directory"}[place]
    with (
        pytest.raises(VmError, match=f"The path of the {what} contains") as caught,
        Machine(kernel, MachineConfig(writable=writable), accel=TCG),
    ):
        pass
    assert any(
        said in caught.value.what for said in (repr(odd[0]), "a space", "a newline", "a tab")
    )
    assert caught.value.hint
    assert not host.told.exists()
    assert not host.pwned()


@pytest.mark.parametrize("odd", ODD)
def test_vm_boots_with_odd_directories_in_its_environment(
    host: Host, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = named(host.directory, odd)
    odd_environment(monkeypatch, directory)
    told = host.boot(host.kernel(host.directory / "k"), MachineConfig(cwd=directory))
    assert str(directory) not in " ".join(told)
    assert not host.pwned()


@pytest.mark.parametrize("odd", ODD)
def test_guest_command_starts_in_an_odd_directory(host: Host, odd: str) -> None:
    directory = named(host.directory, odd)
    for script in (
        guest_script(["pwd"], env={"A": odd}, cwd=directory, size=(80, 24)).replace(
            "</dev/tty", ""
        ),
        shell_script([odd], directory) + "\npwd",
    ):
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.endswith(f"{directory}\n")
    assert not host.pwned()


@pytest.mark.parametrize(
    "odd", [";", "&", "(", "'", "=", ",", "$(touch pwned)", "`touch pwned`", ">"]
)
def test_no_shell_is_between_the_harness_and_qemu(
    host: Host, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of paths is not what keeps a shell from running a part of one."""
    monkeypatch.setattr(config_module, "check_characters", lambda *_: None)
    directory = named(host.directory, odd)
    kernel = host.kernel(directory / "k")
    option, argument = f"x{odd}touch pwned{odd}", f"a{odd}touch\tpwned{odd}b"
    config = MachineConfig(qemu_options=("-name", option), boot_args=(argument,))
    told = host.boot(kernel, config)
    assert told[told.index("-kernel") + 1] == str(kernel.image)
    assert told[-1] == option
    assert argument in told[told.index("-append") + 1]
    assert not host.pwned()


def test_sockets_of_a_vm_have_short_plain_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100) / "a,b"
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    ports = Ports(("reports",), gdb=True)
    try:
        for name in ("reports", "qmp", "gdb"):
            assert len(os.fsencode(ports.path(name))) < 108
            check_characters("socket", ports.path(name))
    finally:
        ports.close()


@pytest.mark.parametrize("odd", [";", " ", "'", "$(touch pwned)", "#", "\n"])
@pytest.mark.parametrize("goals", [["demo"], ["test-unit"], ["-C", "kernel"]])
def test_make_rejects_an_odd_checkout_at_once(tmp_path: Path, odd: str, goals: list[str]) -> None:
    checkout = named(tmp_path, odd)
    for name in ("Makefile", "kernel/Makefile", "kernel/check-paths.sh", "pyproject.toml", "python/ksmlab/__init__.py",
                 "python/ksmlab/vm/__init__.py", "python/ksmlab/vm/errors.py",
                 "python/ksmlab/vm/path_checks.py", "python/ksmlab/doctor.py"):  # fmt: skip
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    done = make(checkout, *goals)
    assert done.returncode
    said = done.stdout + done.stderr
    assert "contains" in said
    assert any(each in said for each in (repr(odd[0]), "a space", "a newline", odd[0]))
    assert not (checkout / ".venv").exists()
    assert not list(tmp_path.rglob("*pwned"))


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a person does."""
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))
    }
    return subprocess.run(
        ["make", *arguments], cwd=checkout, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("goal", "variable"),
    [("demo", "KERNEL"), ("images", "KERNEL"), ("shell", "KERNEL"), ("build", "KDIR"), ("lesson", "N"),
     ("exercise", "N"), ("test-lessons", "N"), ("lessons-record", "N"), ("help", "JOBS"), ("test", "JOBS"),
     ("test-debug", "JOBS"), ("test-all", "JOBS"), ("test-host", "JOBS"), ("mutants", "JOBS"), ("host", "PYTHON"),
     ("doctor", "PYTHON"), ("host-tests", "PYTHON"), (".venv/.ready", "PYTHON")],
)  # fmt: skip
def test_make_quotes_the_values_of_its_variables(tmp_path: Path, goal: str, variable: str) -> None:
    """A recipe is run by a shell; what a variable holds is one word of it."""
    value = "x;touch pwned;'y z'"
    old = [f"--old-file={each}" for each in (".venv/.ready", "host") if each != goal]
    done = make(ROOT, "-n", *old, "--what-if=pyproject.toml", goal, f"{variable}={value}")
    lines = [line for line in done.stdout.replace("\\\n", "").splitlines() if "pwned" in line]
    assert lines, done
    for line in lines:
        words = [word for word in shlex.split(line) if "pwned" in word]
        assert all(value in word for word in words), line


# make itself expands a "$", and takes a "#" for a comment.
@pytest.mark.parametrize("odd", [odd for odd in ODD if not odd.startswith(("$", "#"))])
def test_kbuild_makefile_rejects_an_odd_kernel_build_directory(tmp_path: Path, odd: str) -> None:
    done = make(ROOT / "kernel", f"KDIR={named(tmp_path, odd)}")
    assert done.returncode
    assert not list(tmp_path.rglob("*pwned"))
    assert not (ROOT / "kernel/pwned").exists()


def run_lab(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    """Make a Lab, as every command does first."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    Lab(Progress())


@pytest.mark.parametrize("variable", ["KSMLAB_CACHE", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("odd", ODD)
def test_odd_cache_is_rejected_by_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str, variable: str
) -> None:
    monkeypatch.delenv("KSMLAB_CACHE", raising=False)
    with pytest.raises(VmError, match="The path of the kernel cache contains"):
        run_lab(monkeypatch, **{variable: str(tmp_path / f"x{odd}y")})


def test_long_cache_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        VmError, match=r"has 2.. characters, but the kernel's command line has space for 200"
    ):
        run_lab(monkeypatch, KSMLAB_CACHE=str(tmp_path / ("d" * (240 - len(str(tmp_path))))))


def shell_strings(path: Path) -> list[str]:
    """Give the lines of a program that have a shell parse a string with something put into it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in {
                "os.system",
                "os.popen",
                "subprocess.getoutput",
                "subprocess.getstatusoutput",
            } or any(keyword.arg == "shell" for keyword in node.keywords):
                found.append(f"{path}:{node.lineno}")
        elif isinstance(node, ast.List):
            words = [each.value if isinstance(each, ast.Constant) else None for each in node.elts]
            for shell, option, script in zip(words, words[1:], node.elts[2:], strict=False):
                if (
                    shell in {"sh", "bash"}
                    and option == "-c"
                    and not isinstance(script, (ast.Constant, ast.Name))
                ):
                    found.append(f"{path}:{script.lineno}")
    return found


def test_no_program_puts_anything_into_a_string_that_a_shell_parses() -> None:
    sources = [*(ROOT / "python").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]
    assert not [line for path in sources for line in shell_strings(path)]


@pytest.mark.parametrize(
    "program",
    ["subprocess.run(x, shell=True)", "os.system(x)", 'run(["sh", "-c", f"cd {x}"])',
     'run([*a, "bash", "-c", "cd " + x])'],
)  # fmt: skip
def test_a_shell_that_parses_a_path_is_found(tmp_path: Path, program: str) -> None:
    (tmp_path / "program.py").write_text(program + "\n")
    assert shell_strings(tmp_path / "program.py") == [f"{tmp_path}/program.py:1"]

"""Check that the kernels that were built on this host have all options of their fragments.

Tests of kernels that were not built are skipped; with `--built NAME`, they fail instead.
"""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import pytest

from ksmlab.lab import Lab
from ksmlab.progress import Progress
from ksmlab.vm.kconfig import lost, options
from ksmlab.vm.kernel_build import fragments_of

if TYPE_CHECKING:
    from ksmlab.vm.kernels import Kernel

LAB = Lab(Progress())
#: The marks around the compressed configuration in a kernel image (kernel/configs.c).
IN_IMAGE = re.compile(rb"IKCFG_ST(.*?)IKCFG_ED", re.DOTALL)


@pytest.fixture(params=LAB.built_names)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    found = LAB.store.find(request.param)
    if found is None:
        give_up = (
            pytest.fail if request.param in request.config.getoption("--built") else pytest.skip
        )
        give_up(f"not built here (ksmlab kernels build {request.param})")
    return found


def test_every_wanted_option_survived(kernel: Kernel) -> None:
    missing = lost(fragments_of(kernel.spec), kernel.config.read_text())
    assert not missing, "\n".join(map(str, missing))


def test_the_configuration_is_that_of_the_image(kernel: Kernel) -> None:
    """Compare /proc/config.gz in the guest with the configuration file of the cache entry."""
    found = IN_IMAGE.search(kernel.vmlinux.read_bytes())
    assert found
    text = gzip.decompress(found[1]).decode()
    assert options(text) == options(kernel.config.read_text())


def test_modules_of_it_have_their_lines(kernel: Kernel) -> None:
    built = LAB.build(kernel)
    assert b".debug_line" in built.module("ksm").read_bytes()


def test_what_the_guest_needs_to_boot_is_built_in(kernel: Kernel) -> None:
    """The kernel needs no modules to mount the root file system, so there is no initramfs."""
    builtin = (kernel.modules_dir / "modules.builtin").read_text()
    for name in ("9p", "9pnet_virtio", "virtio_pci", "virtio_console", "overlay", "kvm-amd"):
        assert f"/{name}.ko" in builtin, name

"""Choose the environment of kbuild, which passes some variables to a shell without quoting them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: The variables that kbuild inherits. No makefile or script of a build for x86 passes their values to a shell unquoted.
INHERITED = ("PATH", "HOME")


def kbuild_environment(temporary: Path) -> dict[str, str]:
    """Return the whole environment for a kernel's make.

    kbuild passes TMPDIR and PWD to a shell without quotes, and each variable of the environment is a variable of make:
    KCFLAGS, CC or O would change the build.

    Args:
        temporary: The directory for temporary files. kbuild must be able to handle the characters in its path.
    """
    inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
    return inherited | {"LC_ALL": "C", "TMPDIR": str(temporary)}

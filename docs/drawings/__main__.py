"""Write all drawings: ``python -m drawings``. With ``--check``, fail if one differs from its source."""

import sys

from drawings import current, stale

HINT = "These drawings differ from their sources. Draw them again: make drawings"

try:
    paths = stale()
    if "--check" not in sys.argv[1:]:
        for path in paths:
            path.write_text(current(path.stem))
            print(path)
    elif paths:
        sys.exit("\n".join([HINT, *map(str, paths)]))
except ValueError as error:
    sys.exit(str(error))

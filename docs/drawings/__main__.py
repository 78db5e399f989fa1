"""Write all drawings into a directory: ``python -m drawings OUT``."""

import sys
from pathlib import Path

from drawings import write_all

for path in write_all(Path(sys.argv[1])):
    print(path)

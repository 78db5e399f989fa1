"""Run the demonstration: ``python -m ksmlab.demo``."""

import sys

from ksmlab.demo.run import main

sys.exit(main())

"""Run the ksmlab command: `python -m ksmlab`."""

from ksmlab.cli import main

main()

"""`python -m ksmlab` is the ksmlab command."""

from ksmlab.cli import main

main()

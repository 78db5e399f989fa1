"""Set Python's prompts in a lesson (PYTHONSTARTUP) to ones with a mark, as the shell's prompts have.

The mark is a record separator. It is invisible, and commands do not print it, so output is never mistaken for a prompt.
"""

import sys

sys.ps1 = "\001\x1e\002>>> "
sys.ps2 = "\001\x1e\002... "
del sys

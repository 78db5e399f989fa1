"""What Python starts with in a lesson (PYTHONSTARTUP): prompts with a mark, as the shell's have.

The mark is a record separator, which is not seen and which no command prints: so no output is taken for a prompt.
"""

import sys

sys.ps1 = "\001\x1e\002>>> "
sys.ps2 = "\001\x1e\002... "
del sys

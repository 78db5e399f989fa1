"""Run a command, and let KSM merge all of its memory: merge_all.py COMMAND [ARGUMENT ...]."""

import ctypes
import os
import sys

PR_SET_MEMORY_MERGE = 67

libc = ctypes.CDLL(None, use_errno=True)
# Linux 6.4 to 6.6 accept the setting, but execvp() clears it there.
if libc.prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0):
    sys.exit(f"prctl() failed: {os.strerror(ctypes.get_errno())}. Linux 6.7 or newer is needed.")
os.execvp(sys.argv[1], sys.argv[1:])

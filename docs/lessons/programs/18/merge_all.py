"""Run a command, and let KSM merge all of its memory: merge_all.py COMMAND [ARGUMENT ...]."""

import ctypes
import os
import sys

PR_SET_MEMORY_MERGE = 67

libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0):
    sys.exit(f"prctl() failed: {os.strerror(ctypes.get_errno())}. It needs Linux 6.4 or newer.")
os.execvp(sys.argv[1], sys.argv[1:])

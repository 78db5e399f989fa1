"""Run a loop of a million iterations in a KVM guest, and print the CPU time that it took, in seconds.

    python kvm_loop.py SECONDS

If the loop takes more CPU time than SECONDS, SIGPROF ends the script. If KVM hangs, it uses no CPU time; so this is a
separate script, which the caller can kill. It uses only the standard library, and nothing of its own package. The
constants are those of <linux/kvm.h> for x86-64.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
import struct
import sys
import time

ITERATIONS = 1_000_000
MEMORY_BYTES = 0x10000
ENTRY = 0x1000

KVM_CREATE_VM = 0xAE01
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_CREATE_VCPU = 0xAE41
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_RUN = 0xAE80
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84
KVM_EXIT_HLT = 5

SREGS_BYTES = 312
# struct kvm_segment: base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable, padding.
SEGMENT = "<QIHBBBBBBBBBB"
SEGMENT_COUNT_BEFORE_TABLES = 8
SEGMENT_BYTES = 24
CODE = struct.pack(SEGMENT, 0, 0xFFFFFFFF, 8, 11, 1, 0, 1, 1, 0, 1, 0, 0, 0)
DATA = struct.pack(SEGMENT, 0, 0xFFFFFFFF, 16, 3, 1, 0, 1, 1, 0, 1, 0, 0, 0)
# cs, ds, es, fs, gs, ss, tr, ldt are followed by the gdt and idt (16 bytes each), then cr0.
CR0_OFFSET = SEGMENT_COUNT_BEFORE_TABLES * SEGMENT_BYTES + 2 * 16
CR0_PROTECTED = 0x1

# 32-bit protected mode: mov $ITERATIONS, %ecx; 1: dec %ecx; jnz 1b; hlt
PROGRAM = b"\xb9" + struct.pack("<I", ITERATIONS) + b"\x49" + b"\x75\xfd" + b"\xf4"


def loop_seconds(most: float) -> float:
    """Run the loop, and return its CPU time in seconds.

    Args:
        most: The CPU time, in seconds, after which SIGPROF ends this process.

    Raises:
        OSError: There is no KVM, or one of its ioctls failed.
        RuntimeError: The guest did not reach the end of the loop.
    """
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    memory = mmap.mmap(-1, MEMORY_BYTES)
    memory[ENTRY : ENTRY + len(PROGRAM)] = PROGRAM
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(
        vm, KVM_SET_USER_MEMORY_REGION, struct.pack("<IIQQQ", 0, 0, 0, MEMORY_BYTES, address)
    )
    vcpu = fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
    run = mmap.mmap(vcpu, fcntl.ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE))

    sregs = bytearray(SREGS_BYTES)
    fcntl.ioctl(vcpu, KVM_GET_SREGS, sregs)
    sregs[:SEGMENT_BYTES] = CODE
    for index in range(1, 6):
        sregs[index * SEGMENT_BYTES : (index + 1) * SEGMENT_BYTES] = DATA
    (cr0,) = struct.unpack_from("<Q", sregs, CR0_OFFSET)
    struct.pack_into("<Q", sregs, CR0_OFFSET, cr0 | CR0_PROTECTED)
    fcntl.ioctl(vcpu, KVM_SET_SREGS, bytes(sregs))
    # struct kvm_regs: sixteen registers, then rip and rflags (bit 1 is always set).
    fcntl.ioctl(vcpu, KVM_SET_REGS, struct.pack("<18Q", *[0] * 16, ENTRY, 2))

    signal.setitimer(signal.ITIMER_PROF, most)
    start = time.thread_time()
    fcntl.ioctl(vcpu, KVM_RUN, 0)
    seconds = time.thread_time() - start
    signal.setitimer(signal.ITIMER_PROF, 0)
    (reason,) = struct.unpack_from("<I", run, 8)
    if reason != KVM_EXIT_HLT:
        raise RuntimeError(
            f"the guest stopped with KVM exit reason {reason}, not at the end of its loop"
        )
    return seconds


if __name__ == "__main__":
    try:
        print(f"{loop_seconds(float(sys.argv[1])):.6f}")
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"{place}{error.strerror}") from None
    except RuntimeError as error:
        raise SystemExit(str(error)) from None

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# check-direct.sh OBJDUMP OBJECT: fail when OBJECT has an indirect call or jump.
#
# The addresses that mm_symbols.c resolves never leave it, but through static
# calls, which are direct. So when this object has no indirect branch (neither a
# plain one nor one through a retpoline thunk), no such address is ever called
# through a pointer.
set -u
objdump=$1
object=$2

code=$("$objdump" -dr --no-show-raw-insn "$object") || exit 1
if ! printf '%s\n' "$code" | grep -q '__SCT__ksm_sc_'; then
	echo "$object: has no static call at all; is this the right object?" >&2
	exit 1
fi
found=$(printf '%s\n' "$code" |
	grep -E '(call|jmp)q? +\*|__x86_indirect_|notrack (call|jmp)')
if [ -n "$found" ]; then
	echo "$object: calls through a pointer:" >&2
	printf '%s\n' "$found" >&2
	exit 1
fi

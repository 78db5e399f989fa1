#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# check-direct.sh OBJDUMP OBJECT: fail if OBJECT has an indirect call or jump.
#
# mm_symbols.c uses the addresses that it looks up only in static calls, which
# are direct, and passes them to no other file. So if its object file has no
# indirect branch, plain or through a retpoline thunk, no function is called
# through such an address.
set -u
objdump=$1
object=$2

code=$("$objdump" -dr --no-show-raw-insn "$object") || exit 1
if ! printf '%s\n' "$code" | grep -q '__SCT__ksm_sc_'; then
	echo "$object: no static call found. Pass the object file of mm_symbols.c." >&2
	exit 1
fi
found=$(printf '%s\n' "$code" |
	grep -E '(call|jmp)q? +\*|__x86_indirect_|notrack (call|jmp)')
if [ -n "$found" ]; then
	echo "$object: indirect calls found. Use static calls only (see mm_symbols.c):" >&2
	printf '%s\n' "$found" >&2
	exit 1
fi

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# check-paths.sh DIRECTORY...: fail if kbuild cannot handle a path.
#
# kbuild passes paths to a shell without quoting them. Some characters break the
# build, and others make the shell run a part of the path as a command.
set -u
LC_ALL=C
export LC_ALL

for path; do
	good=${path%%[!A-Za-z0-9/_+.~-]*}
	[ "$good" = "$path" ] && continue
	rest=${path#"$good"}
	odd=${rest%"${rest#?}"}
	case $odd in
	[[:print:]]) odd="'$odd'" ;;
	*) odd='a character that is not printable ASCII' ;;
	esac
	echo "kbuild cannot handle the path '$path', which contains $odd." >&2
	echo "Nothing was built. Use a path with only ASCII letters, digits, and _ + . ~ - in it." >&2
	exit 1
done

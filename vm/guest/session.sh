#!/bin/bash
# The guest's end of a session on its console. virtme-ng starts it as the user's shell.
#
# It reads requests, one a line:   run TOKEN BASE64      (a bash script)
#                                  shell TOKEN BASE64    (the same, before an interactive shell)
# and frames what each gives:      <RS>TOKEN begin<RS> output <RS>TOKEN end STATUS<RS>
# RS is the record separator, 0x1e. A token is random and the command does not know it, so nothing that it prints can
# be taken for its end.
#
# The line is raw: output arrives byte for byte, requests may be of any length, and nothing is echoed.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
SHELL=/bin/bash
export PATH SHELL
unset "${!virtme_@}"
raw() { stty raw -echo; }

# The terminal that init handed down does not block; one opened afresh does. What this shell itself has to say (that a
# command was killed, for example) is not part of what the command printed.
exec </dev/tty >/dev/tty 2>/dev/null
raw
printf '\036vm-session ready\036'
while IFS=' ' read -r verb token payload; do
	printf '\036%s begin\036' "$token"
	script=$(base64 -d <<<"$payload")
	case $verb in
	run)
		(
			unset verb token payload
			eval "$script"
		) </dev/null 2>&1
		;;
	shell)
		(
			unset verb token payload
			stty sane
			eval "$script"
			# The same shell for everyone: no start-up files of the host.
			exec bash --norc
		) 2>&1
		;;
	esac
	status=$?
	raw
	printf '\036%s end %d\036' "$token" "$status"
done

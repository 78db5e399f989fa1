#!/bin/bash
# Run commands in the guest on behalf of the host, over the guest's console. virtme-ng starts this as the user's shell.
#
# The host sends one request per line:   run TOKEN BASE64      (run a bash script)
#                                        shell TOKEN BASE64    (run a bash script, then an interactive shell)
# The reply is the command's output between two markers:   <RS>TOKEN begin<RS> output <RS>TOKEN end STATUS<RS>
# RS is the record separator, 0x1e. The token is random and unknown to the command, so the command's output cannot
# contain the end marker.
#
# The terminal is in raw mode: output is not modified, requests may have any length, and nothing is echoed.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
SHELL=/bin/bash
export PATH SHELL
unset "${!virtme_@}"
raw() { stty raw -echo; }

# Open the terminal again, since the file descriptor that init passes on is non-blocking. Discard the messages of this
# shell itself, for example that a command was killed, since they are not output of the command.
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
			# Ignore the start-up files of the host, so that each user gets the same shell.
			exec bash --norc
		) 2>&1
		;;
	esac
	status=$?
	raw
	printf '\036%s end %d\036' "$token" "$status"
done

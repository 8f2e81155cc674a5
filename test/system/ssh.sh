#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpirun --hostfile over ssh: two hosts, which are network namespaces of this machine, and a sshd of this test's own on one, with
# keys and a configuration that are of this test alone.
cd "$(dirname "$0")/../.." || exit 2
BUILD=${BUILD:-build} slow=${TEST_SLOW:-1} top=$PWD
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
dpirun=$BUILD/bin/dpirun
[ -x "$dpirun" ] || { echo "not ok ssh: there is no $dpirun: run make"; exit 1; }
tmp=$(mktemp -d "${TMPDIR:-/tmp}/ssh-test-XXXXXX") || exit 2
hosts_close() { :; }
trap 'hosts_close; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
cd "$tmp" || exit 2
. "$top/test/system/hosts/net.sh"
mark=$$ # in the arguments of the processes of this test
bad=0

fail() {
	echo "$1" >>why
}
begin() {
	name=$1
	: >why
}
end() {
	if [ -s why ]; then
		echo "not ok ssh: $name"
		sed 's/^/  | /' why
		for f in out err; do [ -s $f ] && head -n 20 $f | sed "s/^/  | $f: /"; done
		bad=1
	else
		echo "ok ssh: $name"
	fi
	rm -f out err
}
skip() {
	echo "skip ssh: $1"
	exit $bad
}
await() { # command: until it succeeds, a minute at most
	n=0
	until "$@"; do
		n=$((n + 1))
		[ $n -lt $((1200 * slow)) ] || return 1
		sleep 0.05
	done
}
processes() { # word: process ids whose command line has it
	echo "$1" >pattern
	grep -lsaFf pattern /proc/[0-9]*/cmdline | sed 's|/proc/||; s|/cmdline||'
}
none() {
	[ -z "$(processes "$1")" ]
}
none_left() {
	await none "$1" || fail "left running: $(processes "$1" | tr '\n' ' ')"
}
has_lines() { # count file
	[ "$(wc -l <"$2")" -ge "$1" ]
}
run() { # arguments of dpirun, which runs on host a
	on a timeout $((120 * slow)) "$dpirun" --ssh "$ssh" --hostfile hosts "$@" >out 2>err </dev/null
	status=$?
}
background() { # the same, $job its process
	: >out
	nsenter -t "$(host_holder a)" -n -u -- "$dpirun" --ssh "$ssh" --hostfile hosts "$@" >out 2>err </dev/null &
	job=$!
}
status_is() {
	[ $status = "$1" ] || fail "exit status $status, not $1"
}

sshd=$(command -v sshd || echo /usr/sbin/sshd)
[ -x "$sshd" ] && command -v ssh >/dev/null && command -v ssh-keygen >/dev/null || skip "no sshd (package openssh-server)"
hosts_open a b || skip "network namespaces are not permitted here: $(head -n 1 refused)"
ssh-keygen -q -t ed25519 -N '' -f hostkey && ssh-keygen -q -t ed25519 -N '' -f id && cp id.pub authorized || exit 1
cat >sshd_config <<END
Port 2222
ListenAddress 10.77.1.2
HostKey $tmp/hostkey
AuthorizedKeysFile $tmp/authorized
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
END
# /run/sshd is where sshd goes to separate itself: here one that nobody else sees
on b unshare -m sh -c 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"' - "$sshd" -D -e -f "$tmp/sshd_config" >sshd.log 2>&1 &
ssh="ssh -F /dev/null -i $tmp/id -p 2222 -o BatchMode=yes -o UserKnownHostsFile=$tmp/known -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR"
listens() {
	on b grep -q ' [0-9A-F]*:08AE 00000000:0000 0A ' /proc/self/net/tcp
}
await listens || skip "sshd does not start: $(head -n 1 sshd.log)"
on a timeout $((60 * slow)) $ssh 10.77.1.2 true >out 2>&1 || skip "ssh does not let this user in: $(head -n 1 out)"
printf 'localhost slots=2 address=10.77.1.1\n10.77.1.2 slots=2 address=10.77.1.2\n' >hosts

begin "labelled output of both hosts"
run sh -c 'echo $DPI_NODE of $DPI_NODES on $(hostname)'
status_is 0
printf '[0] 0 of 4 on a\n[1] 1 of 4 on a\n[2] 2 of 4 on b\n[3] 3 of 4 on b\n' >want
sort out | cmp -s - want || fail "the output is another"
[ -s err ] && fail "standard error is not empty"
end

begin "a join over both hosts"
run -x DPI_TRANSPORT=shm,tcp "$BUILD/examples/hash_join" --scale 0.05
status_is 0
grep -q '^\[0\] answer checked: ok$' out || fail "no answer"
grep -q 'MB by tcp' out && grep -q 'MB by shm' out || fail "not by shm on a host and by tcp between them"
end

begin "the exit status of a process on the other host"
run sh -c "[ \$DPI_NODE = 3 ] && exit 7; exec sleep 900.$mark"
status_is 7
grep -qE '^dpirun: node 3 \(pid [0-9]+ on 10.77.1.2\) exited with status 7; ending the other 3$' err || fail "not said so"
none_left "900.$mark"
end

begin "a signal that ends dpirun ends all, on the other host too"
background sh -c "echo ready; exec sleep 901.$mark"
await has_lines 4 out || fail "they do not get ready"
kill -TERM $job # as an interrupt would, which the shell ignores in what it starts in the background
wait $job
[ $? != 0 ] || fail "exit status 0"
none_left "901.$mark"
end

begin "dpirun is killed: nothing stays on the other host"
background sh -c "setsid sleep 902.$mark & echo ready; sleep 903.$mark; true"
await has_lines 4 out || fail "they do not get ready"
kill -KILL $job
wait $job 2>/dev/null
none_left ".$mark"
[ -z "$(host_processes b | while read -r p; do tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -- ' --remote'; done)" ] ||
	fail "dpirun --remote is left"
end

begin "the other host's sshd is killed: the job ends, and it is said"
background sh -c "echo ready; exec sleep 904.$mark"
await has_lines 4 out || fail "they do not get ready"
for p in $(host_processes b); do grep -qa '^sshd: ' "/proc/$p/cmdline" && kill -KILL "$p"; done 2>/dev/null
wait $job
[ $? = 125 ] || fail "exit status $?, not 125"
grep -qE '^dpirun: the connection to host 10.77.1.2 ended before its 2 processes did' err || fail "not said so"
none_left "904.$mark"
end

exit $bad

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The RDMA machine (test/rdma-vm/run): what it runs, how it ends, what it leaves.
cd "$(dirname "$0")/../.." || exit 2
slow=${TEST_SLOW:-1} run=$PWD/test/rdma-vm/run BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
export DPI_MODULES="${DPI_MODULES:-$BUILD/dpi}"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/rdma-test-XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT PIPE TERM
mkdir "$tmp/files" || exit 2
bad=0 reasons=
export RDMA_VM=1 RDMA_FETCH=0 RDMA_BOOT_SECONDS=$((120 * slow)) RDMA_SECONDS=$((60 * slow)) TMPDIR="$tmp/files"

# Everything below runs from a folder, and with words, that need quotes. usage: vm COMMAND… -> status, $tmp/out, $tmp/err
vm() {
	(cd "$tmp/a folder" && timeout -k 10 $((400 * slow)) "$run" "$@") >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}
begin() { name=$1 why=; }
fail() { why="$why$*
"; }
is() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; }
end() {
	[ -z "$(ls -A "$tmp/files")" ] || fail "it left files: $(ls -A "$tmp/files")"
	if [ -z "$why" ]; then
		echo "ok rdma_vm: $name"
	else
		echo "not ok rdma_vm: $name"
		{ printf '%s' "$why"; tail -n 20 "$tmp/err"; } | sed 's/^/  | /'
		bad=1
	fi
}
mkdir "$tmp/a folder" || exit 2

cat >"$tmp/script" <<'END_OF_SCRIPT'
echo "folder $(pwd)"
echo "words $# $(printf '<%s>' "$@")"
echo "variable $RDMA_TEST"
echo "devices $(echo $(ls /sys/class/infiniband))"
echo "hosts $RDMA_HOSTS"
echo "user $(id -u)"
echo written >"$0.written"
echo "own files $(cat "$0.written")"
echo to standard error >&2
exit 7
END_OF_SCRIPT
two="it's \"quoted\" \$HOME \\
second line"
RDMA_TEST="a 'variable'
of two lines" vm sh "$tmp/script" one "$two" ''
if [ "$status" = 125 ]; then
	echo "skip rdma_vm: $(tail -n 1 "$tmp/err")"
	exit 0
fi
begin "output, errors, status, folder, words and environment pass through"
cat >"$tmp/wanted" <<END_OF_WANTED
folder $tmp/a folder
words 3 <one><$two><>
variable a 'variable'
of two lines
devices rxe0 rxe1
hosts 10.99.0.1 10.99.0.2
user 0
own files written
END_OF_WANTED
is status "$status" 7
is "standard error" "$(cat "$tmp/err")" "to standard error"
cmp -s "$tmp/wanted" "$tmp/out" || fail "$(diff "$tmp/wanted" "$tmp/out")"
[ ! -e "$tmp/script.written" ] || fail "what was written inside came out"
end

begin "where rdma_rxe is loaded, as inside, the command runs there and then, which is said"
vm "$run" sh -c 'echo the command ran as "$(ps -o comm= -p 1)"; ls /sys/class/infiniband; exit 9'
is status "$status" 9
is output "$(tr '\n' ' ' <"$tmp/out")" "the command ran as init rxe0 rxe1 "
is "standard error" "$(cat "$tmp/err")" "rdma-vm: this machine has RDMA devices, no virtual machine is needed: rxe0 rxe1"
end

# Each device with what speaks for it or against it, as people ask for it. usage: choices WHAT: lines WHAT TEXT on standard output
cat >"$tmp/choices" <<'END_OF_SCRIPT'
choices() {
	what=$1
	shift
	env "$@" "$info" --transports --json >/tmp/json
	tr '\n' ' ' </tmp/json | sed 's/.*"name": *"verbs"//; s/"name": *"libfabric".*//' >/tmp/verbs
	grep -o '"device [^"]*"' /tmp/verbs | sed "s/^/$what /"
	grep -oE '"(device|reason)": *"[^"]*"' /tmp/verbs | sed "s/^/$what /"
}
info=$1
choices two
choices named DPI_LISTEN=10.99.0.1
ip link add veth2 type veth peer name veth3
rdma link add rxe2 type rxe netdev veth2
ip link set veth2 up
ip link set veth3 up
choices nowhere
ip address add 10.98.0.1/24 dev veth2
choices cluster DPI_CLUSTER=10.98.0.7:4000
ip link set veth3 down
while grep -q ACTIVE /sys/class/infiniband/rxe2/ports/1/state; do sleep 0.1; done
choices down DPI_CLUSTER=10.98.0.7:4000
DPI_LISTEN=10.98.0.1 "$info" --transports >/tmp/text
sed -n '/^  verbs /,/^  libfabric /p' /tmp/text | tr -s ' \n' '  '
END_OF_SCRIPT
begin "dpi-info tells each device, and why it is used or not"
said() { grep -qF "$*" "$tmp/out" || fail "no line '$*' in: $(cat "$tmp/out")"; }
if [ -e "$DPI_MODULES/libdpi-verbs.so" ]; then
	vm sh "$tmp/choices" "$BUILD/bin/dpi-info"
	is status "$status" 0
	said 'two "device rxe1 port 1, 10.99.0.2 (veth1), 10 Gb/s: chosen"'
	said 'two "device rxe0 port 1, 10.99.0.1 (veth0), 10 Gb/s: left out: another of its kind comes first"'
	said 'two "device": "rxe1"'
	said 'named "device rxe0 port 1, 10.99.0.1 (veth0), 10 Gb/s: chosen: DPI_LISTEN names it"'
	said 'named "device rxe1 port 1, 10.99.0.2 (veth1), 10 Gb/s: left out: DPI_LISTEN names another"'
	said 'named "device": "rxe0"'
	said 'nowhere "device rxe2: left out: no address leads to it; an interface of it must be up and have one"'
	said "down \"device rxe2 port 1, 10.98.0.1 (veth2), 10 Gb/s, in the cluster's network: left out: its port is down\""
	said "cluster \"device rxe2 port 1, 10.98.0.1 (veth2), 10 Gb/s, in the cluster's network: chosen\""
	said "cluster \"device rxe1 port 1, 10.99.0.2 (veth1), 10 Gb/s: left out: another is in the cluster's network\""
	said 'cluster "device": "rxe2"'
	said 'down "device": "rxe1"'
	grep -qE '^ verbs not usable port 1 of RDMA device rxe2 \(veth2\) is down; check the cable.* choices device ' "$tmp/out" ||
		fail "not for people: $(tail -n 1 "$tmp/out")"
fi
end

begin "a command that takes too long: 124"
RDMA_SECONDS=1 vm sleep 1000
is status "$status" 124
grep -q 'time limit of 1 s' "$tmp/err" || fail "no word about the time limit"
end

begin "a reader that goes away holds nobody up"
(cd "$tmp/a folder" && timeout -k 10 $((400 * slow)) "$run" sh -c 'yes | head -n 200000; exit 5' 2>"$tmp/err" </dev/null
	echo $? >"$tmp/status") | head -n 1 >"$tmp/out"
is status "$(cat "$tmp/status")" 5
is output "$(cat "$tmp/out")" y
end

begin "no such kernel: 125 and a sentence"
RDMA_KERNEL=linux-image-none-such RDMA_CACHE="$tmp/files" vm true
rm -rf "$tmp/files/linux-image-none-such"
is status "$status" 125
grep -q 'rdma-vm: no kernel from the package linux-image-none-such: it is not in ' "$tmp/err" || fail "no sentence"
end

begin "no QEMU: 125, and which package has it"
mkdir "$tmp/bin"
for p in sh dirname uname ls tr sed id timeout cat; do ln -s "$(command -v $p)" "$tmp/bin/$p"; done
PATH="$tmp/bin" vm true
is status "$status" 125
grep -q 'there is no qemu-system-x86_64: apt-get install .* qemu-system-x86' "$tmp/err" || fail "no sentence"
end

# usage: pids: of QEMUs whose files are ours
pids() { grep -l "$tmp/files" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3 | while read -r p; do
	[ "$p" = $$ ] || ! grep -q '^qemu-system' "/proc/$p/cmdline" 2>/dev/null || echo "$p"; done; }
await() { # a condition
	for i in $(seq $((300 * slow))); do
		eval "$1" && return
		sleep 0.1
	done
	fail "in vain: $1"
}
for signal in TERM KILL; do
	begin "SIG$signal ends QEMU, too"
	"$run" sleep 1000 >"$tmp/out" 2>"$tmp/err" </dev/null &
	await '[ "$(pids)" ]'
	kill -$signal $!
	wait $! 2>/dev/null
	await '[ -z "$(pids)" ]'
	[ $signal != KILL ] || rm -rf "$tmp/files"/rdma-vm-* # nobody was there to do it
	end
done
exit $bad

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Clusters of several hosts, which are network namespaces of this machine: addresses that do not lead to the peer, a slow link, a
# link that is cut and restored, a host that is gone, a registry that is stopped and whose place is taken, a job of mpirun.
# usage: hosts.sh [TRANSPORT]    between the hosts: tcp or libfabric; none named: both
# cites: E-16 E-57 E-58 E-59 E-61 E-62
cd "$(dirname "$0")/../.." || exit 2
BUILD=${BUILD:-build} slow=${TEST_SLOW:-1} SAN=${SAN:-} CC=${CC:-gcc} top=$PWD
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
[ -x "$BUILD/bin/dpi-info" ] || { echo "not ok hosts: there is no $BUILD/bin/dpi-info: run make"; exit 1; }
if [ $# = 0 ]; then
	bad=0
	sh test/system/hosts.sh tcp || bad=1
	if [ -z "$SAN" ] && [ -e "${DPI_MODULES:-$BUILD/dpi}/libdpi-libfabric.so" ]; then
		sh test/system/hosts.sh libfabric || bad=1
	else
		echo "skip hosts: over libfabric: it was not built, or there is a sanitizer, which does not know what it does with memory"
	fi
	exit $bad
fi
transport=$1
tmp=$(mktemp -d "${TMPDIR:-/tmp}/hosts-test-XXXXXX") || exit 2
hosts_close() { :; }
trap 'hosts_close; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
for program in peer life; do
	$CC -std=c11 -D_GNU_SOURCE -Iinclude ${SAN:+-fsanitize=$SAN} test/system/hosts/$program.c -o "$tmp/$program" -L"$BUILD" -ldpi \
		-pthread -Wl,-rpath,"$BUILD" || exit 1
done
cd "$tmp" || exit 2
. "$top/test/system/hosts/net.sh"
bad=0

fail() {
	echo "$1" >>why
}
begin() {
	name=$1
	: >why
	rm -f out.* over
}
end() {
	if [ -s why ]; then
		echo "not ok hosts: $name@$transport"
		sed 's/^/  | /' why
		for f in out.*; do [ -s "$f" ] && head -n 20 "$f" | sed "s/^/  | $f: /"; done
		bad=1
	else
		echo "ok hosts: $name@$transport"
	fi
}
# A process of the cluster whose node 0 is on the first host. usage: start HOST NODE NODES [VARIABLE=VALUE…] PROGRAM ARGUMENTS…
start() {
	host=$1 node=$2 nodes=$3
	shift 3
	on "$host" env DPI_CLUSTER="$registry" DPI_NODE="$node" DPI_NODES="$nodes" DPI_KEY_FILE="$tmp/key" DPI_TIMEOUT=$((100 * slow))s \
		timeout $((200 * slow)) env "$@" >"out.$node" 2>&1 &
	eval "job_$node=$!"
}
finish() { # node: wait for it; its status
	eval "wait \$job_$1"
	status=$?
}
well() { # nodes: all end well
	for i; do
		finish "$i"
		[ $status = 0 ] || fail "node $i: exit status $status"
	done
}
has() { # file text
	grep -qE -- "$2" "$1" || fail "no '$2' in $1"
}
await() { # file text: until it stands there; two minutes at most
	n=0
	until grep -qE -- "$2" "$1" 2>/dev/null; do
		n=$((n + 1))
		[ $n -lt $((2400 * slow)) ] && kill -0 "$job_0" 2>/dev/null || { fail "no '$2' in $1 in time"; return 1; }
		sleep 0.05
	done
}

if ! hosts_open a b c; then
	echo "skip hosts: network namespaces are not permitted here: $(head -n 1 refused)"
	exit 0
fi
registry=10.77.1.1:4000
export DPI_TRANSPORT=shm,$transport
(umask 077 && head -c 32 /dev/urandom >key)

begin "a join over three hosts"
i=0
for host in a b c; do
	start $host $i 3 "$BUILD/examples/hash_join" --scale 0.05
	i=$((i + 1))
done
well 0 1 2
has out.0 '^answer checked: ok$'
has out.0 "MB by $transport"
end

begin "without a key no host reaches another, and it is said"
on b env DPI_CLUSTER=$registry DPI_NODE=1 timeout $((60 * slow)) ./peer >out.1 2>&1
has out.1 '^DPI_Init DPI_ERR_CONFIG 10.77.1.1:4000 is on another host: .*DPI_KEY_FILE$'
end

begin "nobody at the registry's address: the error names it"
on b env DPI_CLUSTER=$registry DPI_NODE=1 DPI_KEY_FILE="$tmp/key" DPI_TIMEOUT=1s timeout $((60 * slow)) ./peer >out.1 2>&1
has out.1 '^DPI_Init DPI_ERR_REGISTRY no registry .*10.77.1.1:4000.*Connection refused'
end

# ------------------------------------------------------------------------------------------------- several addresses

# On 'alike' each host has the same address, as container engines make them; on 'apart' the others' lie in the same network, but
# there is no way to them. Both are announced before the right ones.
for host in d e; do
	hold $host && on switch ip link add apart$host type bridge && on switch ip link set apart$host up &&
		on $host ip link add alike type bridge && on $host ip addr add 10.99.0.1/24 dev alike && on $host ip link set alike up ||
		exit 1
done 2>why
plug d apart 10.88.1.4/24 apartd && plug e apart 10.88.1.5/24 aparte && plug d wan 10.77.1.4/24 wan && plug e wan 10.77.1.5/24 wan || exit 1

begin "of several addresses the right one is found"
start a 0 3 "$BUILD/examples/hash_join" --scale 0.02
start d 1 3 "$BUILD/examples/hash_join" --scale 0.02
start e 2 3 "$BUILD/examples/hash_join" --scale 0.02
well 0 1 2
has out.0 '^answer checked: ok$'
end

begin "of several addresses none leads to the peer: the error names each"
on e ip route add unreachable 10.77.1.4/32
start a 0 3 ./peer over stay
start d 1 3 ./peer over stay
await out.1 '^stays'
on e env DPI_CLUSTER=$registry DPI_NODE=2 DPI_NODES=3 DPI_KEY_FILE="$tmp/key" timeout $((60 * slow)) "$BUILD/bin/dpi-info" --json --cluster >out.2 2>&1
for a in 10.99.0.1 10.88.1.4 10.77.1.4; do has out.2 "tried .*$a:[0-9]+ \([A-Z][^)]*\)"; done
: >over
well 0 1
on e ip route del unreachable 10.77.1.4/32
end

begin "DPI_LISTEN says which address"
start a 0 2 ./peer over stay
start d 1 2 DPI_LISTEN=wan ./peer over stay
await out.1 '^stays'
on e env DPI_CLUSTER=$registry DPI_NODE=2 DPI_KEY_FILE="$tmp/key" timeout $((60 * slow)) "$BUILD/bin/dpi-info" --json --cluster >out.2 2>&1
[ $? = 0 ] || fail "dpi-info ends in an error"
has out.2 "$transport: chosen"
[ "$(on d ss -Htln 2>/dev/null | awk '{ sub(/:[0-9]+$/, "", $4); print $4 }' | sort -u)" = 10.77.1.4 ] || fail "it listens elsewhere"
: >over
well 0 1
end

# ----------------------------------------------------------------------------------------------------------- the link

begin "a slow link is no death"
if on b tc qdisc add dev wan root tbf rate 8mbit burst 16k latency 400ms 2>refused; then
	start a 0 2 "$BUILD/examples/hash_join" --scale 0.02
	start b 1 2 "$BUILD/examples/hash_join" --scale 0.02
	well 0 1
	has out.0 '^answer checked: ok$'
	on b tc qdisc del dev wan root
else
	echo "skip hosts: a slow link: $(head -n 1 refused)"
fi
end

begin "a link that is cut for a second: the work goes on"
if on b tc qdisc add dev wan root tbf rate 8mbit burst 16k latency 400ms 2>refused; then # 4.5 MB leave b: four seconds at least
	start a 0 2 "$BUILD/examples/hash_join" --scale 0.05
	start b 1 2 "$BUILD/examples/hash_join" --scale 0.05
	sleep 0.5
	on switch ip link set wan down
	sleep 1
	on switch ip link set wan up
	kill -0 "$job_0" && kill -0 "$job_1" || fail "it was over before the cut was"
	well 0 1
	has out.0 '^answer checked: ok$'
	on b tc qdisc del dev wan root
else
	echo "skip hosts: a link that is cut for a second: $(head -n 1 refused)"
fi
end

died='died: nothing was heard of it for [0-9]+ ms \(DPI_PEER_TIMEOUT\)'
begin "a link that is cut: an error at each handle, which says so; restored for new processes"
start a 0 2 DPI_PEER_TIMEOUT=$((5 * slow))s ./peer over
start b 1 2 DPI_PEER_TIMEOUT=$((5 * slow))s ./peer
if await out.1 '^running'; then
	has out.1 "^node 0 alive 1 host a by $transport: .*$transport: chosen"
	on switch ip link set wan down
	finish 1
	for call in append read push; do has out.1 "^$call DPI_ERR_PEER .*node 0 \(process [0-9]+ on a\) $died"; done
	has out.1 '^node 0 alive 0'
	await out.0 '^node 1 alive 0'
	has out.0 "^next DPI_ERR_PEER .*node 1 \(process [0-9]+ on b\) $died"
	on switch ip link set wan up
	# the bridge needs a moment; a process that joins tries until its deadline
	on b env DPI_CLUSTER=$registry DPI_KEY_FILE="$tmp/key" timeout $((100 * slow)) "$BUILD/bin/dpi-info" --json --cluster >out.2 2>&1
	[ $? = 0 ] || fail "no new process can join"
	has out.2 "$transport: chosen"
fi
: >over
well 0
end

begin "a host that is gone"
start a 0 2 DPI_PEER_TIMEOUT=$((5 * slow))s ./peer
start c 1 2 DPI_PEER_TIMEOUT=$((5 * slow))s ./peer
if await out.1 '^running'; then
	on c ip link set wan down
	host_kill c
	finish 1
	finish 0
	has out.0 "^next DPI_ERR_PEER .*node 1 \(process [0-9]+ on c\) $died"
	has out.0 '^finalize DPI_SUCCESS'
	[ $status = 0 ] || fail "node 0: exit status $status"
fi
end

# The process of node 0, and its next life on host d, which gets the first one's address.
process() { # file
	sed -n 's/^process //p' "$1"
}
restart() { # number of the life
	on d env DPI_CLUSTER="$registry" DPI_NODE=0 DPI_NODES=3 DPI_RESTART=1 DPI_KEY_FILE="$tmp/key" DPI_PEER_TIMEOUT=$((2 * slow))s \
		timeout $((200 * slow)) ./life over "life $1" one >"out.life$1" 2>&1 &
	job_life=$!
}
lasts() { # file text: the last line of its kind
	grep "^${2%% *} " "$1" | tail -n 1 | grep -qE -- "^$2" || fail "the last '${2%% *}' in $1 is not '$2'"
}

begin "a registry that is stopped, and whose place is taken, is none any more when it goes on"
long=DPI_PEER_TIMEOUT=$((2 * slow))s
on c ip link set wan up
start a 0 3 $long ./life over "life 1" one
await out.0 '^process'
start b 1 3 $long ./life over one two
start c 2 3 $long ./life over two one
if await out.0 '^finds DPI_SUCCESS' && await out.1 '^appends DPI_SUCCESS' && await out.2 '^appends DPI_SUCCESS'; then
	first=$(process out.0)
	kill -STOP "$first"
	await out.1 '^names DPI_ERR_(REGISTRY|TIMEOUT) .*node 0'
	await out.2 '^names DPI_ERR_(REGISTRY|TIMEOUT) .*node 0'
	on a ip link set wan down
	on d ip addr add 10.77.1.1/24 dev wan
	for host in b c; do on $host ip neigh flush all; done
	restart 2
	await out.life2 '^names DPI_SUCCESS'
	await out.life2 '^finds DPI_SUCCESS'
	kill -CONT "$first"
	await out.0 '^names DPI_ERR_REGISTRY .*may have come back'
	sleep 1
	[ "$(grep -c '^names DPI_SUCCESS' out.0)" = 1 ] || fail "the first life names again"
	lasts out.1 'names DPI_SUCCESS'
	lasts out.2 'names DPI_SUCCESS'
	kill -KILL "$(process out.life2)"
	n=0
	while on d ss -Htln 2>/dev/null | grep -q 10.77.1.1:4000 && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.05; done
	restart 3
	await out.life3 '^names DPI_SUCCESS'
	await out.life3 '^finds DPI_SUCCESS'
	sleep 1
	for node in 1 2; do
		lasts out.$node 'names DPI_SUCCESS'
		[ "$(grep -c '^appends' out.$node)" = 1 ] || fail "what was open did not go on at node $node"
	done
fi
: >over
well 1 2
finish 0
wait "$job_life"
on d ip addr del 10.77.1.1/24 dev wan
on a ip link set wan up
end

if command -v mpirun >/dev/null && [ -z "$SAN" ] && "$BUILD/bin/dpi-info" --version | grep -q '^  PMIx  *[^b]'; then
	begin "a job of mpirun on two hosts: a key is made for it"
	printf '#!/bin/sh\nshift\nexec nsenter -t %s -n -u -- sh -c "$*"\n' "$(host_holder b)" >agent && chmod +x agent # stands for ssh
	on a env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout $((120 * slow)) mpirun --mca plm_rsh_agent "$tmp/agent" \
		--mca oob_tcp_if_include wan --host 10.77.1.1:2,10.77.1.2:2 -n 4 env DPI_TRANSPORT=shm,$transport \
		"$BUILD/examples/hash_join" --scale 0.05 >out.0 2>&1
	[ $? = 0 ] || fail "mpirun ends in an error"
	has out.0 '^answer checked: ok$'
	has out.0 "MB by $transport"
	end
fi

exit $bad

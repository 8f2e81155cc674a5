#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpi-info: every section, columns, JSON, wrong settings, the cluster.
cd "$(dirname "$0")/../.." || exit 2
BUILD=${BUILD:-build} slow=${TEST_SLOW:-1} top=$PWD
export DPI_MODULES=${DPI_MODULES:-$PWD/$BUILD/dpi}
bin=$PWD/$BUILD/bin
for p in dpirun dpi-info; do [ -x "$bin/$p" ] || { echo "not ok dpi_info: there is no $bin/$p: run make"; exit 1; }; done
tmp=$(mktemp -d "${TMPDIR:-/tmp}/dpi-info-test-XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp" || exit 2
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
		echo "not ok dpi_info: $name"
		sed 's/^/  | /' why
		for f in out err; do [ -s $f ] && head -n 20 $f | sed "s/^/  | $f: /"; done
		bad=1
	else
		echo "ok dpi_info: $name"
	fi
}
info() {
	timeout $((30 * slow)) "$bin/dpi-info" "$@" >out 2>err
	status=$?
}
status_is() {
	[ $status = "$1" ] || fail "exit status $status, not $1"
}
out_has() {
	grep -qE -- "$1" out || fail "no '$1' on standard output"
}
err_has() {
	grep -qE -- "$1" err || fail "no '$1' on standard error"
}
err_empty() {
	[ ! -s err ] || fail "standard error is not empty"
}

# Is the file one JSON value and nothing else? Members and entries are printed as lines 'path value', so that tests can ask for them.
cat >json.awk <<'END'
function stop(what) { print "byte " at ": " what | "cat 1>&2"; bad = 1; exit 1 }
function blank() { while (substr(s, at, 1) ~ /[ \t\n]/) at++ }
function string(   begin, c, text) {
	begin = at++
	while ((c = substr(s, at, 1)) != "\"") {
		if (c == "") stop("a string has no end")
		if (c < " ") stop("a control character in a string")
		if (c == "\\") {
			at++
			c = substr(s, at, 1)
			if (c == "u") { if (substr(s, at + 1, 4) !~ /^[0-9a-f][0-9a-f][0-9a-f][0-9a-f]$/) stop("\\u"); at += 4 }
			else if (c !~ /["\\\/bfnrt]/) stop("an unknown escape")
		}
		at++
	}
	at++
	return substr(s, begin + 1, at - begin - 2)
}
function value(path,   c, key, n, text) {
	blank()
	c = substr(s, at, 1)
	if (c == "{") {
		at++; blank()
		if (substr(s, at, 1) == "}") { at++; return }
		for (;;) {
			blank()
			if (substr(s, at, 1) != "\"") stop("a member has no name")
			key = string()
			if ((path, key) in seen) stop("member " key " comes twice")
			seen[path, key] = 1
			blank()
			if (substr(s, at++, 1) != ":") stop("no colon")
			value(path "." key); blank()
			c = substr(s, at++, 1)
			if (c == "}") return
			if (c != ",") stop("no comma")
		}
	}
	if (c == "[") {
		at++; blank(); n = 0
		if (substr(s, at, 1) == "]") { at++; return }
		for (;;) {
			value(path "[" n++ "]"); blank()
			c = substr(s, at++, 1)
			if (c == "]") return
			if (c != ",") stop("no comma")
		}
	}
	if (c == "\"") { print path " " string(); return }
	if (match(substr(s, at, 40), /^(true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?)/)) {
		print path " " substr(s, at, RLENGTH)
		at += RLENGTH
		return
	}
	stop("no value")
}
{ s = s $0 "\n" }
END { if (bad) exit 1; at = 1; value(""); blank(); if (at <= length(s)) stop("something follows") }
END
json() { # arguments: dpi-info's JSON in out, its members in members
	info --json "$@"
	LC_ALL=C awk -f json.awk out >members 2>json-error || fail "no JSON: $(cat json-error)"
}
has() {
	grep -qE -- "$1" members || fail "no member '$1'"
}

begin "without arguments: every section but errors and cluster, no line over 100 columns"
info
status_is 0
err_empty
for s in Library Transports Limits Topology Settings; do out_has "^$s\$"; done
grep -qE '^(Errors|Cluster)$' out && fail "errors or cluster too"
sed 's/[\x80-\xbf]//g' out | LC_ALL=C awk 'length($0) > 100 && !/^    loaded from |^    file / { print "line " NR " has " length($0) " columns: " $0 }' >>why
grep -nE '[ 	]$' out >>why
end

begin "--version: library, header, the file, the build"
info --version
v=$(awk '/define DPI_VERSION_(MAJOR|MINOR|PATCH)/ { v = v s $3; s = "." } END { print v }' "$top/include/dpi.h")
out_has "^  version +$v\$"
out_has "^  header +$v\$"
out_has "^    loaded from +$bin/dpi-info\$"
out_has '^  compiler +(gcc|.*[Cc]lang)'
out_has '^  sanitizer '
out_has '^  libcrypto '
out_has '^  hwloc '
out_has '^  membarrier +(yes|no)'
end

begin "--version finds the shared library that programs get"
if [ -f "$top/$BUILD/libdpi.so.${v%%.*}" ] && [ -z "$SAN" ]; then
	LD_LIBRARY_PATH=$top/$BUILD info --version
	out_has "^  libdpi.so.${v%%.*} +$v\$"
	out_has "^    file +$top/$BUILD/libdpi.so.$v\$"
fi
mkdir -p strange && echo 'not a library' >strange/libdpi.so.${v%%.*}
LD_LIBRARY_PATH=$tmp/strange info --version
status_is 0
out_has "^  libdpi.so.${v%%.*} .*(file too short|invalid ELF header)"
end

begin "--transports: each built-in one"
info --transports
status_is 0
for t in shm tcp; do out_has "^  $t +open "; done
out_has '^  hook:shm +usable +works; used only where DPI_TRANSPORT names it$'
out_has '^ +capabilities +direct, .*same_host'
out_has '^ +limits '
out_has '^ +costs +latency '
DPI_TRANSPORT=tcp info --transports
out_has "^  shm +usable +works; but DPI_TRANSPORT is 'tcp'"
[ "$(grep -n '^  [a-z]' out | head -n 1 | awk '{ print $2 }')" = tcp ] || fail "tcp is not the first"
DPI_TRANSPORT=hook:tcp,shm info --transports
out_has '^  hook:tcp +open '
status_is 0
end

begin "--transports: the choice of a provider, and of those left out as JSON"
if [ -e "$DPI_MODULES/libdpi-libfabric.so" ]; then
	info --transports
	out_has '^ +choices +provider: [a-z]'
	json --transports
	has '^\.transports\[[0-9]*\]\.choices\[[0-9]*\] provider sockets, .*: thousands of times slower than tcp$'
	has '^\.transports\[[0-9]*\]\.choices\[[0-9]*\] provider: '
	sed -n 's/^\.transports\[\([0-9]*\)\]\.choices\[[0-9]*\]/\1/p' members | sort | uniq -d | grep -q . && fail "a choice stands there twice"
fi
end

begin "--transports: what does not work, and why"
DPI_TRANSPORT=hook info --transports
status_is 1
out_has '^  hook +not usable +hook wraps another transport: write hook:shm'
out_has '^  tcp +usable '
err_has '^dpi-info: .*hook wraps another'
DPI_TRANSPORT=carrier_pigeon info --transports
status_is 1
out_has '^  carrier_pigeon not usable +not built in; '
err_has "^dpi-info: DPI_TRANSPORT: there is no transport 'carrier_pigeon'"
DPI_LISTEN=nowhere info --transports
out_has "^  tcp +not usable +DPI_LISTEN is 'nowhere'"
end

begin "--transports of a cluster with a key: what its programs have, which listen to other hosts"
echo 0123456789abcdef0123456789abcdef >key
chmod 600 key
printf 'nodes 2\nkey %s\n0 192.0.2.2:4000\n1 192.0.2.3:4000\n' "$tmp/key" >keyed
cat >host.sh <<'END'
ip link set lo up && ip link add far0 type bridge && ip addr add 192.0.2.2/24 dev far0 && ip link set far0 up || exit 42
exec "$@"
END
# usage: at_host SETTING…: on a host of the address 192.0.2.2
at_host() {
	timeout $((30 * slow)) unshare --net sh ./host.sh env "$@" "$bin/dpi-info" --json --transports --settings >out 2>err
	status=$?
	LC_ALL=C awk -f json.awk out >members 2>json-error || fail "no JSON: $(cat json-error)"
}
if unshare --net sh ./host.sh true 2>/dev/null; then
	for key in DPI_KEY_FILE="$tmp/key" DPI_CLUSTER="$tmp/keyed"; do
		for listen in '' 192.0.2.2 far0; do
			at_host "$key" DPI_LISTEN=$listen DPI_TRANSPORT=tcp
			status_is 0
			has '^\.transports\[0\]\.open true$'
			at_host "$key" DPI_LISTEN=$listen
			grep -q 'set DPI_KEY_FILE' members && fail "a key is asked for that is there: $key, DPI_LISTEN=$listen"
			[ -e "$DPI_MODULES/libdpi-libfabric.so" ] && has '^\.transports\[[0-9]*\]\.choices\[[0-9]*\] provider: .* over far0, 192\.0\.2\.2'
		done
		has "^\.settings\[[0-9]*\]\.value $tmp/key\$"
	done
	at_host DPI_LISTEN=far0
	has '^\.transports\[[0-9]*\]\.reason .*set DPI_KEY_FILE'
else
	echo "skip dpi_info: a cluster with a key: network namespaces are not permitted here"
fi
end

begin "--transports: libfabric without a device does not go before tcp, of itself"
cat >devices.sh <<'END'
mount -t tmpfs none /sys/class && mkdir -p /sys/class/infiniband/none0 && ip link set lo up || exit 42
exec "$@"
END
if [ ! -e "$DPI_MODULES/libdpi-libfabric.so" ]; then
	:
elif unshare --net --mount sh ./devices.sh true 2>/dev/null; then
	timeout $((30 * slow)) unshare --net --mount sh ./devices.sh env DPI_LOG=information "$bin/dpi-info" --transports >out 2>err
	status=$?
	status_is 0
	out_has '^  tcp +open '
	out_has '^  libfabric +usable +works; used where DPI_TRANSPORT names it'
	err_has 'transport libfabric left out: it would work without a device'
	timeout $((30 * slow)) unshare --net --mount sh ./devices.sh env DPI_TRANSPORT=libfabric "$bin/dpi-info" --transports >out 2>err
	out_has '^  libfabric +open '
else
	echo "skip dpi_info: libfabric without a device: namespaces are not permitted here"
fi
end

begin "--limits: as the shell says"
(ulimit -Sn 321 && ulimit -l 64 2>/dev/null; info --limits && cp out limits)
grep -qE '^  open descriptors +321 ' limits || fail "open descriptors are not 321"
[ "$(id -u)" = 0 ] || grep -qE '^  locked memory +64 KiB' limits || fail "locked memory is not 64 KiB"
for s in 'mappings of a process' memory overcommit /dev/shm; do out_has "^  $s "; done
out_has "^  mappings of a process +$(cat /proc/sys/vm/max_map_count) "
end

begin "--topology"
info --topology
out_has '^  known from +(hwloc|/sys)$'
out_has "^  processors +$(getconf _NPROCESSORS_ONLN)( |\$)"
out_has '^  cores +[1-9]'
out_has '^  NUMA node'
taskset -V >/dev/null 2>&1 && { taskset -c "$(taskset -pc $$ | sed 's/.*: //; s/[-,].*//')" "$bin/dpi-info" --topology >out; out_has '^    for this process +1( |$)'; }
end

begin "--topology of other machines, replayed by hwloc"
four="HWLOC_XMLFILE=$top/test/topology/two_sockets_four_nics.xml"
replay() { env HWLOC_THISSYSTEM=0 "$@" "$bin/dpi-info" --topology >out 2>err; status=$?; }
replay "$four"
status_is 0
if grep -q '^  known from  *hwloc' out; then
	out_has '^  known from +hwloc, which replays another machine$'
	out_has '^  packages +2$'
	out_has '^  NUMA node 1 +128 GiB +processors 4-7,12-15$'
	for d in 'RDMA device mlx5_0|17|0|0-3,8-11' 'RDMA device mlx5_1|31|0|0-3,8-11' 'RDMA device mlx5_2|98|1|4-7,12-15' \
		'interface eno1|b1|1|4-7,12-15'; do
		device=${d%%|*} rest=${d#*|}
		bus=${rest%%|*} rest=${rest#*|}
		numa=${rest%%|*} processors=${rest#*|}
		out_has "^  $device +0000:$bus:00.0, near NUMA node $numa, processors $processors\$"
		grep -A 3 "^  $device " out >place
		grep -qE "^    its progress thread +processors $processors\$" place &&
			{ grep -qE "^    its windows +NUMA node $numa\$" place || [ "$device" = 'interface eno1' ]; } &&
			grep -qE "^      because +near ${device##* }\$" place || fail "$device: a wrong place"
	done
	out_has '^  progress thread +on the processors the process may use$'
	grep -q '^    from this process' out && fail "this process runs on another machine"
	# machines said to be this one: what is near the processor that the process runs on
	while read -r machine processor near far; do
		taskset -c "$processor" true 2>/dev/null || continue
		env HWLOC_THISSYSTEM=1 HWLOC_XMLFILE="$top/test/topology/$machine.xml" taskset -c "$processor" "$bin/dpi-info" --topology >out
		for d in $near; do grep -A 1 " device $d " out | grep -qE '^    from this process +near$' || fail "$machine: $d is not near $processor"; done
		for d in $far; do grep -A 1 " device $d " out | grep -qE '^    from this process +far$' || fail "$machine: $d is not far from $processor"; done
		env HWLOC_THISSYSTEM=1 HWLOC_XMLFILE="$top/test/topology/$machine.xml" taskset -c "$processor" "$bin/dpi-info" --topology --json >out
		LC_ALL=C awk -f json.awk out >members 2>json-error || fail "no JSON: $(cat json-error)"
		has '^.topology.devices\[[0-9]*\].near true$'
		has '^.topology.devices\[[0-9]*\].near false$'
	done <<-MACHINES
		two_processors 0 nic0 nic1
		two_processors 1 nic1 nic0
		two_sockets_four_nics 1 mlx5_0 mlx5_2
		two_sockets_four_nics 4 mlx5_2 mlx5_1
	MACHINES
	replay HWLOC_SYNTHETIC='package:4 [numa(memory=4294967296)] core:2 pu:2'
	out_has '^  packages +4$'
	out_has '^  processors +16 '
	out_has '^  NUMA node 3 +4 GiB +processors 12-15$'
	env HWLOC_THISSYSTEM=0 "$four" "$bin/dpi-info" --topology --json >out
	LC_ALL=C awk -f json.awk out >members 2>json-error || fail "no JSON: $(cat json-error)"
	has '^.topology.devices\[[0-9]*\].name mlx5_2$'
	has '^.topology.devices\[[0-9]*\].windows_numa 1$'
	has '^.topology.devices\[[0-9]*\].near null$'
	has '^.topology.place.reason no transport'
else
	out_has '^  known from +/sys$'
fi
end

begin "--settings: value, origin and meaning of each"
DPI_LINGER=3ms DPI_TRANSPORT=tcp info --settings
status_is 0
out_has '^  DPI_LINGER +3ms +environment +unflushed appends'
out_has '^  DPI_TRANSPORT +tcp +environment '
out_has '^  DPI_TIMEOUT +30s +default '
DPI_KEY_FILE=/a/path/that/is/longer/than/its/column info --settings
out_has '^  DPI_KEY_FILE +/a/path/that/is/longer/than/its/column$'
out_has '^ +environment +file with the cluster key'
sed -nE 's/^\tX\(([A-Z_]+), [a-z]+, ".*/\1/p' "$top/src/core/settings.h" | while read -r s; do grep -q "^  DPI_$s " out || echo "no line for DPI_$s" >>why; done
end

begin "--settings: a wrong value is named, the others are shown"
DPI_LINGER=3parsecs DPI_TIMEOUT=9s info --settings
status_is 1
err_has "^dpi-info: .*DPI_LINGER.*'3parsecs' is not a time"
out_has "'3parsecs' is not a time"
out_has '^  DPI_LINGER +1ms +default '
out_has '^  DPI_TIMEOUT +9s +environment '
DPI_LINGR=1 info --settings
status_is 0
err_has 'did you mean DPI_LINGER'
[ "$(wc -l <err)" = 1 ] || fail "it is said more than once"
DPI_LINGR=1 info
[ "$(grep -c 'did you mean DPI_LINGER' err)" = 1 ] || fail "it is not said once"
end

begin "--errors: the table of dpi.h"
info --errors
sed -nE 's/^\tX\((SUCCESS|ERR_[A-Z]+), ([0-9]+), "(.*)"\).*/\2 DPI_\1 \3/p' "$top/include/dpi.h" >table
sed -n '2,$s/^ *//p' out | tr -s ' ' | cmp -s - table || fail "it differs from DPI_ERRORS"
[ "$(wc -l <table)" -gt 20 ] || fail "the table of dpi.h was not found"
end

begin "--json: valid, with everything"
json
status_is 0
err_empty
for m in '.library.version [0-9]' '.library.compiler ' '.transports\[0\].name shm' '.transports\[0\].usable true' '.transports\[0\].capabilities\[0\] direct' \
	'.limits.nofile [0-9]+' '.limits.max_map_count [0-9]+' '.topology.processors [0-9]+' '.topology.numa\[0\].processors ' '.settings\[0\].name DPI_CLUSTER' \
	'.settings\[[0-9]*\].origin default' '.errors\[7\].name DPI_ERR_SIZE' '.errors\[7\].number 7'; do has "^$m"; done
grep -q '^\.cluster' members && fail "a cluster that was not asked for"
json --limits --errors
has '^.limits.nofile '
grep -qE '^\.(library|settings)' members && fail "more than was asked for"
end

begin "--json: strange values in settings stay valid JSON"
DPI_BIND= DPI_JOB="$(printf 'quote " back \\ tab \t line \n bad \377\300 good \303\251')" json --settings
has '^.settings\[[0-9]*\].value quote \\" back \\\\ tab \\u0009 line \\u000a bad \\ufffd\\ufffd good '
if command -v iconv >/dev/null; then iconv -f UTF-8 -t UTF-8 out >/dev/null || fail "it is not UTF-8"; fi
DPI_LINGER=x json
has "^.error .*'x' is not a time"
status_is 1
end

begin "--json: what python makes of it"
if command -v python3 >/dev/null && python3 -c 'import json' 2>/dev/null; then
	info --json
	python3 -c 'import json, sys; d = json.load(open("out")); assert d["limits"]["nofile"] and len(d["errors"]) > 20 and d["settings"]' 2>err || fail "it cannot read it"
fi
end

begin "--man-settings: an mdoc list of every setting"
info --man-settings
[ "$(head -n 1 out)" = '.Bl -tag -width Ds' ] && [ "$(tail -n 1 out)" = .El ] || fail "it is no list"
sed -nE 's/^\tX\(([A-Z_]+), ([a-z]+), ".*/.It Ev DPI_\1 Pq \2/p' "$top/src/core/settings.h" >items
grep '^\.It' out | cmp -s - items || fail "its items are not the settings"
grep -A 1 '^.It Ev DPI_LINGER ' out | tail -n 1 | grep -q '^[A-Z].*\.$' || fail "the text is no sentence"
end

begin "--cluster: the nodes of a job, and the transports between them"
for t in shm tcp; do
	timeout $((30 * slow)) "$bin/dpirun" -n 3 --transport $t "$bin/dpi-info" --cluster >out 2>err
	status=$?
	status_is 0
	[ "$(grep -c "joined .* $t .*$t: chosen" out)" = 6 ] || fail "not 6 lines of joined nodes over $t"
	[ "$(grep -c 'this one .* local ' out)" = 3 ] || fail "not 3 lines of own nodes"
done
timeout $((30 * slow)) "$bin/dpirun" -n 2 --no-label sh -c '"$0" --cluster --json >cluster.$DPI_NODE' "$bin/dpi-info" 2>err || fail "it fails with --json"
for n in 0 1; do
	LC_ALL=C awk -f json.awk cluster.$n >members 2>json-error || fail "no JSON: $(cat json-error)"
	has "^.cluster.this_node $n\$"
	has "^.cluster.nodes\[$((1 - n))\].reason shm: chosen"
done
end

begin "--cluster: of this process alone, and of nobody"
info --cluster
status_is 0
out_has '^  registry +none: this process alone'
out_has '^  nodes +1$'
DPI_CLUSTER=unix:nobody-is-there DPI_NODE=1 DPI_TIMEOUT=300ms info --cluster --settings
status_is 1
err_has '^dpi-info: .*unix:nobody-is-there'
out_has '^  DPI_NODE +1 +environment'
DPI_CLUSTER=unix:nobody-is-there DPI_NODE=1 DPI_TIMEOUT=300ms json --cluster
status_is 1
has '^.error .*nobody-is-there'
end

begin "without --cluster nobody is joined"
DPI_CLUSTER=unix:nobody-is-there DPI_NODE=1 DPI_NODES=3 DPI_TIMEOUT=300ms info
status_is 0
err_empty
out_has '^  DPI_NODE +1 +environment'
end

begin "a cluster file's settings say so"
printf 'nodes 1\njob filed\n0 127.0.0.1:0\n' >cluster
DPI_CLUSTER=cluster DPI_NODE=0 info --cluster --settings
if [ $status = 0 ]; then out_has '^  DPI_JOB +filed +file '; else err_has 'cluster:[0-9]'; fi
end

begin "a wrong command line; an output that cannot be written"
for a in --bogus transports -x; do
	info $a
	status_is 2
	err_has "^dpi-info: there is no section '$a'; see dpi-info --help\$"
done
info --help
status_is 0
out_has '^usage: dpi-info'
if [ -c /dev/full ]; then
	"$bin/dpi-info" --limits >/dev/full 2>err
	status=$?
	status_is 1
	err_has 'standard output cannot be written'
fi
end

exit $bad

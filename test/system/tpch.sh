#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# TPC-H queries, each by a flow with stages and a reduction, on real tables: what comes out is what a database says, to the last digit.
# cites: X-17 X-22 X-24 FL-320 FL-325
cd "$(dirname "$0")/../.." || exit 2
BUILD=${BUILD:-build} slow=${TEST_SLOW:-1} CC=${CC:-gcc} SAN=${SAN:-} data=$PWD/../shared/data
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
for part in "$data"/tpch-sf*.tar.zst "$data/answers/q1.txt" "$data/answers/q3.txt" "$data/answers/q6.txt" "$data/answers/q12.txt" "$data/answers/group_high_ndv.txt" "$data/answers/distinct.txt"; do
	[ -f "$part" ] || { echo "skip tpch: there is no $part"; exit 0; }
done
command -v zstd >/dev/null || { echo "skip tpch: no zstd to unpack the tables (package zstd)"; exit 0; }
tmp=$(mktemp -d "${TMPDIR:-/tmp}/tpch-test-XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
mkdir "$tmp/tables"
tar --zstd -xf "$(echo "$data"/tpch-sf*.tar.zst)" -C "$tmp/tables" || exit 1
$CC -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror ${SAN:+-fsanitize=$SAN} -Iinclude test/system/tpch/query.c -o "$tmp/query" -L"$BUILD" -ldpi -Wl,-rpath,"$BUILD" -pthread || exit 1
bad=0

# usage: query NAME TRANSPORT PROCESSES: its lines, to $tmp/out
query() {
	timeout $((120 * slow)) "$BUILD/bin/dpirun" --no-label -n "$3" -x DPI_TRANSPORT="$2" "$tmp/query" "$1" "$tmp/tables" >"$tmp/out" 2>"$tmp/err"
}
# usage: compare NAME TRANSPORT PROCESSES; expected in $tmp/expected, found in $tmp/found
compare() {
	if cmp -s "$tmp/expected" "$tmp/found" && ! [ -s "$tmp/err" ]; then
		echo "ok tpch: $1, $3 processes, $2"
	else
		echo "not ok tpch: $1, $3 processes, $2"
		head -n 10 "$tmp/err" | sed 's/^/  | /'
		diff "$tmp/expected" "$tmp/found" | head -n 20 | sed 's/^/  | /'
		bad=1
	fi
}
answer() {
	sed 1d "$data/answers/$1.txt"
}

for run in "shm 1" "shm 4" "tcp 3"; do
	for name in q1 q6; do
		query $name $run
		answer $name >"$tmp/expected"
		cp "$tmp/out" "$tmp/found"
		compare $name $run
	done
	query q12 $run # of each order: is its priority high, and how many of its lines came late by mail, and by ship
	answer q12 >"$tmp/expected"
	awk -F'|' '{ high[1] += $2 * $3; low[1] += !$2 * $3; high[2] += $2 * $4; low[2] += !$2 * $4 }
		END { printf "MAIL|%d|%d\nSHIP|%d|%d\n", high[1], low[1], high[2], low[2] }' "$tmp/out" >"$tmp/found"
	compare q12 $run
	query q3_customers $run
	mv "$tmp/out" "$tmp/customers"
	query q3 $run # of each order: its customer, its day, its priority in shipping, its revenue; the ten of most are asked for
	answer q3 >"$tmp/expected"
	awk -F'|' 'FNR == NR { counts[$1] = 1; next } counts[$2] && $5 != "" { print $1 "|" $5 "|" $3 "|" $4 }' "$tmp/customers" "$tmp/out" |
		sort -t'|' -k2,2nr -k3,3 | head -n 10 >"$tmp/found"
	compare q3 $run
	query parts $run
	answer group_high_ndv >"$tmp/expected"
	awk -F'|' '{ rows += $2; if ($2 > most) most = $2 } END { printf "%d|%d|%d\n", NR, rows, most }' "$tmp/out" >"$tmp/found"
	compare "group by partkey" $run
	answer distinct >"$tmp/expected"
	: >"$tmp/found"
	for name in orders parts comments; do
		query $name $run
		wc -l <"$tmp/out" >>"$tmp/found"
	done
	tr '\n' '|' <"$tmp/found" | sed 's/|$//' >"$tmp/line"
	echo >>"$tmp/line"
	cp "$tmp/line" "$tmp/found"
	compare "distinct values" $run
done
exit $bad

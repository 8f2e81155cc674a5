#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# memory_join on real TPC-H tables, against a database's answers. test/run runs the examples themselves, over each transport.
BUILD=${BUILD:-build} data=../shared/data
for part in "$data"/tpch-sf*.tar.zst "$data/answers/join_count.txt" "$data/answers/join_filtered.txt"; do
	[ -f "$part" ] && continue
	echo "skip memory_join on TPC-H tables: there is no $part"
	exit 0
done
if ! command -v zstd >/dev/null; then
	echo "skip memory_join on TPC-H tables: no zstd to unpack them (package zstd)"
	exit 0
fi
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
tar --zstd -xf "$(echo "$data"/tpch-sf*.tar.zst)" -C "$tmp" || exit 1
status=0
for transport in shm tcp; do
	for processes in 1 3; do
		name="memory_join on TPC-H tables, $processes processes, $transport"
		if timeout $((60 * ${TEST_SLOW:-1})) "$BUILD/bin/dpirun" -n $processes -x DPI_TRANSPORT=$transport \
			"$BUILD/examples/memory_join" --tables "$tmp" --answers "$data/answers" >"$tmp/output" 2>&1 &&
			grep -q 'answer checked: ok' "$tmp/output"; then
			echo "ok $name"
		else
			echo "not ok $name"
			sed 's/^/  | /' "$tmp/output"
			status=1
		fi
	done
done
exit $status

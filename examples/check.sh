#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The joins on real TPC-H tables, against a database's answers, word_count on files, and log_shipping with deaths. test/run runs the examples themselves, over each transport.
BUILD=${BUILD:-build} data=../shared/data status=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# usage: try NAME TRANSPORT PROCESSES EXAMPLE ARGUMENTS…; its output is to say that the answer was checked
try() {
	name="$1, $3 processes, $2" transport=$2 processes=$3
	program=$BUILD/examples/$4
	shift 4
	if timeout $((300 * ${TEST_SLOW:-1})) "$BUILD/bin/dpirun" -n "$processes" -x DPI_TRANSPORT="$transport" \
		"$program" "$@" >"$tmp/output" 2>&1 && grep -q 'answer checked: ok' "$tmp/output"; then
		echo "ok $name"
	else
		echo "not ok $name"
		sed 's/^/  | /' "$tmp/output"
		status=1
	fi
}

printf 'Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; \377\376 zwölf\n' >"$tmp/text"
head -c 40000 /dev/zero | tr '\0' x >"$tmp/long" # one word, longer than any share
: >"$tmp/empty"
for transport in shm tcp; do
	for processes in 1 5; do
		try "word_count on files" $transport $processes word_count "$tmp/text" "$tmp/long" "$tmp/empty" README.md LICENSE
	done
done

# A backup and a primary die: dpirun says so with its status, and others go on in their places. Of five backups three have each partition.
for transport in shm tcp; do
	name="log_shipping, a backup and a primary killed, $transport"
	timeout $((300 * ${TEST_SLOW:-1})) "$BUILD/bin/dpirun" --keep-going -n 9 -x DPI_TRANSPORT=$transport "$BUILD/examples/log_shipping" --kill \
		>"$tmp/output" 2>&1
	if [ $? = 137 ] && grep -q 'primary 1 died' "$tmp/output" && grep -q 'answer checked: ok' "$tmp/output"; then echo "ok $name"
	else
		echo "not ok $name"
		sed 's/^/  | /' "$tmp/output"
		status=1
	fi
done

for part in "$data"/tpch-sf*.tar.zst "$data/answers/join_count.txt" "$data/answers/join_filtered.txt"; do
	[ -f "$part" ] && continue
	echo "skip joins on TPC-H tables: there is no $part"
	exit $status
done
if ! command -v zstd >/dev/null; then
	echo "skip joins on TPC-H tables: no zstd to unpack them (package zstd)"
	exit $status
fi
mkdir "$tmp/tables"
tar --zstd -xf "$(echo "$data"/tpch-sf*.tar.zst)" -C "$tmp/tables" || exit 1
for example in memory_join hash_join; do
	for transport in shm tcp; do
		for processes in 1 3; do
			try "$example on TPC-H tables" $transport $processes $example --tables "$tmp/tables" --answers "$data/answers"
		done
	done
done
exit $status

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# How much of a transport module its tests without a device go through: lines of each file, by gcov.
# usage: test/module/coverage.sh NAME     after `make` (for build/libdpi.a); works in build/coverage-NAME
cd "$(dirname "$0")/../.." || exit 2
name=${1:?a name such as verbs} BUILD=${BUILD:-build} CC=${CC:-gcc}
out=$BUILD/coverage-$name
needs=$(sed -n "s/^needs_$name := //p" Makefile)
rm -rf "$out"
mkdir -p "$out" || exit
flags="-std=c11 -D_GNU_SOURCE -O0 -g -pthread -fvisibility=hidden $(pkg-config --cflags $needs)"
for f in transports/$name/*.c; do
	$CC $flags --coverage -Iinclude -c -o "$out/$(basename "$f" .c).o" "$f" || exit
done
for f in test/module/$name/*.c test/harness*.c; do
	$CC $flags -Iinclude -Itest -Isrc/core -Isrc -I. -I"$BUILD" -c -o "$out/test_$(basename "$f" .c).o" "$f" || exit
done
mkdir -p "$out/test/module"
$CC --coverage -pthread -o "$out/test/module/test" "$out"/*.o "$BUILD/libdpi.a" -ldl || exit
TEST_SLOW=${TEST_SLOW:-5} "$out/test/module/test" >"$out/log" 2>&1 || { tail -n 20 "$out/log"; exit 1; }
tail -n 1 "$out/log"
cd "$out" && gcov -n ./*.gcno 2>/dev/null | awk -v name="$name" '
	/^File / { file = $2; gsub(/\x27/, "", file) }
	/^Lines executed/ && index(file, "transports/" name "/") && file ~ /\.c$/ {
		split($2, part, ":"); percent = part[2] + 0; lines = $4 + 0
		sub(/.*\//, "", file)
		printf "%-14s %5.1f %% of %4d lines\n", file, percent, lines | "sort"
		hit += percent * lines / 100; all += lines; file = ""
	}
	END { close("sort"); if (all) printf "%-14s %5.1f %% of %4d lines\n", "together", 100 * hit / all, all }'

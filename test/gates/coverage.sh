#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# How much of the transport modules their tests without a device go through: lines of each file, by gcov, shown, and held against what
# test/module/coverage says is the least. Works in build/coverage; alone: make check TESTS=test/gates/coverage.sh
. "$(dirname "$0")/common"

floors=test/module/coverage
out=$BUILD/coverage
if [ "$SAN" ]; then skip "lines" "a sanitizer's build is not the one that is counted"; exit 0; fi
case $("$CC" --version) in *clang*) skip "lines" "gcov counts what gcc has compiled"; exit 0 ;; esac
command -v gcov >/dev/null || { skip "lines" "no gcov (package gcc)"; exit 0; }

# Compile the sources that are read, with gcov's counters if said. usage: compile PREFIX FLAG… <SOURCES
compile() {
	prefix=$1
	shift
	xargs -P "$(nproc)" -I {} sh -c 'prefix=$1 out=$2 file=$3; shift 3; exec "$@" -c -o "$out/$prefix$(basename "$file" .c).o" "$file"' - \
		"$prefix" "$module" {} "$CC" -std=c11 -D_GNU_SOURCE -O0 -g -pthread -fvisibility=hidden "$@"
}

build() { # name of a transport, package names of its libraries
	name=$1 module=$out/$1
	shift
	flags=$(pkg-config --cflags "$@") && rm -rf "$module" && mkdir -p "$module/test/module" || return
	ls transports/"$name"/*.c | compile '' --coverage -Iinclude $flags || return
	ls test/module/"$name"/*.c test/harness*.c | compile test_ -Iinclude -Itest -Isrc/core -Isrc -I. -I"$BUILD" $flags || return
	$CC --coverage -pthread -o "$module/test/module/test" "$module"/*.o "$BUILD/libdpi.a" -ldl
}

count() { # of a transport: FILE PERCENT LINES
	(cd "$out/$1" && gcov -n ./*.gcno 2>/dev/null) | awk -v folder="transports/$1/" '
		/^File / { file = $2; gsub(/\x27/, "", file) }
		/^Lines executed/ && index(file, folder) && file ~ /\.c$/ {
			split($2, part, ":")
			sub(/.*\//, "", file)
			print folder file, part[2] + 0, $4 + 0
			file = ""
		}' | sort
}

for folder in test/module/*/; do
	name=$(basename "$folder")
	needs=$(sed -n "s/^needs_$name := //p" Makefile)
	pkg-config --exists $needs || { skip "$name" "no $needs here: make deps"; continue; }
	try "$name is built with counters" build "$name" $needs
	[ -x "$out/$name/test/module/test" ] || continue
	try "$name: its tests pass" "$out/$name/test/module/test" --jobs 4
	count "$name" >"$tmp/lines"
	[ -s "$tmp/lines" ] || echo "$name: gcov says nothing" >"$tmp/none"
	touch "$tmp/none"
	verdict "$name: lines are counted" "$tmp/none"
	awk '{ printf "note %-34s %5.1f %% of %4d lines\n", $1, $2, $3; hit += $2 * $3 / 100; all += $3 }
		END { if (all) printf "note %-34s %5.1f %% of %4d lines\n", "'"$name"', together", 100 * hit / all, all }' "$tmp/lines"
	awk -v folder="transports/$name/" '
		/^#/ || !NF { next }
		FNR == NR { if (index($1, folder) == 1) least[$1] = $2; next }
		!($1 in least) { print $1 ": no least share of lines is in test/module/coverage"; next }
		$2 < least[$1] { print $1 ": tests go through " $2 " % of its lines, less than " least[$1] " %; test the rest, or say less there" }
		{ delete least[$1] }
		END { for (file in least) print file ": there is no such file" }' "$floors" "$tmp/lines" >"$tmp/below"
	verdict "$name: no file has less than its share" "$tmp/below"
done

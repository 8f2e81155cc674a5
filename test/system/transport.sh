#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The transport of examples/transport, out of the tree, by what `make install` puts below DESTDIR: the steps are those of
# dpi_write_transport(7), taken from the page.
# cites: T-2
cd "$(dirname "$0")/../.." || exit 2
BUILD=${BUILD:-build} CC=${CC:-gcc} SAN=${SAN:-} MAKE=${MAKE:-make} slow=${TEST_SLOW:-1}
page=$PWD/man/man7/dpi_write_transport.7
tmp=$(mktemp -d "${TMPDIR:-/tmp}/transport-test-XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
bad=0

verdict() { # NAME GOOD: 0 is good; else $tmp/out says why
	if [ "$2" = 0 ]; then
		echo "ok transport: $1"
	else
		echo "not ok transport: $1"
		tail -n 40 "$tmp/out" | sed 's/^/  | /'
		bad=1
	fi
}
command -v pkg-config >/dev/null || { echo "skip transport: no pkg-config (package pkg-config)"; exit 0; }

$MAKE --no-print-directory BUILD="$BUILD" SAN="$SAN" CC="$CC" DESTDIR="$tmp/root" PREFIX=/usr/local install >"$tmp/out" 2>&1
verdict "make install" $?
[ $bad = 0 ] || exit 1

# The page's commands find a tree of libdpi as its reader has it, what is installed, and nothing else of this one.
case $BUILD in /*) built=$BUILD ;; *) built=$PWD/$BUILD ;; esac
mkdir -p "$tmp/tree/examples"
cp -R examples/transport "$tmp/tree/examples/transport"
ln -s "$built" "$tmp/tree/build"
at=$tmp/root/usr/local
export PKG_CONFIG_PATH="$at/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$tmp/root" LD_LIBRARY_PATH="$at/lib" PATH="$at/bin:$PATH" CC
export CFLAGS="-O2 -g -Wall -Wextra -Wpedantic -Werror ${SAN:+-fsanitize=$SAN}"
unset DPI_MODULES
sed -n '/^\.Bd -literal/,/^\.Ed/ s/^\$ //p' "$page" >"$tmp/steps"
steps=$(wc -l <"$tmp/steps")
cd "$tmp/tree" || exit 2
: >"$tmp/done"

# Each step for itself, so that one that fails has a line of its own; 'export' is kept for those after it.
while read -r step; do
	{ cat "$tmp/done" && echo "$step"; } >"$tmp/step.sh"
	case $step in
	*conformance*) step="$step --jobs 2" && sed -i '$s/ tp_/ --jobs 2 tp_/' "$tmp/step.sh" ;;
	esac
	timeout -k 5 $((300 * slow)) sh "$tmp/step.sh" >"$tmp/out" 2>&1 </dev/null
	status=$?
	case $step in # what is to be seen besides
	export*) echo "$step" >>"$tmp/done" ;;
	*dpi-info*) grep -q '^ *pipe  *open ' "$tmp/out" || status=1 ;;
	*hello*) [ "$(grep -c 'Hello from node . of 4' "$tmp/out")" = 4 ] || status=1 ;;
	*listing1*) grep -q "'Hello ' (7 bytes) 'World!' (7 bytes)" "$tmp/out" || status=1 ;;
	*conformance*) tail -n 1 "$tmp/out" | awk '{ exit !($1 >= 60 && $3 == 0) }' || status=1 ;;
	esac
	verdict "$step" $status
done <"$tmp/steps"
[ "$steps" -ge 7 ] || { echo "the page has $steps steps" >"$tmp/out"; verdict "the page has its steps" 1; }

# The ABI's number is looked at: a table of another one is refused, with a sentence.
sed 's/\.abi = DPI_TP_ABI/.abi = DPI_TP_ABI + 1/' mine/pipe.c >mine/pipe.c.new && mv mine/pipe.c.new mine/pipe.c
make -C mine >"$tmp/out" 2>&1 && DPI_MODULES=$PWD/mine dpirun -n 1 -x DPI_TRANSPORT=pipe build/examples/hello >"$tmp/out" 2>&1
[ $? != 0 ] && grep -q 'not a transport of ABI 1 (it says 2)' "$tmp/out"
verdict "a module of another ABI is refused" $?
exit $bad

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The library exports what dpi.h declares and the version map lists, neither more nor less; it needs libc alone and does not
# end a process.
. "$(dirname "$0")/common"
so=$BUILD/libdpi.so
[ -f "$so" ] && [ -f "$BUILD/libdpi.a" ] || { echo "not ok $gate: $so or $BUILD/libdpi.a is not built"; exit 1; }

prototypes | sed 's/^int //; s/(.*//' >"$tmp/header"
grep -o '\bDPI_API int DPI_' include/dpi.h | wc -l >"$tmp/n1"
wc -l <"$tmp/header" >"$tmp/n2"
same "$tmp/n1" "DPI_API declarations" "$tmp/n2" "those understood" >"$tmp/out"
sed -n 's/^[[:blank:]]*\(DPI_[A-Za-z_]*\);.*/\1/p' src/libdpi.map >"$tmp/map"
same "$tmp/header" include/dpi.h "$tmp/map" src/libdpi.map >>"$tmp/out"
verdict "the version map lists what the header declares" "$tmp/out"

grep -oh '^extern DPI_API [^;(]*' include/dpi.h include/dpi_inline.h | sed 's/.*[ *]//' | cat "$tmp/header" - >"$tmp/all" # and what inline calls use
nm -D --defined-only "$so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' >"$tmp/exports"
same "$tmp/all" include/dpi.h "$tmp/exports" "$so" >"$tmp/out"
verdict "the library exports what the header declares" "$tmp/out"

{
	echo '#include <dpi.h>'
	echo 'void (*const calls[])(void) = {'
	sed 's/.*/	(void (*)(void))&,/' "$tmp/header"
	echo '};'
	echo 'int main(void) { int missing = 0;'
	echo 'for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) missing += !calls[i];'
	echo 'return missing; }'
} >"$tmp/all.c"
link_all() {
	$CC -std=c11 -Iinclude ${SAN:+-fsanitize=$SAN} -o "$tmp/all" "$tmp/all.c" "$@" && LD_LIBRARY_PATH=$BUILD "$tmp/all"
}
try "a program that uses every call links with the shared library" link_all -L"$BUILD" -ldpi
try "and with the static one" link_all "$BUILD/libdpi.a" -pthread -ldl

readelf -d "$so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p' >"$tmp/soname"
echo "libdpi.so.$(sed -n 's/#define DPI_VERSION_MAJOR //p' include/dpi.h)" >"$tmp/wanted"
same "$tmp/wanted" dpi.h "$tmp/soname" "$so" >"$tmp/out"
verdict "the soname is the header's major version" "$tmp/out"

if [ "$SAN" ]; then
	skip "libc alone, no way to end a process" "the sanitizer's runtime is in the library"
	exit 0
fi
readelf -d "$so" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' |
	grep -vE '^(libc\.so|ld-linux|libdl\.so|libpthread\.so)' >"$tmp/out"
verdict "the library needs libc alone" "$tmp/out"

nm -D --undefined-only "$so" | awk '{ sub(/@.*/, "", $2); print $2 }' |
	grep -xE 'abort|exit|_exit|_Exit|quick_exit|atexit|on_exit|__assert_fail|signal|sigaction|raise|system' \
		>"$tmp/out"
verdict "the library neither ends the process nor handles its signals" "$tmp/out"

readelf -SW "$BUILD/libdpi.a" |
	awk '/^File:/ { file = $2 } / \.(init_array|ctors|preinit_array)/ { print file ": has a constructor" }' >"$tmp/out"
verdict "the library has no global constructors" "$tmp/out"

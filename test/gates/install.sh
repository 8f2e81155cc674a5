#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What `make install` puts below DESTDIR is enough to compile, link and run a program; `make uninstall` leaves no file.
. "$(dirname "$0")/common"

quiet_make() { $MAKE --no-print-directory BUILD="$BUILD" SAN="$SAN" CC="$CC" DESTDIR="$tmp/root" PREFIX=/usr/local "$@"; }
try "make install" quiet_make install
at=$tmp/root/usr/local
for f in include/dpi.h include/dpi_inline.h include/dpi_transport.h include/dpi_words.h lib/libdpi.so lib/libdpi.a lib/pkgconfig/dpi.pc bin/dpirun bin/dpi-info bin/dpi-top \
	share/man/man7/dpi.7 share/man/man3/DPI_Init.3 share/man/man1/dpirun.1 share/man/man1/dpi-top.1; do
	[ -e "$at/$f" ] || echo "$f is not installed"
done >"$tmp/out"
verdict "library, headers, programs and manual are installed" "$tmp/out"

cat >"$tmp/program.c" <<'EOT'
#include <dpi.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	DPI_Context ctx;
	DPI_Buffer buf;
	DPI_Record r = {0, 0};
	const char *why = "";
	char name[32];
	int node = 0, nodes = 0, e = DPI_Init(&ctx);
	if (!e) e = DPI_Get_Node_Id(ctx, &node);
	if (!e) e = DPI_Get_Node_Count(ctx, &nodes);
	snprintf(name, sizeof name, "greeting %d", node);
	if (!e) e = DPI_Create_Buffer(name, DPI_NODE_SELF, NULL, ctx, &buf);
	if (!e) e = DPI_Append("hello", 5, buf);
	if (!e) e = DPI_Flush_Buffer(buf);
	if (!e) e = DPI_Next_Record(buf, &r);
	if (!e) printf("%.*s\n", (int)r.size, (const char *)r.data);
	if (!e) e = DPI_Barrier("done", (uint32_t)nodes, 0, ctx); /* node 0 holds the registry: it leaves last */
	if (!e) e = DPI_Finalize(ctx);
	if (e) DPI_Get_Error_Detail(&why);
	if (e) fprintf(stderr, "error %d: %s\n", e, why);
	return e;
}
EOT
export PKG_CONFIG_PATH="$at/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$tmp/root"
flags=${SAN:+-fsanitize=$SAN}
says_hello() { [ "$(LD_LIBRARY_PATH=$at/lib "$tmp/program")" = hello ] || { echo "it does not print hello"; false; }; }
shared() { $CC $flags -o "$tmp/program" "$tmp/program.c" $(pkg-config --cflags --libs dpi) && says_hello; }
static() { $CC $flags -o "$tmp/program" "$tmp/program.c" -I"$at/include" "$at/lib/libdpi.a" -pthread && says_hello; }
as_cxx() { g++ $flags -x c++ -o "$tmp/program" "$tmp/program.c" $(pkg-config --cflags --libs dpi) && says_hello; }
version() { [ "$(pkg-config --modversion dpi)" = "$(basename "$at"/lib/libdpi.so.*.*.* | sed 's/libdpi.so.//')" ]; }
try "pkg-config knows the version" version
try "a program is built by pkg-config and runs" shared
try "and against the static library" static
if command -v g++ >/dev/null && [ -z "$SAN" ]; then try "and as C++" as_cxx; fi
loaded() { LD_LIBRARY_PATH=$at/lib "$at/bin/dpirun" -n 2 "$tmp/program"; }
shared && try "the installed dpirun runs it" loaded
finds_modules() { # for each that was built
	"$at/bin/dpi-info" --transports >"$tmp/transports" || return
	for m in "$at"/lib/dpi/libdpi-*.so; do
		m=$(basename "$m" .so)
		grep -A2 "^  ${m#libdpi-} " "$tmp/transports" | grep 'no module' && return 1
	done
	true
}
try "the installed dpi-info finds the modules" finds_modules

if grep -q '^```c$' README.md 2>/dev/null; then
	sed -n '/^```c$/,/^```$/p' README.md | sed '/^```c$/d; /^```$/q' | sed '/^```/d' >"$tmp/readme.c"
	readme() {
		$CC $flags -o "$tmp/readme" "$tmp/readme.c" $(pkg-config --cflags --libs dpi) || return
		LD_LIBRARY_PATH=$at/lib "$at/bin/dpirun" -n 2 "$tmp/readme"
	}
	try "the README's program is built and runs" readme
fi

try "make uninstall" quiet_make uninstall
find "$tmp/root" ! -type d >"$tmp/out"
verdict "uninstall leaves no file" "$tmp/out"

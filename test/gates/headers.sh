#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each public header compiles alone, as C11 and as C++17; every public macro is used by a test or an example.
. "$(dirname "$0")/common"

for header in include/*.h; do
	name=$(basename "$header")
	echo "#include <$name>" >"$tmp/alone.c"
	cp "$tmp/alone.c" "$tmp/alone.cc"
	for how in gcc:c11:c clang:c11:c g++:c++17:cc clang++:c++17:cc; do
		compiler=${how%%:*} suffix=${how##*:} standard=${how#*:}
		standard=${standard%:*}
		command -v "$compiler" >/dev/null || compiler=$compiler-14
		if command -v "$compiler" >/dev/null; then
			try "$name alone is $standard for $compiler" "$compiler" -std="$standard" -Iinclude \
				-Wall -Wextra -Wpedantic -Werror -fsyntax-only "$tmp/alone.$suffix"
		else
			skip "$name as $standard" "no ${how%%:*}"
		fi
	done
done

# DPI_STAT_FIELD, DPI_ERROR_ENUM, DPI_TYPE_ENUM and those of dpi_words.h end within the header.
sed -n 's/^#[[:blank:]]*define[[:blank:]]*\(DPI_[A-Za-z0-9_]*\).*/\1/p' include/*.h | sort -u |
	grep -vxE 'DPI_H|DPI_INLINE_H|DPI_TRANSPORT_H|DPI_WORDS_H|DPI_API|DPI_STAT_FIELD|DPI_ERROR_ENUM|DPI_TYPE_ENUM|DPI_WORDS_(SINGLY|LOOP|WIDE)' |
	while read -r macro; do
		grep -rqw --include='*.c' --include='*.h' "$macro" test examples || echo "$macro: no test or example uses it"
	done >"$tmp/out"
verdict "every public macro is used by a test or an example" "$tmp/out"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Nothing is left for later, no blanks at line ends, every source says its licence.
. "$(dirname "$0")/common"

files | grep -v '^test/gates/words.sh$' >"$tmp/files"
xargs -d '\n' grep -InwE 'TODO|FIXME|XXX|HACK' <"$tmp/files" >"$tmp/words"
verdict "no word that puts work off" "$tmp/words"

grep -v '\.md$' "$tmp/files" | xargs -d '\n' grep -InE '[[:blank:]]+$' >"$tmp/blanks"
verdict "no blank before a line's end" "$tmp/blanks"

grep -E '\.(c|h|sh)$|(^|/)Makefile|^\.ci/run$' "$tmp/files" | while read -r f; do
	head -n 2 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$f: no SPDX line at its head"
done >"$tmp/licence"
verdict "every source says its licence" "$tmp/licence"

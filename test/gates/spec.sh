#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every statement of spec/ is cited by a test or listed as untestable with a reason; every citation is of one there is.
# A test in C cites in TEST(…, "M-3 M-4", …), a script in a line '# cites: M-3 M-4'.
. "$(dirname "$0")/common"

grep -hoE '^\*\*[A-Z]+-[0-9]+\*\*' spec/[0-9A-Z]*.md | tr -d '*' >"$tmp/statements"
sort "$tmp/statements" | uniq -d | sed 's/$/: two statements have this number/' >"$tmp/out"
[ -s "$tmp/statements" ] || echo "spec/ has no statements" >"$tmp/out"
verdict "each statement has a number of its own" "$tmp/out"

sed -n 's/^- \([A-Z]*-[0-9]*\): *\(.\).*/\1/p' spec/untestable.md >"$tmp/untestable"
{
	for source in test/unit/*_test.c test/system/*.c test/conformance/conformance.c; do
		program=$BUILD/${source%.c}
		[ -x "$program" ] && "$program" --cites 2>/dev/null | sed "s|^|$(basename "$program"): |"
	done
	grep -rHoE '^# cites:.*' test --include='*.sh' | grep -v '^test/gates/' | while IFS=: read -r f _ list; do
		for s in $list; do echo "$f: script $s"; done
	done
} >"$tmp/cites"
awk '{ print $NF }' "$tmp/cites" | sort -u >"$tmp/cited"

sort -u "$tmp/statements" >"$tmp/s"
sort -u "$tmp/untestable" >"$tmp/u"
sort -u "$tmp/cited" "$tmp/u" | comm -23 "$tmp/s" - | sort -t- -k1,1 -k2,2n |
	sed 's/$/: no test cites it, spec\/untestable.md does not list it/' >"$tmp/out"
verdict "every statement is tested or listed as untestable" "$tmp/out"

comm -13 "$tmp/s" "$tmp/cited" >"$tmp/wrong"
awk -v wrong="$tmp/wrong" 'BEGIN { while ((getline s < wrong) > 0) bad[s] = 1 }
	$NF in bad { print $0 ": there is no such statement" }' "$tmp/cites" >"$tmp/out"
verdict "every citation is of a statement there is" "$tmp/out"

comm -13 "$tmp/s" "$tmp/u" | sed 's/$/: listed as untestable, but no statement/' >"$tmp/out"
comm -12 "$tmp/cited" "$tmp/u" | sed 's/$/: listed as untestable, but a test cites it/' >>"$tmp/out"
verdict "the list of the untestable is right" "$tmp/out"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The manual says what the code says: every call has a page, every synopsis is the header's prototype, every error, setting,
# counter, program and example stands where it should, and mandoc finds nothing wrong.
. "$(dirname "$0")/common"

page() { # NAME SECTION: its page, a '.so' followed
	file=man/man$2/$1.$2
	[ -f "$file" ] || return 1
	so=$(sed -n '1,5s/^\.so \(.*\)/\1/p' "$file" | head -n 1)
	if [ "$so" ]; then [ -f "man/$so" ] && echo "man/$so"; else echo "$file"; fi
}
table() { # X-macro FILE: the names in a table
	awk -v t="#define $1(X)" 'index($0, t) { on = 1; next }
		on && match($0, /X\([A-Za-z0-9_]+/) { print substr($0, RSTART + 2, RLENGTH - 2) }
		on && !/\\$/ { exit }' "$2"
}
# A page's prototypes, from .Ft, .Fn, and .Fo .Fa .Fc, as the header's are printed.
synopsis() {
	awk 'function words(s, list, n, w) { # mdoc arguments: blanks separate, quotes join
			n = 0
			while (s != "") {
				sub(/^ +/, "", s)
				if (s ~ /^"/) { w = s; sub(/^"/, "", w); sub(/".*/, "", w); s = substr(s, length(w) + 3) }
				else { w = s; sub(/ .*/, "", w); s = substr(s, length(w) + 1) }
				if (w != "") list[++n] = w
			}
			return n
		}
		/^\.Sh / { on = /SYNOPSIS/ }
		!on { next }
		/^\.Ft / { type = substr($0, 5) }
		function add(from, n) { for (; from <= n; from++) { text = text sep a[from]; sep = ", " } }
		/^\.F[no] / { n = words(substr($0, 5), a); text = type " " a[1] "("; sep = ""; add(2, n) }
		/^\.Fa / { add(1, words(substr($0, 5), a)) }
		/^\.F[nc]/ { print text ")" }' "$1"
}
squeeze() { sed 's/ *\([*(),]\) */\1/g; s/  */ /g; s/^ //; s/(void)/()/'; }

# ------------------------------------------------------------------------------------------------------------- calls

prototypes | while read -r prototype; do
	name=$(echo "$prototype" | sed 's/^int //; s/(.*//')
	file=$(page "$name" 3) || { echo "man/man3/$name.3: there is no such page, or it is an alias of none"; continue; }
	synopsis "$file" | squeeze | grep -qxF "$(echo "$prototype" | squeeze)" ||
		echo "$file: its synopsis has not the header's prototype: $prototype"
	sed -n '/^\.Sh NAME/,/^\.Sh SYNOPSIS/p' "$file" | grep -qw "$name" || echo "$file: NAME does not list $name"
done >"$tmp/out"
sed -nE 's/^#define (DPI_[A-Z][a-z][A-Za-z_]*)\(.*/\1/p' include/dpi.h include/dpi_inline.h | while read -r name; do
	page "$name" 3 >/dev/null || echo "man/man3/$name.3: no page of this macro call"
done >>"$tmp/out"
verdict "every call has a page with the header's prototype" "$tmp/out"

for f in man/man3/*.3; do
	[ -f "$f" ] && ! grep -q '^\.so ' "$f" && synopsis "$f" | sed 's/^[^(]* \**//; s/(.*//' | while read -r name; do
		grep -qE "\b$name\(" include/dpi.h include/dpi_transport.h || echo "$f: the header has no $name"
	done
done >"$tmp/out"
verdict "no page of a call that is not there" "$tmp/out"

for f in man/man3/*.3; do
	[ -f "$f" ] && ! grep -q '^\.so ' "$f" || continue
	for section in NAME SYNOPSIS DESCRIPTION 'RETURN VALUES' ERRORS 'SEE ALSO'; do
		grep -qE "^\.Sh \"?$section\"?\$" "$f" || echo "$f: no section $section"
	done
done >"$tmp/out"
verdict "every page of a call has the same sections" "$tmp/out"

# ------------------------------------------------------------------------------------------------------------ errors

table DPI_ERRORS include/dpi.h | sed 's/^/DPI_/' >"$tmp/classes"
grep -roE '\bDPI_ERR_[A-Z_]{2,}' man spec examples README.md 2>/dev/null | sort -u | while IFS=: read -r f class; do
	grep -qx "$class" "$tmp/classes" || echo "$f: there is no error class $class"
done >"$tmp/out"
verdict "only error classes there are" "$tmp/out"

# A call and each class that 'Errors: …' in the comment before it names; what follows 'Source:' is not meant.
awk '/^\/\*/ { comment = ""; on = 1 } on { comment = comment " " $0 } /\*\// { on = 0 }
	/^$/ { comment = "" }
	/^DPI_API int/ { name = $3; sub(/\(.*/, "", name); text = comment
		if (!sub(/.*Errors:/, "", text)) next
		sub(/Source:.*/, "", text); gsub(/[^A-Z_]/, " ", text); print name, text }' include/dpi.h |
	while read -r name list; do
		file=$(page "$name" 3) || continue
		for class in $list; do
			grep -qx "DPI_ERR_$class" "$tmp/classes" || continue
			grep -q "DPI_ERR_$class\b" "$file" || echo "$file: $name may return DPI_ERR_$class, says the header"
		done
	done >"$tmp/out"
verdict "every page names the errors of the header's comment" "$tmp/out"

# ------------------------------------------------------------------------------------------------------------ tables

stands_in() { # FILE: each line of the input is a word in it
	while read -r word; do grep -qw -e "$word" "$1" 2>/dev/null || echo "$1: does not name $word"; done
}
{
	table DPI_SETTINGS src/core/settings.h | sed 's/^/DPI_/' | stands_in man/man7/dpi_environment.7
	stands_in man/man7/dpi.7 <"$tmp/classes"
	table DPI_BUFFER_STATS include/dpi.h | stands_in "$(page DPI_Get_Buffer_Stats 3)"
	table DPI_PEER_STATS include/dpi.h | stands_in "$(page DPI_Get_Peer_Stats 3)"
	table DPI_SOURCE_STATS include/dpi.h | stands_in "$(page DPI_Get_Source_Stats 3)"
	table DPI_TARGET_STATS include/dpi.h | stands_in "$(page DPI_Get_Target_Stats 3)"
	table DPI_STAGE_STATS include/dpi.h | stands_in "$(page DPI_Get_Source_Stage_Stats 3)"
	table DPI_FLOW_STATS include/dpi.h | stands_in "$(page DPI_Get_Flow_Stats 3)"
	sed -nE 's/^\t(int|void) \(\*([a-z_]+)\)\(.*/\2/p; s/^#define (DPI_TP_[A-Z_]+) 0x.*/\1/p' include/dpi_transport.h |
		stands_in man/man7/dpi_transport.7
} >"$tmp/out"
verdict "every setting, class, counter, capability and slot is in the manual" "$tmp/out"

man/generate-environment.sh >"$tmp/environment" 2>"$tmp/out"
diff man/man7/dpi_environment.7 "$tmp/environment" >>"$tmp/out"
verdict "dpi_environment(7) is what the table of settings makes it" "$tmp/out"

table DPI_SETTINGS src/core/settings.h | sed 's/^/DPI_/' >"$tmp/settings"
sed -nE 's/^\.(Ev|It Ev|Pq Ev) +(DPI_[A-Z_]+).*/\2/p' man/man*/* 2>/dev/null | sort -u | grep -vxFf "$tmp/settings" |
	while read -r word; do
		grep -nE "^\.(Ev|It Ev|Pq Ev) +$word\b" man/man*/* | sed 's/:\..*/: there is no setting '"$word/"
	done >"$tmp/out"
verdict "only settings there are" "$tmp/out"

for f in src/tools/*.c; do
	[ -f "$f" ] || continue
	name=$(basename "$f" .c | tr _ -)
	[ -f "man/man1/$name.1" ] || echo "man/man1/$name.1: $name has no page"
done >"$tmp/out"
for name in dpi dpi_memory dpi_cluster dpi_environment dpi_expression dpi_flow dpi_transport dpi_tutorial; do
	[ -f "man/man7/$name.7" ] || echo "man/man7/$name.7: no such page"
done >>"$tmp/out"
verdict "every program has a page, and the overviews are there" "$tmp/out"

grep -rnoE '(examples|spec|bench|include|man)/[A-Za-z0-9_./-]+\.(c|h|md|[137])\b' man spec README.md 2>/dev/null |
	while IFS=: read -r f n path; do [ -f "$path" ] || echo "$f:$n: there is no $path"; done >"$tmp/out"
verdict "every example and file named is there" "$tmp/out"

cat examples/hash_join.c examples/tpch.h >"$tmp/join"
sed -n '/^\.Bd -literal/,/^\.Ed/ { /^\./d; /^\$ /d; s/\\e/\\/g; p; }' man/man7/dpi_tutorial.7 | grep -vxFf "$tmp/join" |
	sed 's/^/man\/man7\/dpi_tutorial.7: the example has not: /' >"$tmp/out"
verdict "the tutorial's code is the example's" "$tmp/out"

# ------------------------------------------------------------------------------------------------------------- pages

grep -nE '^\.(Xr|It Xr|Pq Xr) ' man/man*/* 2>/dev/null | sed 's/\(:[0-9]*\):.*Xr /\1 /' |
	while read -r where name section _; do
		case $name in
		DPI* | dpi*) [ -f "man/man$section/$name.$section" ] || echo "$where: $name($section) does not exist" ;;
		esac
	done >"$tmp/out"
verdict "every reference leads somewhere" "$tmp/out"

if command -v mandoc >/dev/null; then
	# style, too; its references to manuals that are not installed are looked at above
	(cd man && for f in man*/*; do grep -q '^\.so ' "$f" || mandoc -Tlint -W style "$f" 2>/dev/null; done) |
		grep -v 'referenced manual not found' >"$tmp/out"
	verdict "mandoc -Tlint finds nothing" "$tmp/out"
	html() {
		man/html.sh "$tmp/html" || return
		for f in "$tmp"/html/*.html; do
			grep -oE 'href="[^"#:]+' "$f" | sed 's/href="//' | sort -u | while read -r link; do
				[ -e "$tmp/html/$link" ] || echo "${f##*/}: a link to $link, which is not there"
			done
		done >"$tmp/links"
		sort -u "$tmp/links"
		[ ! -s "$tmp/links" ]
	}
	try "the HTML manual can be made and its links lead somewhere" html
else
	skip "mandoc -Tlint and HTML" "no mandoc (package mandoc)"
fi

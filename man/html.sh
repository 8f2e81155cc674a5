#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The manual and the specification as HTML. usage: man/html.sh DIRECTORY
set -eu
out=${1:?usage: man/html.sh DIRECTORY}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")"
command -v mandoc >/dev/null || { echo "the manual as HTML needs mandoc: apt-get install mandoc" >&2; exit 1; }
cp style.css "$out/style.css"

up='<p class="up"><a href="index.html">libdpi</a></p>'
head_of() { # TITLE
	printf '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"/>\n'
	printf '<meta name="viewport" content="width=device-width"/>\n'
	printf '<link rel="stylesheet" href="style.css"/><title>%s</title></head>\n<body>\n' "$1"
}

# mandoc links every reference; only those to pages there are keep their link.
for page in man[1-9]/*; do
	name=$(basename "$page")
	mandoc -Thtml -I os=libdpi -O style=style.css,man=%N.%S.html "$page" | sed "s|<body>|<body>$up|" >"$out/$name.html"
done
for file in "$out"/*.[1-9].html; do
	grep -o 'href="[^"#:]*\.[1-9]\.html"' "$file" | sort -u | while read -r link; do
		target=${link#href=\"}
		[ -f "$out/${target%\"}" ] || sed -i "s|<a class=\"Xr\" $link>\([^<]*\)</a>|\1|g" "$file"
	done
done

chapters=
if command -v pandoc >/dev/null; then
	for chapter in ../spec/*.md; do
		[ -f "$chapter" ] || continue
		name=spec-$(basename "$chapter" .md)
		title=$(sed -n 's/^# //p' "$chapter" | head -n 1)
		{
			head_of "$title"
			echo "$up"
			pandoc -f gfm -t html5 "$chapter" | sed 's|href="\([0-9A-Za-z-]*\)\.md|href="spec-\1.html|g'
			echo '</body></html>'
		} >"$out/$name.html"
		chapters="$chapters $name"
	done
else
	echo "the specification is left out: pandoc is missing (apt-get install pandoc)" >&2
fi

list() { # SECTION TITLE: its pages with the line that NAME gives
	set -- "$1" "$2" man"$1"/*
	[ -f "$3" ] || return 0
	printf '<h2>%s</h2>\n<dl class="index">\n' "$2"
	shift 2
	for page; do
		name=$(basename "$page")
		real=$(sed -n '1,5s/^\.so \(.*\)/\1/p' "$page")
		about=$(sed -n 's/^\.Nd //p' "${real:-$page}" | head -n 1)
		printf '<dt><a href="%s.html">%s</a></dt><dd>%s</dd>\n' "$name" "${name%.*}" "$about"
	done
	echo '</dl>'
}
{
	head_of libdpi
	echo '<h1>libdpi: the Data Processing Interface</h1>'
	list 7 'Overviews'
	list 1 'Programs'
	list 3 'Calls'
	if [ "$chapters" ]; then
		printf '<h2>Specification</h2>\n<ul>\n'
		for name in $chapters; do
			title=$(sed -n 's|.*<title>\(.*\)</title>.*|\1|p' "$out/$name.html")
			printf '<li><a href="%s.html">%s</a></li>\n' "$name" "$title"
		done
		echo '</ul>'
	fi
	echo '</body></html>'
} >"$out/index.html"
echo "$out/index.html"

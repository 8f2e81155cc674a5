#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A layer includes only what stands below it: every #include of every source, against the table below.
. "$(dirname "$0")/common"

# file or folder (the first that fits counts), then what may be included: folders of the project, '.' for its own.
# The conformance tests hold for any implementation; only those of transports' tables see this one's list of them. A module's tests play its
# core; of a real one they take the topology.
cat >"$tmp/rules" <<'EOT'
test/conformance/transport_kit.c  include test src/core
test/conformance/transport_open.c include test src/core
test/conformance/transport_hook.c include test src/core
test/module/verbs/choosing.c include test src/core transports/verbs .
transports/shm      include .
transports/tcp      include .
transports/hook     include .
transports/verbs    include .
transports/libfabric include .
test/module/verbs   include test transports/verbs .
test/module/libfabric include test transports/libfabric .
src/core            include src/core
src/memory          include src/core src/memory
src/offload         include src/core src/memory src/offload
src/tools           include src flows transports
src/dpu             include src flows transports
src/init.c          include src/core src/memory src/offload flows
src                 include src/core src/memory src/offload
flows               include src/core src/memory flows
examples            include .
bench/reduce.c      include bench src/core flows
bench/reduce_text.c include bench src/core flows
bench/filter.c      include bench src/core flows
bench               include bench
test/conformance    include test
test                include src flows transports test
include             include
EOT

files | grep -E '\.[ch]$' | grep -E '^(transports|src|flows|examples|bench|test|include)/' >"$tmp/files"
xargs -d '\n' grep -HE '^[[:blank:]]*#[[:blank:]]*include' <"$tmp/files" >"$tmp/includes"
awk -v filelist="$tmp/files" -v rules="$tmp/rules" '
BEGIN {
	while ((getline f < filelist) > 0) exists[f] = 1
	while ((getline line < rules) > 0) {
		split(line, w, " ")
		order[++count] = w[1]
		may[w[1]] = substr(line, length(w[1]) + 1)
	}
	split("include src/core src/memory src flows test transports .", path, " ")
}
function clean(p) { # a/b/../c is a/c
	while (match(p, /[^\/]+\/\.\.\//)) p = substr(p, 1, RSTART - 1) substr(p, RSTART + RLENGTH)
	gsub(/\.\//, "", p)
	return p
}
function find(dir, name, k, p) {
	p = clean(dir "/" name)
	if (p in exists) return p
	for (k = 1; k in path; k++) {
		p = path[k] == "." ? name : path[k] "/" name
		if (p in exists) return p
	}
	return ""
}
{
	file = $0; sub(/:.*/, "", file)
	text = substr($0, length(file) + 2)
	dir = file; sub(/\/[^\/]*$/, "", dir)
	layer = ""
	for (k = 1; k <= count; k++) if (index(file "/", order[k] "/") == 1) { layer = order[k]; break }
	if (match(text, /<[^>]*>/)) {
		name = substr(text, RSTART + 1, RLENGTH - 2)
		if (name == "dpi.h" || name == "dpi_inline.h" || name == "dpi_transport.h" || name == "dpi_words.h") target = "include/" name
		else {
			# libdpi links libc alone: other libraries are loaded when first needed, by src/core
			library = name ~ /^(hwloc|openssl|infiniband|rdma|ucp|uct)(\.h|\/)|^(mpi|zmq|pmix)\.h$/
			if (library && layer !~ /^(src\/core|src\/tools|transports\/(verbs|libfabric)|bench|examples|test)/)
				print file ": <" name "> is not the C library"
			next
		}
	} else if (match(text, /"[^"]*"/)) {
		name = substr(text, RSTART + 1, RLENGTH - 2)
		target = find(dir, name)
		if (target == "") { if (name != "dpi_build.h") print file ": \"" name "\" is found nowhere"; next }
	} else next
	n = split(may[layer], w, " ")
	good = 0
	for (k = 1; k <= n; k++) if (index(target, (w[k] == "." ? dir : w[k]) "/") == 1) good = 1
	if (!good) print file ": " layer " may not include " target
}' "$tmp/includes" >"$tmp/wrong"
verdict "each layer includes only what stands below it" "$tmp/wrong"

# The one list of built-in transports is transport.c; nobody else in core or memory names a transport's table.
grep -rnE 'extern .*DPI_Transport ' src/core src/memory flows 2>/dev/null | grep -v '^src/core/transport\.c:' >"$tmp/tables"
verdict "transports are listed in one place" "$tmp/tables"

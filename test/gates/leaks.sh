#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The small examples lose no memory and touch none that is not theirs, as valgrind sees it, over each transport.
. "$(dirname "$0")/common"

if [ "$SAN" ]; then skip "valgrind" "a sanitizer looks after memory already"; exit 0; fi
command -v valgrind >/dev/null || { skip "valgrind" "no valgrind (package valgrind)"; exit 0; }
for example in hello listing1 work_queue 'memory_join --scale 0.002' 'hash_join --scale 0.002' 'group_by --rows 20000' 'parameter_server --samples 200' \
	'word_count README.md' 'kv --requests 100' 'ping_pong 4096 100' event_loop arrow log_shipping 'sort --rows 5000'; do
	case $example in event_loop | arrow) n=3 ;; log_shipping) n=6 ;; *) n=2 ;; esac
	for transport in shm tcp; do
		try "$example over $transport" timeout 900 \
			"$BUILD/bin/dpirun" -n $n -x DPI_TRANSPORT=$transport -x DPI_TIMEOUT=300s \
			valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect,possible \
			--errors-for-leak-kinds=definite,indirect,possible "$BUILD"/examples/$example
	done
done

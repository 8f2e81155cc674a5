#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Jobs of mpirun: the cluster comes from PMIx, with no settings. Debian's Open MPI.
# cites: E-20 E-50 E-51 E-52 E-53 E-54 E-55 E-56 E-60
cd "$(dirname "$0")/../.." || exit 2
BUILD=${BUILD:-build} slow=${TEST_SLOW:-1} SAN=${SAN:-} CC=${CC:-gcc}
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
info=$BUILD/bin/dpi-info
[ -x "$info" ] || { echo "not ok mpirun: there is no $info: run make"; exit 1; }
if [ "$SAN" ]; then echo "skip mpirun: Open MPI and a sanitizer do not go together"; exit 0; fi
tmp=$(mktemp -d "${TMPDIR:-/tmp}/mpirun-test-XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
$CC -std=c11 -D_GNU_SOURCE -Iinclude test/system/mpirun/member.c -o "$tmp/member" -L"$BUILD" -ldpi -Wl,-rpath,"$BUILD" || exit 1
cd "$tmp" || exit 2
bad=0

fail() {
	echo "$1" >>why
}
begin() {
	name=$1
	: >why
}
end() {
	if [ -s why ]; then
		echo "not ok mpirun: $name"
		sed 's/^/  | /' why
		for f in out err; do [ -s $f ] && head -n 30 $f | sed "s/^/  | $f: /"; done
		bad=1
	else
		echo "ok mpirun: $name"
	fi
	rm -f out err
}
alone() { # variables and a program, started by no launcher
	timeout $((60 * slow)) env "$@" >out 2>err
	status=$?
}
run() { # arguments of mpirun
	timeout $((120 * slow)) mpirun "$@" >out 2>err
	status=$?
}
status_is() {
	[ $status = "$1" ] || fail "exit status $status, not $1"
}
out_has() {
	grep -qE -- "$1" out || fail "no '$1' on standard output"
}
count_is() { # number text: lines that have it
	[ "$(grep -cE -- "$2" out)" = "$1" ] || fail "$(grep -cE -- "$2" out) lines with '$2', not $1"
}

# ------------------------------------------------------------------------------------------------ without a launcher

if ! "$info" --version | grep -q '^  PMIx  *[^b]'; then
	echo "skip mpirun: libdpi was built without PMIx (package libpmix-dev)"
	begin "built without PMIx: an error, and not a cluster of one"
	alone PMIX_NAMESPACE=job PMIX_RANK=0 ./member
	status_is 3
	out_has 'DPI_Init: DPI_ERR_UNSUPPORTED: .*built without'
	end
	exit $bad
fi

begin "no PMIx library: an error, and not a cluster of one"
mkdir empty strange
echo nothing >empty/libpmix.so.2
ln -s "$BUILD/libdpi.so" strange/libpmix.so.2
alone PMIX_NAMESPACE=job PMIX_RANK=0 LD_LIBRARY_PATH="$tmp/empty" ./member
status_is 3
out_has 'DPI_Init: DPI_ERR_UNSUPPORTED: .*libpmix.so.2 cannot be loaded .*install the package libpmix2'
alone PMIX_NAMESPACE=job PMIX_RANK=0 LD_LIBRARY_PATH="$tmp/strange" ./member
status_is 3
out_has 'DPI_Init: DPI_ERR_UNSUPPORTED: .*it lacks calls'
end

begin "no launcher behind the environment: an error, and not a cluster of one"
alone PMIX_NAMESPACE=job PMIX_RANK=0 ./member
status_is 3
out_has 'DPI_Init: DPI_ERR_CONFIG: .*no launcher answers'
end

begin "several processes of srun without PMIx: an error, and not so many clusters of one"
step='SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_STEP_NUM_TASKS'
alone $step=4 ./member
status_is 3
out_has 'DPI_Init: DPI_ERR_CONFIG: srun started 4 processes .*srun --mpi=pmix'
alone $step=4 DPI_CLUSTER= ./member
status_is 0
out_has '^node 0 of 1 '
alone $step=1 ./member
status_is 0
out_has '^node 0 of 1 '
end

begin "several processes of a launcher without PMIx, such as MPICH's: an error, and not so many clusters of one"
for way in PMI_FD=9 PMI_PORT=host:1; do
	alone $way PMI_RANK=1 PMI_SIZE=4 ./member
	status_is 3
	out_has 'DPI_Init: DPI_ERR_CONFIG: a launcher that speaks PMI, not PMIx, started 4 processes .*dpirun'
done
alone PMI_FD=9 PMI_RANK=1 PMI_SIZE=4 DPI_CLUSTER= ./member
status_is 0
out_has '^node 0 of 1 '
alone PMI_FD=9 PMI_RANK=0 PMI_SIZE=1 ./member
status_is 0
out_has '^node 0 of 1 '
end

begin "an empty DPI_CLUSTER: a cluster of one, whatever the launcher says"
alone PMIX_NAMESPACE=job PMIX_RANK=0 DPI_CLUSTER= ./member
status_is 0
out_has '^node 0 of 1 '
end

if ! command -v mpirun >/dev/null; then
	echo "skip mpirun: no mpirun (package openmpi-bin)"
	exit $bad
fi
if ! timeout $((60 * slow)) mpirun -n 2 true >out 2>&1; then
	echo "skip mpirun: mpirun does not work here: $(grep -m 1 '[a-z]' out)"
	exit $bad
fi

# ------------------------------------------------------------------------------------------------------- the cluster

begin "nodes are ranks, of one cluster, and the settings say where from"
run -n 3 ./member
status_is 0
count_is 3 '^node [0-9] of 3 '
for i in 0 1 2; do count_is 1 "^node $i of 3 rank $i cluster=[^ ]+\(pmix\) node=$i\(pmix\) nodes=3\(pmix\) job=[^ ]+\(pmix\)$"; done
[ "$(sed -n 's/^node.*job=//p' out | sort -u | wc -l)" = 1 ] || fail "not one job"
end

begin "two programs are one cluster"
run -n 1 ./member show : -n 2 "$tmp/member"
status_is 0
for i in 0 1 2; do count_is 1 "^node $i of 3 rank $i "; done
end

begin "a context after another"
run -n 3 ./member again
status_is 0
count_is 3 '^again [012] of 3$'
end

begin "a forked child is none of the job"
run -n 2 ./member fork
status_is 0
count_is 2 '^child 5$'
count_is 2 '^DPI_Init: DPI_ERR_FORK: '
end

begin "one process"
run -n 1 ./member
status_is 0
count_is 1 '^node 0 of 1 rank 0 cluster=[^ ]+\(pmix\)'
end

begin "two jobs at once do not see each other"
timeout $((120 * slow)) mpirun -n 2 ./member >other 2>&1 &
run -n 2 ./member
wait $!
status_is 0
cat other >>out
count_is 2 '^node 0 of 2 '
[ "$(sed -n 's/^node.*job=//p' out | sort -u | wc -l)" = 2 ] || fail "not two jobs"
end

begin "hash_join, as by dpirun"
for transport in shm tcp; do
	DPI_TRANSPORT=$transport run -n 4 "$BUILD/examples/hash_join" --scale 0.05
	status_is 0
	count_is 1 '^answer checked: ok$'
	out_has "MB by $transport"
done
end

if [ -x "$BUILD/examples/mpi_flow" ]; then
	begin "DPI_Init before and after MPI_Init, DPI_Finalize before and after MPI_Finalize"
	for order in '' --dpi-first --dpi-last '--dpi-first --dpi-last'; do
		run -n 3 "$BUILD/examples/mpi_flow" --ratings 100000 $order
		status_is 0
		count_is 1 'answer checked: ok$'
	done
	end
else
	echo "skip mpirun: DPI_Init before and after MPI_Init: there is no mpicc (package libopenmpi-dev)"
fi

begin "dpi-info says where the cluster is from"
run -n 2 "$info" --cluster --settings
status_is 0
count_is 2 '^  known from +the launcher: mpirun, prterun or srun, by PMIx$'
count_is 2 '^  DPI_NODES +2 +pmix '
end

# ---------------------------------------------------------------------------------------------------------- settings

begin "what is set goes before what the launcher says"
run -n 2 -x DPI_CLUSTER= ./member
status_is 0
count_is 2 '^node 0 of 1 rank [01] cluster=\(environment\)'
run -n 2 -x DPI_JOB=mine -x DPI_NODES=2 ./member
status_is 0
count_is 2 'nodes=2\(environment\) job=mine\(environment\)$'
run -n 1 -x DPI_NODE=1 ./member
status_is 3
out_has 'DPI_Init: DPI_ERR_CONFIG: DPI_NODE is 1, the launcher \(PMIx\) says 0'
run -n 1 -x DPI_NODES=3 ./member
status_is 3
out_has 'DPI_Init: DPI_ERR_CONFIG: DPI_NODES is 3, the launcher \(PMIx\) says 1'
end

begin "processes stay where the launcher has bound them"
run -n 2 --bind-to none ./member
[ "$(grep -E '^(before|inside)' out | cut -d ' ' -f 2 | sort -u | wc -l)" = 1 ] || fail "not all where they were"
if timeout $((60 * slow)) mpirun -n 2 --bind-to core true >bound 2>&1; then
	run -n 2 --bind-to core ./member
	status_is 0
	[ "$(grep -c '^inside' out)" -ge 4 ] || fail "not all threads are seen"
	sort -u out | sed -n 's/^before //p' >before
	sort -u out | sed -n 's/^inside //p' | cmp -s - before || fail "not all where they were"
	# a process a core, and so the library's threads: two sets of processors, of which neither holds the other
	if timeout $((60 * slow)) mpirun -n 2 --map-by core --bind-to core true >bound 2>&1; then
		run -n 2 --map-by core --bind-to core ./member
		status_is 0
		[ "$(sort -u before | wc -l)" = 2 ] || fail "not two places"
		[ "$(sed -n 's/^inside //p' out | sort -u | wc -l)" = 2 ] || fail "threads are not in two places"
		[ "$(sed -n 's/^inside //p' out | sort | uniq -c | awk '{ print $1 }' | sort -u | wc -l)" = 1 ] || fail "not as many threads at each"
	fi
fi
end

# ---------------------------------------------------------------------------------------------------------- failures

begin "a process that does not call DPI_Init: the others do not wait for ever"
# mpirun itself may then end in an error
run -n 2 -x DPI_TIMEOUT=1s sh -c './member never 1 over >said.$PMIX_RANK; touch over; cat said.$PMIX_RANK'
out_has '^DPI_Init: DPI_ERR_TIMEOUT: not all 2 processes of the job have called DPI_Init within [0-9]+ ms'
end

begin "a process that exits ends the job"
run -n 3 ./member exit 1
[ $status != 0 ] || fail "exit status 0" # that of the process, or of one that fails for it
end

begin "a process that is killed: mpirun ends the job"
run -n 3 ./member die 2
[ $status != 0 ] || fail "exit status 0"
end

begin "a process that is killed: where mpirun lets them, the others see it and go on"
run -n 3 --enable-recovery ./member die 1
count_is 1 '^node 0 goes on$'
count_is 1 '^node 2 goes on$'
end

exit $bad

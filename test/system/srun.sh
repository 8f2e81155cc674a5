#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Jobs of srun: the cluster comes from PMIx, with no settings. Debian's Slurm: munged, slurmctld and slurmd of the test's own, on the loopback
# of a network namespace, in a process namespace whose end is theirs.
# cites: E-50 E-60
BUILD=${BUILD:-build} slow=${TEST_SLOW:-1} SAN=${SAN:-} CC=${CC:-gcc}
case $BUILD in /*) ;; *) BUILD=$(cd "$(dirname "$0")/../.." && pwd)/$BUILD ;; esac

if [ "$1" != inside ]; then
	cd "$(dirname "$0")/../.." || exit 2
	info=$BUILD/bin/dpi-info
	[ -x "$info" ] || { echo "not ok srun: there is no $info: run make"; exit 1; }
	if [ "$SAN" ]; then echo "skip srun: Slurm's PMIx and a sanitizer do not go together"; exit 0; fi
	if ! "$info" --version | grep -q '^  PMIx  *[^b]'; then
		echo "skip srun: libdpi was built without PMIx (package libpmix-dev)"
		exit 0
	fi
	for program in munged:munge slurmctld:slurmctld slurmd:slurmd srun:slurm-client ip:iproute2; do
		PATH=$PATH:/usr/sbin command -v "${program%:*}" >/dev/null && continue
		echo "skip srun: no ${program%:*} (package ${program#*:})"
		exit 0
	done
	if ! unshare --net --uts --pid --fork --kill-child true 2>/dev/null; then
		echo "skip srun: no namespaces here, which take root"
		exit 0
	fi
	tmp=$(mktemp -d "${TMPDIR:-/tmp}/srun-test-XXXXXX") || exit 2
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
	chmod 755 "$tmp"
	$CC -std=c11 -D_GNU_SOURCE -Iinclude test/system/mpirun/member.c -o "$tmp/member" -L"$BUILD" -ldpi -Wl,-rpath,"$BUILD" || exit 1
	cp test/system/srun.sh "$tmp/"
	cd "$tmp" || exit 2
	BUILD=$BUILD TEST_SLOW=$slow unshare --net --uts --pid --fork --kill-child --mount-proc sh ./srun.sh inside
	exit
fi

# ------------------------------------------------------------------------------------------- in the namespaces, in tmp

PATH=$PATH:/usr/sbin:/sbin bad=0
top=$PWD
hostname localhost
ip link set lo up
ip address add 192.0.2.1/32 dev lo # with none but 127.0.0.1 Slurm finds no name's address
mkdir state spool
head -c 1024 /dev/urandom >munge.key
chmod 400 munge.key
cat >slurm.conf <<end
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$top/munge
CredType=cred/munge
StateSaveLocation=$top/state
SlurmdSpoolDir=$top/spool
SlurmctldPidFile=$top/slurmctld.pid
SlurmdPidFile=$top/slurmd.pid
SlurmctldLogFile=$top/slurmctld.log
SlurmdLogFile=$top/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SwitchType=switch/none
SelectType=select/cons_tres
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname=localhost CPUs=4
PartitionName=all Nodes=localhost Default=YES State=UP
end
export SLURM_CONF="$top/slurm.conf" SLURM_CPU_BIND=none # the machine may have fewer processors than were said

say_why() { # why nothing works here
	for f in munged.out slurmctld.log slurmd.log out; do [ -s $f ] && tail -n 5 $f | sed "s/^/  | $f: /"; done
}
munged --foreground --key-file="$top/munge.key" --socket="$top/munge" --pid-file="$top/munge.pid" --log-file="$top/munge.log" \
	--seed-file="$top/munge.seed" >munged.out 2>&1 &
n=0
until [ -S munge ]; do
	n=$((n + 1))
	if [ $n -gt $((200 * slow)) ]; then echo "skip srun: munged does not start here"; say_why; exit 0; fi
	sleep 0.1
done
slurmctld -D >slurmctld.out 2>&1 &
slurmd -D -N localhost >slurmd.out 2>&1 &
n=0
until sinfo -h -o %T 2>/dev/null | grep -q idle; do
	n=$((n + 1))
	if [ $n -gt $((200 * slow)) ]; then echo "skip srun: slurmctld and slurmd do not start here"; say_why; exit 0; fi
	sleep 0.1
done

fail() {
	echo "$1" >>why
}
begin() {
	name=$1
	: >why
}
end() {
	if [ -s why ]; then
		echo "not ok srun: $name"
		sed 's/^/  | /' why
		for f in out err slurmd.log; do [ -s $f ] && tail -n 20 $f | sed "s/^/  | $f: /"; done
		bad=1
	else
		echo "ok srun: $name"
	fi
}
run() { # arguments of srun
	timeout $((120 * slow)) srun "$@" >out 2>err
	status=$?
}
status_is() {
	[ $status = "$1" ] || fail "exit status $status, not $1"
}
count_is() { # number text: lines that have it
	[ "$(grep -cE -- "$2" out)" = "$1" ] || fail "$(grep -cE -- "$2" out) lines with '$2', not $1"
}

begin "nodes are ranks, of one cluster"
run -n 3 --mpi=pmix ./member
status_is 0
for i in 0 1 2; do count_is 1 "^node $i of 3 rank $i cluster=[^ ]+\(pmix\) node=$i\(pmix\) nodes=3\(pmix\) job=[^ ]+\(pmix\)$"; done
end

begin "hash_join, as by dpirun"
for transport in shm tcp; do
	DPI_TRANSPORT=$transport run -n 4 --mpi=pmix "$BUILD/examples/hash_join" --scale 0.05
	status_is 0
	count_is 1 '^answer checked: ok$'
	count_is 1 "MB by $transport"
done
end

# The library's threads run where srun has put the process, and nowhere else.
begin "processes stay where the launcher has bound them"
run -n 2 --mpi=pmix --cpu-bind=none ./member
status_is 0
[ "$(grep -E '^(before|inside)' out | cut -d ' ' -f 2 | sort -u | wc -l)" = 1 ] || fail "not all where they were"
if taskset -c 0 taskset -c 1 true 2>/dev/null; then
	run -n 2 --mpi=pmix --cpu-bind=map_cpu:1,0 ./member
	status_is 0
	for processor in 0 1; do
		count_is 1 "^before[[:space:]]+$processor$"
		[ "$(grep -cE "^inside[[:space:]]+$processor$" out)" -ge 2 ] || fail "not all threads of the process on processor $processor are there"
	done
	count_is 0 '^(before|inside)[[:space:]]+[0-9]+[-,]'
fi
end

begin "without PMIx: an error that says how, and not so many clusters of one"
run -n 2 --mpi=none ./member
[ $status != 0 ] || fail "exit status 0"
count_is 2 'DPI_Init: DPI_ERR_CONFIG: srun started 2 processes .*srun --mpi=pmix'
DPI_CLUSTER='' run -n 2 --mpi=none ./member
status_is 0
count_is 2 '^node 0 of 1 '
run -n 1 --mpi=none ./member
status_is 0
count_is 1 '^node 0 of 1 '
end

exit $bad

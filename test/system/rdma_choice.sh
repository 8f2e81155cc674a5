#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Where test/rdma-vm/run runs a command, by the devices that a machine has, which are made up here, and what it says of them. The virtual
# machine is not started: it is where QEMU is missed.
cd "$(dirname "$0")/../.." || exit 2
slow=${TEST_SLOW:-1} run=$PWD/test/rdma-vm/run
tmp=$(mktemp -d "${TMPDIR:-/tmp}/rdma-choice-XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT PIPE TERM
bad=0
unset RDMA_VM RDMA_DEVICES
export RDMA_SYS="$tmp/sys" RDMA_DEV="$tmp/dev" RDMA_INFO="$tmp/info" RDMA_SECONDS=$((20 * slow)) RDMA_FETCH=0
if [ "$(uname -m)" != x86_64 ]; then
	echo "skip rdma_choice: the virtual machine is one for x86-64"
	exit 0
fi
mkdir "$tmp/bin" || exit 2
for p in sh dirname uname sed id timeout grep ls env sleep; do ln -s "$(command -v $p)" "$tmp/bin/$p"; done

# usage: machine [NAME=STATE…]: a machine with such devices, of a port each
machine() {
	rm -rf "$RDMA_SYS" "$RDMA_DEV"
	[ $# -gt 0 ] || return 0
	mkdir -p "$RDMA_SYS" "$RDMA_DEV"
	touch "$RDMA_DEV/rdma_cm"
	for device; do
		mkdir -p "$RDMA_SYS/${device%%=*}/ports/1"
		echo "${device#*=}" >"$RDMA_SYS/${device%%=*}/ports/1/state"
	done
}

# usage: choose NAME STATUS ERROR COMMAND…: the command ends so, with this on standard error
choose() {
	name=$1 wanted=$2 error=$3
	shift 3
	PATH="$tmp/bin" "$run" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
	if [ "$status" = "$wanted" ] && [ "$(cat "$tmp/err")" = "$error" ]; then
		echo "ok rdma_choice: $name"
	else
		echo "not ok rdma_choice: $name"
		{ echo "status $status, not $wanted; standard error, and what it should be:"; cat "$tmp/err"; echo "$error"; } | sed 's/^/  | /'
		bad=1
	fi
}
own="rdma-vm: this machine has RDMA devices, no virtual machine is needed:"
down="rdma-vm: passed over, as no port of theirs is up ('rdma link' shows why):"
virtual="rdma-vm: there is no qemu-system-x86_64: apt-get install --no-install-recommends qemu-system-x86, or make deps"

machine "mlx5_0=4: ACTIVE"
choose "a device that is up: the command runs here" 7 "$own mlx5_0" sh -c 'exit 7'
RDMA_SECONDS=1 choose "a command that takes too long there: 124" 124 "$own mlx5_0" sleep 1000
machine "rxe0=4: ACTIVE" "rxe1=1: DOWN" "siw0=4: ACTIVE"
choose "one of three is down" 0 "$down rxe1
$own rxe0 siw0" sh -c :
RDMA_VM=1 choose "a virtual machine in any case" 125 "$virtual" sh -c :
RDMA_DEVICES=siw choose "the kind that is asked for" 125 "$virtual" sh -c :
machine "mlx5_0=1: DOWN" "mlx5_1=2: INIT"
choose "none is up: a virtual machine" 125 "$down mlx5_0 mlx5_1
$virtual" sh -c :
machine "mlx5_0=4: ACTIVE"
rm "$RDMA_DEV/rdma_cm"
choose "a container that has not been given the device: a virtual machine" 125 \
	"rdma-vm: passed over, as there is no $RDMA_DEV/rdma_cm (modprobe rdma_ucm; a container is to be given it): mlx5_0
$virtual" sh -c :
machine "ibp0=4: ACTIVE"
printf '#!/bin/sh\n[ "$*" = "--json --transports" ] || exit 1\ncat <<E\n"name": "tcp",\n"usable": true,\n"reason": "works",\n"name": "verbs",\n"usable": %s,\n"reason": "%s",\n"name": "other",\n"usable": false,\n"reason": "none",\nE\n' \
	false "no RDMA device has a port with an IP address" >"$RDMA_INFO"
ln -s "$(command -v cat)" "$tmp/bin/cat"
chmod +x "$RDMA_INFO"
choose "a device that programs cannot use: a virtual machine" 125 "rdma-vm: passed over: ibp0: no RDMA device has a port with an IP address
$virtual" sh -c :
sed -i 's/"usable": false,/"usable": true,/' "$RDMA_INFO"
choose "a device that they can use" 0 "$own ibp0" sh -c :
rm "$RDMA_INFO"
machine
choose "no device: a virtual machine" 125 "$virtual" sh -c :

# The targets ask the same script, so they use what it chooses.
for target in check-rdma bench-rdma; do
	if make -n "$target" 2>/dev/null | grep -q 'test/rdma-vm/run '; then
		echo "ok rdma_choice: make $target"
	else
		echo "not ok rdma_choice: make $target does not ask $run"
		bad=1
	fi
done
exit $bad

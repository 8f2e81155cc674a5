# SPDX-License-Identifier: Apache-2.0
# net.sh: hosts for tests, as network namespaces; sourced. What is made here goes when its processes are killed: nothing has a
# name outside, and nothing of the machine's own network is touched.
#	hosts_open a b c	# each with loopback, a name of its own, and 'wan', 10.77.1.1 … .3, on one switch
#	on a COMMAND…
#	hosts_close		# kills every process on them

hosts='' hosts_made=0

host_holder() { # name: the process that holds its namespaces
	eval "echo \$holder_$1"
}
on() { # host command…
	at=$(host_holder "$1")
	shift
	nsenter -t "$at" -n -u -- "$@"
}

# A process that keeps new namespaces; it ends by itself if the test is killed. usage: hold NAME
hold() {
	: >"held.$1"
	unshare -n -u sh -c 'hostname "$1" && ip link set lo up && echo yes >"held.$1"; exec sleep 3600' - "$1" </dev/null >/dev/null 2>&1 &
	eval "holder_$1=$!"
	n=0
	while [ ! -s "held.$1" ]; do
		n=$((n + 1))
		[ $n -lt 600 ] && kill -0 "$(host_holder "$1")" 2>/dev/null || return 1
		sleep 0.05
	done
	hosts="$hosts $1"
}

# A cable from the switch to an interface of a host. usage: plug HOST INTERFACE ADDRESS/BITS SWITCH
plug() {
	hosts_made=$((hosts_made + 1))
	near=v$$x$hosts_made far=w$$x$hosts_made
	on switch ip link add name "$near" type veth peer name "$far" &&
		on switch ip link set "$far" netns "$(host_holder "$1")" name "$2" &&
		on switch ip link set "$near" master "$4" up &&
		on "$1" ip addr add "$3" dev "$2" && on "$1" ip link set "$2" up
}

# False, with the reason in 'refused', where that is not permitted.
hosts_open() {
	for tool in unshare nsenter ip hostname; do
		command -v $tool >/dev/null || { echo "no $tool" >refused; return 1; }
	done
	unshare -n -u true 2>refused || return 1
	{ hold switch && on switch ip link add wan type bridge && on switch ip link set wan up; } 2>refused || return 1
	i=0
	for host; do
		i=$((i + 1))
		{ hold "$host" && plug "$host" wan "10.77.1.$i/24" wan; } 2>refused || return 1
	done
	return 0
}

# The processes on a host, but what holds it. usage: host_processes HOST
host_processes() {
	where=$(stat -Lc %i "/proc/$(host_holder "$1")/ns/net" 2>/dev/null)
	[ "$where" ] && stat -Lc '%i %n' /proc/[0-9]*/ns/net 2>/dev/null |
		awk -F '[ /]' -v where="$where" -v holder="$(host_holder "$1")" '$1 == where && $4 != holder { print $4 }'
}

# Kill them, and what they start meanwhile. usage: host_kill HOST
host_kill() {
	for round in 1 2 3 4 5 6 7 8 9 10; do
		on_it=$(host_processes "$1")
		[ "$on_it" ] || return 0
		kill -KILL $on_it 2>/dev/null
	done
}

hosts_close() {
	for host in $hosts; do
		host_kill "$host"
		kill -KILL "$(host_holder "$host")" 2>/dev/null
		wait "$(host_holder "$host")" 2>/dev/null
	done
	hosts=
}

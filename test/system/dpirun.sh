#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpirun: labels, whole lines, input, exit statuses, signals, orphans, other hosts (by a shell that stands for ssh), bad input.
cd "$(dirname "$0")/../.." || exit 2
BUILD=${BUILD:-build} slow=${TEST_SLOW:-1}
dpirun=$PWD/$BUILD/bin/dpirun
[ -x "$dpirun" ] || { echo "not ok dpirun: there is no $dpirun: run make"; exit 1; }
tmp=$(mktemp -d "${TMPDIR:-/tmp}/dpirun-test-XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp" || exit 2
mark=$$ # in the arguments of the processes of this test, so that none of another is taken for one of them
bad=0

fail() { # sentence: of the test under way
	echo "$1" >>why
}
begin() {
	name=$1
	: >why
}
end() {
	if [ -s why ]; then
		echo "not ok dpirun: $name"
		sed 's/^/  | /' why
		for f in out err; do [ -s $f ] && head -c 2000 $f | head -n 15 | sed "s/^/  | $f: /"; done
		bad=1
	else
		echo "ok dpirun: $name"
	fi
	rm -f out err
}
run() { # arguments: dpirun's output in out and err, its status in $status
	timeout $((120 * slow)) "$dpirun" "$@" >out 2>err
	status=$?
}
status_is() {
	[ $status = "$1" ] || fail "exit status $status, not $1"
}
out_is() {
	printf "$1" | cmp -s - out || fail "standard output is not as it should be: $1"
}
err_has() {
	grep -qE -- "$1" err || fail "no '$1' on standard error"
}
err_empty() {
	[ ! -s err ] || fail "standard error is not empty"
}
processes() { # text: process ids whose command line has it
	for d in /proc/[0-9]*; do
		tr '\0' ' ' 2>/dev/null <"$d/cmdline" | grep -qF -- "$1" && echo "${d#/proc/}"
	done
}
await() { # command: until it succeeds, a minute at most
	n=0
	until "$@"; do
		n=$((n + 1))
		[ $n -lt $((1200 * slow)) ] || return 1
		sleep 0.05
	done
}
none() {
	[ -z "$(processes "$1")" ]
}
some() { # count text: so many processes have it
	[ "$(processes "$2" | wc -l)" -ge "$1" ]
}
exactly() { # count command line: so many processes have it and nothing else
	found=0
	for d in /proc/[0-9]*; do [ "$(tr '\0' ' ' 2>/dev/null <"$d/cmdline")" = "$2 " ] && found=$((found + 1)); done
	[ $found = "$1" ]
}
none_left() {
	await none "$1" || fail "left running: $(processes "$1" | tr '\n' ' ')"
}
has_lines() { # count file
	[ "$(wc -l <"$2")" -ge "$1" ]
}

# ------------------------------------------------------------------------------------------------- what processes get

begin "every process learns of its cluster"
run -n 3 --no-label sh -c 'echo $DPI_NODE $DPI_NODES $DPI_JOB $DPI_CLUSTER ${DPI_LISTEN_FD:+fd} ${DPI_KEY_FILE:+key}'
status_is 0
err_empty
[ "$(sort out | awk '{ print $1 "/" $2 "/" $5 }' | tr '\n' ' ')" = "0/3/fd 1/3/ 2/3/ " ] || fail "not the nodes 0/3/fd 1/3/ 2/3/"
[ "$(awk '{ print $3, $4 }' out | sort -u | wc -l)" = 1 ] || fail "not one job and one cluster"
awk '$4 != "unix:dpi-" $3 || length($3) != 16 { exit 1 }' out || fail "the cluster is not unix:dpi-JOB"
end

begin "node 0 inherits a socket that listens already"
run --no-label sh -c 'ls -l /proc/$$/fd/$DPI_LISTEN_FD; grep -c "@${DPI_CLUSTER#unix:}" /proc/net/unix'
grep -q 'socket:' out || fail "DPI_LISTEN_FD is no socket"
grep -qx 1 out || fail "nobody listens at DPI_CLUSTER"
end

begin "each job has an id of its own"
for i in 1 2 3; do "$dpirun" sh -c 'echo $DPI_JOB'; done | sort -u >out
has_lines 3 out || fail "an id came twice"
end

begin "what an outer dpirun gave is not handed down"
DPI_LISTEN_FD=77 DPI_NODE=9 DPI_JOB=outer DPI_CLUSTER=unix:outer run -n 2 --no-label sh -c 'echo $DPI_NODE ${DPI_LISTEN_FD:-none}; env | grep -c outer; true'
grep -q 77 out && fail "DPI_LISTEN_FD went through"
[ "$(grep -cx 0 out)" = 2 ] || fail "a value of the outer job went through"
end

begin "-x, -x NAME, --env and --transport set variables"
OWN=mine run -n 2 -x A=1 -x OWN --env '1:B=only one' --transport tcp --no-label sh -c 'echo "$DPI_NODE:$A:$B:$OWN:$DPI_TRANSPORT"'
sort out >sorted && mv sorted out
out_is '0:1::mine:tcp\n1:1:only one:mine:tcp\n'
end

begin "several programs: MPMD"
run --no-label -x A=all -n 1 sh -c 'echo $DPI_NODE/$DPI_NODES first $A $B' : -n 2 -x B=b --wdir / sh -c 'echo $DPI_NODE/$DPI_NODES second $A $B; pwd'
sort out >sorted && mv sorted out
out_is '/\n/\n0/3 first all\n1/3 second all b\n2/3 second all b\n'
end

begin "limits, signal mask and ignored signals are as dpirun found them"
(ulimit -Sn 64 && run -n 2 --no-label sh -c 'ulimit -Sn; grep SigBlk: /proc/self/status; grep SigIgn: /proc/self/status' && sort -u out >limits)
grep -qx 64 limits || fail "the limit of descriptors is not 64"
[ "$(grep Sig limits)" = "$(grep -E '^Sig(Blk|Ign):' /proc/self/status)" ] || fail "signals are blocked or ignored: $(cat limits)"
end

begin "no descriptor but those meant for it"
sh -c 'ls /proc/$$/fd >before; true'
run -n 2 --no-label sh -c 'ls /proc/$$/fd >fds.$DPI_NODE; echo $DPI_LISTEN_FD >>before.$DPI_NODE'
cat before before.0 | sort >has && sort fds.0 | cmp -s - has || fail "node 0 has not what dpirun had and the socket: $(cat fds.0 | tr '\n' ' ')"
sort before >has && sort fds.1 | cmp -s - has || fail "node 1 has not what dpirun had: $(cat fds.1 | tr '\n' ' ')"
end

# ------------------------------------------------------------------------------------------------------------- output

begin "labels where several processes print"
run -n 2 echo text
sort out >sorted && mv sorted out
out_is '[0] text\n[1] text\n'
end

begin "no labels for a single process, and its bytes unchanged"
head -c 3000000 /dev/urandom >bytes
run cat bytes
cmp -s bytes out || fail "the bytes differ"
err_empty
end

begin "--label for a single process"
run --label printf 'a\n\nb'
out_is '[0] a\n[0] \n[0] b\n'
end

begin "--no-label for several"
run -n 2 --no-label echo text
out_is 'text\ntext\n'
end

begin "a last line without its end"
run -n 2 printf last
[ "$(sort out | tr '\n' ,)" = "[0] last,[1] last," ] || fail "not two whole lines"
run -n 2 --no-label sh -c '[ $DPI_NODE = 0 ] && exec printf last; exit 0'
out_is last
run -n 3 --no-label printf last
out_is 'last\nlast\nlast'
end

begin "standard output and error stay apart"
run -n 2 sh -c 'echo to out; echo to err >&2'
[ "$(sort out | tr '\n' ,)$(sort err | tr '\n' ,)" = "[0] to out,[1] to out,[0] to err,[1] to err," ] || fail "they are mixed"
end

begin "whole lines, in order, of 16 processes"
cat >lines.awk <<'END'
BEGIN { srand(seed); for (i = 1; i <= 3000; i++) { n = int(rand() * 200); s = ""; for (k = 0; k < n; k++) s = s "x"; print i, n, s "." } }
END
run -n 16 sh -c 'exec awk -v seed=$DPI_NODE -f lines.awk'
status_is 0
awk '{ node = $1; if ($2 != ++last[node] || length($4) != $3 + 1 || NF != 4) { print "line " NR ": " substr($0, 1, 100); exit } }
	END { n = 0; for (k in last) n += last[k] == 3000; if (n != 16) print n " of 16 processes have all their lines" }' out >>why
end

begin "whole lines where both outputs are one file"
timeout $((120 * slow)) "$dpirun" -n 8 sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do
	head -c 50000 /dev/zero | tr "\0" o; echo; head -c 30000 /dev/zero | tr "\0" e >&2; echo >&2; done' >out 2>&1
awk '!(length($0) == 50004 && $2 ~ /^o+$/) && !(length($0) == 30004 && $2 ~ /^e+$/) { print "line " NR " of " length($0) " bytes"; exit }
	END { if (NR != 160) print NR " lines, not 160" }' out >>why
: >out
end

begin "lines of 900 KB are whole, longer ones are cut and keep their label"
run -n 2 sh -c 'head -c 900000 /dev/zero | tr "\0" $DPI_NODE; echo'
[ "$(awk '{ print $1, length($2) }' out | sort | tr '\n' ,)" = "[0] 900000,[1] 900000," ] || fail "not two lines of 900000"
run -n 2 sh -c 'head -c 5000000 /dev/zero | tr "\0" $DPI_NODE; echo'
awk '{ sub(/^\[/, "", $1); sub(/\]/, "", $1); if ($2 !~ "^" $1 "+$") { print "line " NR " is mixed"; exit } n[$1] += length($2) }
	END { if (n[0] != 5000000 || n[1] != 5000000) print n[0] " and " n[1] " bytes, not 5000000" }' out >>why
: >out
end

begin "binary output"
run -n 2 --no-label sh -c '[ $DPI_NODE = 0 ] && exec cat bytes; exit 0'
cmp -s bytes out || fail "the bytes differ"
end

begin "a reader that goes away ends the job"
timeout $((60 * slow)) sh -c '"$1" -n 3 sh -c "while echo line; do :; done" 2>err; echo $? >st' - "$dpirun" | head -n 2 >out
status=$(cat st)
status_is 141
end

begin "an output that cannot be written is an error"
if [ -c /dev/full ]; then
	timeout $((120 * slow)) "$dpirun" -n 2 echo text >/dev/full 2>err
	status=$?
	status_is 125
	err_has 'standard output cannot be written: No space left'
fi
end

begin "a slow reader delays, and loses nothing"
timeout $((120 * slow)) "$dpirun" -n 4 sh -c 'head -c 2000000 /dev/zero | tr "\0" "\n"' 2>err | (sleep 1; wc -l) >out
out_is '8000000\n'
end

begin "closed standard descriptors"
timeout $((120 * slow)) "$dpirun" -n 2 sh -c 'echo text; cat; true' <&- >&- 2>&-
status=$?
status_is 0
timeout $((120 * slow)) "$dpirun" -n 2 sh -c 'cat; echo text' <&- >out 2>err
has_lines 2 out || fail "no output without an input"
end

begin "output of processes that outlive node and parent a little"
for i in 1 2 3 4 5 6 7 8 9 10; do # on a machine that stands still 'a little' may be too long
	run -n 2 sh -c '(sleep 0.1; echo late) & exit 0'
	has_lines 2 out && break
done
[ "$(sort out | tr '\n' ,)" = "[0] late,[1] late," ] || fail "what came late is lost"
status_is 0
end

# -------------------------------------------------------------------------------------------------------------- input

begin "standard input goes to node 0 alone"
seq 100000 | timeout $((120 * slow)) "$dpirun" -n 3 wc -l >out 2>err
sort out >sorted && mv sorted out
out_is '[0] 100000\n[1] 0\n[2] 0\n'
end

if command -v script >/dev/null && script -qec true /dev/null </dev/null >/dev/null 2>&1; then
	begin "a terminal as input and output"
	(sleep 0.5; echo typed; sleep 1) | timeout $((60 * slow)) script -qec "'$dpirun' -n 2 sh -c 'read a; echo got \$a; test -t 1 && echo terminal; true'" /dev/null >out 2>err
	grep -q '^\[0\] got typed' out || fail "node 0 did not get what was typed"
	grep -q '^\[1\] got *.$' out || fail "node 1 got something"
	end
	begin "a single process has the terminal itself for its output"
	timeout $((60 * slow)) script -qec "'$dpirun' sh -c 'test -t 1 && echo terminal'" /dev/null >out 2>err </dev/null
	grep -q '^terminal' out || fail "its output is no terminal"
	end
	begin "an interrupt typed at the terminal"
	# The trap keeps the shell itself alive to print the status: dash, unlike bash, dies of the interrupt.
	(await exactly 2 "sleep 33.$mark"; printf '\003'; await exactly 0 "sleep 33.$mark"; sleep 1) | timeout $((60 * slow)) script -qec "trap : INT; '$dpirun' -n 2 sleep 33.$mark; echo status \$?" /dev/null >out 2>err
	grep -q '^status 130' out || fail "the status is not 130"
	none_left "sleep 33.$mark"
	end
else
	echo "skip dpirun: terminals: no program 'script' that works here"
fi

# -------------------------------------------------------------------------------------------------------- exit status

begin "all well: 0"
run -n 4 true
status_is 0
err_empty
end

begin "an exit status ends the job, and who had it is said"
run -n 4 sh -c '[ $DPI_NODE = 2 ] && { echo my last words; exit 5; }; exec sleep 30.'$mark
status_is 5
err_has '^dpirun: node 2 \(pid [0-9]+\) exited with status 5; ending the other 3$'
has_lines 2 err && fail "more than one sentence"
grep -q '^\[2\] my last words$' out || fail "its last line is missing"
none_left "sleep 30.$mark"
end

begin "so does a signal"
for s in 'SEGV 139 11 Segmentation' 'KILL 137 9 Killed' 'ABRT 134 6 Aborted'; do
	set -- $s
	run -n 2 sh -c "ulimit -c 0; [ \$DPI_NODE = 1 ] && kill -$1 \$\$; exec sleep 30"
	status_is "$2"
	err_has "^dpirun: node 1 \(pid [0-9]+\) was killed by signal $3 .$4.*; ending the other one\$"
done
end

begin "the first to fail is named, not who failed for it"
for i in 1 2 3 4 5; do
	run -n 3 sh -c '[ $DPI_NODE = 1 ] && exit 21; trap "exit 33" TERM; while :; do sleep 0.1; done'
	status_is 21
	err_has 'node 1 .* exited with status 21'
done
end

begin "SIGKILL for who does not heed SIGTERM"
run -n 2 sh -c "[ \$DPI_NODE = 1 ] && { until [ -e deaf ]; do sleep 0.05; done; exit 4; }; trap '' TERM; : >deaf; while :; do sleep 0.1; echo '$mark' >/dev/null; done"
status_is 4
err_has '^dpirun: did not end within 2 s and is killed: node 0 \(pid [0-9]+\)$'
end

begin "a stopped process is ended too"
run -n 2 sh -c "[ \$DPI_NODE = 0 ] && kill -STOP \$\$; [ \$DPI_NODE = 1 ] && { sleep 0.3; exit 4; }; exec sleep 30.$mark"
status_is 4
none_left "sleep 30.$mark"
end

begin "--keep-going: the first status, at the end"
run -n 4 --keep-going sh -c '[ $DPI_NODE = 1 ] && { echo $$ >first; exit 6; }
	seen() { until [ -s $1 ] && ! kill -0 $(cat $1) 2>/dev/null; do sleep 0.05; done; } # dpirun has seen the end of it
	seen first
	[ $DPI_NODE = 2 ] && { echo $$ >second; kill -KILL $$; }
	seen second
	echo done'
status_is 6
err_has 'node 1 .* exited with status 6; the others go on'
err_has 'node 2 .* was killed by signal 9 .Killed.; the others go on'
[ "$(sort out | tr '\n' ,)" = "[0] done,[3] done," ] || fail "the others did not go on"
end

begin "--timeout: 124, and who still ran"
run -n 3 --timeout 1500ms sh -c "[ \$DPI_NODE = 1 ] && exit 0; exec sleep 30.$mark"
status_is 124
err_has '^dpirun: the job has not ended within 1500ms .* still running: node 0 \(pid [0-9]+\), node 2 \(pid [0-9]+\)$'
none_left "sleep 30.$mark"
end

begin "what cannot be executed: 127"
echo echo hello >not-executable
printf '#!/no/such/interpreter\n' >no-interpreter
chmod +x no-interpreter
for s in './nothing|No such file or directory' 'no-such-program|looked for in PATH' './not-executable|chmod .x' '/|Permission denied' \
	'./no-interpreter|the interpreter or loader that it names is not'; do
	run -n 2 "${s%|*}"
	status_is 127
	err_has "^dpirun: node 0: cannot execute '${s%|*}': .*${s#*|}"
	has_lines 2 err && fail "more than one sentence for ${s%|*}"
done
run -n 1 sleep "30.$mark" : -n 1 ./nothing
status_is 127
err_has "^dpirun: node 1: cannot execute './nothing'"
none_left "sleep 30.$mark"
run --wdir /no/such true
status_is 127
err_has "cannot enter the directory '/no/such': No such file.*--wdir"
end

# ------------------------------------------------------------------------------------------------------------ signals

background() { # arguments: dpirun in the background; $job its process
	timeout $((120 * slow)) "$dpirun" "$@" >out 2>err &
	shell=$!
	job=
	await find_job || fail "dpirun does not start"
}
find_job() { # timeout's child
	job=$(tr -d ' ' 2>/dev/null </proc/$shell/task/$shell/children) && [ "$job" ]
}
finish() { # wait for it; its status
	wait "$shell"
	status=$?
}

cat >catch <<'END'
for s in INT TERM HUP USR1 USR2 QUIT; do trap "echo got $s; [ $s = TERM ] && exit 0" $s; done
echo ready
while :; do sleep 0.05; done
END
caught() { # count signal
	[ "$(grep -c "got $2" out)" = "$1" ]
}
begin "signals reach every process"
background -n 3 sh catch
await has_lines 3 out || fail "they do not get ready"
for s in USR1 USR2 HUP INT; do
	kill -$s $job
	await caught 3 $s
done
kill -TERM $job # the second of those that end a job: it kills
finish
for s in USR1 USR2 HUP INT; do [ "$(grep -c "got $s" out)" = 3 ] || fail "SIG$s reached $(grep -c "got $s" out) of 3"; done
status_is 143
end

begin "processes may end well on SIGTERM"
background -n 3 sh catch
await has_lines 3 out || fail "they do not get ready"
kill -TERM $job
finish
status_is 0
[ "$(grep -c 'got TERM' out)" = 3 ] || fail "it did not reach all"
end

begin "SIGINT ends, with status 130"
background -n 3 sh -c "echo ready; exec sleep 30.$mark"
await has_lines 3 out || fail "they do not get ready"
kill -INT $job
finish
status_is 130
none_left "sleep 30.$mark"
end

begin "a second SIGINT kills"
background -n 3 sh catch
await has_lines 3 out || fail "they do not get ready"
kill -INT $job
await grep -q 'once more kills' err
kill -INT $job
finish
status_is 130
err_has 'once more kills'
none_left "sh catch"
end

begin "an interrupt while nobody reads the output"
(timeout $((120 * slow)) "$dpirun" -n 2 sh -c "while :; do echo line $mark; done" 2>err & echo $! >pid; wait $!; echo $? >st) | (await test -s st; cat >/dev/null) &
reader=$!
await some 1 "echo line $mark" || fail "it does not start"
await test -s pid
shell=$(cat pid)
await find_job
await exactly 2 "sh -c while :; do echo line $mark; done"
sleep 0.5
kill -INT $job
sleep 0.2
kill -INT $job 2>/dev/null
await test -s st || fail "it does not end"
wait $reader
none_left "line $mark"
end

state() { # process: its state
	awk '{ sub(/.*\) /, ""); print $1 }' "/proc/$1/stat" 2>/dev/null
}
all_in() { # state processes…
	want=$1
	shift
	for p; do [ "$(state "$p")" = "$want" ] || return 1; done
}
not_in() {
	! all_in "$@"
}
begin "SIGTSTP stops dpirun and its processes, SIGCONT lets them go on"
background -n 2 sh -c "echo ready; exec sleep 5.$mark"
await has_lines 2 out || fail "they do not get ready"
await exactly 2 "sleep 5.$mark"
nodes=$(cat /proc/$job/task/$job/children | tr ' ' '\n' | while read -r p; do tr '\0' ' ' <"/proc/$p/cmdline" | grep -q "^sleep 5.$mark" && echo "$p"; done)
kill -TSTP $job
await all_in T $job $nodes || fail "not all stop: $(for p in $job $nodes; do state "$p"; done | tr '\n' ' ')"
kill -CONT $job
await not_in T $job || fail "dpirun does not go on"
for p in $nodes; do await not_in T "$p" || fail "a process does not go on"; done
finish
status_is 0
end

begin "an ignored signal stays ignored (nohup)"
(trap '' HUP; exec "$dpirun" -n 2 --timeout $((60 * slow)) sh -c 'kill -HUP $PPID; kill -HUP $$; sleep 0.2; echo alive' >out 2>err)
status=$?
status_is 0
has_lines 2 out || fail "SIGHUP ended it"
end

# ------------------------------------------------------------------------------------------------------------ orphans

begin "no process is left behind, in whatever group or session"
run -n 2 sh -c "sleep 30.$mark & setsid sleep 31.$mark & (setsid sh -c 'sleep 32.$mark & sleep 32.$mark' &) ; sleep 0.2; exit 0"
status_is 0
none_left ".$mark"
run -n 2 sh -c "sleep 30.$mark & setsid sleep 31.$mark & sleep 0.2; [ \$DPI_NODE = 0 ] && exit 9; sleep 30.$mark"
status_is 9
none_left ".$mark"
end

begin "SIGKILL to dpirun ends all its processes, and what they started"
background -n 4 sh -c "sleep 30.$mark & setsid sh -c 'sleep 31.$mark; true' & echo ready; sleep 32.$mark; true"
await has_lines 4 out || fail "they do not get ready"
await some 12 ".$mark"
kill -KILL $job
finish
none_left "30.$mark"
none_left "31.$mark"
none_left "32.$mark"
end

begin "so it does when its whole process group is killed"
setsid "$dpirun" -n 2 sh -c "setsid sleep 31.$mark & echo ready; sleep 32.$mark; true" >out 2>err &
job=$!
await has_lines 2 out || fail "they do not get ready"
kill -KILL -- -$job 2>/dev/null || kill -KILL $job
wait $job 2>/dev/null
none_left ".$mark"
end

begin "the guard's death harms nothing"
background -n 2 sh -c "echo ready; sleep 1; setsid sleep 30.$mark & echo done"
await has_lines 2 out || fail "they do not get ready"
for p in $(cat /proc/$job/task/$job/children); do grep -q guard "/proc/$p/comm" && kill -KILL "$p"; done
finish
status_is 0
has_lines 4 out || fail "the job did not go on"
none_left "30.$mark"
end

begin "64 processes at once"
run -n 64 sh -c 'echo $DPI_NODES'
status_is 0
[ "$(sort -u -k 2 out | wc -l)-$(wc -l <out)" = 1-64 ] || fail "not 64 lines"
end

begin "a job starts and ends in a few milliseconds"
i=0 best=1000000
while [ $i -lt 100 ] && [ $best -ge $((50 * slow)) ]; do # one in so many finds the machine at leisure
	i=$((i + 1))
	start=$(date +%s%N)
	"$dpirun" -n 4 true
	took=$((($(date +%s%N) - start) / 1000000))
	[ $took -lt $best ] && best=$took
done
[ $best -lt $((50 * slow)) ] || fail "4 processes that do nothing take $best ms"
end

# -------------------------------------------------------------------------------------------------------- other hosts

# Stands for ssh: notes what it is asked for, and runs it here, in a bare environment.
cat >ssh <<'END'
#!/bin/sh
host=$1; shift
echo "$host $*" >>"$(dirname "$0")/asked"
[ "$host" = down ] && { echo "ssh: connect to host down port 22: Connection refused" >&2; exit 255; }
[ "$host" = chatty ] && echo "Welcome to chatty!"
exec env -i PATH="$PATH" HOST="$host" sh -c "$*"
END
chmod +x ssh
cat >hosts <<END
# two hosts over ssh, and this one
alpha slots=2 address=127.0.0.1

localhost slots=1 address=127.0.0.1	# here
beta address=127.0.0.1
END
remote() {
	run --ssh "$tmp/ssh" --hostfile hosts "$@"
}

begin "hosts: every slot, one cluster, one key"
remote sh -c 'echo $DPI_NODE $DPI_NODES $DPI_JOB $DPI_CLUSTER $(od -An -tx1 <$DPI_KEY_FILE | tr -d " \n") $(stat -L -c %a $DPI_KEY_FILE) ${HOST:-here}'
status_is 0
err_empty
[ "$(sed 's/^.[0-9]*. //' out | sort | awk '{ print $1 "/" $2 "/" $NF }' | tr '\n' ' ')" = "0/4/alpha 1/4/alpha 2/4/here 3/4/beta " ] || fail "nodes or hosts are wrong"
[ "$(awk '{ print $4, $5, $6, $7 }' out | sort -u | wc -l)" = 1 ] || fail "not one job, cluster and key"
awk '{ if ($5 !~ /^127\.0\.0\.1:[0-9]+$/ || length($6) != 64 || $7 != 600) exit 1 }' out || fail "no address of node 0, no key of 32 bytes, or its mode is not 600"
[ "$(sort asked | cut -d ' ' -f 1 | tr '\n' ' ')" = "alpha beta " ] || fail "not one connection a host"
end

begin "the key stands in no command line and no environment"
(umask 077 && head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >key)
remote --key key sh -c 'key=$(cat $DPI_KEY_FILE); [ ${#key} = 48 ] || echo "the key differs"
	for f in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do case $f in /proc/self/*) ;; *) tr "\0" "\n" <$f 2>/dev/null | while read -r l; do case $l in *"$key"*) echo "$f"; esac; done;; esac; done'
[ -s out ] && fail "it is found"
grep -qF "$(cat key)" asked && fail "ssh was given it"
status_is 0
end

begin "a local job has no key, unless one is given"
run -n 2 --key key --no-label sh -c 'cat $DPI_KEY_FILE; echo'
[ "$(sort -u out)" = "$(cat key)" ] || fail "the key differs"
DPI_KEY_FILE=key run --no-label sh -c 'cat $DPI_KEY_FILE'
[ "$(cat out)" = "$(cat key)" ] || fail "DPI_KEY_FILE is not heeded"
DPI_KEY_FILE=key run --no-key sh -c 'echo ${DPI_KEY_FILE:-none}'
out_is 'none\n'
end

begin "hosts: arguments, environment and directory arrive as they are"
mkdir 'a dir' && remote -n 1 --wdir "$tmp/a dir" -x "A=two
lines 'and' \"quotes\" \$HOME" --no-label sh -c 'printf "%s|" "$@" "$A"; pwd' - 'a b' '' "it's" '*' '$x'
[ "$(cat out)" = "a b||it's|*|\$x|two
lines 'and' \"quotes\" \$HOME|$tmp/a dir" ] || fail "they do not"
end

begin "hosts: DPI_ settings go along, other variables do not"
DPI_LINGER=3ms OTHER=x remote -n 2 --no-label sh -c 'echo $DPI_LINGER/$OTHER/$DPI_LISTEN'
out_is '3ms//127.0.0.1\n3ms//127.0.0.1\n'
end

begin "hosts: large input and output"
seq 300000 >numbers
remote -n 4 --no-label sh -c '[ $DPI_NODE = 0 ] && exec cat; exit 0' <numbers
cmp -s numbers out || fail "they differ"
remote --no-label sh -c 'exec seq 100000'
[ "$(sort -n out | uniq -c | awk '$1 == 4' | wc -l)" = 100000 ] || fail "lines of four processes are lost or mixed"
end

begin "hosts: input that nobody reads"
remote -n 4 sh -c 'exec <&-; sleep 0.3; echo done' <bytes
has_lines 4 out || fail "it does not end well"
status_is 0
remote -n 4 sh -c 'sleep 0.3; echo done' <bytes
status_is 0
end

begin "hosts: failures there end the job here"
remote sh -c "[ \$DPI_NODE = 3 ] && { echo last words; exit 7; }; exec sleep 30.$mark"
status_is 7
err_has '^dpirun: node 3 \(pid [0-9]+ on beta\) exited with status 7; ending the other 3$'
grep -q '^\[3\] last words' out || fail "its last line is missing"
none_left "sleep 30.$mark"
remote sh -c "[ \$DPI_NODE = 1 ] && kill -KILL \$\$; exec sleep 30.$mark"
status_is 137
err_has '^dpirun: node 1 \(pid [0-9]+ on alpha\) was killed by signal 9 .Killed.; ending the other 3$'
none_left "sleep 30.$mark"
end

begin "hosts: what cannot be executed there"
remote ./nothing
status_is 127
err_has "^dpirun: node [0-9]( on [a-z]+)?: cannot execute './nothing': No such file"
remote -n 2 --wdir /no/such true
status_is 127
err_has "^dpirun: node 0 on alpha: cannot enter the directory '/no/such'"
end

begin "hosts: signals and --timeout"
background --ssh "$tmp/ssh" --hostfile hosts sh catch
await has_lines 4 out || fail "they do not get ready"
kill -USR1 $job
await caught 4 USR1
kill -TERM $job
finish
status_is 0
[ "$(grep -c 'got USR1' out)-$(grep -c 'got TERM' out)" = 4-4 ] || fail "signals do not arrive"
remote --timeout 2 sleep "30.$mark"
status_is 124
err_has 'node 0 \(pid [0-9]+ on alpha\), .*node 3 \(pid [0-9]+ on beta\)'
none_left "sleep 30.$mark"
end

begin "hosts: nothing stays there when dpirun is killed"
background --ssh "$tmp/ssh" --hostfile hosts sh -c "setsid sleep 31.$mark & echo ready; sleep 30.$mark; true"
await has_lines 4 out || fail "they do not get ready"
kill -KILL $job
finish
none_left ".$mark"
none_left "$dpirun --remote"
end

begin "hosts: nothing stays there when the helper is killed, and it is said"
background --ssh "$tmp/ssh" --hostfile hosts sh -c "setsid sleep 31.$mark & echo ready; sleep 30.$mark; true"
await has_lines 4 out || fail "they do not get ready"
kill -KILL $(for p in $(processes "$dpirun --remote"); do grep -q guard "/proc/$p/comm" || echo "$p"; done | head -n 1)
finish
# its guard finds the processes of the other 'hosts' of this machine too, whose end may be seen first
[ $status = 125 ] || status_is 137
err_has '^dpirun: (the connection to host (alpha|beta) ended before its [12] process(es)? did|node [0-3] .* was killed by signal 9)'
none_left ".$mark"
end

begin "hosts: ssh that fails, a shell that prints"
printf 'localhost address=127.0.0.1\ndown address=127.0.0.1\n' >hosts
remote sleep "30.$mark"
status_is 125
err_has '^\[down\] ssh: connect to host down port 22: Connection refused$'
err_has '^dpirun: host down: no answer of dpirun;'
none_left "sleep 30.$mark"
printf 'localhost address=127.0.0.1\nchatty address=127.0.0.1\n' >hosts
remote sleep "30.$mark"
status_is 125
err_has "^dpirun: host chatty answers 'Welcome to chatty!' where"
none_left "sleep 30.$mark"
run --ssh /no/such/ssh --hostfile hosts true
status_is 125
err_has "cannot execute '/no/such/ssh'"
end

# ---------------------------------------------------------------------------------------------------------- bad input

begin "errors of the host file have its line"
while IFS='|' read -r text line sentence; do
	printf -- "$text" >hosts
	remote true
	status_is 2
	err_has "^dpirun: hosts:$line: $sentence"
done <<'END'
alpha\nbeta slots=0\n|2|'slots=0': slots is a number from 1
alpha slots=many\n|1|'slots=many': slots
# c\n\nalpha slot=3\n|3|'slot=3' is neither slots=N nor address=A
alpha\nalpha\n|2|host alpha has a line already
slots=3\n|1|the line begins with 'slots=3'
-oProxyCommand=x\n|1|the line begins with
-x\n|1|'-x' is not a host's name
al$(id)pha\n|1|'al\$\(id\)pha' is not a host's name
alpha address=\n|1|'' is not an address
alpha\n\000\n|2|there is a zero byte
END
: >hosts
remote true
status_is 2
err_has 'names no host'
rm hosts
remote true
status_is 2
err_has '^dpirun: the host file hosts cannot be read: No such file'
printf 'alpha slots=2 address=127.0.0.1\n' >hosts
remote -n 3 true
status_is 2
err_has '^dpirun: hosts has 2 slots for 3 nodes'
printf 'alpha slots=2\n' >hosts
remote --no-key true
status_is 2
err_has 'without a key nodes listen on loopback only, and nobody reaches alpha'
end

begin "a wrong command line: 2, and what is wrong"
check() { # sentence arguments…
	sentence=$1
	shift
	run "$@"
	status_is 2
	err_has "^dpirun: $sentence"
}
check 'no program is given'
check 'no program is given' -n 2
check "-n '0': the number of processes is from 1" -n 0 true
check "-n 'x'" -nx true
check '-n needs a value' -n
check "there is no option '--nope'" --nope true
check "a program is missing beside ':'" true :
check "a program is missing beside ':'" : true
check '--label holds for the whole job' true : --label true
check '-x DPI_NODE=3: dpirun itself sets DPI_NODE' -x DPI_NODE=3 true
check '-x DPI_KEY_FILE=k: name the key file with --key' -x DPI_KEY_FILE=k true
check '-x NO_SUCH_VARIABLE_HERE: there is no such' -x NO_SUCH_VARIABLE_HERE true
check "-x '=v': write NAME=value" -x =v true
check "--env 'A=1': write I:NAME=value" --env A=1 true
check '--env 5:A=1: there is no node 5, the job has 1' --env 5:A=1 true
check "--timeout '5x': write a time" --timeout 5x true
check "--timeout '0'" --timeout=0 true
check 'the key file nokey cannot be read' --key nokey true
echo short >shortkey && chmod 600 shortkey
check 'the key file shortkey has 6 bytes: a key has 16 to' --key shortkey true
chmod 644 key
check 'others may use the key file key .mode 0644.: chmod 600 key' --key key true
timeout 60 "$dpirun" --remote </dev/null >out 2>err
[ $? = 2 ] || fail "dpirun --remote without dpirun at its other end does not say so"
echo 'no frames' | timeout 60 "$dpirun" --remote >out 2>err || fail "dpirun --remote with a strange input does not end"
grep -qa 'what comes is not from dpirun' out || fail "dpirun --remote does not say what is wrong"
: >out
end

begin "--help and --version"
run --help
status_is 0
grep -q '^usage: dpirun' out || fail "no usage"
awk 'length($0) > 120 { exit 1 }' out || fail "lines longer than 120"
run --version
grep -qE '^dpirun [0-9]+\.[0-9]+\.[0-9]+$' out || fail "no version"
end

exit $bad

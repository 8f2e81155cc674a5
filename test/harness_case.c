/* SPDX-License-Identifier: Apache-2.0
 * harness_case.c: one case: starts its ranks, watches them, judges what they leave, cleans up. */
#include "harness_case.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 1024 /* that run in one case, or have printed something */

/* Shared by the supervisor and all ranks. */
struct page {
	_Atomic int64_t pid[HARNESS_RANKS]; /* 0: never started; negative: ended */
	_Atomic int spawns[HARNESS_RANKS];
	_Atomic bool may_die[HARNESS_RANKS];
	_Atomic uint32_t arrived, round; /* barrier */
	uint64_t seed;
	char reason[256];
	_Alignas(4096) char user[HARNESS_SHARED];
};

struct process {
	pid_t pid;
	int rank, out, err, status;
	bool ended;
};

static const struct harness_case *the_case;
static const struct harness_transport *the_transport;
static struct page *page;
static int my_rank, spawn_pipe[2] = {-1, -1}, listener = -1, report;
static char cluster[128], temp_dir[64], job_name[64], loopback[20];
static struct process processes[PROCESSES_MAX];
static int process_count;
enum { STAGGERED_ROUNDS = 64 }; /* the later ones are a loop's */
static bool killing; /* deaths are the supervisor's own doing */
static volatile sig_atomic_t interrupted;

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int harness_slow(void)
{
	const char *s = getenv("TEST_SLOW");
	return s && atoi(s) > 1 ? atoi(s) : 1;
}

/* ------------------------------------------------------------------------------------------------- inside a rank */

void harness_fail(const char *file, int line, const char *format, ...)
{
	char text[2048];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	dprintf(2, "%s:%d: %s\n", file, line, text);
	_exit(HARNESS_NOT_OK);
}

void harness_skip(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(page->reason, sizeof page->reason, format, args);
	va_end(args);
	_exit(HARNESS_SKIPPED);
}

void *harness_shared(void) { return page->user; }
int64_t harness_pid(int rank)
{
	int64_t pid = page->pid[rank];
	return pid < 0 ? -pid : pid;
}

bool harness_alive(int rank) { return page->pid[rank] > 0; }
int harness_spawns(int rank) { return page->spawns[rank]; }
void harness_expect_death(int rank) { page->may_die[rank] = true; }
const char *harness_transport(void) { return the_transport ? the_transport->name : ""; }
uint64_t harness_seed(void) { return page->seed; }

void harness_pause(void)
{
	nanosleep(&(struct timespec){0, 100000}, NULL);
}

/* TEST_STAGGER: what a case left to luck. One rank at a time, another each round, runs ahead of all others. */
static void stagger(uint32_t round)
{
	const char *s = getenv("TEST_STAGGER");
	long ms = s ? atol(s) : 0;
	int n = the_case->processes;
	if (ms < 1 || n < 2 || round >= STAGGERED_ROUNDS || (uint32_t)my_rank == (page->seed + round) % (uint32_t)n) return;
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

void harness_barrier(void)
{
	uint32_t round = page->round;
	if (++page->arrived == (uint32_t)(the_case->processes ? the_case->processes : 1)) {
		page->arrived = 0;
		page->round++;
	}
	AWAIT(page->round != round);
	stagger(round);
}

/* A signal that stops takes effect when the kernel gets to it: until then a thread of the process may go on. */
static void await_stopped(pid_t pid)
{
	char path[300], text[512];
	for (bool runs = true; runs;) {
		snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
		DIR *d = opendir(path);
		runs = false;
		for (struct dirent *e; d && (e = readdir(d));) {
			if (e->d_name[0] == '.') continue;
			snprintf(path, sizeof path, "/proc/%d/task/%s/stat", (int)pid, e->d_name);
			int fd = open(path, O_RDONLY | O_CLOEXEC);
			ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
			if (fd >= 0) close(fd);
			text[n > 0 ? n : 0] = 0;
			const char *end = strrchr(text, ')');
			if (end && end[1] && !strchr("TtZX", end[2])) runs = true;
		}
		if (d) closedir(d);
		if (runs) harness_pause();
	}
}

void harness_kill(int rank, int signal)
{
	if (signal == SIGKILL || signal == SIGTERM) harness_expect_death(rank);
	if (rank != my_rank && page->pid[rank] <= 0) return;
	kill((pid_t)harness_pid(rank), signal);
	if (signal == SIGSTOP && rank != my_rank) await_stopped((pid_t)harness_pid(rank));
}

void harness_spawn_rank(int rank)
{
	int before = page->spawns[rank];
	if (write(spawn_pipe[1], &rank, sizeof rank) != sizeof rank) FAIL("cannot ask for rank %d", rank);
	AWAIT(page->spawns[rank] != before);
}

size_t harness_stderr(char *text, size_t room)
{
	ssize_t n = pread(2, text, room - 1, 0);
	text[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

const char *harness_build(void)
{
	static char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	path[n > 0 ? n : 0] = 0;
	char *test = strstr(path, "/test/");
	for (char *next; test && (next = strstr(test + 1, "/test/"));) test = next;
	if (test) *test = 0;
	return path;
}

/* The library's own program knows. A device that there is may be down, without an address, or not given to this container. */
bool harness_carries(const char *transport)
{
	static struct {
		char name[32];
		bool works;
	} asked[4];
	char command[9000], line[400], name[32], state[32];
	int i = 0;
	while (i < 4 && *asked[i].name && strcmp(asked[i].name, transport)) i++;
	if (i == 4) return false;
	if (*asked[i].name) return asked[i].works;
	snprintf(asked[i].name, sizeof asked[i].name, "%s", transport);
	snprintf(command, sizeof command, "DPI_MODULES='%.4000s/dpi' DPI_TRANSPORT= DPI_LISTEN= '%.4000s/bin/dpi-info' --transports", harness_build(), harness_build());
	FILE *f = popen(command, "r");
	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, " %31s %31s", name, state) != 2 || strcmp(name, transport)) continue;
		asked[i].works = strcmp(state, "not");
		if (!asked[i].works) fprintf(stderr, "left out: %s", line + strspn(line, " "));
	}
	if (f) pclose(f);
	return asked[i].works;
}

/* "A=1 B=2" into the environment. */
static void set_all(const char *text)
{
	char copy[1024], *save = NULL;
	snprintf(copy, sizeof copy, "%s", text ? text : "");
	for (char *s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
		char *equal = strchr(s, '=');
		if (!equal) continue;
		*equal = 0;
		setenv(s, equal + 1, 1);
	}
}

static void set_number(const char *name, int64_t number)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRId64, number);
	setenv(name, text, 1);
}

static void set_environment(int rank, int ranks)
{
	extern char **environ;
	for (char **e = environ; *e;) {
		char name[128];
		snprintf(name, sizeof name, "%.*s", (int)strcspn(*e, "="), *e);
		if (!strncmp(name, "DPI_", 4) && strcmp(name, "DPI_MODULES")) unsetenv(name);
		else e++;
	}
	setenv("TMPDIR", temp_dir, 1);
	if (the_case->processes) {
		char text[32];
		snprintf(text, sizeof text, "%ds", 30 * harness_slow());
		setenv("DPI_TIMEOUT", text, 1);
		setenv("DPI_CLUSTER", cluster, 1);
		setenv("DPI_JOB", job_name, 1);
		setenv("DPI_LISTEN", loopback, 1);
		set_number("DPI_NODE", rank);
		if (the_case->nodes >= 0) set_number("DPI_NODES", the_case->nodes ? the_case->nodes : ranks);
		if (listener >= 0) set_number("DPI_LISTEN_FD", listener);
	}
	if (the_transport) set_all(the_transport->env);
	set_all(the_case->env);
}

/* Does not return. */
static void run_rank(const struct process *self, int gate)
{
	int rank = self->rank, ranks = the_case->processes ? the_case->processes : 1, null = open("/dev/null", O_RDONLY);
	char c;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	signal(SIGCHLD, SIG_DFL), signal(SIGINT, SIG_DFL), signal(SIGTERM, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(null, 0), dup2(self->out, 1), dup2(self->err, 2);
	close(null), close(spawn_pipe[0]), close(report);
	for (int i = 0; i < process_count; i++) close(processes[i].out), close(processes[i].err);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (gate >= 0) (void)!read(gate, &c, 1), close(gate);
	my_rank = rank;
	set_environment(rank, ranks);
	if (the_transport && the_transport->prepare) the_transport->prepare(rank, ranks);
	if (rank < ranks && page->spawns[rank] <= 1) stagger(STAGGERED_ROUNDS - 1);
	the_case->run(rank, ranks);
	exit(0);
}

/* ----------------------------------------------------------------------------------------------- the supervisor */

/* The registry's listening socket, which rank 0 inherits as dpirun would have it. */
static bool listen_for_rank_0(void)
{
	struct sockaddr_un u = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(loopback)};
	static in_port_t port; /* the same again for a restarted rank 0 */
	socklen_t size = sizeof in;
	int one = 1;
	in.sin_port = port;
	listener = socket(the_case->inet ? AF_INET : AF_UNIX, SOCK_STREAM, 0);
	if (the_case->inet) {
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(listener, (struct sockaddr *)&in, sizeof in)) return false;
		getsockname(listener, (struct sockaddr *)&in, &size);
		port = in.sin_port;
		snprintf(cluster, sizeof cluster, "%s:%d", loopback, ntohs(port));
	} else {
		int n = snprintf(u.sun_path + 1, sizeof u.sun_path - 1, "%s", job_name);
		size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
		if (bind(listener, (struct sockaddr *)&u, size)) return false;
		snprintf(cluster, sizeof cluster, "unix:%s", job_name);
	}
	return !listen(listener, 128);
}

static off_t file_size(int fd)
{
	struct stat s;
	return fstat(fd, &s) ? 0 : s.st_size;
}

/* Where a process is kept: of one that has ended without a word another may stand there, as a soak starts any number of them. The first leads
 * the group. */
static struct process *place(void)
{
	for (struct process *p = processes + 1; p < processes + process_count; p++) {
		if (!p->ended || file_size(p->out) || file_size(p->err)) continue;
		close(p->out), close(p->err);
		return p;
	}
	return process_count < PROCESSES_MAX ? &processes[process_count++] : NULL;
}

static bool start_rank(int rank, int gate)
{
	if (the_case->processes && rank == 0 && !listen_for_rank_0()) return false;
	struct process *p = rank >= 0 && rank < HARNESS_RANKS ? place() : NULL;
	if (!p) {
		errno = E2BIG;
		return false;
	}
	*p = (struct process){.rank = rank};
	p->out = memfd_create("out", MFD_CLOEXEC);
	p->err = memfd_create("err", MFD_CLOEXEC);
	if (gate >= 0) page->spawns[rank]++;
	p->pid = fork();
	if (p->pid == 0) {
		page->pid[rank] = getpid();
		if (gate < 0) page->spawns[rank]++; /* whoever asked for it, and the rank itself, find both: see harness_spawn_rank */
		run_rank(p, gate);
	}
	if (listener >= 0) close(listener);
	listener = -1;
	if (p->pid < 0) return false;
	setpgid(p->pid, rank && processes[0].pid ? processes[0].pid : p->pid);
	page->pid[rank] = p->pid;
	return true;
}

int harness_descendants(int pid, int *pids, int max)
{
	static int all[32768][2];
	int n = 0, found = 0;
	DIR *d = opendir("/proc");
	for (struct dirent *e; d && (e = readdir(d)) && n < 32768;) {
		char path[300], text[512] = "", *end;
		snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		int fd = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? open(path, O_RDONLY) : -1;
		if (fd < 0) continue;
		if (read(fd, text, sizeof text - 1) > 0 && (end = strrchr(text, ')')) && end[1] && end[2] != 'Z') {
			all[n][0] = atoi(e->d_name);
			if (sscanf(end + 2, "%*c %d", &all[n][1]) == 1) n++;
		}
		close(fd);
	}
	if (d) closedir(d);
	for (int before = -1; before != found;) {
		before = found;
		for (int i = 0; i < n && found < max; i++) {
			bool below = all[i][1] == pid;
			for (int k = 0; k < found && !below; k++) below = all[i][1] == pids[k];
			if (!below) continue;
			pids[found++] = all[i][0];
			all[i][1] = -1;
		}
	}
	return found;
}

void harness_stacks(int to, int pid)
{
	static const char script[] =
		"command -v gdb >/dev/null && exec timeout 60 gdb -nx -batch -p $1 -ex 'thread apply all bt';"
		"cd /proc/$1/task && for t in *; do echo \"$t $(cat $t/comm) waits in $(cat $t/wchan)\"; cat $t/stack; done";
	char number[16];
	snprintf(number, sizeof number, "%d", pid);
	dprintf(to, "stacks of process %d:\n", pid);
	pid_t child = fork();
	if (!child) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0), dup2(to, 1), dup2(null, 2);
		setenv("DEBUGINFOD_URLS", "", 1);
		execlp("sh", "sh", "-c", script, "-", number, (char *)NULL);
		_exit(127);
	}
	waitpid(child, NULL, 0);
}

/* What lies in a directory and did not before, one name a line; "dpi…" only where others use it too. */
static bool files_left(const char *dir, const char *before, bool mine, char *list, size_t room)
{
	DIR *d = opendir(dir);
	size_t used = 0;
	list[0] = 0;
	for (struct dirent *e; d && (e = readdir(d)) && used < room;) {
		char line[300];
		snprintf(line, sizeof line, "%s\n", e->d_name);
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || strstr(before, line)) continue;
		if (mine || !strncmp(e->d_name, "dpi", 3)) used += (size_t)snprintf(list + used, room - used, "%s", line);
	}
	if (d) closedir(d);
	return used > 0;
}

/* Where it can be had the case gets a /dev/shm of its own. */
static bool private_shm(void)
{
	return !geteuid() && !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777");
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *w)
{
	(void)s, (void)type, (void)w;
	return remove(path);
}

static void copy_output(int fd, const char *label, int rank)
{
	char line[4096];
	FILE *f = fdopen(dup(fd), "r");
	rewind(f);
	while (fgets(line, sizeof line, f))
		dprintf(report, "%s %d: %s%s", label, rank, line, strchr(line, '\n') ? "" : "\n");
	fclose(f);
}

/* Note ended processes; says whether one failed or skipped. */
static enum harness_outcome reap(void)
{
	enum harness_outcome outcome = HARNESS_OK;
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		for (struct process *p = processes; p < processes + process_count; p++) {
			if (p->pid != pid || p->ended) continue;
			p->ended = true;
			p->status = status;
			if (page->pid[p->rank] == pid) page->pid[p->rank] = -pid;
			if (!status || killing || page->may_die[p->rank]) continue;
			bool skip = WIFEXITED(status) && WEXITSTATUS(status) == HARNESS_SKIPPED;
			if (outcome != HARNESS_NOT_OK) outcome = skip ? HARNESS_SKIP : HARNESS_NOT_OK;
			if (skip) continue;
			int number = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
			if (WIFEXITED(status)) dprintf(report, "rank %d ended with status %d\n", p->rank, number);
			else dprintf(report, "rank %d died by signal %d (%s)\n", p->rank, number, strsignal(number));
		}
	return outcome;
}

static int running(void)
{
	int n = 0;
	for (int i = 0; i < process_count; i++) n += !processes[i].ended;
	return n;
}

static void time_out(int seconds)
{
	int pids[256], n = harness_descendants(getpid(), pids, 256);
	dprintf(report, "the deadline of %d s passed; still running:", seconds);
	for (int i = 0; i < process_count; i++)
		if (!processes[i].ended) dprintf(report, " rank %d (process %d)", processes[i].rank, processes[i].pid);
	dprintf(report, "\n");
	for (int i = 0; i < n; i++) harness_stacks(report, pids[i]);
}

/* Let in only while watch() sleeps. */
static void on_signal(int signal)
{
	if (signal != SIGCHLD) interrupted = 1;
}

/* Until every rank has ended, one has failed, or the deadline. */
static enum harness_outcome watch(void)
{
	int seconds = (the_case->deadline_s ? the_case->deadline_s : 60) * harness_slow(), rank;
	int64_t deadline = now_ms() + (int64_t)seconds * 1000, stop = INT64_MAX;
	enum harness_outcome outcome = HARNESS_OK;
	sigset_t none;
	sigemptyset(&none);
	for (;;) {
		enum harness_outcome o = reap();
		if (o != HARNESS_OK && outcome != HARNESS_NOT_OK) outcome = o;
		/* the others of a failed case get a moment to say what they saw */
		if (outcome == HARNESS_NOT_OK && stop == INT64_MAX) stop = now_ms() + 300 * harness_slow();
		if (outcome == HARNESS_SKIP) stop = 0;
		if (interrupted) dprintf(report, "interrupted\n"), outcome = HARNESS_NOT_OK, stop = 0;
		if (!running() || now_ms() >= stop) return outcome;
		if (now_ms() >= deadline) break;
		int64_t left = (stop < deadline ? stop : deadline) - now_ms() + 1;
		struct pollfd p = {.fd = spawn_pipe[0], .events = POLLIN};
		if (ppoll(&p, 1, &(struct timespec){left / 1000, left % 1000 * 1000000}, &none) == 1 &&
		    read(spawn_pipe[0], &rank, sizeof rank) == sizeof rank && !start_rank(rank, -1)) {
			dprintf(report, "rank %d could not be started: %s\n", rank, strerror(errno));
			return HARNESS_NOT_OK;
		}
	}
	time_out(seconds);
	return HARNESS_NOT_OK;
}

/* Kill what is left. true: there was something after a moment's grace. */
static bool kill_rest(bool judge)
{
	int pids[256], n = harness_descendants(getpid(), pids, 256);
	bool left = false;
	for (int64_t end = now_ms() + 3000 * harness_slow(); judge && n && now_ms() < end;) {
		harness_pause();
		n = harness_descendants(getpid(), pids, 256);
	}
	killing = true;
	for (; n; n = harness_descendants(getpid(), pids, 256))
		for (int i = 0; i < n; i++) {
			char path[64], command[200] = "";
			snprintf(path, sizeof path, "/proc/%d/cmdline", pids[i]);
			int fd = open(path, O_RDONLY);
			if (judge && fd >= 0 && read(fd, command, sizeof command - 1) > 0)
				dprintf(report, "process %d was left running: %s\n", pids[i], command);
			left = true;
			close(fd);
			kill(pids[i], SIGKILL);
			reap();
		}
	while (waitpid(-1, NULL, 0) > 0) {}
	return left;
}

enum harness_outcome harness_supervise(const struct harness_case *c, const struct harness_transport *t, int to, bool verbose)
{
	static char before[65536], left[65536];
	int ranks = c->processes ? c->processes : 1, gate[2] = {-1, -1};
	the_case = c, the_transport = t, report = to;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(temp_dir, sizeof temp_dir, "/tmp/dpi-test-XXXXXX");
	if (page == MAP_FAILED || pipe2(gate, 0) || pipe2(spawn_pipe, O_CLOEXEC) || !mkdtemp(temp_dir)) {
		dprintf(report, "cannot set the case up: %s\n", strerror(errno));
		return HARNESS_NOT_OK;
	}
	snprintf(job_name, sizeof job_name, "dpi-test-%d-%s", getpid(), temp_dir + strlen(temp_dir) - 6);
	/* An address of its own, of loopback's 2^24: who dials a port again after its listener has gone never gets another case. */
	int id = getpid() % 0xfffffe + 1;
	snprintf(loopback, sizeof loopback, "127.%d.%d.%d", id >> 16, id >> 8 & 255, id & 255);
	const char *seed = getenv("TEST_SEED");
	page->seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)now_ms() ^ (uint64_t)getpid() << 32;
	bool mine = private_shm();
	files_left("/dev/shm", "", mine, before, sizeof before);

	sigset_t watched;
	sigemptyset(&watched);
	for (size_t i = 0; i < 3; i++) {
		int signal = ((int[]){SIGCHLD, SIGINT, SIGTERM})[i];
		sigaddset(&watched, signal);
		sigaction(signal, &(struct sigaction){.sa_handler = on_signal}, NULL);
	}
	sigprocmask(SIG_BLOCK, &watched, NULL);

	enum harness_outcome outcome = HARNESS_OK;
	for (int i = 0; i < ranks && outcome == HARNESS_OK; i++)
		if (!start_rank(i, gate[0])) {
			dprintf(report, "rank %d could not be started: %s\n", i, strerror(errno));
			outcome = HARNESS_NOT_OK;
		}
	for (int i = 0; i < ranks; i++) (void)!write(gate[1], "", 1);
	if (outcome == HARNESS_OK) outcome = watch();
	if (kill_rest(outcome == HARNESS_OK) && outcome == HARNESS_OK) outcome = HARNESS_NOT_OK;

	bool stray = false;
	for (int i = 0; i < process_count; i++) stray |= file_size(processes[i].err) > 0;
	if (stray && !c->expect_stderr && outcome == HARNESS_OK) {
		dprintf(report, "something was written to standard error\n");
		outcome = HARNESS_NOT_OK;
	}
	bool files = outcome == HARNESS_OK && !c->leaves_files;
	for (int64_t end = now_ms() + (mine ? 0 : 5000); files && files_left("/dev/shm", before, mine, left, sizeof left);) {
		if (now_ms() < end) continue;
		dprintf(report, "left in /dev/shm:\n%s", left);
		outcome = HARNESS_NOT_OK;
		break;
	}
	if (files && files_left(temp_dir, "", true, left, sizeof left)) {
		dprintf(report, "left in $TMPDIR:\n%s", left);
		outcome = HARNESS_NOT_OK;
	}
	nftw(temp_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	if (outcome == HARNESS_SKIP) dprintf(report, "%s\n", page->reason);
	if (outcome == HARNESS_NOT_OK) dprintf(report, "seed: TEST_SEED=%" PRIu64 "\n", page->seed);
	for (int i = 0; i < process_count && (outcome == HARNESS_NOT_OK || (verbose && outcome == HARNESS_OK)); i++) {
		copy_output(processes[i].out, "out", processes[i].rank);
		copy_output(processes[i].err, "err", processes[i].rank);
	}
	return outcome;
}

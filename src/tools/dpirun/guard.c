/* SPDX-License-Identifier: Apache-2.0
 * guard.c: the process that cleans up after a killed dpirun. It learns of the death by the end of a pipe that dpirun alone
 * holds. */
#include "guard.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

static pid_t guard = -1;
static int tell = -1;

/* ------------------------------------------------------------------------------------------------- in the guard */

static struct groups {
	pid_t *list;
	int count, room;
} groups;

static void note(pid_t group)
{
	if (group > 0) {
		if (groups.count == groups.room) {
			groups.room = groups.room ? 2 * groups.room : 64;
			groups.list = grow_memory(groups.list, (size_t)groups.room * sizeof *groups.list);
		}
		groups.list[groups.count++] = group;
		return;
	}
	for (int i = 0; i < groups.count; i++)
		if (groups.list[i] == -group) {
			groups.list[i] = groups.list[--groups.count];
			return;
		}
}

/* Is word one of the strings in the file? */
static bool has(const char *path, const char *word)
{
	struct bytes b = { 0 };
	char chunk[4096];
	ssize_t n;
	size_t size = strlen(word) + 1;
	bool found = false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return false;
	while ((n = read(fd, chunk, sizeof chunk)) > 0) bytes_add(&b, chunk, (size_t)n);
	close(fd);
	for (char *at = b.data; !found && at && (at = memmem(at, b.size - (size_t)(at - b.data), word, size)); at++)
		found = at == b.data || !at[-1];
	bytes_free(&b);
	return found;
}

/* Kill each process of this user with the word in its environment; how many. */
static int kill_job(const char *word)
{
	char path[300];
	int killed = 0;
	DIR *d = opendir("/proc");
	for (struct dirent *e; d && (e = readdir(d));) {
		if (!isdigit((unsigned char)*e->d_name)) continue;
		snprintf(path, sizeof path, "/proc/%s/environ", e->d_name);
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		if (pid != getpid() && has(path, word) && !kill(pid, SIGKILL)) killed++;
	}
	if (d) closedir(d);
	return killed;
}

static _Noreturn void watch(int end, const char *job)
{
	char *word = print_text("DPI_JOB=%s", job);
	sigset_t all;
	pid_t group;
	ssize_t n;
	setsid(); /* no signal to dpirun's group or terminal ends the guard */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "dpirun-guard");
	if (dup2(end, 3) < 0 || chdir("/")) _exit(EXIT_SELF);
	/* who waits for the end of dpirun's output must not wait for the guard */
	if (syscall(SYS_close_range, 4u, ~0u, 0u))
		for (int fd = 4; fd < 65536; fd++) close(fd);
	for (int fd = 0; fd < 3; fd++) close(fd);
	if (open("/dev/null", O_RDWR) != 0 || dup(0) != 1 || dup(0) != 2) _exit(EXIT_SELF);
	while ((n = read(3, &group, sizeof group)) == sizeof group || (n < 0 && errno == EINTR)) {
		if (n < 0) continue;
		if (!group) _exit(0);
		note(group);
	}
	for (int i = 0; i < groups.count; i++) kill(-groups.list[i], SIGKILL);
	/* again until none is left: one may have started another meanwhile. A process of a kill that is under way still
	 * counts. */
	for (int round = 0; round < 100 && kill_job(word); round++) nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
	_exit(0);
}

/* ------------------------------------------------------------------------------------------------------ in dpirun */

void guard_open(const char *job)
{
	int end[2];
	if (pipe2(end, O_CLOEXEC)) quit(EXIT_SELF, "no pipe: %s", strerror(errno));
	guard = fork();
	if (guard < 0) quit(EXIT_SELF, "cannot start a process: %s", strerror(errno));
	if (!guard) {
		close(end[1]);
		watch(end[0], job);
	}
	close(end[0]);
	tell = end[1];
}

static void send_group(pid_t group)
{
	/* a guard that was killed is missed only if dpirun is killed too */
	while (tell >= 0 && write(tell, &group, sizeof group) < 0 && errno == EINTR) continue;
}

void guard_add(pid_t group)
{
	send_group(group);
}

void guard_remove(pid_t group)
{
	send_group(-group);
}

void guard_close(void)
{
	if (guard < 0) return;
	send_group(0);
	close(tell);
	waitpid(guard, NULL, 0);
	guard = tell = -1;
}

pid_t guard_process(void)
{
	return guard;
}

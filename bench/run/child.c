/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KEPT = 16 << 10 }; /* bytes of a stream; of more, the end */

struct stream {
	char text[KEPT + 1];
	size_t length;
};

static double clock_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* False at the stream's end. */
static bool take(int fd, struct stream *s)
{
	char piece[4096];
	ssize_t n = read(fd, piece, sizeof piece);

	if (n <= 0)
		return n < 0 && errno == EINTR;
	if (s->length + (size_t)n > KEPT) {
		size_t drop = s->length + (size_t)n - KEPT;
		memmove(s->text, s->text + drop, s->length - drop);
		s->length -= drop;
	}
	memcpy(s->text + s->length, piece, (size_t)n);
	s->length += (size_t)n;
	return true;
}

/* Reads both pipes to their ends; false when time ran out first. */
static bool listen_to(struct pollfd *pipes, struct stream *streams, double until)
{
	while (pipes[0].fd >= 0 || pipes[1].fd >= 0) {
		double left = until - clock_s();

		if (left <= 0)
			return false;
		poll(pipes, 2, (int)(left * 1e3) + 1);
		for (int i = 0; i < 2; i++)
			if (pipes[i].fd >= 0 && pipes[i].revents && !take(pipes[i].fd, &streams[i])) {
				close(pipes[i].fd);
				pipes[i].fd = -1;
			}
	}
	return true;
}

static _Noreturn void become(char *const *argv, const int *out, const int *err, pid_t parent)
{
	int null = open("/dev/null", O_RDONLY);

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127);
	dup2(null, 0);
	dup2(out[1], 1);
	dup2(err[1], 2);
	execvp(argv[0], argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int wait_until(pid_t child, double until)
{
	int status;
	pid_t got;

	while ((got = waitpid(child, &status, WNOHANG)) == 0 && clock_s() < until)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	if (got != child)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int child_run(char *const *argv, double seconds, char **out, char **err)
{
	static struct stream streams[2];
	int pipes[2][2], status;
	pid_t parent = getpid(), child;
	double until = clock_s() + seconds;
	bool late;

	if (pipe2(pipes[0], O_CLOEXEC) || pipe2(pipes[1], O_CLOEXEC))
		stop("no pipe: %s", strerror(errno));
	fflush(NULL);
	child = fork();
	if (child < 0)
		stop("no process: %s", strerror(errno));
	if (child == 0)
		become(argv, pipes[0], pipes[1], parent);
	setpgid(child, child); /* whoever of the two comes first */
	close(pipes[0][1]);
	close(pipes[1][1]);

	memset(streams, 0, sizeof streams);
	struct pollfd ends[2] = { { .fd = pipes[0][0], .events = POLLIN }, { .fd = pipes[1][0], .events = POLLIN } };
	late = !listen_to(ends, streams, until);
	if (!late)
		late = (status = wait_until(child, until)) < 0;
	if (late) { /* first politely: a launcher has its own children to end */
		kill(-child, SIGTERM);
		listen_to(ends, streams, clock_s() + 2);
		status = wait_until(child, clock_s() + 1);
	}
	kill(-child, SIGKILL);
	if (late && status < 0)
		waitpid(child, &status, 0);
	for (int i = 0; i < 2; i++)
		if (ends[i].fd >= 0)
			close(ends[i].fd);
	*out = format("%s", streams[0].text);
	*err = format("%s", streams[1].text);
	return late ? -1 : status;
}

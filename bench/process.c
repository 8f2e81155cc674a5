/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"
#include "common.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

volatile sig_atomic_t time_is_up;

static void on_alarm(int signal_number)
{
	(void)signal_number;
	time_is_up = 1;
	signal(SIGALRM, SIG_DFL);
	alarm(10);
}

void timer_start(double seconds)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval timer = { .it_value = { .tv_sec = (time_t)seconds,
						 .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6) + 1 } };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* The cores this process was allowed when it asked first; children inherit the answer. */
static cpu_set_t allowed;
static unsigned core_count(void)
{
	static unsigned cores;

	if (!cores) {
		sched_getaffinity(0, sizeof allowed, &allowed);
		cores = (unsigned)CPU_COUNT(&allowed);
	}
	return cores;
}

bool cores_for(unsigned processes)
{
	return processes <= core_count();
}

void pin_core(unsigned index)
{
	cpu_set_t one;

	if (core_count() < 2)
		return;
	index %= core_count();
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && index-- == 0) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof one, &one);
			return;
		}
}

void pin_consumer(void)
{
	pin_core(0);
}

void pin_appender(unsigned index)
{
	if (core_count() > 1)
		pin_core(1 + index % (core_count() - 1));
}

pid_t spawn(void (*body)(unsigned index, void *arg), unsigned index, void *arg)
{
	pid_t parent = getpid(), child = fork();

	if (child < 0)
		die(1, "fork failed: %s", strerror(errno));
	if (child > 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	body(index, arg);
	_exit(0);
}

void reap(unsigned children)
{
	int status;

	while (children--) {
		if (wait(&status) < 0)
			die(1, "wait failed: %s", strerror(errno));
		if (status)
			die(1, "a child process failed (wait status %d)", status);
	}
}

void *shared_memory(size_t bytes)
{
	int fd = memfd_create("bench", MFD_CLOEXEC);
	void *memory;

	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		die(1, "no shared memory of %zu bytes: %s", bytes, strerror(errno));
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		die(1, "cannot map %zu bytes: %s", bytes, strerror(errno));
	close(fd);
	return memory;
}

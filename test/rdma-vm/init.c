/* SPDX-License-Identifier: Apache-2.0
 * init.c: process 1 of the RDMA machine: loads the modules, puts the host's files under a layer of its own, sets up the devices,
 * runs one command and leaves with its status. On the host,  init tsc  prints the rate of the processor's clock, in kHz.
 *
 * The kernel's command line comes as the environment: RDMA_DIR, the folder on the host with the scripts `devices` and
 * `command`, and RDMA_SECONDS, how long the command may take. Ports of the virtual serial device: 1 the command's output,
 * 2 its errors, 3 what came of it: "started", then "status N", or a sentence that begins with "failed". */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define DEVICES_SECONDS 60
#define TIME_LIMIT 124

static int out = -1, err = -1, report = -1; /* the ports */

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void say(int fd, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (n > (int)sizeof text - 1) n = sizeof text - 1;
	if (write(fd, text, (size_t)n) < 0) _exit(1); /* of process 1: the kernel panics, which ends the machine */
}

/* With reboot=t on the command line the processor resets, and QEMU, told not to start anew, ends. */
static void leave(void)
{
	reboot(RB_AUTOBOOT);
	for (;;) pause();
}

static void fail(const char *what)
{
	say(report >= 0 ? report : 2, "failed %s: %s\n", what, strerror(errno));
	leave();
}

static void mount_on(const char *source, const char *target, const char *type, unsigned long flags, const char *options)
{
	mkdir(target, 0755);
	if (mount(source, target, type, flags, options)) fail(target);
}

static void load_modules(void)
{
	char path[256];
	FILE *list = fopen("/modules/list", "re");
	if (!list) fail("/modules/list");
	while (fscanf(list, "%255s", path) == 1) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)) fail(path);
		close(fd);
	}
	fclose(list);
}

static int open_port(int number) /* it appears a moment after the module */
{
	char path[32];
	snprintf(path, sizeof path, "/dev/vport0p%d", number);
	for (double begin = now(); now() < begin + 10; usleep(1000)) {
		int fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0) return fd;
	}
	fail(path);
	return -1;
}

/* The host's files, read only, and over them a layer in memory that takes what is written. */
static void enter_root(void)
{
	mount_on("root", "/host", "9p", MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
	mount_on("tmpfs", "/layer", "tmpfs", 0, "mode=0755,size=75%");
	mkdir("/layer/upper", 0755);
	mkdir("/layer/work", 0755);
	mount_on("overlay", "/root", "overlay", 0, "lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work");
	mount_on("proc", "/root/proc", "proc", 0, NULL);
	mount_on("sysfs", "/root/sys", "sysfs", 0, NULL);
	mount_on("dev", "/root/dev", "devtmpfs", 0, "mode=0755");
	mount_on("devpts", "/root/dev/pts", "devpts", 0, "ptmxmode=0666");
	mount_on("shm", "/root/dev/shm", "tmpfs", 0, "mode=1777");
	mount_on("run", "/root/run", "tmpfs", 0, "mode=0755");
	if (symlink("/proc/self/fd", "/root/dev/fd") && errno != EEXIST) fail("/dev/fd");
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/")) fail("chroot");
}

/* Its exit status as a shell has it, or TIME_LIMIT; what it has started is killed either way. */
static int run(const char *script, int seconds)
{
	sigset_t child;
	int how, status = -1;
	double end = now() + seconds;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	pid_t pid = fork();
	if (pid < 0) fail("fork");
	if (!pid) {
		sigprocmask(SIG_UNBLOCK, &child, NULL);
		setsid();
		int none = open("/dev/null", O_RDONLY);
		dup2(none, 0);
		dup2(out, 1);
		dup2(err, 2);
		close(none);
		execl("/bin/sh", "sh", script, (char *)NULL);
		_exit(127);
	}
	while (status < 0) {
		pid_t ended = waitpid(-1, &how, WNOHANG);
		if (ended == pid) status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
		if (ended > 0) continue; /* others are orphans, ours now */
		if (now() >= end) status = TIME_LIMIT;
		sigtimedwait(&child, NULL, &(struct timespec){ .tv_nsec = 100000000 });
	}
	if (status == TIME_LIMIT && now() >= end) say(err, "rdma-vm: the time limit of %d s is over\n", seconds);
	kill(-1, SIGKILL);
	return status;
}

static int print_tsc_rate(void) /* of many pairs of readings the closest */
{
	unsigned long long ticks[2] = { 0 };
	double seconds[2] = { 0 };
	for (int side = 0; side < 2; side++) {
		unsigned long long closest = ~0ull;
		for (int i = 0; i < 100; i++) {
			unsigned long long before = __rdtsc();
			double t = now();
			unsigned long long after = __rdtsc();
			if (after - before >= closest) continue;
			closest = after - before;
			ticks[side] = before + closest / 2;
			seconds[side] = t;
		}
		if (!side) usleep(20000);
	}
	return printf("%.0f\n", (double)(ticks[1] - ticks[0]) / (seconds[1] - seconds[0]) / 1000) < 0;
}

int main(int argc, char **argv)
{
	char path[1024];
	if (argc > 1 && !strcmp(argv[1], "tsc")) return print_tsc_rate();
	if (getpid() != 1) return fprintf(stderr, "init: this is process 1 of a virtual machine\n"), 2;
	mount_on("dev", "/dev", "devtmpfs", 0, "mode=0755");
	int console = open("/dev/console", O_RDWR);
	for (int fd = 0; fd < 3; fd++) dup2(console, fd);
	if (console > 2) close(console);
	load_modules();
	report = open_port(3);
	out = open_port(1);
	err = open_port(2);
	const char *folder = getenv("RDMA_DIR"), *seconds = getenv("RDMA_SECONDS");
	if (!folder || !seconds) fail("the kernel's command line");
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1 << 16, 1 << 16 });
	sethostname("rdma-vm", 7);
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	enter_root();
	snprintf(path, sizeof path, "%s/devices", folder);
	if (run(path, DEVICES_SECONDS)) {
		errno = EIO;
		fail("the RDMA devices cannot be set up");
	}
	say(report, "started\n");
	snprintf(path, sizeof path, "%s/command", folder);
	say(report, "status %d\n", run(path, atoi(seconds)));
	leave();
}

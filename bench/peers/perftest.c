/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one of perftest's programs (ib_write_bw, ib_read_bw, ib_write_lat, ib_read_lat), server and client, on the first RDMA
 * device and the last, or both on the first, and prints its figure as one of our lines; of --appenders pairs at once, their sum. Skipped where there is
 * no device. */
#include "../common.h"
#include "../process.h"
#include "rdma_devices.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAIRS = 16 };

static struct options o;
static char program[32], ports[PAIRS][16], size[24], iterations[24], depth[24];
static struct rdma_device devices[2]; /* the server's, the client's */
static int pipes[2];

/* A port that was free a moment ago: perftest cannot choose one itself. */
static void choose_port(char port[16])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || getsockname(fd, (struct sockaddr *)&address, &length))
		die(1, "no port on 127.0.0.1: %s", strerror(errno));
	close(fd);
	snprintf(port, 16, "%d", ntohs(address.sin_port));
}

static void side(unsigned index, void *arg)
{
	char *args[24] = { program, "-F", "-p", arg, "-s", size, "-n", iterations, "-d", devices[index].name };
	int n = 10, null = open("/dev/null", O_WRONLY);

	if (*devices[index].gid) {
		args[n++] = "-x";
		args[n++] = devices[index].gid;
	}
	if (!strcmp(o.mode, "stream")) {
		args[n++] = "-t";
		args[n++] = depth;
	}
	if (index) {
		args[n++] = "127.0.0.1";
		pin_consumer();
	} else {
		pin_appender(0);
	}
	dup2(index ? pipes[1] : null, STDOUT_FILENO);
	close(pipes[0]);
	close(pipes[1]);
	alarm(60);
	execvp(program, args);
	_exit(EXIT_SKIPPED);
}

/* Until the server listens, at most 20 s: it says so to nobody, but the kernel does. */
static void wait_for_listener(const char *port)
{
	char line[256], *files[2] = { "/proc/net/tcp", "/proc/net/tcp6" };
	unsigned at, state;

	for (int tries = 0; tries < 4000; tries++) {
		for (int i = 0; i < 2; i++) {
			FILE *f = fopen(files[i], "re");
			bool listens = false;
			while (f && fgets(line, sizeof line, f))
				if (sscanf(line, " %*u: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x", &at, &state) == 2)
					listens = listens || (state == 10 && at == (unsigned)atoi(port));
			if (f)
				fclose(f);
			if (listens)
				return;
		}
		usleep(5000);
	}
	die(1, "%s did not begin to listen", program);
}

/* The table's line begins with size and iterations; then come least, most, typical, ... or peak and average MiB/s. The sum of all pairs'. */
static double figure(FILE *in)
{
	char line[512];
	unsigned long long bytes;
	double a, b, c, found = 0;

	while (fgets(line, sizeof line, in)) {
		if (sscanf(line, " %llu %*u %lf %lf %lf", &bytes, &a, &b, &c) != 4 || bytes != o.size)
			continue;
		found += !strcmp(o.mode, "stream") ? b * (1 << 20) : c;
	}
	return found;
}

static void wait_for(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		die(1, "%s died (wait status %d)", program, status);
	if (WEXITSTATUS(status) == EXIT_SKIPPED)
		die(EXIT_SKIPPED, "%s is not installed (package perftest)", program);
	if (WEXITSTATUS(status))
		die(1, "%s failed with status %d", program, WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	pid_t server[PAIRS], client[PAIRS];
	double found = 0;
	bool stream;
	FILE *in;

	options_parse(&o, "size window appenders seconds direction mode path", argc, argv);
	stream = !strcmp(o.mode, "stream");
	if (!stream && strcmp(o.mode, "spin"))
		die(2, "--mode takes stream, for bandwidth, or spin, for latency");
	if (o.appenders > PAIRS || (!stream && o.appenders != 1))
		die(2, "--appenders takes 1 to %d, and 1 for latency", PAIRS);
	rdma_devices_choose(devices, o.path);
	snprintf(program, sizeof program, "ib_%s_%s", o.direction, stream ? "bw" : "lat");
	snprintf(size, sizeof size, "%llu", (unsigned long long)o.size);
	snprintf(depth, sizeof depth, "%llu", (unsigned long long)o.window);
	/* by what soft-RoCE does in an emulated machine, 64 MiB/s and 20,000 messages, there and back, a second */
	snprintf(iterations, sizeof iterations, "%.0f", o.seconds * (stream ? 1e4 / (1 + (double)o.size / 6e3) : 1e4) + 100);
	if (pipe(pipes))
		die(1, "pipe failed: %s", strerror(errno));
	for (uint64_t i = 0; i < o.appenders; i++) { /* a server has one client */
		choose_port(ports[i]);
		server[i] = spawn(side, 0, ports[i]);
		wait_for_listener(ports[i]);
	}
	for (uint64_t i = 0; i < o.appenders; i++)
		client[i] = spawn(side, 1, ports[i]);
	close(pipes[1]);
	in = fdopen(pipes[0], "r");
	if (in) {
		found = figure(in);
		fclose(in);
	}
	for (uint64_t i = 0; i < o.appenders; i++) {
		wait_for(client[i]);
		wait_for(server[i]);
	}
	if (found <= 0)
		die(1, "%s printed no figure", program);
	if (stream)
		result_print("stream", "perftest", &o,
			     (struct metric[]){ { "records_per_s", found / (double)o.size }, { "bytes_per_s", found }, { NULL, 0 } });
	else
		result_print("latency", "perftest", &o, (struct metric[]){ { "one_way_us", found }, { "p50_us", found }, { NULL, 0 } });
	return 0;
}

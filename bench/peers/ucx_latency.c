/* SPDX-License-Identifier: Apache-2.0 */
/* Runs ucx_perftest, server and client, over UCX's posix or System V shared memory (or tcp) and prints its median tag
 * latency as one of our lines. UCX already reports one way. */
#include "../common.h"
#include "../process.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct options o;
static char port[16], size[24], iterations[24];

/* A port that was free a moment ago: ucx_perftest cannot choose one itself. */
static void choose_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || getsockname(fd, (struct sockaddr *)&address, &length))
		die(1, "no port on 127.0.0.1: %s", strerror(errno));
	close(fd);
	snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
}

static void server(unsigned index, void *arg)
{
	int null = open("/dev/null", O_WRONLY);

	(void)arg;
	pin_appender(index);
	dup2(null, STDOUT_FILENO);
	alarm(20);
	execlp("ucx_perftest", "ucx_perftest", "-p", port, NULL);
	_exit(EXIT_SKIPPED);
}

static void client(unsigned index, void *arg)
{
	int *pipes = arg;

	(void)index;
	pin_consumer();
	dup2(pipes[1], STDOUT_FILENO);
	close(pipes[0]);
	close(pipes[1]);
	alarm(20);
	execlp("ucx_perftest", "ucx_perftest", "127.0.0.1", "-p", port, "-t", "tag_lat", "-s", size, "-n", iterations, "-f", "-v", NULL);
	_exit(EXIT_SKIPPED);
}

/* The first line of CSV that begins with the iterations; its second column. */
static double median(FILE *in)
{
	char line[512];
	double us;

	while (fgets(line, sizeof line, in))
		if (!strncmp(line, iterations, strlen(iterations)) && sscanf(line, "%*[0-9],%lf", &us) == 1)
			return us;
	return 0;
}

static void wait_for(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		die(1, "ucx_perftest died (wait status %d)", status);
	if (WEXITSTATUS(status) == EXIT_SKIPPED)
		die(EXIT_SKIPPED, "ucx_perftest is not installed");
	if (WEXITSTATUS(status))
		die(1, "ucx_perftest failed with status %d", WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	pid_t server_pid, client_pid;
	double us = 0;
	int pipes[2];
	FILE *in;

	options_parse(&o, "size seconds mode transport", argc, argv);
	if (strcmp(o.mode, "spin"))
		die(2, "UCX waits by spinning: --mode spin");
	timer_start(o.seconds + 20);
	setenv("UCX_TLS", !strcmp(o.transport, "tcp") ? "tcp,self" : !strcmp(o.transport, "sysv") ? "sysv,self" : "posix,self", 1);
	setenv("UCX_NET_DEVICES", "lo", 1);
	setenv("UCX_WARN_UNUSED_ENV_VARS", "n", 1);
	choose_port();
	snprintf(size, sizeof size, "%llu", (unsigned long long)o.size);
	snprintf(iterations, sizeof iterations, "%.0f", o.seconds * (!strcmp(o.transport, "tcp") ? 6e4 : 1.5e6));
	server_pid = spawn(server, 0, NULL);
	usleep(300000); /* until it listens; it says so to nobody */
	if (pipe(pipes))
		die(1, "pipe failed: %s", strerror(errno));
	client_pid = spawn(client, 0, pipes);
	close(pipes[1]);
	in = fdopen(pipes[0], "r");
	if (in) {
		us = median(in);
		fclose(in);
	}
	wait_for(client_pid);
	wait_for(server_pid);
	if (us <= 0)
		die(1, "ucx_perftest printed no latency");
	result_print("latency", "ucx", &o, (struct metric[]){ { "one_way_us", us }, { "p50_us", us }, { NULL, 0 } });
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* From calling dpirun until each process of the job has appended a record to another's queue and flushed it. */
#include "dpi_job.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARK "bench_first_append_ns="

static struct options o;

/* In the job: node 0's line says when the last of them was done. */
static void node_run(void)
{
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	DPI_Context ctx;
	DPI_Buffer queue;
	DPI_Record record;
	uint64_t done, last = 0;
	int node, nodes;

	need(DPI_Init(&ctx));
	need(DPI_Get_Node_Id(ctx, &node));
	need(DPI_Get_Node_Count(ctx, &nodes));
	attr.create = DPI_CREATE_OR_OPEN;
	need(DPI_Create_Buffer("start", 0, &attr, ctx, &queue));
	need(DPI_Append("first", 5, queue));
	need(DPI_Flush_Buffer(queue));
	done = now_ns();
	need(DPI_Append(&done, sizeof done, queue));
	need(DPI_Flush_Buffer(queue));
	for (int i = 0; node == 0 && i < 2 * nodes; i++) {
		need(DPI_Next_Record(queue, &record));
		if (record.size == sizeof done) {
			memcpy(&done, record.data, sizeof done);
			last = done > last ? done : last;
		}
	}
	if (node == 0)
		printf(MARK "%llu\n", (unsigned long long)last);
	need(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	need(DPI_Finalize(ctx));
}

/* dpirun stands in bin/ beside the folder of this program. */
static void program_paths(char *self, char *dpirun)
{
	ssize_t n = readlink("/proc/self/exe", self, PATH_MAX - 1);
	char *slash;

	if (n <= 0)
		die(1, "cannot read /proc/self/exe: %s", strerror(errno));
	self[n] = 0;
	snprintf(dpirun, PATH_MAX, "%.*s", (int)n, self);
	for (int up = 0; up < 2; up++)
		if ((slash = strrchr(dpirun, '/')))
			*slash = 0;
	if (strlen(dpirun) + sizeof "/bin/dpirun" > PATH_MAX)
		die(1, "the path of this program is too long");
	strcat(dpirun, "/bin/dpirun");
	if (access(dpirun, X_OK))
		die(EXIT_SKIPPED, "there is no %s", dpirun);
}

int main(int argc, char **argv)
{
	char self[PATH_MAX], dpirun[PATH_MAX], count[16], setting[32], said[4096];
	const char *mark;
	uint64_t start, end;
	int out[2], status;
	ssize_t n;
	size_t got = 0;
	pid_t child;

	if (argc == 2 && !strcmp(argv[1], "node")) {
		node_run();
		return 0;
	}
	options_parse(&o, "transport processes", argc, argv);
	program_paths(self, dpirun);
	snprintf(count, sizeof count, "%llu", (unsigned long long)o.processes);
	snprintf(setting, sizeof setting, "DPI_TRANSPORT=%s", o.transport);
	if (pipe(out))
		die(1, "no pipe: %s", strerror(errno));
	start = now_ns();
	child = fork();
	if (child < 0)
		die(1, "fork failed: %s", strerror(errno));
	if (!child) {
		dup2(out[1], 1);
		close(out[0]);
		close(out[1]);
		execl(dpirun, dpirun, "-n", count, "-x", setting, self, "node", (char *)NULL);
		die(1, "%s: %s", dpirun, strerror(errno));
	}
	close(out[1]);
	while ((n = read(out[0], said + got, sizeof said - 1 - got)) > 0)
		got += (size_t)n;
	said[got] = 0;
	end = now_ns();
	if (waitpid(child, &status, 0) != child || status)
		die(1, "dpirun failed (wait status %d)", status);
	mark = strstr(said, MARK);
	if (!mark)
		die(1, "the job did not say when it was done: '%s'", said);
	result_print("start", "dpi", &o,
		     (struct metric[]){ { "first_append_ms", ((double)strtoull(mark + sizeof MARK - 1, NULL, 10) - (double)start) * 1e-6 },
					{ "job_ms", (double)(end - start) * 1e-6 }, { NULL, 0 } });
	return 0;
}

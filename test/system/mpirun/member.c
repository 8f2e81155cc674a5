/* SPDX-License-Identifier: Apache-2.0
 * member.c: one process of a job that test/system/mpirun.sh starts: says what it sees of DPI. */
#include <dirent.h>
#include <dpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static DPI_Context ctx;
static int node = -1, nodes;

static int say(const char *call, int error)
{
	const char *name = "?", *detail = "";
	if (!error) return 0;
	DPI_Get_Error_Detail(&detail);
	DPI_Get_Error_Name(error, &name);
	printf("%s: %s: %s\n", call, name, detail);
	return error;
}

static int begin(void)
{
	int error = say("DPI_Init", DPI_Init(&ctx));
	if (error) return error;
	DPI_Get_Node_Id(ctx, &node);
	DPI_Get_Node_Count(ctx, &nodes);
	return 0;
}

/* Where each thread may run. */
static void say_processors(const char *when)
{
	static const char name[] = "Cpus_allowed_list:";
	char path[300], line[300];
	DIR *tasks = opendir("/proc/self/task");
	for (struct dirent *e; tasks && (e = readdir(tasks));) {
		snprintf(path, sizeof path, "/proc/self/task/%.20s/status", e->d_name);
		FILE *f = *e->d_name == '.' ? NULL : fopen(path, "r");
		while (f && fgets(line, sizeof line, f))
			if (!strncmp(line, name, sizeof name - 1)) printf("%s %s", when, line + sizeof name);
		if (f) fclose(f);
	}
	if (tasks) closedir(tasks);
}

/* A child is no process of the job; it ends without a trace. */
static int forked(void)
{
	int status = 0;
	pid_t child = fork();
	if (child < 0) return 1;
	if (!child) exit(begin());
	waitpid(child, &status, 0);
	printf("child %d\n", WEXITSTATUS(status));
	return begin() || say("DPI_Finalize", DPI_Finalize(ctx));
}

static int show_settings(void)
{
	static const char *const names[] = { "cluster", "node", "nodes", "job" };
	char value[300];
	const char *origin;
	printf("node %d of %d rank %s", node, nodes, getenv("PMIX_RANK"));
	for (int i = 0; i < 4; i++)
		if (!DPI_Get_Setting(names[i], ctx, value, sizeof value, &origin)) printf(" %s=%s(%s)", names[i], value, origin);
	puts("");
	return 0;
}

/* One is killed; the others see it and go on without it. */
static int outlive(int victim)
{
	DPI_Node_Info info = DPI_NODE_INFO_INIT;
	if (say("DPI_Barrier", DPI_Barrier("all", (uint32_t)nodes, 0, ctx))) return 1;
	if (node == victim) raise(SIGKILL);
	do {
		usleep(1000);
		if (say("DPI_Get_Node_Info", DPI_Get_Node_Info(victim, ctx, &info))) return 1;
	} while (info.alive);
	if (say("DPI_Barrier", DPI_Barrier("rest", (uint32_t)nodes - 1, 0, ctx))) return 1;
	printf("node %d goes on\n", node);
	return say("DPI_Finalize", DPI_Finalize(ctx));
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "show";
	int number = argc > 2 ? atoi(argv[2]) : 0, rank = atoi(getenv("PMIX_RANK") ? getenv("PMIX_RANK") : "0");
	int status = 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(what, "never") && rank == number) { /* all but this one call DPI_Init; it ends when there is a file */
		while (access(argv[3], F_OK)) usleep(20000);
		return 0;
	}
	say_processors("before");
	if (begin()) return 3;
	if (!strcmp(what, "show")) status = show_settings();
	else if (!strcmp(what, "die")) return outlive(number);
	else if (!strcmp(what, "exit") && node == number) return 7;
	else if (!strcmp(what, "again")) {
		if (say("DPI_Finalize", DPI_Finalize(ctx)) || begin()) return 4;
		printf("again %d of %d\n", node, nodes);
	}
	say_processors("inside");
	if (say("DPI_Barrier", DPI_Barrier("end", (uint32_t)nodes, 0, ctx))) return 5;
	if (say("DPI_Finalize", DPI_Finalize(ctx))) return 6;
	if (!strcmp(what, "fork")) return forked();
	return status;
}

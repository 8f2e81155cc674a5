/* SPDX-License-Identifier: Apache-2.0 */
/* The processor time of processes that have talked to one another and now have nothing to do. */
#include "dpi_job.h"

#include <sys/resource.h>
#include <time.h>

static struct options o;
static double *busy; /* seconds of processor time, a word for each process */

static double cpu_s(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e-6;
}

static void rest(double seconds)
{
	struct timespec t = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t))
		;
}

static void node_run(unsigned node, void *arg)
{
	uint32_t nodes = (uint32_t)o.processes;
	DPI_Context ctx = job_join(node);
	char name[32];
	DPI_Record record;
	DPI_Buffer own;
	double before;

	(void)arg;
	snprintf(name, sizeof name, "idle@%u", node);
	own = queue_create(ctx, name, &o);
	for (unsigned other = 0; other < nodes; other++) {
		snprintf(name, sizeof name, "idle@%u", other);
		DPI_Buffer queue = buffer_open(ctx, name);
		need(DPI_Append("hello", 5, queue));
		need(DPI_Flush_Buffer(queue)); /* and the handle stays open */
	}
	for (unsigned other = 0; other < nodes; other++)
		need(DPI_Next_Record(own, &record));
	need(DPI_Barrier("met", nodes, 0, ctx));
	rest(0.1);
	before = cpu_s();
	if (node % 2) { /* half of them wait inside the library, half are elsewhere */
		need(DPI_Set_Timeout((int64_t)(o.seconds * 1e6), own));
		if (DPI_Next_Record(own, &record) != DPI_ERR_TIMEOUT)
			die(1, "a record came to an idle queue");
	} else {
		rest(o.seconds);
	}
	busy[node] = cpu_s() - before;
	need(DPI_Barrier("end", nodes, 0, ctx));
	need(DPI_Finalize(ctx));
}

int main(int argc, char **argv)
{
	double worst = 0;

	options_parse(&o, "transport processes ring size seconds", argc, argv);
	busy = shared_memory(sizeof *busy * o.processes);
	job_define((unsigned)o.processes, o.transport, NULL);
	timer_start(o.seconds);
	for (unsigned node = 0; node < o.processes; node++)
		spawn(node_run, node, NULL);
	reap((unsigned)o.processes);
	for (unsigned node = 0; node < o.processes; node++)
		worst = busy[node] > worst ? busy[node] : worst;
	result_print("idle", "dpi", &o, (struct metric[]){ { "idle_cpu_percent", 100 * worst / o.seconds }, { NULL, 0 } });
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A record appended to a queue of another process, which answers with one: half of that. */
#include "dpi_job.h"
#include "latency.h"

static struct options o;

struct side {
	DPI_Context ctx;
	DPI_Buffer own, other; /* a queue of this process, and the other's */
	const unsigned char *record;
};

static struct side side_open(unsigned node, const unsigned char *record)
{
	struct side s = { .ctx = job_join(node), .record = record };

	s.own = queue_create(s.ctx, node ? "back" : "there", &o);
	s.other = buffer_open(s.ctx, node ? "there" : "back");
	return s;
}

static void side_close(struct side *s)
{
	need(DPI_Barrier("end", 2, 0, s->ctx));
	need(DPI_Finalize(s->ctx));
}

static void send_record(struct side *s, size_t size)
{
	need(DPI_Append(s->record, size, s->other));
	need(DPI_Flush_Buffer(s->other));
}

static void round_trip(void *arg)
{
	struct side *s = arg;
	DPI_Record record;

	send_record(s, o.size);
	need(DPI_Next_Record(s->own, &record));
	keep(read_lines(record.data, record.size));
}

static void echo(unsigned index, void *arg)
{
	struct side s;
	DPI_Record record;

	pin_appender(index);
	s = side_open(1, arg);
	timer_start(o.seconds); /* dies by itself 10 s later */
	for (;;) {
		need(DPI_Next_Record(s.own, &record));
		if (!record.size)
			break;
		keep(read_lines(record.data, record.size));
		send_record(&s, o.size);
	}
	side_close(&s);
}

int main(int argc, char **argv)
{
	unsigned char *record;
	struct side s;

	options_parse(&o, "transport provider mode size ring seconds", argc, argv);
	if (!strcmp(o.mode, "stream"))
		die(2, "--mode takes spin or block here");
	record = record_new(o.size);
	job_provider(o.provider);
	job_define(2, o.transport, strcmp(o.mode, "spin") ? "0" : "10s");
	spawn(echo, 0, record);
	pin_consumer();
	s = side_open(0, record);
	timer_start(o.seconds);
	latency_run("dpi", &o, round_trip, &s);
	send_record(&s, 0);
	side_close(&s);
	reap(1);
	return 0;
}

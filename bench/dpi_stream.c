/* SPDX-License-Identifier: Apache-2.0 */
/* Records from each appender process to one queue, whose consumer reads a word of every cache line of them. */
#include "dpi_job.h"

#include <stdlib.h>

static struct options o;

static uint64_t per_look(void)
{
	uint64_t records = 8192 / o.size;

	return records ? records : 1;
}

static void append_one_by_one(DPI_Buffer queue, const unsigned char *record)
{
	uint64_t look = per_look(); /* the raw peers look at the time as often */

	/* A program that knows its record lets the compiler copy it. */
#define APPEND_EACH(bytes) \
	while (!time_is_up && !o.flush) \
		for (uint64_t i = 0; i < look; i++) \
			need(DPI_Append(record, (bytes), queue)); \
	while (!time_is_up) \
		for (uint64_t i = 0; i < look; i++) { \
			need(DPI_Append(record, (bytes), queue)); \
			need(DPI_Flush_Buffer(queue)); \
		}
	switch (o.size) {
	case 8: APPEND_EACH(8) break;
	case 16: APPEND_EACH(16) break;
	case 32: APPEND_EACH(32) break;
	case 64: APPEND_EACH(64) break;
	case 128: APPEND_EACH(128) break;
	default: APPEND_EACH(o.size) break;
	}
#undef APPEND_EACH
}

static void append_batches(DPI_Buffer queue, const unsigned char *record)
{
	size_t count = o.batch / o.size ? o.batch / o.size : 1;
	DPI_Record *records = calloc(count, sizeof *records);

	if (!records)
		die(1, "no memory for %zu records", count);
	for (size_t i = 0; i < count; i++)
		records[i] = (DPI_Record){ record, o.size };
	while (!time_is_up) {
		need(DPI_Append_Batch(records, count, queue, NULL));
		if (o.flush)
			need(DPI_Flush_Buffer(queue));
	}
	free(records);
}

static void produce(unsigned index, void *arg)
{
	DPI_Context ctx;
	DPI_Buffer queue;

	pin_appender(index);
	ctx = job_join(1 + index);
	queue = buffer_open(ctx, "stream");
	timer_start(o.seconds);
	if (o.batch)
		append_batches(queue, arg);
	else
		append_one_by_one(queue, arg);
	need(DPI_Append(NULL, 0, queue)); /* an empty record ends the stream */
	need(DPI_Flush_Buffer(queue));
	need(DPI_Close_Buffer(queue));
	need(DPI_Barrier("end", 1 + (uint32_t)o.appenders, 0, ctx));
	need(DPI_Finalize(ctx));
}

struct count {
	uint64_t records, sum;
	unsigned ended;
};

static inline void look_at(struct count *c, const DPI_Record *record)
{
	if (record->size == 64) /* a program that knows its record lets the compiler read it */
		c->sum += read_lines(record->data, 64);
	else if (record->size)
		c->sum += read_lines(record->data, record->size);
	else
		c->ended++;
	c->records += record->size != 0;
}

/* A loop over a run, as a program writes it that knows the size of its records. */
static inline void look_at_run(struct count *c, const DPI_Run *run)
{
	const unsigned char *p = run->data;
	uint64_t sum = 0;

	if (!run->size) {
		c->ended += (unsigned)run->count;
		return;
	}
	if (run->size == 64 && run->stride == 64)
		for (size_t i = 0; i < run->count; i++)
			sum += read_lines(p + i * 64, 64);
	else
		for (size_t i = 0; i < run->count; i++, p += run->stride)
			sum += read_lines(p, run->size);
	c->sum += sum;
	c->records += run->count;
}

int main(int argc, char **argv)
{
	struct count c = { 0 };
	uint64_t start = 0, end;
	unsigned char *record;
	DPI_Record *records;
	DPI_Context ctx;
	DPI_Buffer queue;

	options_parse(&o, "transport provider size appenders flush ring batch next seconds", argc, argv);
	record = record_new(o.size);
	records = calloc(o.next + 1, sizeof *records);
	if (!records)
		die(1, "no memory for %llu records", (unsigned long long)o.next);
	job_provider(o.provider);
	job_define(1 + (unsigned)o.appenders, o.transport, NULL);
	for (unsigned i = 0; i < o.appenders; i++)
		spawn(produce, i, record);
	pin_consumer();
	ctx = job_join(0);
	queue = queue_create(ctx, "stream", &o);
	timer_start(o.seconds);
	while (c.ended < o.appenders) {
		if (!o.next) {
			DPI_Run run;

			need(DPI_Next_Run(queue, SIZE_MAX, &run));
			look_at_run(&c, &run);
			need(DPI_Release_Records(run.count, queue));
		} else if (o.next == 1) {
			need(DPI_Next_Record(queue, &records[0]));
			look_at(&c, &records[0]);
		} else {
			size_t count;

			need(DPI_Next_Records(queue, o.next, records, &count));
			for (size_t i = 0; i < count; i++)
				look_at(&c, &records[i]);
			need(DPI_Release_Records(count, queue));
		}
		if (!start) { /* what came before the clock was read does not count */
			start = now_ns();
			c.sum = c.records = 0;
		}
	}
	end = now_ns();
	if (c.sum != c.records * read_lines(record, o.size))
		die(1, "the records that arrived are not those sent");
	need(DPI_Barrier("end", 1 + (uint32_t)o.appenders, 0, ctx));
	need(DPI_Finalize(ctx));
	reap((unsigned)o.appenders);
	result_stream("dpi", &o, c.records, end - start);
	return 0;
}

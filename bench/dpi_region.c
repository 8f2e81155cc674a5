/* SPDX-License-Identifier: Apache-2.0 */
/* Writes to, or reads from, a region of another process, walked over offset by offset. */
#include "dpi_job.h"

#define FILL 65536u /* bytes at a time */

static struct options o;

/* The home does nothing: it waits until the other is done. */
static void home(unsigned index, void *arg)
{
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	DPI_Context ctx;
	DPI_Buffer region;

	(void)arg;
	pin_appender(index);
	ctx = job_join(0);
	attr.use = DPI_USE_REGION;
	attr.capacity = o.footprint;
	need(DPI_Create_Buffer("region", DPI_NODE_SELF, &attr, ctx, &region));
	need(DPI_Barrier("filled", 2, 600 * 1000000, ctx));
	timer_start(o.seconds); /* dies by itself 10 s later */
	need(DPI_Barrier("end", 2, 60 * 1000000, ctx));
	need(DPI_Finalize(ctx));
}

int main(int argc, char **argv)
{
	uint64_t records = 0, start, end;
	unsigned char *record, *fill;
	DPI_Context ctx;
	DPI_Buffer region;
	bool write;

	options_parse(&o, "transport provider direction size footprint seconds", argc, argv);
	if (o.footprint < o.size)
		die(2, "the footprint is smaller than a record");
	write = !strcmp(o.direction, "write");
	if (!write && strcmp(o.direction, "read"))
		die(2, "--direction takes read or write here");
	record = record_new(o.size);
	job_provider(o.provider);
	job_define(2, o.transport, NULL);
	spawn(home, 0, NULL);
	pin_consumer();
	ctx = job_join(1);
	region = buffer_open(ctx, "region");
	fill = record_new(FILL);
	for (uint64_t at = 0; at < o.footprint; at += FILL) /* page faults are not what is measured */
		need(DPI_Write(fill, at + FILL < o.footprint ? FILL : o.footprint - at, at, region));
	need(DPI_Flush_Buffer(region));
	need(DPI_Barrier("filled", 2, 600 * 1000000, ctx));
	timer_start(o.seconds);
	start = now_ns();
	while (!time_is_up) {
		for (uint64_t at = 0; at + o.size <= o.footprint && !time_is_up; at += o.size, records++)
			if (write)
				need(DPI_Write(record, o.size, at, region));
			else
				need(DPI_Read(record, o.size, at, region));
		need(DPI_Flush_Buffer(region));
	}
	end = now_ns();
	need(DPI_Barrier("end", 2, 0, ctx));
	need(DPI_Finalize(ctx));
	reap(1);
	double rate = (double)records / ((double)(end - start) * 1e-9);
	result_print("region", "dpi", &o,
		     (struct metric[]){ { "records_per_s", rate }, { "bytes_per_s", rate * (double)o.size }, { NULL, 0 } });
	return 0;
}

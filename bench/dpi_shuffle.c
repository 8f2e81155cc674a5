/* SPDX-License-Identifier: Apache-2.0 */
/* A shuffle by a flow: rows pushed one by one, or --batch bytes at once; targets take runs where they lie. With --mode columns
 * the same rows as record batches of two columns; with --mode arrow record batches go into a flow of rows, --by hand: made into rows by the
 * program and pushed by the batch. A process that is source and target pushes from a thread of its own. With --ack targets
 * acknowledge rows, of which sources take note. bytes_per_row: that travel, behind the codec. */
#include "dpi_columns.h"

#include <pthread.h>
#include <stdlib.h>

#define WAIT_US (20 * 1000000)

struct work {
	unsigned process;
	struct outcome *mine;
	DPI_Source source;
	struct rows rows;
	struct columns columns;
	unsigned char *made; /* rows of a batch */
};

static bool columnar(void)
{
	return !strcmp(shuffle.o.mode, "columns");
}

/* Record batches are pushed, whatever segments are. */
static bool by_arrow(void)
{
	return columnar() || !strcmp(shuffle.o.mode, "arrow");
}

static int acks(void)
{
	const char *ack = shuffle.o.ack;

	return !strcmp(ack, "received") ? DPI_ACK_RECEIVED : !strcmp(ack, "released") ? DPI_ACK_RELEASED :
	       !strcmp(ack, "confirmed") ? DPI_ACK_CONFIRMED : DPI_ACK_NONE;
}

static DPI_Codec codec(void)
{
	static const char *const names[] = { "", "lz4", "zstd", "deflate", "aes-256-gcm" }; /* by DPI_CODEC_* */
	static const unsigned char key[DPI_KEY_SIZE] = { 1 };
	DPI_Codec c = { 0 };

	for (int i = 1; i < (int)(sizeof names / sizeof *names); i++)
		if (!strcmp(shuffle.o.codec, names[i]))
			c.codec = i;
	if (c.codec == DPI_CODEC_AES_256_GCM) {
		c.key = "bench";
		need(DPI_Set_Key(c.key, key, sizeof key));
	}
	return c;
}

/* Every process says the same; the first one creates it. */
static DPI_Flow flow_new(DPI_Context ctx)
{
	const char *key = "key";
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Codec coded = codec();
	DPI_Flow flow;

	attr.create = DPI_CREATE_OR_OPEN;
	attr.schema = columns_schema();
	attr.layout = columnar() ? DPI_LAYOUT_COLUMNS : DPI_LAYOUT_ROWS;
	attr.targets = shuffle.targets;
	attr.sources = shuffle.sources;
	if (shuffle.broadcast) {
		attr.dist = DPI_DIST_BROADCAST;
	} else {
		attr.key = &key;
		attr.key_count = 1;
	}
	attr.ack = acks();
	attr.ack_up_to = attr.ack != DPI_ACK_NONE;
	attr.retain = !strcmp(shuffle.o.mode, "retained") ? DPI_ACK_RELEASED : 0;
	attr.codecs = coded.codec ? &coded : NULL;
	attr.codec_count = coded.codec ? 1 : 0;
	attr.segment = (uint32_t)shuffle.o.publish;
	attr.memory = shuffle.o.ring * shuffle.sources;
	need(DPI_Create_Flow("shuffle", &attr, ctx, &flow));
	need(DPI_Free_Schema(attr.schema));
	return flow;
}

/* --------------------------------------------------------------------------------------------------------- source */

/* The tally expects of each target what the peers' hash sends there. */
static void check_hash(const struct rows *rows)
{
	DPI_Values key = { .type = DPI_TYPE_INT64, .data = rows->data, .stride = shuffle.o.size };
	DPI_Partition_Attr attr = DPI_PARTITION_ATTR_INIT;
	uint16_t *part = calloc(rows->count, sizeof *part);

	attr.parts = shuffle.targets;
	attr.keys = &key;
	attr.key_count = 1;
	if (!part)
		die(1, "no memory for the targets of %zu rows", rows->count);
	need(DPI_Partition(&attr, rows->count, part, NULL));
	for (size_t i = 0; i < rows->count; i++)
		if (part[i] != row_target(rows->data + i * shuffle.o.size, shuffle.targets))
			die(1, "the peers' hash is not libdpi's");
	free(part);
}

static always_inline void push_each(size_t size, const unsigned char *row, size_t count, DPI_Source source)
{
	for (; count--; row += size)
		need(DPI_Push(row, size, source));
}

/* The same where rows are acknowledged: no more of them wait than may, so the program takes note whenever there is news. */
static void push_and_hear(size_t size, const unsigned char *row, size_t count, size_t batch, DPI_Source source)
{
	DPI_Acked told;
	size_t n, heard;

	for (; count; row += n * size, count -= n) {
		int error = DPI_Push_Batch(row, batch ? count : 1, source, &n);

		if (error == DPI_ERR_LIMIT)
			error = DPI_Next_Acks(&told, 1, source, &heard);
		need(error);
	}
	if (DPI_Try_Next_Acks(&told, 1, source, &heard) == DPI_SUCCESS && told.error)
		need(told.error);
}

static void push_some(struct work *w, size_t first, size_t count)
{
	size_t size = shuffle.o.size, batch = shuffle.o.batch / size;
	const unsigned char *row = w->rows.data + first * size;

	if (w->made) {
		columns_to_rows(&w->columns, first, count, w->made);
		need(DPI_Push_Batch(w->made, count, w->source, NULL));
	} else if (w->columns.data[0]) {
		columns_push(&w->columns, first, count, w->source);
	} else if (acks()) {
		push_and_hear(size, row, count, batch, w->source);
	} else if (batch) {
		need(DPI_Push_Batch(row, count, w->source, NULL));
	} else {
		WITH_SIZE(size, push_each, row, count, w->source);
	}
}

static uint64_t bytes_sent(DPI_Source source)
{
	DPI_Source_Stats stats = { .size = sizeof stats };

	need(DPI_Flush_Source(source));
	need(DPI_Get_Source_Stats(source, &stats));
	return stats.coded_bytes ? stats.coded_bytes : stats.bytes;
}

static void *push_until_end(void *arg)
{
	struct work *w = arg;
	size_t batch = shuffle.o.batch / shuffle.o.size, most = batch ? batch : rows_per_look(), at = 0;
	uint64_t pushed = 0;

	while (!time_is_up) {
		size_t count = w->rows.count - at < most ? w->rows.count - at : most;

		push_some(w, at, count);
		pushed += count;
		at = at + count == w->rows.count ? 0 : at + count;
	}
	w->mine->bytes = bytes_sent(w->source);
	need(DPI_Close_Source(w->source));
	outcome_sent(w->mine, &w->rows, pushed);
	return NULL;
}

/* --------------------------------------------------------------------------------------------------------- target */

static void take_columns_until_end(DPI_Target target, struct outcome *mine)
{
	for (;;) {
		struct ArrowArray array;
		DPI_Batch batch;
		int error = DPI_Next_Arrow(target, &batch, &array, NULL);

		if (error == DPI_ERR_END)
			break;
		need(error);
		columns_take(&mine->got, &array);
		array.release(&array);
	}
	mine->end = now_ns();
}

static void take_until_end(DPI_Target target, struct outcome *mine)
{
	if (columnar()) {
		take_columns_until_end(target, mine);
		return;
	}
	for (bool confirms = acks() == DPI_ACK_CONFIRMED;;) {
		DPI_Batch batch;
		int error = DPI_Next_Batch(target, &batch);

		if (error == DPI_ERR_END)
			break;
		need(error);
		take_rows(&mine->got, batch.rows, batch.count, batch.stride);
		if (confirms)
			need(DPI_Ack(batch.source, DPI_ACK_TAKEN, target));
		need(DPI_Release_Batch(1, target));
	}
	mine->end = now_ns();
}

static void body(unsigned process, struct outcome *mine)
{
	struct work w = { .process = process, .mine = mine };
	DPI_Source_Attr source_attr = DPI_SOURCE_ATTR_INIT;
	DPI_Target_Attr target_attr = DPI_TARGET_ATTR_INIT;
	int source = source_of(process), target = target_of(process);
	DPI_Context ctx = job_join(process);
	DPI_Flow flow = flow_new(ctx);
	DPI_Target in;
	pthread_t thread;

	source_attr.timeout_us = target_attr.timeout_us = WAIT_US;
	if (target >= 0)
		need(DPI_Open_Target((uint32_t)target, &target_attr, flow, &in));
	if (source >= 0) {
		w.rows = rows_new((unsigned)source);
		check_hash(&w.rows);
		if (by_arrow())
			w.columns = columns_new(&w.rows);
		if (by_arrow() && !strcmp(shuffle.o.by, "hand"))
			w.made = record_new((shuffle.o.batch > 8192 ? shuffle.o.batch : 8192) + shuffle.o.size);
		need(DPI_Open_Source(flow, &source_attr, &w.source));
	}
	shuffle_begin(mine);
	if (source >= 0 && target >= 0) {
		if (pthread_create(&thread, NULL, push_until_end, &w))
			die(1, "cannot start a thread");
		take_until_end(in, mine);
		pthread_join(thread, NULL);
	} else if (source >= 0) {
		push_until_end(&w);
	} else {
		take_until_end(in, mine);
	}
	need(DPI_Barrier("end", shuffle.processes, WAIT_US, ctx));
	need(DPI_Finalize(ctx));
}

int main(int argc, char **argv)
{
	shuffle_options("transport batch publish ring mode by codec ack multicast", argc, argv);
	job_define(shuffle.processes, shuffle.o.transport, NULL);
	setenv("DPI_MULTICAST", shuffle.o.multicast, 1);
	shuffle_run("dpi", body);
	return 0;
}

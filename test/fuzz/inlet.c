/* SPDX-License-Identifier: Apache-2.0
 * inlet.c: libFuzzer target: a ring as a hostile source writes it, read by a target. The input: a byte that chooses the schema, the layout and
 * whether segments are compressed, then
 * steps: a word of 4 bytes, by how much the tail goes on (12 bits; all ones: any 8 bytes that follow) and how many bytes are written
 * at it before that, and those bytes. */

#include "flows/target.h"
#include "fuzz.h"

#define CAPACITY 4096u
#define MOST 1024u /* bytes of a run */

static struct dpi_definition *definition[12];
static struct dpi_ring *ring;
static struct dpi_context ctx;
static struct dpi_peer peer;

/* Rows of which any bytes are one; rows that are checked; rows that vary; columns of these; and both compressed. */
static void start(void)
{
	static const DPI_Column columns[] = { { "k", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "b", DPI_TYPE_BOOL, 1, 0, 0, 0 }, { "t", DPI_TYPE_UTF8, 1, 0, 0, 0 } };
	static const DPI_Codec lz4 = { DPI_CODEC_LZ4, 0, NULL };
	for (size_t i = 0; i < 12; i++) {
		DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
		a.dist = DPI_DIST_BROADCAST;
		a.segment = i / 3 % 2 ? MOST : 512;
		a.layout = i / 3 % 2 ? DPI_LAYOUT_COLUMNS : DPI_LAYOUT_ROWS;
		a.codecs = i < 6 ? NULL : &lz4;
		a.codec_count = i >= 6;
		a.on_death = DPI_DEATH_GOES_ON;
		need(!DPI_Create_Schema(columns, i % 3 + 1, &a.schema) && !dpi_definition_from(&a, &definition[i]), "a definition");
		DPI_Free_Schema(a.schema);
	}
	dpi_log_set(-1, -1);
	ring = aligned_alloc(64, DPI_RING_HEADER + CAPACITY);
	need(ring, "memory");
}

/* Every byte of what was found is touched. */
static void touch(struct dpi_target *t, struct dpi_piece *p)
{
	static volatile uint8_t sink __attribute__((unused));
	if (p->columns) need(!dpi_columns_rows(p), "rows of columns");
	need(p->some && p->data <= p->stop, "a run of rows");
	if (t->stride) {
		need((size_t)(p->stop - p->data) % t->stride == 0, "whole rows");
		for (const uint8_t *at = p->data; at < p->stop; at++) sink ^= *at;
		return;
	}
	for (const DPI_Record *r = (const DPI_Record *)(const void *)p->data; r < (const DPI_Record *)(const void *)p->stop; r++)
		for (size_t i = 0; i < r->size; i++) sink ^= ((const uint8_t *)r->data)[i];
}

static void look(struct dpi_target *t)
{
	for (;;) {
		struct dpi_piece piece = { 0 };
		uint64_t mark;
		int error = DPI_SUCCESS;
		enum dpi_found found = dpi_target_look(t, &piece, &mark, &error);
		if (found == DPI_FOUND_ERROR) need(error == DPI_ERR_CORRUPT, "an error's class");
		if (found == DPI_FOUND_ROWS) {
			touch(t, &piece);
			dpi_piece_release(t, &piece);
		}
		if (found == DPI_FOUND_NOTHING || found == DPI_FOUND_END) return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t states[1] = { DPI_SOURCE_OPEN };
	static int nodes[1];
	static uint32_t epochs[1];
	static uint64_t ids[1];
	if (!ring) start();
	if (!size) return 0;
	size_t which = data[0] & 8 ? (data[0] & 16 ? 9 : 6) + (data[0] & 7) % 3 : data[0] % 4 % 3 + (data[0] & 4 ? 3 : 0);
	struct dpi_flow flow = { .ctx = &ctx, .name = "f", .definition = definition[which], .source = states, .source_node = nodes,
				 .source_epoch = epochs, .source_id = ids };
	atomic_init(&flow.opened, 1);
	pthread_mutex_init(&flow.lock, NULL);
	struct dpi_home home = { .shape = { .max_record = MOST } };
	pthread_mutex_init(&home.lock, NULL);
	const struct dpi_schema *schema = flow.definition->schema;
	struct dpi_target *t = aligned_alloc(64, (sizeof *t + 63) / 64 * 64);
	struct dpi_ring_in *in = calloc(1, sizeof *in);
	struct dpi_inlet *inlet = calloc(1, sizeof *inlet);
	need(t && in && inlet, "memory");
	memset(t, 0, sizeof *t);
	memset(ring, 0, DPI_RING_HEADER + CAPACITY);
	in->reader = (struct dpi_ring_reader){ .ring = ring, .capacity = CAPACITY, .mask = CAPACITY - 1, .max_record = MOST };
	in->from = &peer;
	in->tell_at = in->tell_least = UINT64_MAX; /* the source is not told */
	*inlet = (struct dpi_inlet){ .ring = in };
	*t = (struct dpi_target){ .stride = schema->varies ? 0 : schema->row_size, .wire_stride = schema->varies ? 0 : schema->row_size, .flow = &flow, .ctx = &ctx, .home = &home, .inlet = &inlet,
				  .inlets = 1, .room = 1 };
	int error = dpi_decoder_open(flow.definition, (struct dpi_coded_place){ 1, 2 }, &t->decoder);
	need(!error || error == DPI_ERR_UNSUPPORTED, "codecs");
	for (data++, size--; size >= 4 && !error;) {
		uint32_t word;
		uint64_t tail = ring->tail;
		memcpy(&word, data, 4);
		data += 4, size -= 4;
		uint32_t on = word & 0xfff, count = word >> 12 & 0xfff;
		if (count > size) count = (uint32_t)size;
		for (uint32_t i = 0; i < count; i++) ring->data[(tail + i) & (CAPACITY - 1)] = data[i];
		data += count, size -= count;
		tail += on;
		if (on == 0xfff && size >= 8) {
			memcpy(&tail, data, 8);
			data += 8, size -= 8;
		}
		atomic_store(&ring->tail, tail);
		look(t);
	}
	dpi_columns_spare_free(t);
	dpi_part_free(&inlet->part);
	dpi_decoder_end(inlet->decoder);
	dpi_decoder_close(t->decoder);
	free(inlet);
	free(in);
	free(t);
	pthread_mutex_destroy(&home.lock);
	pthread_mutex_destroy(&flow.lock);
	return 0;
}

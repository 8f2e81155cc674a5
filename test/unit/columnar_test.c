/* SPDX-License-Identifier: Apache-2.0
 * columnar_test.c: rows of a batch scattered to many segments; what a target of a columnar flow lends, and what its source can do to it. */
#include "schema_kit.h"

#include "flows/columnar.h"
#include "flows/target.h"

/* ---------------------------------------------------------------------------------------------------------- scattering */

#define PARTS 7

struct parts {
	struct dpi_schema *schema;
	struct dpi_column_builder *builder[PARTS], *open[PARTS];
	uint8_t *segment[PARTS];
	size_t capacity, first[PARTS], filled[PARTS]; /* in mine: where the open segment begins; how many */
	size_t *mine[PARTS];			      /* rows of each, by their number */
	const struct rows *in;
};

/* What is in a part's segment is what was to go there. */
static void end_part(struct parts *p, uint32_t part)
{
	struct dpi_column_reader r;
	struct dpi_segment h;
	CHECK_INT(dpi_column_rows(p->open[part]), ==, p->filled[part] - p->first[part]);
	CHECK_OK(dpi_column_reader_new(p->schema, &r));
	uint64_t bytes = dpi_column_bytes(p->open[part]), sum = 0;
	size_t size = dpi_column_end(p->open[part], 0);
	CHECK_OK(dpi_column_read(&r, p->segment[part], size, DPI_COLUMN_UNSAFE, &h));
	for (size_t i = 0; i < r.batch.rows; i++) {
		uint8_t *row = malloc(dpi_row_size_in_batch(p->schema, &r.batch, i));
		uint32_t row_size = dpi_row_write_from_batch(p->schema, &r.batch, i, row);
		check_same(row, row_size, p->in->row + p->mine[part][p->first[part] + i]);
		sum += row_size;
		free(row);
	}
	CHECK_INT(sum, ==, bytes);
	p->first[part] = p->filled[part];
	p->open[part] = NULL;
	dpi_column_reader_free(&r);
}

static void scatter(struct dpi_schema *s, const struct rows *in, size_t capacity, struct draws *d)
{
	struct parts p = { .schema = s, .capacity = capacity, .in = in };
	struct dpi_row_batch rows;
	uint16_t part[DPI_PUSH_RUN], touched[DPI_PUSH_RUN];
	uint32_t count[PARTS] = { 0 }, fill[PARTS];
	uint8_t *at[PARTS];
	struct dpi_column_scatter scatter = { .to = p.open, .count = count, .touched = touched, .at = at, .fill = fill };
	CHECK_OK(dpi_row_batch_new(s, NULL, &rows));
	CHECK_OK(dpi_row_batch_records(&rows, in->row, in->count));
	for (uint32_t t = 0; t < PARTS; t++) {
		CHECK_OK(dpi_column_builder_new(s, &p.builder[t]));
		p.segment[t] = aligned_alloc(DPI_COLUMN_ALIGN, capacity);
		p.mine[t] = malloc(in->count * sizeof *p.mine[t]);
	}
	for (size_t first = 0; first < in->count;) {
		size_t n = 1 + draw_below(d, DPI_PUSH_RUN), run = in->count - first < n ? in->count - first : n;
		for (size_t i = 0; i < run; i++) part[i] = (uint16_t)draw_below(d, PARTS);
		for (size_t done = 0; done < run;) {
			n = dpi_column_scatter(&scatter, s, &rows.batch, first + done, run - done, part + done);
			for (size_t i = 0; i < n; i++) p.mine[part[done + i]][p.filled[part[done + i]]++] = first + done + i;
			for (uint32_t i = 0; i < scatter.touches; i++) count[touched[i]] = 0;
			for (uint32_t t = 0; t < PARTS; t++) CHECK_INT(count[t], ==, 0);
			done += n;
			if (done == run) break;
			uint32_t t = part[done]; /* it stopped before this one: there is no segment, or it is full */
			if (p.open[t]) {
				CHECK_INT(dpi_column_rows(p.open[t]), >, 0);
				CHECK_INT(dpi_column_fit(p.open[t], &rows.batch, first + done, 1), ==, 0);
				end_part(&p, t);
			}
			CHECK_OK(dpi_column_begin(p.builder[t], p.segment[t], capacity));
			p.open[t] = p.builder[t];
			CHECK_INT(dpi_column_fit(p.open[t], &rows.batch, first + done, 1), ==, 1);
			CHECK(dpi_column_need(s, &rows.batch, first + done) <= capacity);
			CHECK(dpi_column_need_row(s, in->row[first + done].data, (uint32_t)in->row[first + done].size) <= capacity);
		}
		first += run;
	}
	for (uint32_t t = 0; t < PARTS; t++) {
		if (p.open[t]) end_part(&p, t);
		dpi_column_builder_free(p.builder[t]);
		free(p.segment[t]), free(p.mine[t]);
	}
	dpi_row_batch_free(&rows);
}

TEST(rows_are_scattered_to_segments, "", 0)
{
	struct draws d = draws_from(1);
	for (int i = 0; i < rounds(100); i++) {
		struct dpi_schema *s = random_schema(&d, i % 4);
		struct rows in = random_rows(s, &d, 1 + draw_below(&d, 3000), i % 5 ? 30 : 400);
		size_t largest = 0;
		for (size_t k = 0; k < in.count; k++) largest = in.row[k].size > largest ? in.row[k].size : largest;
		size_t least = (256 + s->columns * (16 + 3 * 64) + largest + 64 * s->columns + 63) & ~(size_t)63;
		scatter(s, &in, least + draw_below(&d, 100) * 64, &d);
		free_rows(in);
		dpi_schema_unref(s);
	}
}

TEST(a_row_needs_what_it_fits, "", 0)
{
	struct draws d = draws_from(2);
	for (int i = 0; i < rounds(100); i++) {
		struct dpi_schema *s = random_schema(&d, i % 4);
		struct rows in = random_rows(s, &d, 1, 2000);
		struct dpi_row_batch rows;
		struct dpi_column_builder *b;
		CHECK_OK(dpi_row_batch_new(s, NULL, &rows));
		CHECK_OK(dpi_row_batch_records(&rows, in.row, 1));
		CHECK_OK(dpi_column_builder_new(s, &b));
		uint64_t need = dpi_column_need(s, &rows.batch, 0), least = dpi_column_least(s);
		CHECK_INT(need, ==, dpi_column_need_row(s, in.row[0].data, (uint32_t)in.row[0].size));
		CHECK_INT(need, >=, least);
		uint8_t *segment = aligned_alloc(64, need);
		CHECK_OK(dpi_column_begin(b, segment, need));
		CHECK_INT(dpi_column_fit(b, &rows.batch, 0, 1), ==, 1);
		CHECK_INT(dpi_column_append_batch(b, &rows.batch, 0, 1, NULL), ==, 1);
		CHECK_INT(dpi_column_end(b, 0), <=, need);
		if (need > least) {
			CHECK_OK(dpi_column_begin(b, segment, need - 64));
			CHECK_INT(dpi_column_fit(b, &rows.batch, 0, 1), ==, 0);
		}
		free(segment);
		dpi_column_builder_free(b);
		dpi_row_batch_free(&rows);
		free_rows(in);
		dpi_schema_unref(s);
	}
}

/* ---------------------------------------------------------------------------------------------------------- definition */

TEST(the_layout_travels_with_the_definition, "FL-480", 0)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 1, 0, 0, 0 } };
	struct dpi_definition *d[2], *again;
	char text[200];
	uint8_t *bytes;
	size_t size;
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	CHECK_OK(DPI_Create_Schema(columns, 2, &a.schema));
	for (int i = 0; i < 2; i++) {
		a.layout = i;
		CHECK_OK(dpi_definition_from(&a, &d[i]));
		CHECK_INT(d[i]->layout, ==, i);
		CHECK_OK(dpi_definition_write(d[i], &bytes, &size));
		CHECK_OK(dpi_definition_parse(bytes, size, &again));
		CHECK(dpi_definition_equal(d[i], again, text, sizeof text));
		dpi_definition_unref(again);
		free(bytes);
	}
	CHECK(!dpi_definition_equal(d[1], d[0], text, sizeof text));
	CHECK(!strcmp(text, "the flow's layout is columns, yours is rows"));
	dpi_definition_unref(d[0]), dpi_definition_unref(d[1]);
	DPI_Free_Schema(a.schema);
}

/* ------------------------------------------------------------------------------------------------------------- lending */


static DPI_Flow make_flow(DPI_Context ctx, DPI_Schema *schema)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 1, 0, 0, 0 } };
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	DPI_Flow flow;
	CHECK_OK(DPI_Create_Schema(columns, 2, schema));
	a.schema = *schema;
	a.layout = DPI_LAYOUT_COLUMNS;
	a.sources = 1;
	CHECK_OK(DPI_Create_Flow("f", &a, ctx, &flow));
	return flow;
}

static void push_rows(DPI_Source source, DPI_Schema schema, int64_t count)
{
	for (int64_t i = 0; i < count; i++) {
		char row[64];
		size_t size;
		DPI_Value v[] = { { .type = DPI_TYPE_INT64, .i = i }, { .type = i % 3 ? DPI_TYPE_UTF8 : DPI_TYPE_NULL, .size = 5, .data = "hello" } };
		CHECK_OK(DPI_Pack_Row(v, schema, row, sizeof row, &size));
		CHECK_OK(DPI_Push(row, size, source));
	}
	CHECK_OK(DPI_Flush_Source(source));
}

/* The buffers are the ring's own bytes, where the segment says; offsets are not, and whoever writes there moves nothing. */
TEST(columns_are_lent_where_they_lie, "FL-476 FL-483", 1)
{
	DPI_Context ctx;
	DPI_Schema schema;
	DPI_Source source;
	DPI_Target target;
	DPI_Batch batch;
	struct ArrowArray a;
	CHECK_OK(DPI_Init(&ctx));
	DPI_Flow flow = make_flow(ctx, &schema);
	CHECK_OK(DPI_Open_Target(0, NULL, flow, &target));
	CHECK_OK(DPI_Open_Source(flow, NULL, &source));
	push_rows(source, schema, 100);
	CHECK_OK(DPI_Next_Arrow(target, &batch, &a, NULL));
	CHECK_INT(a.length, ==, 100);

	struct dpi_target *t = dpi_target_get(target);
	const struct dpi_inlet *inlet = t->inlet[0];
	uint8_t *ring = inlet->ring->reader.ring->data;
	uint8_t *segment = ring + ((inlet->run.at + DPI_RING_WORD) & inlet->ring->reader.mask) + sizeof(struct dpi_flow_segment);
	struct dpi_column_place key, text;
	memcpy(&key, segment + DPI_SEGMENT_HEADER, sizeof key);
	memcpy(&text, segment + DPI_SEGMENT_HEADER + sizeof key, sizeof text);
	CHECK(segment > ring && segment + text.data + text.bytes <= ring + inlet->ring->reader.capacity);
	CHECK(a.children[0]->buffers[0] == NULL);
	CHECK(a.children[0]->buffers[1] == segment + key.data);
	CHECK(a.children[1]->buffers[0] == segment + text.valid);
	CHECK(a.children[1]->buffers[2] == segment + text.data);
	const int32_t *offset = a.children[1]->buffers[1];
	CHECK((const uint8_t *)offset < ring || (const uint8_t *)offset >= ring + inlet->ring->reader.capacity);
	memset(segment + text.offset, 0x7f, 101 * 4); /* a source that breaks the rules */
	for (int i = 0, at = 0; i < 100; i++, at += i % 3 == 1 ? 0 : 5) CHECK_INT(offset[i], ==, at);
	CHECK_INT(((const int64_t *)a.children[0]->buffers[1])[99], ==, 99);
	a.release(&a);
	CHECK_OK(DPI_Close_Source(source));
	CHECK_INT(DPI_Next_Arrow(target, &batch, &a, NULL), ==, DPI_ERR_END);
	CHECK_OK(DPI_Close_Target(target));
	CHECK_OK(DPI_Close_Flow(flow));
	CHECK_OK(DPI_Free_Schema(schema));
	CHECK_OK(DPI_Finalize(ctx));
}

/* A segment that is none, in the ring. */
TEST(columns_that_lead_outside_are_corrupt, "FL-483", 1)
{
	DPI_Context ctx;
	DPI_Schema schema;
	DPI_Source source;
	DPI_Target target;
	DPI_Batch batch;
	struct ArrowArray a;
	CHECK_OK(DPI_Init(&ctx));
	DPI_Flow flow = make_flow(ctx, &schema);
	CHECK_OK(DPI_Open_Target(0, NULL, flow, &target));
	CHECK_OK(DPI_Open_Source(flow, NULL, &source));
	push_rows(source, schema, 1);
	struct dpi_source *s = dpi_source_get(source);
	const struct dpi_lane *l = &s->lane[0];
	/* what was written last lies before the end */
	uint64_t written = atomic_load(&l->b->appender.writer.written);
	CHECK(written > 0);
	push_rows(source, schema, 2);
	if (!l->b->appender.tail) SKIP("the ring is another process's or a mirror");
	const struct dpi_ring_writer *w = &l->b->appender.writer;
	uint64_t at = written + dpi_ring_pad(written, s->segment) + DPI_RING_WORD;
	uint8_t *segment = w->data + (at & w->mask) + sizeof(struct dpi_flow_segment);
	struct dpi_column_place text;
	int32_t far = 1 << 20;
	memcpy(&text, segment + DPI_SEGMENT_HEADER + sizeof text, sizeof text);
	CHECK(text.offset > 0 && text.offset < s->segment);
	memcpy(segment + text.offset + 8, &far, 4);
	CHECK_OK(DPI_Next_Arrow(target, &batch, &a, NULL));
	CHECK_INT(batch.count, ==, 1);
	a.release(&a);
	CHECK_ERROR(DPI_Next_Arrow(target, &batch, &a, NULL), DPI_ERR_CORRUPT, "columns");
	DPI_Close_Source(source);
	CHECK_OK(DPI_Close_Target(target));
	CHECK_OK(DPI_Free_Schema(schema));
	CHECK_OK(DPI_Finalize(ctx));
}

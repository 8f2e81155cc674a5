/* SPDX-License-Identifier: Apache-2.0
 * push_plan_test.c: flows/push_plan.h: runs of a batch, found, counted and copied, with room for all of them and with
 * segments that fill up in between. */
#include "schema_kit.h"

#include "flows/push_plan.h"

enum { TARGETS = 40, MOST = 3000 };

/* One target's memory: segments of room bytes, one behind another, that end where a guard begins. */
struct inbox {
	uint8_t *memory, *at, *end;
	size_t rows;
};

struct batch {
	struct dpi_schema *schema;
	struct dpi_definition d;
	struct dpi_route *route, *again;
	uint32_t width;
	size_t stride, count, bytes;
	uint8_t *rows;
	struct inbox inbox[TARGETS];
	uint8_t *at[TARGETS], *end[TARGETS];
};

static void begin(struct batch *b, struct draws *d)
{
	static const uint32_t widths[] = { 8, 16, 24, 32, 64 };
	uint32_t width = draw_below(d, 4) ? widths[draw_below(d, 5)] : 1 + (uint32_t)draw_below(d, 150);
	b->schema = schema_of((DPI_Column[]){ { .name = "c", .type = DPI_TYPE_FIXED, .width = width } }, 1);
	b->d = (struct dpi_definition){ .schema = b->schema, .key_count = 1, .salt = draw(d) };
	b->d.dist = draw_below(d, 2) ? DPI_DIST_HASH : DPI_DIST_ROUND_ROBIN;
	b->d.targets = 1 + (uint32_t)draw_below(d, TARGETS);
	CHECK_OK(dpi_route_new(&b->d, 3, &b->route));
	CHECK_OK(dpi_route_new(&b->d, 3, &b->again));
	CHECK(dpi_route_single(b->route));
	b->width = width, b->stride = width + draw_below(d, 2) * 5, b->count = draw_below(d, MOST);
	b->bytes = b->count ? (b->count - 1) * b->stride + width : 0;
	b->rows = guarded(b->bytes + 1), b->rows++;
	fill(b->rows, b->bytes, draw(d));
	for (uint32_t t = 0; t < b->d.targets; t++) {
		struct inbox *in = b->inbox + t;
		in->memory = guarded(b->count * width + 1), in->rows = 0;
		in->at = in->end = in->memory + 1;
		b->at[t] = b->end[t] = in->at;
	}
}

/* Every row is where the route says, in order, and that is all. */
static void end(struct batch *b)
{
	for (size_t i = 0; i < b->count; i++) {
		const uint32_t *to;
		uint32_t n;
		CHECK_OK(dpi_route_row(b->again, b->rows + i * b->stride, b->width, &to, &n));
		CHECK_INT(n, ==, 1);
		struct inbox *in = b->inbox + *to;
		CHECK(!memcmp(in->memory + 1 + in->rows++ * b->width, b->rows + i * b->stride, b->width));
	}
	for (uint32_t t = 0; t < b->d.targets; t++) {
		CHECK(b->at[t] == b->inbox[t].memory + 1 + b->inbox[t].rows * b->width);
		guarded_free(b->inbox[t].memory, b->count * b->width + 1);
	}
	guarded_free(b->rows - 1, b->bytes + 1);
	dpi_route_free(b->route), dpi_route_free(b->again);
	dpi_schema_unref(b->schema);
}

TEST(runs_counted_then_copied, "FL-215 FL-216", 0)
{
	static struct batch b;
	struct draws d = draws_from(1);
	uint16_t part[DPI_PUSH_RUN], touched[DPI_PUSH_RUN];
	uint32_t counts[TARGETS] = { 0 }, run = dpi_push_run(64);
	CHECK_INT(run * 64, ==, 8192);
	for (int n = rounds(300); n; n--) {
		begin(&b, &d);
		run = dpi_push_run(b.width);
		CHECK(run >= 64 && run <= DPI_PUSH_RUN);
		for (size_t first = 0, m; first < b.count; first += m) {
			const uint8_t *rows = b.rows + first * b.stride;
			uint32_t sum = 0;
			m = b.count - first < run ? b.count - first : run;
			uint32_t some = dpi_push_find(b.route, rows, b.stride, m, part, counts, touched);
			uint8_t *before[TARGETS];
			memcpy(before, b.at, sizeof before);
			dpi_push_scatter(rows, b.stride, b.width, m, part, b.at);
			CHECK_INT(touched[0], ==, part[0]);
			for (uint32_t i = 0; i < some; i++) {
				uint32_t t = touched[i];
				CHECK(counts[t]);
				CHECK_INT(b.at[t] - before[t], ==, counts[t] * b.width);
				sum += counts[t], counts[t] = 0;
			}
			CHECK_INT(sum, ==, m);
		}
		end(&b);
	}
}

TEST(runs_copied_while_there_is_room, "FL-215", 0)
{
	static struct batch b;
	struct draws d = draws_from(2);
	uint16_t part[DPI_PUSH_RUN];
	for (int n = rounds(300); n; n--) {
		begin(&b, &d);
		for (size_t first = 0, m; first < b.count; first += m) {
			m = b.count - first < DPI_PUSH_RUN ? b.count - first : DPI_PUSH_RUN;
			dpi_route_rows(b.route, b.rows + first * b.stride, b.stride, m, part);
			for (size_t done = 0; done < m;) {
				const uint8_t *rows = b.rows + (first + done) * b.stride;
				size_t more = dpi_push_fill(rows, b.stride, b.width, m - done, part + done, b.at, b.end, draw_below(&d, 2) * b.stride * DPI_PUSH_RUN);
				done += more;
				CHECK(done <= m);
				if (done == m) break;
				uint32_t t = part[done]; /* no row fits: what is left is less than one */
				CHECK_INT(b.end[t] - b.at[t], <, b.width);
				b.end[t] = b.at[t] + (1 + draw_below(&d, 20)) * b.width + draw_below(&d, b.width);
				uint8_t *last = b.inbox[t].memory + 1 + b.count * b.width;
				if (b.end[t] > last) b.end[t] = last;
			}
		}
		end(&b);
	}
}

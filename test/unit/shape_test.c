/* SPDX-License-Identifier: Apache-2.0
 * shape_test.c: src/memory/shape.c: a buffer's attributes: defaults, rounding, limits, and shapes that a peer made up. */
#include "unit.h"

#include "error.h"
#include "home.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)

#define ATTR(...) (&(DPI_Buffer_Attr){ .size = sizeof(DPI_Buffer_Attr), __VA_ARGS__ })

static struct dpi_buffer_shape shape(const DPI_Buffer_Attr *a)
{
	struct dpi_buffer_shape s;
	int error = dpi_shape_from(a, &s);
	if (error) FAIL("%s: %s", dpi_error_name(error), dpi_detail());
	CHECK_INT(dpi_shape_check(&s), ==, DPI_SUCCESS);
	return s;
}

static void check(const DPI_Buffer_Attr *a, uint64_t capacity, uint64_t max_capacity, uint64_t max_record)
{
	struct dpi_buffer_shape s = shape(a);
	CHECK_INT(s.capacity, ==, capacity);
	CHECK_INT(s.max_capacity, ==, max_capacity);
	CHECK_INT(s.max_record, ==, max_record);
}

TEST(shape_has_the_defaults_of_the_header, "", 0)
{
	struct dpi_buffer_shape s = shape(ATTR(0));
	CHECK_INT(s.use, ==, DPI_USE_QUEUE);
	CHECK_INT(s.growth, ==, DPI_GROWTH_DOUBLE);
	CHECK_INT(s.full, ==, DPI_FULL_WAIT);
	CHECK_INT(s.huge_pages, ==, DPI_HUGE_NEVER);
	CHECK_INT(s.numa, ==, DPI_NUMA_ANY);
	check(ATTR(0), 256 * KIB, 256 * MIB, 64 * KIB);
	check(ATTR(.use = DPI_USE_LOG), 256 * KIB, 256 * MIB, 64 * KIB);
	check(ATTR(.use = DPI_USE_REGION, .capacity = 12345), 12345, 12345, 0);
}

TEST(shape_rounds_up, "", 0)
{
	check(ATTR(.capacity = 1, .max_record = 1), 4 * KIB, 256 * MIB, 1);
	check(ATTR(.capacity = 4097, .max_record = 100), 8 * KIB, 256 * MIB, 100);
	check(ATTR(.capacity = 1, .max_record = 5000), 16 * KIB, 256 * MIB, 5000); /* two of them */
	check(ATTR(.capacity = 300 * KIB), 512 * KIB, 256 * MIB, 64 * KIB);
	check(ATTR(.max_record = MIB), 4 * MIB, 256 * MIB, MIB);
	check(ATTR(.capacity = 8 * MIB), 8 * MIB, 256 * MIB, 64 * KIB);
	check(ATTR(.capacity = 16 * MIB), 16 * MIB, 512 * MIB, 64 * KIB);
	check(ATTR(.capacity = 8 * KIB, .max_record = 100, .max_capacity = 8 * KIB), 8 * KIB, 8 * KIB, 100);
	check(ATTR(.max_record = GIB), 4 * GIB, 128 * GIB, GIB);
	check(ATTR(.capacity = 1024 * GIB), 1024 * GIB, 32 * 1024 * GIB, 64 * KIB);
	for (uint64_t max = 1; max < 300 * KIB; max += max / 7 + 1) {
		struct dpi_buffer_shape s = shape(ATTR(.capacity = 1, .max_record = max));
		CHECK_INT(s.capacity, ==, dpi_ring_least(max));
	}
}

TEST(shape_refuses_what_is_out_of_range, "", 0)
{
	static _Alignas(8) char memory[16];
	static const struct {
		DPI_Buffer_Attr a;
		const char *part;
	} bad[] = {
		{ { .use = 4 }, "attr->use is 4" },
		{ { .use = -1 }, "attr->use is -1" },
		{ { .create = 2 }, "attr->create is 2" },
		{ { .full = 2 }, "attr->full is 2" },
		{ { .full = INT32_MIN }, "attr->full is" },
		{ { .growth = 2 }, "attr->growth is 2" },
		{ { .huge_pages = 3 }, "attr->huge_pages is 3" },
		{ { .numa = 1025 }, "attr->numa is 1025" },
		{ { .numa = -1 }, "attr->numa is -1" },
		{ { .max_record = GIB + 1 }, "attr->max_record is 1073741825" },
		{ { .max_record = UINT64_MAX }, "attr->max_record" },
		{ { .capacity = 1024 * GIB + 1 }, "attr->capacity is above" },
		{ { .capacity = UINT64_MAX }, "attr->capacity is above" },
		{ { .max_capacity = 1024 * GIB + 1 }, "attr->max_capacity is above" },
		{ { .max_capacity = UINT64_MAX }, "attr->max_capacity is above" },
		{ { .max_capacity = 255 * KIB }, "attr->max_capacity is 261120" },
		{ { .max_capacity = 16 * KIB, .capacity = 4 * KIB, .max_record = 10000 }, "two records of max_record" },
		{ { .use = DPI_USE_REGION }, "attr->capacity is 0" },
		{ { .use = DPI_USE_REGION, .capacity = 10, .max_record = 1 }, "neither max_record nor max_capacity" },
		{ { .use = DPI_USE_REGION, .capacity = 10, .max_capacity = 10 }, "neither max_record nor max_capacity" },
		{ { .use = DPI_USE_QUEUE, .memory = memory }, "attr->memory is set" },
		{ { .use = DPI_USE_LOG, .memory = memory }, "only a region lies over the caller's memory" },
		{ { .use = DPI_USE_REGION, .capacity = 8, .memory = memory + 1 }, "multiple of 8" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct dpi_buffer_shape s;
		CHECK_ERROR(dpi_shape_from(&bad[i].a, &s), DPI_ERR_ARGUMENT, bad[i].part);
	}
}

static struct dpi_buffer_shape sent_and_received(const struct dpi_buffer_shape *s, size_t cut, bool *bad)
{
	struct dpi_pack p = { 0 };
	struct dpi_buffer_shape r;
	memset(&r, 0xff, sizeof r);
	dpi_shape_pack(&p, s);
	struct dpi_unpack u = { .at = p.data, .end = p.data + p.size - cut };
	dpi_shape_unpack(&u, &r);
	CHECK(u.at == u.end || u.bad);
	*bad = u.bad;
	dpi_pack_free(&p);
	return r;
}

TEST(shape_travels, "", 0)
{
	bool bad;
	struct dpi_buffer_shape s = shape(ATTR(.use = DPI_USE_LOG, .full = DPI_FULL_ERROR, .growth = DPI_GROWTH_NONE,
					       .huge_pages = DPI_HUGE_TRY, .numa = DPI_NUMA_NODE(7), .max_record = 12345,
					       .capacity = 99999, .max_capacity = 7 * GIB));
	struct dpi_buffer_shape r = sent_and_received(&s, 0, &bad);
	CHECK(!bad);
	CHECK(r.use == s.use && r.growth == s.growth && r.full == s.full && r.huge_pages == s.huge_pages && r.numa == s.numa);
	CHECK(r.capacity == s.capacity && r.max_capacity == s.max_capacity && r.max_record == s.max_record);
	for (size_t cut = 1; cut <= 44; cut++) {
		r = sent_and_received(&s, cut, &bad);
		CHECK(bad);
	}
	CHECK_ERROR(dpi_shape_check(&r), DPI_ERR_ARGUMENT, "outside their ranges"); /* what is left of nothing is no shape either */
}

/* Whatever a peer says passes only if rings of it can be made. */
TEST(shape_of_a_liar_is_checked, "", 0)
{
	struct draws d = draws_from(rank);
	int passed = 0;
	for (int n = rounds(300000); n; n--) {
		struct dpi_buffer_shape s = shape(n % 2 ? ATTR(0) : ATTR(.use = DPI_USE_REGION, .capacity = 4096));
		uint32_t *small[] = { &s.use, &s.growth, &s.full, &s.huge_pages, &s.numa };
		uint64_t *large[] = { &s.capacity, &s.max_capacity, &s.max_record };
		for (uint64_t k = draw_below(&d, 3); k; k--) {
			uint64_t value = draw(&d) >> draw_below(&d, 64);
			if (draw_below(&d, 2)) value = (uint64_t)1 << (value % 64);
			if (draw_below(&d, 4)) *large[draw_below(&d, 3)] = value + draw_below(&d, 3) - 1;
			else *small[draw_below(&d, 5)] = (uint32_t)value;
		}
		if (dpi_shape_check(&s)) continue;
		passed++;
		CHECK(s.use >= DPI_USE_QUEUE && s.use <= DPI_USE_REGION && s.full <= 1 && s.growth <= 1);
		CHECK(s.huge_pages <= 2 && s.numa <= 1024);
		CHECK(s.capacity > 0);
		if (s.use == DPI_USE_REGION) continue; /* memory is its limit */
		CHECK(s.capacity <= 1024 * GIB && s.max_capacity <= 32 * 1024 * GIB);
		CHECK(!(s.capacity & (s.capacity - 1)) && s.max_record <= GIB && s.capacity >= dpi_ring_least(s.max_record));
		CHECK(s.max_capacity >= s.capacity);
	}
	CHECK(passed > 0);
}

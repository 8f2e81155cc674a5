/* SPDX-License-Identifier: Apache-2.0
 * pieces_test.c: src/memory/pieces.c: allocation within a region, against a model: a byte for each 64 of the region, and a list of
 * what lives. */
#include "unit.h"

#include "error.h"
#include "pieces.h"

#define UNIT 64u
#define UNITS 4096u
#define LIVE 600

struct model {
	struct dpi_pieces *p;
	uint64_t length, serial;
	uint8_t used[UNITS];
	DPI_Reference live[LIVE], stale[64];
	int count, freed;
};

static uint64_t units(uint64_t size)
{
	return (size + UNIT - 1) / UNIT;
}

/* The longest run of free units, in bytes within the region. */
static uint64_t longest(const struct model *m)
{
	uint64_t most = 0, n = units(m->length);
	for (uint64_t i = 0, start = 0; i <= n; i++) {
		if (i < n && !m->used[i]) continue;
		uint64_t end = UNIT * i < m->length ? UNIT * i : m->length;
		if (i > start && end - UNIT * start > most) most = end - UNIT * start;
		start = i + 1;
	}
	return most;
}

static void begin(struct model *m, uint64_t length, uint64_t serial)
{
	*m = (struct model){ .length = length, .serial = serial };
	m->p = dpi_pieces_new(length, &m->serial);
	CHECK(m->p);
}

static void allocate(struct model *m, uint64_t size)
{
	DPI_Reference r = { 0 };
	int error = dpi_pieces_allocate(m->p, size, &r);
	if (!size || size > m->length) {
		CHECK_INT(error, ==, DPI_ERR_ARGUMENT);
		return;
	}
	CHECK_INT(error, ==, size <= longest(m) ? DPI_SUCCESS : DPI_ERR_FULL); /* exactly where there is room */
	if (error) return;
	CHECK(r.length == size && r.offset % UNIT == 0 && r.offset <= m->length && size <= m->length - r.offset && r.generation);
	for (uint64_t i = 0; i < units(size); i++) CHECK(!m->used[r.offset / UNIT + i]++);
	for (int i = 0; i < m->count; i++) CHECK(r.generation != m->live[i].generation);
	for (int i = 0; i < m->freed && i < 64; i++) CHECK(r.generation != m->stale[i].generation);
	m->live[m->count++] = r;
}

static void release(struct model *m, int i)
{
	DPI_Reference r = m->live[i];
	CHECK_INT(dpi_pieces_release(m->p, &r), ==, DPI_SUCCESS);
	CHECK_INT(dpi_pieces_release(m->p, &r), ==, DPI_ERR_RECLAIMED);
	for (uint64_t k = 0; k < units(r.length); k++) m->used[r.offset / UNIT + k]--;
	m->live[i] = m->live[--m->count];
	m->stale[m->freed++ % 64] = r;
}

static void look(struct model *m, struct draws *d)
{
	for (int i = 0; i < m->count; i++) CHECK_INT(dpi_pieces_check(m->p, &m->live[i]), ==, DPI_SUCCESS);
	for (int i = 0; i < m->freed && i < 64; i++) CHECK_INT(dpi_pieces_check(m->p, &m->stale[i]), ==, DPI_ERR_RECLAIMED);
	if (!m->count) return;
	DPI_Reference r = m->live[draw_below(d, (uint64_t)m->count)], other = r;
	uint64_t *field[] = { &other.offset, &other.length, &other.generation };
	int which = (int)draw_below(d, 3);
	*field[which] ^= (uint64_t)1 << draw_below(d, 64);
	int error = dpi_pieces_check(m->p, &other);
	CHECK(error == DPI_ERR_RECLAIMED || error == DPI_ERR_ARGUMENT);
	CHECK(which == 2 || error == DPI_ERR_ARGUMENT);
}

/* With nothing left, all of it is one run again. */
static void empty(struct model *m)
{
	while (m->count) release(m, 0);
	allocate(m, m->length);
	CHECK_INT(m->count, ==, 1);
	release(m, 0);
}

TEST(pieces_follow_a_model, "", 0)
{
	struct draws d = draws_from(0);
	static struct model m;
	for (int turn = 0; turn < rounds(12); turn++) {
		uint64_t length = turn % 3 ? 1 + draw_below(&d, UNIT * UNITS) : UNIT * (1 + draw_below(&d, UNITS));
		uint64_t usual = 1 + draw_below(&d, length / 8 + 100);
		begin(&m, length, turn % 4 ? draw(&d) : UINT64_MAX >> 20); /* a number that wraps round, too */
		for (int i = 0; i < 1500; i++) {
			bool more = draw_below(&d, 1500) > (uint64_t)i;
			if (m.count < LIVE && (more ? draw_below(&d, 3) : !draw_below(&d, 3))) {
				uint64_t size = draw_below(&d, 8) ? draw_below(&d, usual + 1) : draw_below(&d, length + 2);
				if (!draw_below(&d, 6)) size = longest(&m) + draw_below(&d, 2);
				allocate(&m, size);
			} else if (m.count) {
				release(&m, (int)draw_below(&d, (uint64_t)m.count));
			}
			if (i % 64 == 0) look(&m, &d);
		}
		empty(&m);
		dpi_pieces_free(m.p);
	}
}

/* As many as are kept, in a region of a size that no memory has; then there is an error and nothing is lost. */
TEST(pieces_have_a_limit, "", 0)
{
	uint64_t serial = 0;
	uint64_t length = (uint64_t)1 << 46;
	struct dpi_pieces *p = dpi_pieces_new(length, &serial);
	DPI_Reference *all = malloc(DPI_PIECES_MAX * sizeof *all), r;
	uint32_t n = 0;
	CHECK(p && all);
	int error = DPI_SUCCESS;
	while (n < DPI_PIECES_MAX && !(error = dpi_pieces_allocate(p, 100, &all[n]))) n++;
	CHECK_INT(error, ==, DPI_ERR_LIMIT);
	CHECK_INT(n, ==, DPI_PIECES_MAX - 1);
	CHECK_INT(dpi_pieces_allocate(p, length / 2, &r), ==, DPI_ERR_LIMIT);
	CHECK_INT(dpi_pieces_release(p, &all[7]), ==, DPI_SUCCESS);
	CHECK_INT(dpi_pieces_allocate(p, 100, &r), ==, DPI_SUCCESS); /* where it was, so no more places are needed */
	CHECK(r.offset == all[7].offset && r.generation != all[7].generation);
	all[7] = r;
	for (uint32_t i = 0; i < n; i += 2) CHECK_INT(dpi_pieces_release(p, &all[i]), ==, DPI_SUCCESS);
	for (uint32_t i = 1; i < n; i += 2) CHECK_INT(dpi_pieces_release(p, &all[i]), ==, DPI_SUCCESS);
	CHECK_INT(dpi_pieces_allocate(p, length, &r), ==, DPI_SUCCESS);
	CHECK(r.offset == 0);
	CHECK_INT(dpi_pieces_allocate(p, 1, &r), ==, DPI_ERR_FULL);
	dpi_pieces_free(p);
	free(all);
}

TEST(pieces_of_none, "", 0)
{
	DPI_Reference r = { 0, 8, (uint64_t)1 << 20 }, out;
	uint64_t serial = 5;
	CHECK_INT(dpi_pieces_check(NULL, &r), ==, DPI_ERR_RECLAIMED);
	CHECK_INT(dpi_pieces_release(NULL, &r), ==, DPI_ERR_RECLAIMED);
	for (uint64_t length = 1; length < 130; length++) { /* the last run may be shorter than a unit */
		struct dpi_pieces *p = dpi_pieces_new(length, &serial);
		CHECK_INT(dpi_pieces_check(p, &(DPI_Reference){ 0, length, 0 }), ==, DPI_ERR_RECLAIMED);
		CHECK_INT(dpi_pieces_allocate(p, 1, &r), ==, DPI_SUCCESS);
		CHECK_INT(dpi_pieces_allocate(p, 64, &out), ==, length >= 128 ? DPI_SUCCESS : length < 64 ? DPI_ERR_ARGUMENT : DPI_ERR_FULL);
		CHECK_INT(dpi_pieces_allocate(p, length, &out), ==, DPI_ERR_FULL);
		CHECK_HAS(dpi_detail(), "free");
		CHECK_INT(dpi_pieces_release(p, &r), ==, DPI_SUCCESS);
		dpi_pieces_free(p);
	}
	dpi_pieces_free(NULL);
}

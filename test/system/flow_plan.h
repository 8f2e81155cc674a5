/* SPDX-License-Identifier: Apache-2.0
 * flow_plan.h: what flow_model.c and flow_model_retained.c draw: a flow's definition, its rows, who has its endpoints and what they do; and what is to come out. */
#ifndef FLOW_PLAN_H
#define FLOW_PLAN_H

#include "flow_codecs.h"
#include "flow_values.h"

#define RANKS 4
#define VICTIM (RANKS - 1)
#define SOURCES 6
#define TARGETS 4
#define WAIT_US (INT64_C(30000000) * harness_slow())

/* ---------------------------------------------------------------------------------------------------------- the plan */

/* What a flow has beyond direct rows; what cannot be together is not drawn together. */
enum { PLAIN = 0, COLUMNS = 1, ACKS = 2, FILTER = 4, PROJECT = 8, SUMS = 16, CODECS = 32, RETAINED = 64 };

struct plan {
	uint64_t seed;
	int number;
	char name[32];
	bool kills, declared, grouped;
	struct columns columns;
	uint32_t targets, sources, with; /* of the enumeration above */
	int place;			      /* of stages: DPI_AT_* */
	int filter;			      /* which of filter_text, or a function */
	uint32_t sifted;		      /* where rows with NULL are dropped, too; 0: nowhere */
	bool bloom;			      /* sources have a filter of keys */
	uint64_t passes;		      /* keys that it lets pass */
	uint32_t measured;		      /* sums: a column of which there are count, min and max, too; 0: none */
	DPI_Codec codec[3];
	size_t codecs;
	DPI_Flow_Attr attr;
	int64_t bound[TARGETS];
	uint32_t table[16];
	int sealer, target_rank[TARGETS], source_rank[SOURCES];
	uint64_t target_late[TARGETS], source_late[SOURCES]; /* us */
	bool target_slow[TARGETS], source_slow[SOURCES];
	bool quiet[SOURCES]; /* it pushes no marks */
	uint64_t rows[SOURCES], kill_at;
	uint64_t mask[KEYS]; /* where a key goes, where a key says it */
	int64_t group[KEYS]; /* the least key that is equal to it, as the flow sees it */
};

static uint32_t power_of_two(uint64_t *d, uint32_t most)
{
	uint32_t n = 1;
	while (n < most && draw(d, 2)) n *= 2;
	return n;
}

/* Each group belongs to one target. */
static void draw_sums(struct plan *p, uint64_t *d)
{
	static const int dists[] = { DPI_DIST_HASH, DPI_DIST_RADIX, DPI_DIST_RANGE, DPI_DIST_TABLE, DPI_DIST_FUNCTION };
	p->attr.dist = dists[draw(d, 5)];
	if (p->attr.dist == DPI_DIST_RADIX) p->attr.targets = p->targets = power_of_two(d, TARGETS);
	p->attr.reduce = (int)draw(d, 2);
	p->measured = p->columns.count > HEADS && one_in(d, 2) ? HEADS + (uint32_t)draw(d, p->columns.count - HEADS) : 0;
	p->grouped &= p->attr.dist == DPI_DIST_HASH || p->attr.dist == DPI_DIST_TABLE;
	p->place = DPI_AT_SOURCE;
}

/* What the flow has more, and what of the plan does not go with it. */
static void draw_more(struct plan *p, uint64_t *d)
{
	static const uint32_t kinds[] = { PLAIN, PLAIN, PLAIN, COLUMNS, COLUMNS, ACKS, ACKS, FILTER, PROJECT, FILTER | PROJECT, SUMS, SUMS | FILTER, CODECS, CODECS | FILTER,
					  CODECS | PROJECT, CODECS | SUMS, ACKS | COLUMNS, ACKS | CODECS, ACKS | FILTER | PROJECT, ACKS | CODECS | FILTER,
					  COLUMNS | FILTER, COLUMNS | FILTER | PROJECT, COLUMNS | CODECS, COLUMNS | CODECS | PROJECT, COLUMNS | SUMS, COLUMNS | SUMS | FILTER | CODECS,
					  ACKS | COLUMNS | FILTER, ACKS | COLUMNS | CODECS | PROJECT };
	p->with = kinds[draw(d, sizeof kinds / sizeof *kinds)];
	p->place = (int)draw(d, 2);
	if (p->with & SUMS) draw_sums(p, d);
	if (p->with & CODECS) p->codecs = draw_codecs(d, p->codec);
	if (p->with & ACKS) p->attr.ack = 1 + (int)draw(d, 3), p->attr.ack_up_to = 1;
	if (p->with & COLUMNS) p->attr.layout = DPI_LAYOUT_COLUMNS;
	if (p->with & (COLUMNS | SUMS) && p->attr.segment < 4096) p->attr.segment = 4096;
}

/* A result has several of them: in its key, and the least and the largest. */
static void limit_large(struct plan *p, uint64_t most)
{
	uint32_t limit = p->with & SUMS ? LARGE_MOST / 4 : LARGE_MOST;
	p->columns.large_most = most < limit ? (uint32_t)most : limit;
}

/* Rings that are as small as they may be, or some times that, or that grow; and rows up to twice as large as these. */
static void draw_memory(struct plan *p, uint64_t *d)
{
	uint64_t ring = 4096, most = 3 * (uint64_t)p->attr.segment;
	while (ring < 5 * (uint64_t)p->attr.segment + 1024) ring *= 2;
	p->attr.memory = p->with & (CODECS | SUMS) ? 0 : ring * p->sources << draw(d, 4);
	if (one_in(d, 3)) most = 2 * ring;
	limit_large(p, most);
}

/* When the dist is known. */
static void draw_keys(struct plan *p, uint64_t *d)
{
	int dist = p->attr.dist;
	p->columns.keys = 0;
	if (!p->grouped && (dist == DPI_DIST_HASH || dist == DPI_DIST_TABLE || dist == DPI_DIST_RADIX)) draw_key(&p->columns, dist == DPI_DIST_RADIX, d);
}

/* Filters of numbers that three divides, said in several ways. */
static const char *const filter_text[] = { "number % 3 <> 0",
					   "(number % 3) IN (1, 2)",
					   "number % 3 BETWEEN 1 AND 2",
					   "CASE WHEN number % 3 = 0 THEN FALSE ELSE TRUE END",
					   "NOT (number = number / 3 * 3) OR number IS NULL" };
#define FILTER_TEXTS (int)(sizeof filter_text / sizeof *filter_text)

static void draw_filter(struct plan *p, uint64_t *d)
{
	p->filter = (int)draw(d, FILTER_TEXTS + 1);
	uint32_t sifted = HEADS + (uint32_t)draw(d, MORE);
	if (sifted < p->columns.count && p->columns.column[sifted].nullable && p->filter < FILTER_TEXTS) p->sifted = sifted;
	p->passes = UINT64_MAX;
	p->bloom = p->attr.dist != DPI_DIST_ROUND_ROBIN && p->attr.dist != DPI_DIST_BROADCAST && !p->grouped && one_in(d, 5);
}

static struct plan make_plan(int number)
{
	static const uint32_t segments[] = { 512, 512, 1000, 2048, 4096, 16384, 65536 };
	struct plan p = { .seed = mix(harness_seed() + (uint64_t)number * 7919), .number = number };
	uint64_t d = p.seed;
	snprintf(p.name, sizeof p.name, "model%d", number);
	p.kills = one_in(&d, 4);
	p.declared = !p.kills && draw(&d, 2);
	p.grouped = one_in(&d, 8);
	p.sources = 1 + (uint32_t)draw(&d, SOURCES);
	p.attr = (DPI_Flow_Attr)DPI_FLOW_ATTR_INIT;
	p.attr.create = DPI_CREATE_OR_OPEN;
	p.attr.dist = (int)draw(&d, 7);
	p.targets = p.attr.dist == DPI_DIST_RADIX ? power_of_two(&d, TARGETS) : 1 + (uint32_t)draw(&d, TARGETS);
	p.attr.targets = p.targets;
	p.attr.sources = p.declared ? p.sources : 0;
	p.attr.salt = draw(&d, 1000);
	p.attr.shift = (uint32_t)draw(&d, 4);
	p.attr.segment = segments[draw(&d, 7)];
	draw_columns(&p.columns, p.seed, &d);
	p.attr.hint = one_in(&d, 4) ? DPI_HINT_LATENCY : DPI_HINT_BANDWIDTH;
	p.attr.linger_us = one_in(&d, 3) ? 1 + (int64_t)draw(&d, 5000) : 0;
	draw_more(&p, &d);
	draw_memory(&p, &d);
	draw_keys(&p, &d);
	draw_filter(&p, &d);
	p.attr.on_death = p.kills ? DPI_DEATH_GOES_ON : (int)draw(&d, 2);
	for (uint32_t i = 0; i < TARGETS; i++) p.bound[i] = (int64_t)(i + 1) * (4 + (int64_t)draw(&d, 12));
	for (uint32_t i = 1; i < TARGETS; i++) p.bound[i] += p.bound[i - 1];
	p.attr.table_size = 16;
	for (uint32_t i = 0; i < 16; i++) p.table[i] = (uint32_t)draw(&d, p.targets);
	p.sealer = p.kills ? 0 : (int)draw(&d, RANKS);
	for (uint32_t i = 0; i < p.targets; i++) {
		p.target_rank[i] = (int)draw(&d, p.kills ? RANKS - 1 : RANKS);
		p.target_late[i] = one_in(&d, 4) ? draw(&d, 20000) : 0;
		p.target_slow[i] = one_in(&d, 5);
	}
	for (uint32_t i = 0; i < p.sources; i++) {
		p.source_rank[i] = p.kills && !i ? VICTIM : (int)draw(&d, RANKS);
		p.source_late[i] = one_in(&d, 3) ? draw(&d, 20000) : 0;
		p.source_slow[i] = one_in(&d, 5);
		p.rows[i] = one_in(&d, 8) ? 0 : draw(&d, one_in(&d, 3) ? 4000 : 600);
		if (p.kills && p.source_rank[i] == VICTIM) p.rows[i] += 500;
	}
	p.kill_at = draw(&d, 1000);
	return p;
}

/* What is drawn for a row of a source, the same everywhere. */
static uint64_t of_row(const struct plan *p, uint32_t source, uint64_t number, uint64_t what)
{
	return mix(p->seed ^ mix(source * 31 + what) ^ mix(number + 77));
}

static int64_t key_of(const struct plan *p, uint32_t source, uint64_t number)
{
	return (int64_t)(of_row(p, source, number, 1) % KEYS);
}

static uint32_t size_of(const struct plan *p, uint32_t source, uint64_t number)
{
	return row_bytes(&p->columns, key_of(p, source, number), source, number);
}

/* Is it built in place, for a target of its own choice? */
static bool in_place(const struct plan *p, uint32_t source, uint64_t number, uint32_t *target)
{
	uint64_t r = of_row(p, source, number, 3);
	*target = (uint32_t)(r / 64 % p->targets);
	/* nobody knows of a source that resumes how many of its rows went round robin */
	if (p->with & RETAINED && p->attr.dist == DPI_DIST_ROUND_ROBIN) return false;
	if (p->attr.ack_quorum > 1 || (p->attr.ack_column && !strcmp(p->attr.ack_column, "key"))) return false;
	return r % 32 == 0 && !(p->with & (COLUMNS | FILTER | PROJECT | SUMS)) && size_of(p, source, number) < p->attr.segment - (p->codecs ? p->attr.segment / 2 : 100);
}

/* Has the sources' Bloom filter got a key? */
static bool passes(const struct plan *p, int64_t key)
{
	return p->passes >> key & 1;
}

/* Does a row go to a target? number: what targets call its source; turn: how many of its rows went round robin before. */
static bool goes_to(const struct plan *p, uint32_t source, uint64_t row, uint32_t number, uint64_t turn, uint32_t target)
{
	uint32_t own;
	if (!passes(p, key_of(p, source, row))) return false;
	if (in_place(p, source, row, &own)) return own == target;
	if (p->attr.dist == DPI_DIST_ROUND_ROBIN) return (number + turn) % p->targets == target;
	return p->mask[key_of(p, source, row)] >> target & 1;
}

/* The mark behind a row; 0: none. */
static uint64_t mark_after(const struct plan *p, uint32_t source, uint64_t number)
{
	if (p->quiet[source]) return 0;
	bool due = p->with & SUMS && p->with & RETAINED && number % 100 == 99; /* a window is to fit the memory in which it is kept */
	return of_row(p, source, number, 4) % 100 && !due ? 0 : number / 50 + 1;
}

/* Does it pass the stage that drops some? */
static inline bool kept(const struct plan *p, uint32_t source, uint64_t number)
{
	if (!(p->with & FILTER)) return true;
	return number % 3 && (!p->sifted || !is_null(&p->columns, p->sifted, of_value(&p->columns, p->sifted, key_of(p, source, number), source, number)));
}

static void row_values(const struct plan *p, int64_t key, uint32_t source, uint64_t number, DPI_Value *values, uint8_t *room)
{
	int64_t head[HEADS] = { [KEY] = key, [NUMBER] = (int64_t)number, [SOURCE] = source, [CHECK] = (int64_t)of_row(p, source, number, 5) };
	values_of(&p->columns, head, values, room);
}

/* As it is pushed. */
static uint32_t make_row(const struct plan *p, uint32_t source, uint64_t number, uint8_t *row)
{
	uint8_t room[ROW_MOST];
	DPI_Value values[COLUMNS_MOST];
	row_values(p, key_of(p, source, number), source, number, values, room);
	uint32_t size = pack_values(values, p->columns.schema, row);
	soil(&p->columns, row, size);
	return size;
}

/* As it comes out, but for what does not matter. */
static uint32_t make_output(const struct plan *p, uint32_t source, uint64_t number, uint8_t *row)
{
	const struct columns *c = &p->columns;
	bool projected = p->with & PROJECT;
	uint8_t room[ROW_MOST];
	DPI_Value values[COLUMNS_MOST], out[COLUMNS_MOST];
	row_values(p, key_of(p, source, number), source, number, values, room);
	if (projected) values[CHECK].i = (int64_t)number;
	for (uint32_t i = 0; projected && i < c->outs; i++) out[i] = values[c->out[i]];
	return pack_values(projected ? out : values, projected ? c->output : c->schema, row);
}

static bool as_expected(const struct plan *p, const void *row, size_t size, const uint8_t *expected, uint32_t whole)
{
	return same_row(&p->columns, p->with & PROJECT, row, size, expected, whole);
}

#endif

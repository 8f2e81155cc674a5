/* SPDX-License-Identifier: Apache-2.0
 * flow_plan.h: what flow_model.c and flow_model_retained.c draw: a flow's definition, its rows, who has its endpoints and what they do; and what is to come out. */
#ifndef FLOW_PLAN_H
#define FLOW_PLAN_H

#include <dlfcn.h>

#include "kit.h"

#define RANKS 4
#define VICTIM (RANKS - 1)
#define SOURCES 6
#define TARGETS 4
#define KEYS 64
#define HEAD 32u
#define WAIT_US (INT64_C(30000000) * harness_slow())

/* ---------------------------------------------------------------------------------------------------------- the plan */

/* What a flow has beyond direct rows; what cannot be together is not drawn together. */
enum { PLAIN = 0, COLUMNS = 1, ACKS = 2, FILTER = 4, PROJECT = 8, SUMS = 16, CODECS = 32, RETAINED = 64 };

struct plan {
	uint64_t seed;
	int number;
	char name[32];
	bool kills, declared, varies, checked, grouped; /* checked: rows have a column that not any bytes are */
	uint32_t pad, targets, sources, with; /* of the enumeration above */
	int place;			      /* of stages: DPI_AT_* */
	DPI_Codec codec[3];
	size_t codecs;
	DPI_Flow_Attr attr;
	int64_t bound[TARGETS];
	uint32_t table[16];
	int sealer, target_rank[TARGETS], source_rank[SOURCES];
	uint64_t target_late[TARGETS], source_late[SOURCES]; /* us */
	bool target_slow[TARGETS], source_slow[SOURCES];
	uint64_t rows[SOURCES], kill_at;
	uint64_t mask[KEYS]; /* where a key goes, where a key says it */
};

static uint32_t power_of_two(uint64_t *d, uint32_t most)
{
	uint32_t n = 1;
	while (n < most && draw(d, 2)) n *= 2;
	return n;
}

/* Codecs whose library is on this machine. */
static size_t draw_codecs(uint64_t *d, DPI_Codec codec[3])
{
	static const struct {
		int codec;
		const char *library;
	} all[] = { { DPI_CODEC_LZ4, "liblz4.so.1" }, { DPI_CODEC_ZSTD, "libzstd.so.1" }, { DPI_CODEC_DEFLATE, "libz.so.1" } };
	size_t n = 0;
	for (int i = 0; i < 3 && n < 2; i++) {
		bool drawn = one_in(d, 2);
		void *library = drawn ? dlopen(all[i].library, RTLD_LAZY) : NULL;
		if (library) codec[n++] = (DPI_Codec){ .codec = all[i].codec };
	}
	static const char *const crypto[] = { "libcrypto.so.3", "libcrypto.so.1.1" };
	bool encrypted = one_in(d, 2);
	for (int i = 0; i < 2 && encrypted; i++)
		if (dlopen(crypto[i], RTLD_LAZY)) {
			codec[n++] = (DPI_Codec){ .codec = DPI_CODEC_AES_256_GCM, .key = "model" };
			encrypted = false;
		}
	return n;
}

/* Each group belongs to one target. */
static void draw_sums(struct plan *p, uint64_t *d)
{
	static const int dists[] = { DPI_DIST_HASH, DPI_DIST_RADIX, DPI_DIST_RANGE, DPI_DIST_TABLE, DPI_DIST_FUNCTION };
	p->attr.dist = dists[draw(d, 5)];
	if (p->attr.dist == DPI_DIST_RADIX) p->attr.targets = p->targets = power_of_two(d, TARGETS);
	p->attr.reduce = (int)draw(d, 2);
	p->kills = false; /* what a killed source had added up may be in the sums, or not */
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
	if (p->with & ~(uint32_t)ACKS) p->attr.memory = 0;
}

static struct plan make_plan(int number)
{
	static const uint32_t segments[] = { 512, 512, 1000, 2048, 4096, 16384, 65536 };
	struct plan p = { .seed = mix(harness_seed() + (uint64_t)number * 7919), .number = number };
	uint64_t d = p.seed;
	snprintf(p.name, sizeof p.name, "model%d", number);
	p.kills = one_in(&d, 4);
	p.declared = !p.kills && draw(&d, 2);
	p.varies = one_in(&d, 3);
	p.checked = one_in(&d, 4);
	p.grouped = one_in(&d, 8);
	p.pad = draw(&d, 2) ? 0 : (uint32_t)draw(&d, 200);
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
	uint64_t ring = 4096;
	while (ring < 5 * (uint64_t)p.attr.segment + 1024) ring *= 2;
	p.attr.memory = ring * p.sources << draw(&d, 4);
	p.attr.hint = one_in(&d, 4) ? DPI_HINT_LATENCY : DPI_HINT_BANDWIDTH;
	p.attr.linger_us = one_in(&d, 3) ? 1 + (int64_t)draw(&d, 5000) : 0;
	draw_more(&p, &d);
	p.attr.on_death = p.kills ? DPI_DEATH_GOES_ON : p.with & SUMS ? DPI_DEATH_FAILS : (int)draw(&d, 2);
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

static uint32_t fixed_part(const struct plan *p)
{
	uint32_t bytes = HEAD + (p->varies ? 8 : 0) + p->checked + p->pad;
	return (bytes + 7) & ~7u;
}

static uint32_t size_of(const struct plan *p, uint32_t source, uint64_t number)
{
	uint64_t r = of_row(p, source, number, 2), more = 0;
	if (p->varies) more = r % 64 == 0 ? r / 64 % (3 * p->attr.segment) : r % 4 ? r / 64 % 40 : r / 64 % (p->attr.segment / 2);
	return fixed_part(p) + (uint32_t)more;
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

/* Does a row go to a target? number: what targets call its source; turn: how many of its rows went round robin before. */
static bool goes_to(const struct plan *p, uint32_t source, uint64_t row, uint32_t number, uint64_t turn, uint32_t target)
{
	uint32_t own;
	if (in_place(p, source, row, &own)) return own == target;
	if (p->attr.dist == DPI_DIST_ROUND_ROBIN) return (number + turn) % p->targets == target;
	return p->mask[key_of(p, source, row)] >> target & 1;
}

/* The mark behind a row; 0: none. */
static uint64_t mark_after(const struct plan *p, uint32_t source, uint64_t number)
{
	bool due = p->with & SUMS && p->with & RETAINED && number % 100 == 99; /* a window is to fit the memory in which it is kept */
	return of_row(p, source, number, 4) % 100 && !due ? 0 : number / 50 + 1;
}

/* Does it pass the stage that drops some? */
static inline bool kept(const struct plan *p, uint64_t number)
{
	return !(p->with & FILTER) || number % 3;
}

static uint32_t make_row(const struct plan *p, uint32_t source, uint64_t number, uint8_t *row)
{
	int64_t head[4] = { key_of(p, source, number), (int64_t)number, source, (int64_t)of_row(p, source, number, 5) };
	uint32_t size = size_of(p, source, number), fixed = fixed_part(p), at = HEAD, place[2] = { fixed, size - fixed };
	memset(row, 0, fixed);
	memcpy(row, head, HEAD);
	if (p->varies) memcpy(row + at, place, 8), at += 8;
	if (p->checked) row[at++] = (uint8_t)(number & 1);
	for (uint32_t i = 0; i < p->pad; i++) row[at + i] = (uint8_t)(number + i);
	for (uint32_t i = fixed; i < size; i++) row[i] = (uint8_t)(number * 3 + i);
	return size;
}

/* As it comes out. */
static inline uint32_t make_output(const struct plan *p, uint32_t source, uint64_t number, uint8_t *row)
{
	uint32_t size = make_row(p, source, number, row);
	if (p->with & PROJECT) memcpy(row + 24, row + 8, 8);
	return size;
}

#define ROW_MOST (4 * 65536 + 1024)

/* ---------------------------------------------------------------------------------------------------------- the flow */

static uint32_t function_mask(int64_t key, uint32_t targets)
{
	return (uint32_t)mix((uint64_t)key + 5) & ((1u << targets) - 1);
}

static int dist(const void *row, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	int64_t k;
	(void)size, (void)key, (void)arg;
	memcpy(&k, row, 8);
	uint32_t mask = function_mask(k, targets);
	*count = 0;
	for (uint32_t t = 0; t < targets; t++)
		if (mask >> t & 1) to[(*count)++] = t;
	return DPI_SUCCESS;
}

static int group(const void *row, size_t size, void *arg, uint64_t *key)
{
	(void)size, (void)arg;
	memcpy(key, row, 8);
	*key *= 7;
	return DPI_SUCCESS;
}

static DPI_Flow open_flow(struct plan *p, DPI_Context ctx)
{
	static const char *const key[] = { "key" };
	DPI_Column columns[8] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "number", DPI_TYPE_INT64, 0, 0, 0, 0 },
				  { "source", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "check", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	size_t count = 4;
	DPI_Schema schema;
	DPI_Flow flow;
	DPI_Flow_Attr a = p->attr;
	DPI_Values bounds = { .type = DPI_TYPE_INT64, .data = p->bound };
	if (p->varies) columns[count++] = (DPI_Column){ "bytes", DPI_TYPE_BINARY, 0, 0, 0, 0 };
	if (p->checked) columns[count++] = (DPI_Column){ "odd", DPI_TYPE_BOOL, 0, 0, 0, 0 };
	if (p->pad) columns[count++] = (DPI_Column){ "pad", DPI_TYPE_FIXED, 0, p->pad, 0, 0 };
	CHECK_DPI(DPI_Create_Schema(columns, count, &schema));
	a.schema = schema;
	bool hash = a.dist == DPI_DIST_HASH || a.dist == DPI_DIST_TABLE;
	if (hash && p->grouped) a.group = "model_group", a.group_version = 1;
	else if (a.dist != DPI_DIST_ROUND_ROBIN && a.dist != DPI_DIST_BROADCAST) a.key = key, a.key_count = 1;
	if (!hash) a.salt = 0;
	if (a.dist != DPI_DIST_RADIX) a.shift = 0;
	if (a.dist == DPI_DIST_RANGE && p->targets > 1) a.bounds = &bounds;
	if (a.dist == DPI_DIST_TABLE) a.table = p->table;
	else a.table_size = 0;
	if (a.dist == DPI_DIST_FUNCTION) a.dist_function = "model_dist", a.dist_version = 1;
	DPI_Stage_Column out[8];
	DPI_Stage stages[2];
	static const DPI_Aggregate sums[] = { { .function = DPI_AGGREGATE_COUNT_ALL }, { .function = DPI_AGGREGATE_SUM, .column = "number" } };
	for (size_t i = 0; i < count; i++) out[i] = (DPI_Stage_Column){ .name = columns[i].name, .text = i == 3 ? "number" : NULL };
	if (p->with & FILTER) stages[a.stage_count++] = (DPI_Stage){ .kind = DPI_STAGE_FILTER, .place = p->place, .text = "number % 3 <> 0" };
	if (p->with & PROJECT) stages[a.stage_count++] = (DPI_Stage){ .kind = DPI_STAGE_PROJECT, .place = p->place, .columns = out, .column_count = count };
	if (p->with & SUMS) a.aggregates = sums, a.aggregate_count = 2;
	if (a.stage_count) a.stages = stages;
	if (p->codecs) a.codecs = p->codec, a.codec_count = p->codecs;
	CHECK_DPI(DPI_Create_Flow(p->name, &a, ctx, &flow));
	CHECK_DPI(DPI_Free_Schema(schema));
	static uint8_t row[ROW_MOST];
	uint32_t size = make_row(p, 0, 0, row);
	for (int64_t k = 0; k < KEYS; k++) {
		uint32_t to[TARGETS], n, range = 0;
		memcpy(row, &k, 8);
		CHECK_DPI(DPI_Route(row, size, flow, to, &n));
		for (uint32_t i = 0; i < n; i++) p->mask[k] |= UINT64_C(1) << to[i];
		while (range < p->targets - 1 && k >= p->bound[range]) range++;
		if (a.dist == DPI_DIST_RADIX) CHECK_INT(p->mask[k], ==, 1 << (k >> a.shift & (p->targets - 1)));
		if (a.dist == DPI_DIST_RANGE) CHECK_INT(p->mask[k], ==, 1 << range);
		if (a.dist == DPI_DIST_FUNCTION) CHECK_INT(p->mask[k], ==, function_mask(k, p->targets));
		if (a.dist == DPI_DIST_BROADCAST) CHECK_INT(p->mask[k], ==, (1 << p->targets) - 1);
	}
	return flow;
}

#endif

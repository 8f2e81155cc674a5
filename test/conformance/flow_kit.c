/* SPDX-License-Identifier: Apache-2.0
 * flow_kit.c: see flow_kit.h. */
#include "flow_kit.h"

#include <unistd.h>

DPI_Flow kit_flow(const char *name, DPI_Flow_Attr *a, DPI_Context ctx)
{
	static const char *const key[] = { "key" };
	DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "number", DPI_TYPE_INT64, 0, 0, 0, 0 },
				 { "from", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "check", DPI_TYPE_UINT64, 0, 0, 0, 0 } };
	DPI_Schema own = NULL;
	DPI_Flow flow;
	a->create = DPI_CREATE_OR_OPEN;
	if (!a->schema) {
		CHECK_DPI(DPI_Create_Schema(columns, 4, &own));
		a->schema = own;
		if (a->dist != DPI_DIST_ROUND_ROBIN && a->dist != DPI_DIST_BROADCAST && !a->group) a->key = key, a->key_count = 1;
	}
	CHECK_QUIET(DPI_Create_Flow(name, a, ctx, &flow));
	if (own) CHECK_DPI(DPI_Free_Schema(own));
	return flow;
}

void kit_codecs(enum kit_codecs how, DPI_Flow_Attr *a, DPI_Context ctx)
{
	static const DPI_Codec codecs[] = { { DPI_CODEC_ZSTD, 0, NULL }, { DPI_CODEC_AES_256_GCM, 0, "kit" } };
	static const uint8_t key[DPI_KEY_SIZE] = "thirty-two bytes that are a key.";
	char name[32];
	DPI_Source s;
	if (how == KIT_PLAIN) return;
	a->codecs = how == KIT_ENCRYPTED ? codecs + 1 : codecs;
	a->codec_count = how == KIT_BOTH ? 2 : 1;
	CHECK_DPI(DPI_Set_Key("kit", key, sizeof key));
	snprintf(name, sizeof name, "codecs, %d", (int)getpid());
	DPI_Flow f = FLOW(name, ctx, .codecs = a->codecs, .codec_count = a->codec_count);
	int error = DPI_Open_Source(f, NULL, &s);
	if (error == DPI_ERR_UNSUPPORTED) SKIP("%s", detail());
	CHECK_DPI(error);
	CHECK_QUIET(DPI_Close_Source(s));
	CHECK_QUIET(DPI_Destroy_Flow(name, ctx));
	CHECK_QUIET(DPI_Close_Flow(f));
}

DPI_Source source_with(DPI_Flow flow, int64_t timeout_us)
{
	DPI_Source source;
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	a.timeout_us = timeout_us;
	CHECK_QUIET(DPI_Open_Source(flow, &a, &source));
	return source;
}

DPI_Source source_of(DPI_Flow flow)
{
	return source_with(flow, 0);
}

DPI_Target target_with(uint32_t index, DPI_Flow flow, int64_t timeout_us)
{
	DPI_Target target;
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	a.timeout_us = timeout_us;
	CHECK_QUIET(DPI_Open_Target(index, &a, flow, &target));
	return target;
}

DPI_Target target_of(uint32_t index, DPI_Flow flow)
{
	return target_with(index, flow, 0);
}

struct flow_row row_of(int rank, int64_t key, int64_t number)
{
	struct flow_row r = { key, number, rank, 0 };
	r.check = ((uint64_t)key * 0x9e3779b97f4a7c15u ^ (uint64_t)number) * 0xbf58476d1ce4e5b9u + (uint64_t)rank;
	return r;
}

void push_rows(DPI_Source source, int rank, int64_t first, int64_t count)
{
	for (int64_t i = first; i < first + count; i++) {
		struct flow_row r = row_of(rank, i, i);
		CHECK_DPI(DPI_Push(&r, sizeof r, source));
	}
}

void flow_take(struct flow_tally *t, const void *row, size_t size)
{
	struct flow_row r;
	CHECK_INT(size, ==, sizeof r);
	memcpy(&r, row, sizeof r);
	CHECK(r.from >= 0 && r.from < HARNESS_RANKS);
	CHECK_INT(r.check, ==, row_of((int)r.from, r.key, r.number).check);
	if (t->rows[r.from]) CHECK_INT(r.number, >, t->last[r.from]);
	t->last[r.from] = r.number;
	t->rows[r.from]++;
	t->total++;
}

void flow_drain(DPI_Target target, struct flow_tally *t)
{
	DPI_Tuple u;
	int error;
	while (!(error = DPI_Next(target, &u)))
		if (u.kind == DPI_TUPLE_ROW) flow_take(t, u.data, u.size);
	CHECK_ERROR(error, DPI_ERR_END, "ended");
}

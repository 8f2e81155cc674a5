/* SPDX-License-Identifier: Apache-2.0
 * flow_rows.c: rows from sources to targets: each once, in order, by every way to push and to take; the end. */
#include "flow_kit.h"

#define ROWS 3000

/* The tables of counters are the structs' fields, in order. */
TEST(flow_counters, "FL-403", 0)
{
	size_t source = offsetof(DPI_Source_Stats, rows), target = offsetof(DPI_Target_Stats, rows);
#define IN_ORDER(name, unit, text) CHECK_INT(offsetof(DPI_Source_Stats, name), ==, source); source += sizeof(uint64_t); CHECK(*unit && *text);
	DPI_SOURCE_STATS(IN_ORDER)
#undef IN_ORDER
#define IN_ORDER(name, unit, text) CHECK_INT(offsetof(DPI_Target_Stats, name), ==, target); target += sizeof(uint64_t); CHECK(*unit && *text);
	DPI_TARGET_STATS(IN_ORDER)
#undef IN_ORDER
	CHECK_INT(source, ==, sizeof(DPI_Source_Stats));
	CHECK_INT(target, ==, sizeof(DPI_Target_Stats));
}

/* Every rank has a target and a source; a thread takes while the process pushes. */
struct taker {
	DPI_Target target;
	struct flow_tally tally;
	int way;
};

static void *take(void *arg)
{
	struct taker *t = arg;
	int error = DPI_SUCCESS;
	while (!error) {
		DPI_Batch b[4];
		DPI_Tuple u;
		size_t lent = 0;
		switch (t->way) {
		case 0: error = DPI_Next(t->target, &u); break;
		case 1: error = (DPI_Next)(t->target, &u); break;
		case 2:
			while ((error = DPI_Try_Next(t->target, &u)) == DPI_ERR_AGAIN) harness_pause();
			break;
		default:
			for (; lent < 4 && !(error = DPI_Next_Batch(t->target, &b[lent])); lent++) {
				CHECK_INT(b[lent].stride, ==, sizeof(struct flow_row));
				for (size_t i = 0; i < b[lent].count; i++) flow_take(&t->tally, (const char *)b[lent].rows + i * b[lent].stride, b[lent].stride);
			}
			CHECK_DPI(DPI_Release_Batch(lent, t->target));
		}
		if (t->way < 3 && !error) flow_take(&t->tally, u.data, u.size);
	}
	CHECK_INT(error, ==, DPI_ERR_END);
	return NULL;
}

#define MIXED 5 /* every row by another way, and a flush now and then */

static void push_by(int way, DPI_Source s, int rank, DPI_Flow flow)
{
	struct flow_row rows[100];
	size_t pushed;
	uint64_t seed = draw_seed(rank);
	int64_t batch = way == MIXED ? 1 : 100;
	for (int64_t i = 0; i < ROWS; i++) {
		struct flow_row r = row_of(rank, i, i);
		uint32_t to[8], count;
		void *room;
		int error;
		if (way == MIXED && !draw(&seed, 200)) CHECK_DPI(DPI_Flush_Source(s));
		switch (way == MIXED ? (int)draw(&seed, MIXED) * (int)draw(&seed, 2) : way) {
		case 0: CHECK_DPI(DPI_Push(&r, sizeof r, s)); break;
		case 1: CHECK_DPI((DPI_Push)(&r, sizeof r, s)); break;
		case 2:
			while ((error = DPI_Try_Push(&r, sizeof r, s)) == DPI_ERR_AGAIN) harness_pause();
			CHECK_DPI(error);
			break;
		case 3:
			rows[i % batch] = r;
			if (i % batch == batch - 1) {
				CHECK_DPI(DPI_Push_Batch(rows, (size_t)batch, s, &pushed));
				CHECK_INT(pushed, ==, (size_t)batch);
			}
			break;
		default:
			CHECK_DPI(DPI_Route(&r, sizeof r, flow, to, &count));
			CHECK_INT(count, ==, 1);
			CHECK_DPI(DPI_Reserve(sizeof r, to[0], s, &room));
			if (i % 7 == 0) {
				CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_STATE, "DPI_Discard");
				CHECK_DPI(DPI_Discard(s));
				CHECK_ERROR(DPI_Discard(s), DPI_ERR_STATE, "DPI_Reserve");
				CHECK_DPI(DPI_Reserve(sizeof r, to[0], s, &room));
			}
			CHECK_INT((uintptr_t)room % 8, ==, 0);
			memcpy(room, &r, sizeof r);
			CHECK_DPI(DPI_Commit(sizeof r, s));
		}
		memset(&r, 0xff, sizeof r); /* it is the caller's again */
	}
}

TEST(flow_ways, "FL-400 FL-401 FL-402 FL-403 FL-404", 3)
{
	DPI_Context ctx = join();
	char name[16];
	uint64_t *counts = harness_shared();
	for (int way = 0; way <= MIXED; way++) {
		snprintf(name, sizeof name, "f%d", way);
		DPI_Flow f = FLOW(name, ctx, .targets = 3, .sources = 3, .segment = way % 2 ? 512 : 0);
		struct taker t = { .target = target_of((uint32_t)rank, f), .way = way % 4 };
		DPI_Source s = source_of(f);
		pthread_t thread = start_thread(take, &t);
		push_by(way, s, rank, f);
		DPI_Source_Stats ss = { .size = sizeof ss };
		CHECK_DPI(DPI_Get_Source_Stats(s, &ss));
		CHECK_INT(ss.rows, ==, ROWS);
		CHECK_INT(ss.bytes, ==, ROWS * sizeof(struct flow_row));
		CHECK_DPI(DPI_Close_Source(s));
		end_thread(thread);
		DPI_Tuple u;
		CHECK_ERROR(DPI_Next(t.target, &u), DPI_ERR_END, name);
		DPI_Target_Stats ts = { .size = sizeof ts };
		CHECK_DPI(DPI_Get_Target_Stats(t.target, &ts));
		CHECK_INT(ts.rows, ==, t.tally.total);
		CHECK_DPI(DPI_Close_Target(t.target));
		__atomic_fetch_add(&counts[way], (uint64_t)t.tally.total, __ATOMIC_SEQ_CST);
		harness_barrier();
		CHECK_INT(counts[way], ==, 3 * ROWS);
		CHECK_DPI(DPI_Close_Flow(f));
	}
	leave(ctx);
}

/* Rows for everybody, in bulk: where the transport has multicast they are sent once. The linger time is long, so that they go
 * together. */
TEST(flow_replicate, "FL-405", 4, .env = "DPI_MULTICAST=on DPI_LINGER=100ms", .deadline_s = 180)
{
	enum { BULK = 100 };
	struct flow_row row[BULK];
	struct flow_tally tally = { { 0 }, { 0 }, 0 };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("everybody", ctx, .targets = 3, .sources = 1, .dist = DPI_DIST_BROADCAST);
	if (rank) {
		DPI_Target t = target_of((uint32_t)rank - 1, f);
		flow_drain(t, &tally);
		CHECK_INT(tally.total, ==, 5 * ROWS);
		CHECK_DPI(DPI_Close_Target(t));
	} else {
		DPI_Source s = source_of(f);
		size_t pushed;
		for (int64_t at = 0; at < 5 * ROWS; at += BULK) {
			for (int64_t i = 0; i < BULK; i++) row[i] = row_of(0, at + i, at + i);
			CHECK_DPI(DPI_Push_Batch(row, BULK, s, &pushed));
			CHECK_INT(pushed, ==, BULK);
		}
		CHECK_DPI(DPI_Close_Source(s));
	}
	harness_barrier();
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}

TEST(flow_where_rows_go, "FL-405", 4)
{
	static const uint32_t table[] = { 3, 1, 1, 0, 2 };
	static const int64_t bound[] = { 100, 500, 1500 };
	DPI_Values bounds = { .type = DPI_TYPE_INT64, .data = bound };
	DPI_Flow_Attr attrs[] = {
		{ .dist = DPI_DIST_HASH, .salt = 7 },
		{ .dist = DPI_DIST_RADIX, .shift = 3 },
		{ .dist = DPI_DIST_RANGE, .bounds = &bounds },
		{ .dist = DPI_DIST_TABLE, .table = table, .table_size = 5 },
		{ .dist = DPI_DIST_BROADCAST },
		{ .dist = DPI_DIST_ROUND_ROBIN },
	};
	DPI_Context ctx = join();
	for (int d = 0; d < 6; d++) {
		char name[16];
		snprintf(name, sizeof name, "f%d", d);
		DPI_Flow_Attr a = attrs[d];
		a.size = sizeof a;
		a.targets = 4;
		a.sources = 4;
		DPI_Flow f = kit_flow(name, &a, ctx);
		DPI_Target t = target_of((uint32_t)rank, f);
		DPI_Source s = source_of(f);
		push_rows(s, rank, 0, 2000);
		CHECK_DPI(DPI_Close_Source(s));
		DPI_Tuple u;
		int64_t rows = 0;
		int error;
		while (!(error = DPI_Next(t, &u))) {
			uint32_t to[4], count;
			rows++;
			if (d == 5) continue;
			CHECK_DPI(DPI_Route(u.data, u.size, f, to, &count));
			CHECK_INT(count, ==, d == 4 ? 4 : 1);
			CHECK_INT(to[d == 4 ? rank : 0], ==, rank);
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		if (d == 4) CHECK_INT(rows, ==, 8000);
		if (d == 5) CHECK_INT(rows, ==, 2000);
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

/* Zero rows; targets that never read until the end; sources that close in any order; that come late. */
TEST(flow_end, "FL-410 FL-411 FL-412", 3)
{
	DPI_Context ctx = join();
	DPI_Tuple u;
	DPI_Flow empty = FLOW("empty", ctx, .targets = 3, .sources = 3);
	DPI_Target t = target_with((uint32_t)rank, empty, DPI_NO_WAIT);
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_TIMEOUT, "empty");
	DPI_Source s = source_of(empty);
	harness_barrier();
	CHECK_ERROR(DPI_Open_Source(empty, NULL, &(DPI_Source){ 0 }), DPI_ERR_SEALED, "sealed");
	if (rank) CHECK_DPI(DPI_Close_Source(s));
	harness_barrier();
	UNTIL(5 * SECOND, strstr(detail(), "1 of 3 sources are open"), CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_TIMEOUT, "open"));
	harness_barrier();
	if (!rank) CHECK_DPI(DPI_Close_Source(s));
	UNTIL(5 * SECOND, DPI_Next(t, &u) == DPI_ERR_END, );
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "empty");
	CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_END, "empty");
	CHECK_ERROR(DPI_Next_Batch(t, &(DPI_Batch){ 0 }), DPI_ERR_END, "empty");
	CHECK_DPI(DPI_Close_Target(t));

	DPI_Flow f = FLOW("f", ctx, .targets = 3);
	t = target_of((uint32_t)rank, f);
	for (int round = 0; round < 3; round++) { /* sources come one after another */
		if (round == rank) {
			s = source_of(f);
			push_rows(s, rank, 0, 5000);
			CHECK_DPI(DPI_Close_Source(s));
		}
		harness_barrier();
	}
	if (!rank) CHECK_DPI(DPI_Seal_Flow(f));
	struct flow_tally tally = { 0 };
	flow_drain(t, &tally); /* nobody has read before */
	uint64_t *all = harness_shared();
	__atomic_fetch_add(all, (uint64_t)tally.total, __ATOMIC_SEQ_CST);
	harness_barrier();
	CHECK_INT(*all, ==, 15000);
	CHECK_ERROR(DPI_Open_Source(f, NULL, &s), DPI_ERR_SEALED, "'f'");
	leave(ctx);
}

/* Rows of every size: much smaller than a segment, nearly one, larger. */
TEST(flow_varying_rows, "FL-406 FL-407", 2)
{
	static const size_t sizes[] = { 0, 1, 7, 8, 9, 100, 300, 380, 400, 420, 440, 450, 500, 1000, 5000, 70000, 3 };
	enum { SIZES = sizeof sizes / sizeof *sizes, LARGEST = 70000 };
	DPI_Context ctx = join();
	DPI_Column columns[] = { { "n", DPI_TYPE_INT32, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 1, 0, 0, 0 }, { "bytes", DPI_TYPE_BINARY, 0, 0, 0, 0 } };
	static char text[LARGEST], row[LARGEST + 100];
	DPI_Schema schema;
	memset(text, 'x', sizeof text);
	CHECK_DPI(DPI_Create_Schema(columns, 3, &schema));
	const char *key[] = { "n" };
	DPI_Flow f = FLOW("f", ctx, .schema = schema, .key = key, .key_count = 1, .sources = 1, .segment = 512, .memory = 1 << 20);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		size_t size;
		for (int i = 0; i < 20 * SIZES; i++) {
			size_t n = sizes[i % SIZES];
			DPI_Value v[] = { { .type = DPI_TYPE_INT32, .i = i }, { .type = i % 3 ? DPI_TYPE_UTF8 : DPI_TYPE_NULL, .size = (uint32_t)n, .data = text },
					  { .type = DPI_TYPE_BINARY, .size = (uint32_t)(i % 3 ? 0 : n), .data = text } };
			CHECK_DPI(DPI_Pack_Row(v, schema, row, sizeof row, &size));
			CHECK_DPI(DPI_Push(row, size, s));
		}
		CHECK_ERROR(DPI_Push(row, size - 1, s), DPI_ERR_CORRUPT, " ");
		CHECK_ERROR(DPI_Push(row, 3, s), DPI_ERR_CORRUPT, " ");
		CHECK_ERROR(DPI_Push_Batch(row, 1, s, NULL), DPI_ERR_USE, "vary");
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		DPI_Value v;
		int i = 0, error = DPI_SUCCESS;
		while (!error) {
			DPI_Batch b;
			DPI_Tuple u;
			DPI_Record one = { 0 };
			if (i % 2) {
				error = DPI_Next_Batch(t, &b);
			} else {
				error = DPI_Next(t, &u);
				one = (DPI_Record){ u.data, u.size };
				b.record = &one;
				b.count = 1;
			}
			for (size_t k = 0; k < b.count && !error; k++, i++) {
				size_t n = sizes[i % SIZES];
				CHECK_DPI(DPI_Get_Value(b.record[k].data, b.record[k].size, 0, schema, &v));
				CHECK_INT(v.i, ==, i);
				CHECK_DPI(DPI_Get_Value(b.record[k].data, b.record[k].size, i % 3 ? 1 : 2, schema, &v));
				CHECK_INT(v.size, ==, n);
				CHECK(!memcmp(v.data, text, n));
			}
			if (!error && !one.data) CHECK_DPI(DPI_Release_Batch(1, t));
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(i, ==, 20 * SIZES);
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

/* A flush of rows that go to all targets brings them to all targets, full segments or not. */
static void flush_to_all(int rank, int hint)
{
	enum { ROUNDS = 20, SOURCE = 3 };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 3, .sources = 1, .dist = DPI_DIST_BROADCAST, .hint = hint, .linger_us = 60 * SECOND);
	DPI_Source s = rank == SOURCE ? source_of(f) : NULL;
	DPI_Target t = rank == SOURCE ? NULL : target_of((uint32_t)rank, f);
	int64_t first = 0;
	struct flow_tally tally = { 0 };
	for (int round = 0; round < ROUNDS; round++, first += round) {
		if (rank == SOURCE) {
			push_rows(s, rank, first, round + 1);
			CHECK_DPI(DPI_Flush_Source(s));
		}
		harness_barrier();
		for (int i = 0; i <= round && rank != SOURCE; i++) {
			DPI_Tuple u;
			CHECK_DPI(DPI_Try_Next(t, &u));
			CHECK_INT(((const struct flow_row *)u.data)->number, ==, first + i);
		}
		harness_barrier();
	}
	if (rank == SOURCE) CHECK_DPI(DPI_Close_Source(s));
	else flow_drain(t, &tally);
	CHECK_INT(tally.total, ==, 0);
	leave(ctx);
}

TEST(flow_flush_to_all, "FL-416", 4) { flush_to_all(rank, DPI_HINT_BANDWIDTH); }
TEST(flow_flush_to_all_at_once, "FL-416", 4) { flush_to_all(rank, DPI_HINT_LATENCY); }

/* Flow "a", target 11 is not flow "a1", target 1, nor any buffer of a like name. */
TEST(flow_names_do_not_meet, "FL-400", 2)
{
	enum { FLOWS = 3, EACH = 600 };
	static const struct {
		const char *name;
		uint32_t targets;
	} flow[FLOWS] = { { "a", 12 }, { "a1", 2 }, { "a, target 1", 2 } };
	DPI_Context ctx = join();
	DPI_Flow f[FLOWS];
	DPI_Buffer b[2] = { MAKE("a11", 0, ctx, DPI_USE_QUEUE), MAKE("a, target 11", 1, ctx, DPI_USE_QUEUE) };
	int64_t total[FLOWS] = { 0 };
	for (int i = 0; i < FLOWS; i++) f[i] = FLOW(flow[i].name, ctx, .targets = flow[i].targets, .sources = 1);
	if (rank == 0) {
		for (int i = 0; i < FLOWS; i++) {
			DPI_Source s = source_of(f[i]);
			for (int64_t k = 0; k < EACH; k++) {
				struct flow_row r = row_of(i, k, k); /* "from" is the flow */
				CHECK_DPI(DPI_Push(&r, sizeof r, s));
			}
			CHECK_DPI(DPI_Close_Source(s));
		}
	} else {
		DPI_Target t[FLOWS][12];
		for (int i = 0; i < FLOWS; i++)
			for (uint32_t k = 0; k < flow[i].targets; k++) t[i][k] = target_of(k, f[i]);
		for (int i = 0; i < FLOWS; i++)
			for (uint32_t k = 0; k < flow[i].targets; k++) {
				DPI_Tuple u;
				int error;
				for (; !(error = DPI_Next(t[i][k], &u)); total[i]++) CHECK_INT(((const struct flow_row *)u.data)->from, ==, i);
				CHECK_ERROR(error, DPI_ERR_END, "ended");
			}
		for (int i = 0; i < FLOWS; i++) CHECK_INT(total[i], ==, EACH);
	}
	for (int i = 0; i < 2; i++) CHECK_INT(stats_of(b[i]).appends, ==, 0);
	leave(ctx);
}

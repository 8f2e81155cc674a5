/* SPDX-License-Identifier: Apache-2.0
 * flow_columns_codec.c: segments of columns, compressed and encrypted. */
#include <signal.h>

#include "flow_columns_kit.h"

#define ROWS 3000

static const DPI_Codec chains[][2] = {
	{ { DPI_CODEC_LZ4, 0, NULL } }, { { DPI_CODEC_AES_256_GCM, 0, "key" } }, { { DPI_CODEC_ZSTD, 0, NULL }, { DPI_CODEC_AES_256_GCM, 0, "key" } }, { { DPI_CODEC_DEFLATE, 0, NULL } },
};
static const size_t lengths[] = { 1, 1, 2, 1 };
#define CHAINS (sizeof lengths / sizeof *lengths)
#define WITH(chain) .codecs = chains[chain], .codec_count = lengths[chain]
enum { LZ4, AES, BOTH, DEFLATE };

/* The codecs' libraries are on this machine: every rank finds the same. */
static void libraries(DPI_Context ctx, int rank)
{
	char name[32];
	CHECK_DPI(DPI_Set_Key("key", "thirty-two bytes that are a key.", DPI_KEY_SIZE));
	for (size_t i = 0; i < CHAINS; i++) {
		DPI_Source s;
		snprintf(name, sizeof name, "try %zu %d", i, rank);
		DPI_Flow f = COLUMNS_FLOW(name, true, ctx, WITH(i));
		int error = DPI_Open_Source(f, NULL, &s);
		if (error == DPI_ERR_UNSUPPORTED) SKIP("%s", detail());
		CHECK_DPI(error);
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_DPI(DPI_Destroy_Flow(name, ctx));
		CHECK_DPI(DPI_Close_Flow(f));
	}
}

/* Every chain, every way to push and to take, small segments and large ones, both hints. */
TEST(columns_codec_ways, "FL-484 C-11 C-18", 3, .deadline_s = 180)
{
	DPI_Context ctx = join();
	uint64_t *counts = harness_shared();
	libraries(ctx, rank);
	for (int round = 0; round < 9; round++) {
		char name[16];
		size_t chain = (size_t)round % CHAINS;
		int way = (round + round / 4) % 4;
		bool varies = way < 3 && round != 6; /* rows of one size are pushed by the batch, too */
		snprintf(name, sizeof name, "f%d", round);
		DPI_Flow f = COLUMNS_FLOW(name, varies, ctx, .targets = 3, .sources = 3, .segment = round < 4 ? 2048 : 0, .hint = round == 8 ? DPI_HINT_LATENCY : 0, WITH(chain));
		struct columns_taker t = { .target = target_of((uint32_t)rank, f), .schema = columns_schema(varies), .way = (round + rank) % 6, .varies = varies };
		DPI_Source s = source_of(f);
		pthread_t thread = start_thread(columns_take, &t);
		columns_push_by(way, varies, t.schema, s, rank, ROWS);
		DPI_Source_Stats ss = { .size = sizeof ss };
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_DPI(DPI_Get_Source_Stats(s, &ss));
		CHECK_INT(ss.rows, ==, ROWS);
		if (chain != AES && chain != BOTH) CHECK_INT(ss.coded_bytes, <=, ss.plain_bytes);
		if (chain == AES) CHECK_INT(ss.coded_bytes, ==, ss.plain_bytes + 72 * ss.segments);
		__atomic_fetch_add(&counts[100 + round], ss.bytes, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&counts[300 + round], ss.plain_bytes, __ATOMIC_SEQ_CST);
		CHECK_DPI(DPI_Close_Source(s));
		end_thread(thread);
		DPI_Target_Stats ts = { .size = sizeof ts };
		CHECK_DPI(DPI_Get_Target_Stats(t.target, &ts));
		CHECK_INT(ts.rows, ==, t.tally.total);
		CHECK_INT(ts.codec_memory, >, 0);
		CHECK_DPI(DPI_Close_Target(t.target));
		CHECK_DPI(DPI_Free_Schema(t.schema));
		__atomic_fetch_add(&counts[round], (uint64_t)t.tally.total, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&counts[200 + round], ts.bytes, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&counts[400 + round], ts.plain_bytes, __ATOMIC_SEQ_CST);
		harness_barrier();
		CHECK_INT(counts[round], ==, 3 * ROWS);
		CHECK_INT(counts[100 + round], ==, counts[200 + round]);
		CHECK_INT(counts[300 + round], ==, counts[400 + round]);
		CHECK_DPI(DPI_Close_Flow(f));
	}
	leave(ctx);
}

/* What is lent lies in memory that the target decoded it into, and stays while more comes than its rings hold. */
TEST(columns_codec_lent, "FL-476 FL-484 C-19", 2)
{
	enum { BATCHES = 40, ROWS_EACH = 500, KEPT = 12 };
	DPI_Context ctx = join();
	libraries(ctx, rank);
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .sources = 1, .segment = 1 << 15, .memory = 1 << 18, WITH(BOTH));
	struct ArrowArray a;
	if (rank == 0) {
		DPI_Source s = source_of(f);
		DPI_Source_Stats stats = { .size = sizeof stats };
		for (int i = 0; i < BATCHES; i++) {
			columns_batch(true, 0, i * ROWS_EACH, ROWS_EACH, 0, &a);
			CHECK_DPI(DPI_Push_Arrow(&a, NULL, s, NULL));
			CHECK_DPI(DPI_Flush_Source(s));
		}
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		CHECK_INT(stats.coded_bytes, <, stats.plain_bytes / 2);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		struct ArrowArray kept[KEPT];
		struct flow_tally before = { 0 }, after = { 0 };
		DPI_Batch b;
		int error;
		for (int i = 0; i < KEPT; i++) {
			CHECK_DPI(DPI_Next_Arrow(t, &b, &kept[i], NULL));
			for (int k = 0; k < COL_COUNT; k++) {
				if (k != COL_TEXT) CHECK_INT((uintptr_t)kept[i].children[k]->buffers[1] % 64, ==, 0);
				if (kept[i].children[k]->buffers[0]) CHECK_INT((uintptr_t)kept[i].children[k]->buffers[0] % 64, ==, 0);
			}
		}
		while (!(error = DPI_Next_Arrow(t, &b, &a, NULL))) {
			columns_take_batch(true, &a, &after);
			a.release(&a);
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		for (int i = 0; i < KEPT; i++) {
			columns_take_batch(true, &kept[i], &before); /* as they were */
			kept[i].release(&kept[i]);
		}
		CHECK_INT(before.total + after.total, ==, BATCHES * ROWS_EACH);
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

/* Columns travel while the source's thread does nothing, marks in their place; rows larger than a segment between them. */
TEST(columns_codec_travel, "FL-473 FL-474 FL-475 C-12 C-15", 2)
{
	enum { LARGE = 40000 };
	static char bytes[LARGE], row[LARGE + 64];
	DPI_Context ctx = join();
	libraries(ctx, rank);
	DPI_Schema schema;
	CHECK_DPI(DPI_Create_Schema((DPI_Column[]){ { "n", DPI_TYPE_INT32, 0, 0, 0, 0 }, { "bytes", DPI_TYPE_BINARY, 1, 0, 0, 0 } }, 2, &schema));
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Flow("f", FLOW_ATTR(.create = DPI_CREATE_OR_OPEN, .schema = schema, .sources = 1, .segment = 1024, .layout = DPI_LAYOUT_COLUMNS, .linger_us = 5 * MS, WITH(BOTH)), ctx, &f));
	memset(bytes, 'x', sizeof bytes);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		for (int i = 0; i < 40; i++) {
			DPI_Value v[] = { { .type = DPI_TYPE_INT32, .i = i }, { .type = DPI_TYPE_BINARY, .size = i % 4 == 3 ? LARGE - (uint32_t)i : (uint32_t)i * 7, .data = bytes } };
			size_t size;
			CHECK_DPI(DPI_Pack_Row(v, schema, row, sizeof row, &size));
			CHECK_DPI(DPI_Push(row, size, s));
			if (i == 1) harness_barrier(); /* two rows came by themselves */
			if (i == 20) CHECK_DPI(DPI_Push_Mark(20, s));
		}
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		DPI_Tuple u;
		DPI_Value v[2];
		int next = 0, error;
		bool marked = false;
		while (!(error = DPI_Next(t, &u))) {
			if (u.kind == DPI_TUPLE_MARK) {
				CHECK_INT(next, ==, 21);
				marked = true;
				continue;
			}
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 0, schema, &v[0]));
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 1, schema, &v[1]));
			CHECK_INT(v[0].i, ==, next);
			CHECK_INT(v[1].size, ==, next % 4 == 3 ? LARGE - next : next * 7);
			CHECK(!memcmp(v[1].data, bytes, v[1].size));
			if (next++ == 1) harness_barrier();
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(next, ==, 40);
		CHECK(marked);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

/* A key that is another's, and rows that are acknowledged. */
TEST(columns_codec_keys, "FL-484 C-17", 2)
{
	DPI_Context ctx = join();
	libraries(ctx, rank);
	if (rank == 1) CHECK_DPI(DPI_Set_Key("key", "thirty-two bytes of another key", DPI_KEY_SIZE));
	harness_barrier();
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .sources = 1, WITH(AES));
	struct ArrowArray a;
	if (rank == 0) {
		DPI_Source s = source_of(f);
		columns_batch(true, 0, 0, 100, 0, &a);
		CHECK_DPI(DPI_Push_Arrow(&a, NULL, s, NULL));
		DPI_Flush_Source(s);
		harness_barrier();
		DPI_Close_Source(s);
	} else {
		DPI_Target t = target_of(0, f);
		DPI_Batch b;
		CHECK_ERROR(DPI_Next_Arrow(t, &b, &a, NULL), DPI_ERR_AUTH, "key");
		harness_barrier();
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

TEST(columns_codec_acks, "FL-484 FL-504", 1)
{
	enum { BATCHES = 10, ROWS_EACH = 300 };
	DPI_Context ctx = join();
	libraries(ctx, rank);
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .sources = 1, .ack = DPI_ACK_RELEASED, .ack_up_to = 1, .segment = 8192, WITH(BOTH));
	DPI_Source s = source_of(f);
	DPI_Target t = target_of(0, f);
	struct ArrowArray a;
	DPI_Batch b;
	int done;
	for (int i = 0; i < BATCHES; i++) {
		int64_t rows = 0;
		columns_batch(true, 0, i * ROWS_EACH, ROWS_EACH, 0, &a);
		CHECK_DPI(DPI_Push_Arrow(&a, NULL, s, NULL));
		CHECK_DPI(DPI_Flush_Source(s));
		while (rows < ROWS_EACH) {
			CHECK_DPI(DPI_Next_Arrow(t, &b, &a, NULL));
			rows += a.length;
			if (rows == ROWS_EACH) CHECK_DPI(DPI_Test_Ack((uint64_t)(i + 1) * ROWS_EACH, s, &done));
			a.release(&a);
		}
		CHECK(!done);
		CHECK_DPI(DPI_Release_Batch(0, t)); /* the next call on the target gives it back */
		CHECK_DPI(DPI_Wait_Ack((uint64_t)(i + 1) * ROWS_EACH, s));
	}
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

/* With the latency hint a row travels before its push returns: one that finds its target dead returns with the flow's own sentence, and
 * not with what it met on the way. */
TEST(columns_codec_prompt_death, "FL-442 FL-484", 2)
{
	enum { FLOWS = 8 };
	DPI_Context ctx = join();
	DPI_Flow f[FLOWS];
	DPI_Source s[FLOWS];
	DPI_Target t;
	char name[8], sentence[64];
	libraries(ctx, rank);
	for (int i = 0; i < FLOWS; i++) {
		snprintf(name, sizeof name, "f%d", i);
		f[i] = COLUMNS_FLOW(name, false, ctx, .sources = 1, .segment = 4096, .hint = DPI_HINT_LATENCY, .on_death = DPI_DEATH_FAILS, WITH(LZ4));
		if (rank == 1) t = target_of(0, f[i]);
		else s[i] = source_of(f[i]);
	}
	(void)t;
	if (rank == 1) {
		harness_expect_death(1);
		harness_barrier();
		harness_kill(1, SIGKILL);
	}
	DPI_Schema schema = columns_schema(false);
	uint8_t row[256];
	size_t size = columns_row(schema, false, 0, 0, row, sizeof row);
	int error[FLOWS] = { 0 }, over = 0;
	for (int i = 0; i < FLOWS; i++) CHECK_DPI((DPI_Push)(row, size, s[i]));
	harness_barrier();
	for (int64_t start = now(); over < FLOWS;) {
		CHECK_WITHIN(start, 10 * SECOND);
		for (int i = 0; i < FLOWS; i++) {
			if (error[i] || !(error[i] = (DPI_Push)(row, size, s[i]))) continue;
			snprintf(sentence, sizeof sentence, "flow 'f%d' lost target 0", i);
			CHECK_ERROR(error[i], DPI_ERR_PEER, sentence);
			over++;
		}
	}
	for (int i = 0; i < FLOWS; i++) CHECK_ERROR(DPI_Close_Source(s[i]), DPI_ERR_PEER, "lost target 0");
	CHECK_DPI(DPI_Free_Schema(schema));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Rows that found no room at their target travel when it has room again, also while their source waits for another. */
TEST(columns_codec_travel_meanwhile, "FL-417 FL-474 FL-484", 3)
{
	struct {
		_Atomic int64_t pushed[2], waits, taken;
	} *w = harness_shared();
	DPI_Context ctx = join();
	libraries(ctx, rank);
	DPI_Flow f = COLUMNS_FLOW("f", false, ctx, .targets = 2, .sources = 1, .segment = 2048, .memory = 1 << 15, .dist = DPI_DIST_RADIX, WITH(LZ4));
	DPI_Tuple u;
	if (rank == 0) {
		DPI_Source s = source_of(f);
		DPI_Schema schema = columns_schema(false);
		uint8_t row[256];
		for (int t = 0; t < 2; t++) {
			/* until there is no room for a time in which the linger service would have sent what it could */
			for (int64_t number = t, full = 0; full < 50 * harness_slow(); number += full ? 0 : 2) {
				size_t size = columns_row(schema, false, 0, number, row, sizeof row);
				int error = (DPI_Try_Push)(row, size, s);
				CHECK(!error || error == DPI_ERR_AGAIN);
				full = error ? full + 1 : 0;
				w->pushed[t] += !error;
				if (error) pause_ms(2);
			}
		}
		size_t size = columns_row(schema, false, 0, 2 * w->pushed[0], row, sizeof row);
		w->waits = 1;
		CHECK_DPI((DPI_Push)(row, size, s));
		CHECK(w->taken);
		CHECK_DPI(DPI_Free_Schema(schema));
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of((uint32_t)rank - 1, f);
		AWAIT(w->waits);
		pause_ms(50);
		if (rank == 1) AWAIT(w->taken); /* target 0, which is waited for */
		for (int64_t n = 0; n < w->pushed[rank - 1] + (rank == 1); n++) CHECK_DPI(DPI_Next(t, &u));
		w->taken = 1;
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

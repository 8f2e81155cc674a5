/* SPDX-License-Identifier: Apache-2.0
 * flow_codec.c: flows whose segments are compressed and encrypted. */
#include "flow_kit.h"

static const uint8_t key[DPI_KEY_SIZE] = "thirty-two bytes that are a key.", other_key[DPI_KEY_SIZE] = "thirty-two bytes of another key";

static const struct chain {
	const char *name;
	DPI_Codec codec[3];
	size_t count;
} chains[] = {
	{ "lz4", { { DPI_CODEC_LZ4, 0, NULL } }, 1 },
	{ "zstd", { { DPI_CODEC_ZSTD, 3, NULL } }, 1 },
	{ "deflate", { { DPI_CODEC_DEFLATE, 0, NULL } }, 1 },
	{ "aes", { { DPI_CODEC_AES_256_GCM, 0, "key" } }, 1 },
	{ "both", { { DPI_CODEC_LZ4, 0, NULL }, { DPI_CODEC_AES_256_GCM, 0, "key" } }, 2 },
	{ "three", { { DPI_CODEC_ZSTD, 0, NULL }, { DPI_CODEC_LZ4, 0, NULL }, { DPI_CODEC_AES_256_GCM, 0, "key" } }, 3 },
};
#define CHAINS (sizeof chains / sizeof *chains)
#define WITH(chain) .codecs = chains[chain].codec, .codec_count = chains[chain].count
enum { LZ4, ZSTD, DEFLATE, AES, BOTH, THREE };

/* The codecs' libraries are on this machine: every rank finds the same. */
static void libraries(DPI_Context ctx, int rank)
{
	char name[32];
	CHECK_DPI(DPI_Set_Key("key", key, sizeof key));
	for (size_t i = 0; i < CHAINS; i++) {
		DPI_Source s;
		snprintf(name, sizeof name, "try %zu %d", i, rank);
		DPI_Flow f = FLOW(name, ctx, WITH(i));
		int error = DPI_Open_Source(f, NULL, &s);
		if (error == DPI_ERR_UNSUPPORTED) SKIP("%s", detail());
		CHECK_DPI(error);
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_DPI(DPI_Destroy_Flow(name, ctx));
		CHECK_DPI(DPI_Close_Flow(f));
	}
}

static void push_by(size_t way, DPI_Source s, int rank, DPI_Flow flow, int64_t count)
{
	struct flow_row rows[50];
	size_t pushed;
	for (int64_t i = 0; i < count; i++) {
		struct flow_row r = row_of(rank, i, i);
		uint32_t to[8], n;
		void *room;
		int error;
		switch (way % 4) {
		case 0: CHECK_DPI(DPI_Push(&r, sizeof r, s)); break;
		case 1:
			while ((error = DPI_Try_Push(&r, sizeof r, s)) == DPI_ERR_AGAIN) harness_pause();
			CHECK_DPI(error);
			break;
		case 2:
			rows[i % 50] = r;
			if (i % 50 == 49) CHECK_DPI(DPI_Push_Batch(rows, 50, s, &pushed));
			break;
		default:
			CHECK_DPI(DPI_Route(&r, sizeof r, flow, to, &n));
			CHECK_DPI(DPI_Reserve(sizeof r, to[0], s, &room));
			if (i % 7 == 0) {
				CHECK_DPI(DPI_Flush_Source(s));
				CHECK_DPI(DPI_Discard(s));
				CHECK_DPI(DPI_Reserve(sizeof r, to[0], s, &room));
			}
			CHECK_INT((uintptr_t)room % 8, ==, 0);
			memcpy(room, &r, sizeof r);
			if (i % 11 == 0) CHECK_DPI(DPI_Flush_Source(s));
			CHECK_DPI(DPI_Commit(sizeof r, s));
		}
	}
}

/* Every chain, every way to push, small segments and large ones, both hints. */
struct taker {
	DPI_Target target;
	struct flow_tally tally;
};

static void *take(void *arg)
{
	struct taker *t = arg;
	flow_drain(t->target, &t->tally);
	return NULL;
}

TEST(codec_ways, "C-11 C-12 C-18", 3, .deadline_s = 180)
{
	enum { ROWS = 1000 };
	DPI_Context ctx = join();
	uint64_t *counts = harness_shared();
	char name[32];
	libraries(ctx, rank);
	for (size_t way = 0; way < 2 * CHAINS; way++) {
		size_t chain = way % CHAINS;
		snprintf(name, sizeof name, "%s %zu", chains[chain].name, way);
		DPI_Flow f = FLOW(name, ctx, .targets = 3, .sources = 3, .segment = way < CHAINS ? 512 : 0, .hint = way == CHAINS + 1 ? DPI_HINT_LATENCY : 0, WITH(chain));
		struct taker t = { .target = target_of((uint32_t)rank, f) };
		DPI_Source s = source_of(f);
		pthread_t thread = start_thread(take, &t);
		push_by(way + way / CHAINS, s, rank, f, ROWS);
		DPI_Source_Stats ss = { .size = sizeof ss };
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_DPI(DPI_Get_Source_Stats(s, &ss));
		CHECK_INT(ss.rows, ==, ROWS);
		CHECK_INT(ss.bytes, ==, ROWS * sizeof(struct flow_row));
		CHECK_INT(ss.plain_bytes, ==, ss.bytes);
		if (chain < AES) CHECK_INT(ss.coded_bytes, <=, ss.plain_bytes);
		if (chain == AES) CHECK_INT(ss.coded_bytes, ==, ss.plain_bytes + 72 * ss.segments);
		CHECK_INT(ss.codec_memory, >, 0);
		CHECK_DPI(DPI_Close_Source(s));
		end_thread(thread);
		DPI_Target_Stats ts = { .size = sizeof ts };
		CHECK_DPI(DPI_Get_Target_Stats(t.target, &ts));
		CHECK_INT(ts.rows, ==, t.tally.total);
		CHECK_INT(ts.plain_bytes, ==, ts.bytes);
		CHECK_INT(ts.codec_memory, >, 0);
		CHECK_DPI(DPI_Close_Target(t.target));
		__atomic_fetch_add(&counts[way], (uint64_t)t.tally.total, __ATOMIC_SEQ_CST);
		harness_barrier();
		CHECK_INT(counts[way], ==, 3 * ROWS);
		CHECK_DPI(DPI_Close_Flow(f));
	}
	leave(ctx);
}

/* Rows that vary, from none of their bytes to many segments; those that compress become less, noise does not become more. */
static size_t long_row(DPI_Schema schema, int64_t number, uint8_t *row, size_t room)
{
	static uint8_t bytes[60000];
	static const uint32_t sizes[] = { 0, 1, 7, 100, 430, 431, 432, 500, 5000, 60000, 13 };
	uint32_t size = sizes[number % 11];
	uint64_t x = (uint64_t)number * 2654435761u + 1;
	for (uint32_t i = 0; i < size; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = number % 2 ? (uint8_t)"all work and no play "[(i + (uint32_t)number) % 21] : (uint8_t)(x >> 56);
	}
	DPI_Value v[2] = { { .type = DPI_TYPE_INT64, .i = number }, { .type = DPI_TYPE_BINARY, .size = size, .data = bytes } };
	size_t made;
	CHECK_DPI(DPI_Pack_Row(v, schema, row, room, &made));
	return made;
}

TEST(codec_rows_that_vary, "C-11 C-13", 2, .deadline_s = 180)
{
	enum { ROWS = 110 };
	DPI_Context ctx = join();
	static uint8_t row[70000];
	DPI_Schema schema;
	char name[32];
	DPI_Tuple u;
	libraries(ctx, rank);
	CHECK_DPI(DPI_Create_Schema((DPI_Column[]){ { "number", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "bytes", DPI_TYPE_BINARY, 0, 0, 0, 0 } }, 2, &schema));
	for (size_t way = 0; way < 2 * CHAINS; way++) {
		snprintf(name, sizeof name, "v%zu", way);
		DPI_Flow f = FLOW(name, ctx, .schema = schema, .sources = 1, .segment = way < CHAINS ? 512 : 0, .dist = DPI_DIST_BROADCAST, WITH(way % CHAINS));
		if (rank == 0) {
			DPI_Source s = source_of(f);
			for (int64_t i = 0; i < ROWS; i++) {
				size_t size = long_row(schema, i, row, sizeof row);
				int error;
				while ((error = i % 3 || size > 400 ? DPI_Push(row, size, s) : DPI_Try_Push(row, size, s)) == DPI_ERR_AGAIN) harness_pause();
				CHECK_DPI(error);
			}
			DPI_Source_Stats ss = { .size = sizeof ss };
			CHECK_DPI(DPI_Flush_Source(s));
			CHECK_DPI(DPI_Get_Source_Stats(s, &ss));
			if (way % CHAINS < AES) CHECK_INT(ss.coded_bytes, <=, ss.plain_bytes);
			if (way == CHAINS + ZSTD) CHECK_INT(ss.coded_bytes, <, ss.plain_bytes * 3 / 4); /* half of it is noise */
			CHECK_DPI(DPI_Close_Source(s));
		} else {
			DPI_Target t = target_of(0, f);
			int64_t rows = 0;
			int error;
			for (; !(error = DPI_Next(t, &u)); rows++) {
				size_t size = long_row(schema, rows, row, sizeof row);
				CHECK_INT(u.size, ==, size);
				CHECK(!memcmp(u.data, row, size));
			}
			CHECK_ERROR(error, DPI_ERR_END, name);
			CHECK_INT(rows, ==, ROWS);
			CHECK_DPI(DPI_Close_Target(t));
		}
		harness_barrier();
		CHECK_DPI(DPI_Close_Flow(f));
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

/* What waits for its segment to fill travels while the source's thread does nothing, also while room is handed out. */
TEST(codec_linger, "C-12", 2)
{
	DPI_Context ctx = join();
	_Atomic int *step = harness_shared();
	libraries(ctx, rank);
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .linger_us = 5 * MS, WITH(BOTH));
	DPI_Tuple u;
	if (rank == 0) {
		DPI_Source s = source_of(f);
		for (int i = 0; i < 5; i++) {
			void *room;
			struct flow_row r = row_of(0, i, i);
			CHECK_DPI(DPI_Push(&r, sizeof r, s));
			if (i % 2) {
				CHECK_DPI(DPI_Reserve(sizeof r, 0, s, &room));
				memset(room, 0xff, sizeof r);
			}
			AWAIT(*step > i);
			if (i % 2) CHECK_DPI(DPI_Discard(s));
		}
		struct flow_row last = row_of(0, 5, 5);
		void *room;
		CHECK_DPI(DPI_Reserve(sizeof last, 0, s, &room));
		memcpy(room, &last, sizeof last);
		CHECK_DPI(DPI_Commit(sizeof last, s));
		AWAIT(*step > 5);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		for (int i = 0; i < 6; i++) {
			CHECK_DPI(DPI_Next(t, &u));
			CHECK_INT(((const struct flow_row *)u.data)->number, ==, i);
			*step = i + 1;
		}
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "'f'");
	}
	leave(ctx);
}

TEST(codec_marks_and_lent_rows, "C-11 C-19", 2)
{
	enum { MARKS = 40, EACH = 30 };
	DPI_Context ctx = join();
	libraries(ctx, rank);
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .linger_us = 60 * SECOND, WITH(THREE));
	static DPI_Batch lent[DPI_LENT_MAX];
	if (rank == 0) {
		DPI_Source s = source_of(f);
		for (int64_t m = 1; m <= MARKS; m++) {
			push_rows(s, 0, (m - 1) * EACH, EACH);
			CHECK_DPI(DPI_Push_Mark((uint64_t)m, s));
		}
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { .total = 0 };
		size_t runs = 0;
		DPI_Batch b;
		int error;
		uint64_t mark = 0;
		int64_t rows = 0;
		while (!(error = DPI_Next_Batch(t, &b))) {
			if (b.kind == DPI_TUPLE_MARK) {
				CHECK_INT(b.mark, ==, ++mark);
				CHECK_INT(rows, ==, mark * EACH);
			} else {
				CHECK_INT(runs, <, DPI_LENT_MAX);
				lent[runs++] = b;
				rows += (int64_t)b.count;
			}
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(mark, ==, MARKS);
		for (size_t k = 0; k < runs; k++)
			for (size_t i = 0; i < lent[k].count; i++) flow_take(&tally, (const char *)lent[k].rows + i * lent[k].stride, lent[k].stride);
		CHECK_INT(tally.total, ==, MARKS * EACH);
		CHECK_DPI(DPI_Release_Batch(runs, t));
	}
	leave(ctx);
}

/* Who has no key opens nothing; a flow goes on without him. */
TEST(codec_without_the_key, "C-16", 2)
{
	DPI_Context ctx = join();
	DPI_Source s;
	DPI_Target t;
	libraries(ctx, rank);
	CHECK_DPI(DPI_Remove_Key("key"));
	DPI_Flow f = FLOW("f", ctx, .sources = 1, WITH(BOTH));
	CHECK_ERROR(DPI_Open_Source(f, NULL, &s), DPI_ERR_NAME, "\"key\"");
	CHECK(!s);
	CHECK_ERROR(DPI_Open_Target(0, NULL, f, &t), DPI_ERR_NAME, "\"key\"");
	CHECK(!t);
	harness_barrier();
	CHECK_DPI(DPI_Set_Key("key", key, sizeof key));
	if (rank == 0) {
		s = source_of(f);
		CHECK_DPI(DPI_Remove_Key("key")); /* what is open has what it needs */
		push_rows(s, 0, 0, 2000);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		struct flow_tally tally = { .total = 0 };
		t = target_of(0, f);
		CHECK_DPI(DPI_Remove_Key("key"));
		flow_drain(t, &tally);
		CHECK_INT(tally.total, ==, 2000);
	}
	leave(ctx);
}

/* A target with another key under the name. */
TEST(codec_with_another_key, "C-17", 2)
{
	DPI_Context ctx = join();
	libraries(ctx, rank);
	DPI_Flow f = FLOW("f", ctx, .sources = 1, WITH(AES));
	DPI_Tuple u;
	if (rank == 0) {
		DPI_Source s = source_of(f);
		push_rows(s, 0, 0, 10);
		int error = DPI_Flush_Source(s); /* the flow may have failed already */
		CHECK(!error || error == DPI_ERR_FLOW);
		harness_barrier();
		AWAIT(DPI_Push(&(struct flow_row){ 0 }, sizeof(struct flow_row), s) == DPI_ERR_FLOW);
		CHECK_ERROR(DPI_Push(&(struct flow_row){ 0 }, sizeof(struct flow_row), s), DPI_ERR_FLOW, "another key than \"key\"");
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_FLOW, "key");
	} else {
		CHECK_DPI(DPI_Set_Key("key", other_key, sizeof other_key));
		DPI_Target t = target_of(0, f);
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_AUTH, "another key than \"key\"");
		harness_barrier();
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_AUTH, "another key"); /* who found it gets what he found */
		DPI_Close_Target(t);
	}
	leave(ctx);
}

/* Memory stays within the flow's, and who has no room learns for whom. */
TEST(codec_room, "C-11", 2)
{
	enum { MEMORY = 1 << 18 };
	DPI_Context ctx = join();
	int64_t *sent = harness_shared();
	libraries(ctx, rank);
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 4096, .memory = MEMORY, WITH(AES));
	if (rank == 0) {
		DPI_Source s = source_with(f, 300 * MS);
		struct flow_row r = row_of(0, 0, 0);
		int error = DPI_SUCCESS;
		harness_barrier();
		for (int64_t before = -1; before != *sent || !*sent;) { /* rings grow by and by: full is when it stays so */
			before = *sent;
			while (!(error = DPI_Push(&r, sizeof r, s))) ++*sent, r = row_of(0, *sent, *sent);
		}
		CHECK_ERROR(error, DPI_ERR_TIMEOUT, "target 0 of flow 'f' on node 1 had no room");
		CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s), DPI_ERR_AGAIN, " ");
		CHECK_INT(*sent * (int64_t)sizeof r, <=, MEMORY + 4096);
		harness_barrier();
		UNTIL(10 * SECOND, !error, error = DPI_Push(&r, sizeof r, s));
		++*sent;
		UNTIL(10 * SECOND, !error, error = DPI_Flush_Source(s)); /* so that closing has nothing to wait for */
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		struct flow_tally tally = { .total = 0 };
		DPI_Target t = target_of(0, f);
		harness_barrier();
		harness_barrier();
		DPI_Target_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Target_Stats(t, &stats));
		CHECK_INT(stats.memory, <=, MEMORY);
		flow_drain(t, &tally);
		CHECK_INT(tally.total, ==, *sent);
	}
	leave(ctx);
}

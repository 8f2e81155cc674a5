/* SPDX-License-Identifier: Apache-2.0
 * flow_columns_lent.c: what targets lend as Arrow arrays: how long it stays, who gives it back; and what columnar flows refuse. */
#include "flow_columns_kit.h"

#define BATCH 200

/* Batches of one segment each: the source flushes after each, and where that matters it does not linger. */
static void push_batches(DPI_Source s, int64_t first, int count)
{
	struct ArrowArray a;
	for (int i = 0; i < count; i++) {
		columns_batch(true, 0, first + i * BATCH, BATCH, 0, &a);
		CHECK_DPI(DPI_Push_Arrow(&a, NULL, s, NULL));
		CHECK_DPI(DPI_Flush_Source(s));
	}
}

static struct ArrowArray lent(DPI_Target t)
{
	struct ArrowArray a;
	DPI_Batch b;
	CHECK_DPI(DPI_Next_Arrow(t, &b, &a, NULL));
	CHECK_INT(b.kind, ==, DPI_TUPLE_ROW);
	CHECK_INT(b.source, ==, 0);
	for (int64_t k = 0; k < a.n_children; k++) {
		CHECK_INT((uintptr_t)a.children[k]->buffers[1] % 8, ==, 0);
		if (k != COL_TEXT) CHECK_INT((uintptr_t)a.children[k]->buffers[1] % 64, ==, 0);
		if (a.children[k]->buffers[0]) CHECK_INT((uintptr_t)a.children[k]->buffers[0] % 64, ==, 0);
	}
	return a;
}

static void *release_all(void *arg)
{
	struct ArrowArray *a = arg;
	for (int i = 3; i >= 0; i--) a[i].release(&a[i]); /* the youngest first */
	return NULL;
}

/* What is lent stays while more comes and goes, by whatever calls; any thread gives it back. */
TEST(columns_lent, "FL-425 FL-426 FL-476 FL-477", 2, .deadline_s = 120)
{
	DPI_Context ctx = join();
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .sources = 1, .linger_us = 60 * SECOND, .segment = 16384, .memory = 1 << 20);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		harness_barrier();
		push_batches(s, 0, 200);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		DPI_Schema schema = columns_schema(true);
		struct flow_tally all = { 0 };
		harness_barrier();
		for (int round = 0; round < 20; round++) {
			struct ArrowArray a[4];
			struct flow_tally tally = { 0 };
			DPI_Batch b;
			DPI_Tuple u;
			for (int i = 0; i < 4; i++) a[i] = lent(t);
			for (int i = 0; i < BATCH; i++) { /* one by one meanwhile: the next begins, and the ring moves on */
				CHECK_DPI(DPI_Next(t, &u));
				columns_take_row(schema, true, u.data, u.size, &tally);
			}
			for (int n = 0; n < 4; n++) {
				CHECK_DPI(DPI_Next_Batch(t, &b));
				for (size_t i = 0; i < b.count; i++) columns_take_row(schema, true, b.record[i].data, b.record[i].size, &tally);
			}
			CHECK_INT(tally.total, ==, 5 * BATCH);
			for (int i = 0; i < 4; i++) columns_take_batch(true, &a[i], &all); /* as they were */
			CHECK_INT(all.rows[0], ==, (round + 1) * 4 * BATCH);
			CHECK_ERROR(DPI_Release_Batch(9, t), DPI_ERR_RANGE, "8");
			if (round % 2) {
				end_thread(start_thread(release_all, a));
				CHECK_DPI(DPI_Release_Batch(4, t)); /* those of DPI_Next_Batch */
			} else {
				CHECK_DPI(DPI_Release_Batch(8, t));
				release_all(a);
			}
			CHECK_ERROR(DPI_Release_Batch(1, t), DPI_ERR_RANGE, "0");
		}
		DPI_Tuple u;
		int64_t left = 0;
		while (!DPI_Next(t, &u)) left++;
		CHECK_INT(left, ==, (200 - 20 * 9) * BATCH);
		CHECK_DPI(DPI_Free_Schema(schema));
	}
	leave(ctx);
}

/* A target waits for rows, its source for room, and another thread has what is lent. */
static void *release_later(void *arg)
{
	struct ArrowArray *a = arg;
	pause_ms(100);
	for (int i = 0; i < 4; i++) a[i].release(&a[i]);
	return NULL;
}

TEST(columns_release_wakes, "FL-477", 2, .deadline_s = 120)
{
	enum { BATCHES = 60 };
	DPI_Context ctx = join();
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .sources = 1, .segment = 16384, .memory = 1 << 18);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		harness_barrier();
		push_batches(s, 0, BATCHES);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		int64_t rows = 0;
		int error = DPI_SUCCESS;
		harness_barrier();
		while (!error) {
			struct ArrowArray a[4], *own = malloc(sizeof a);
			pthread_t thread;
			CHECK(own != NULL);
			for (int i = 0; i < 4 && !error; i++) {
				DPI_Batch b;
				error = DPI_Next_Arrow(t, &b, &own[i], NULL);
				rows += (int64_t)b.count;
				if (error) /* the end: only what came before is given back */
					while (i--) own[i].release(&own[i]), own[i].release = NULL;
				if (error) break;
			}
			if (!error) {
				thread = start_thread(release_later, own);
				end_thread(thread);
			}
			free(own);
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(rows, ==, BATCHES * BATCH);
	}
	leave(ctx);
}

TEST(columns_lent_most, "FL-426 FL-476", 1)
{
	DPI_Context ctx = join();
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .sources = 1, .linger_us = 60 * SECOND);
	DPI_Target t = target_of(0, f);
	DPI_Source s = source_of(f);
	struct ArrowArray a[DPI_LENT_MAX], one, moved;
	DPI_Batch b;
	push_batches(s, 0, DPI_LENT_MAX + 2);
	for (int i = 0; i < DPI_LENT_MAX; i++) a[i] = lent(t);
	CHECK_ERROR(DPI_Next_Arrow(t, &b, &one, NULL), DPI_ERR_LIMIT, "64");
	CHECK(!one.release);
	moved = *a[0].children[0]; /* a child that is moved out keeps the segment */
	a[0].children[0]->release = NULL;
	a[0].release(&a[0]);
	CHECK_ERROR(DPI_Next_Arrow(t, &b, &one, NULL), DPI_ERR_LIMIT, "64");
	CHECK_INT(((const int64_t *)moved.buffers[1])[3], ==, 3);
	moved.release(&moved);
	one = lent(t);
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Target(t));
	one.release(&one); /* after the target: nothing but the array is freed */
	for (int i = 1; i < DPI_LENT_MAX; i++) a[i].release(&a[i]);
	leave(ctx);
}

/* After DPI_Next the rest of its segment is lent. */
TEST(columns_rest, "FL-472", 1)
{
	DPI_Context ctx = join();
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .sources = 1, .linger_us = 60 * SECOND);
	DPI_Target t = target_of(0, f);
	DPI_Source s = source_of(f);
	struct flow_tally tally = { 0 };
	DPI_Schema schema = columns_schema(true);
	DPI_Tuple u;
	push_batches(s, 0, 1);
	CHECK_DPI(DPI_Close_Source(s));
	for (int i = 0; i < 13; i++) {
		CHECK_DPI(DPI_Next(t, &u));
		columns_take_row(schema, true, u.data, u.size, &tally);
	}
	struct ArrowArray a;
	DPI_Batch b;
	CHECK_DPI(DPI_Next_Arrow(t, &b, &a, NULL));
	CHECK_INT(b.count, ==, BATCH - 13);
	columns_take_batch(true, &a, &tally);
	CHECK_INT(tally.total, ==, BATCH);
	a.release(&a);
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, " ");
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

/* Room runs out: how many rows of a batch went is known, and nothing is lost or doubled. */
TEST(columns_room, "FL-420 FL-421 FL-478", 2, .deadline_s = 120)
{
	DPI_Context ctx = join();
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .targets = 2, .sources = 1, .segment = 4096, .memory = 1 << 17);
	int64_t *sent = harness_shared();
	if (rank == 0) {
		DPI_Source s = source_with(f, 200 * MS);
		struct ArrowArray a;
		size_t pushed = 0;
		int error = DPI_SUCCESS;
		harness_barrier();
		while (!error) {
			columns_batch(true, 0, *sent, 1000, 5, &a);
			error = DPI_Push_Arrow(&a, NULL, s, &pushed);
			if (!error) CHECK_INT(pushed, ==, 1000);
			*sent += (int64_t)pushed;
		}
		CHECK_ERROR(error, DPI_ERR_TIMEOUT, "no room");
		CHECK_INT(pushed, <, 1000);
		DPI_Source_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		CHECK_INT(stats.rows, ==, *sent);
		CHECK_INT(stats.stalls, >, 0);
		harness_barrier();
		UNTIL(10 * SECOND, !error, {
			columns_batch(true, 0, *sent, 1, 0, &a);
			error = DPI_Push_Arrow(&a, NULL, s, &pushed);
			*sent += (int64_t)pushed;
		});
		/* a close has no longer than the handle's timeout: it finds nothing to wait for */
		UNTIL(15 * SECOND, DPI_Flush_Source(s) == DPI_SUCCESS, );
		UNTIL(15 * SECOND, __atomic_load_n(sent + 1, __ATOMIC_SEQ_CST) == *sent, );
		CHECK_DPI(DPI_Close_Source(s));
		harness_barrier();
	} else {
		DPI_Target t[] = { target_of(0, f), target_of(1, f) };
		DPI_Schema schema = columns_schema(true);
		struct flow_tally tally[2] = { 0 };
		size_t index, open = 2;
		harness_barrier();
		harness_barrier();
		while (open) {
			DPI_Tuple u;
			CHECK_DPI(DPI_Wait_Targets(t, open, 0, &index));
			int error = DPI_Try_Next(t[index], &u);
			if (!error) columns_take_row(schema, true, u.data, u.size, &tally[index]);
			if (!error) __atomic_store_n(sent + 1, tally[0].total + tally[1].total, __ATOMIC_SEQ_CST);
			if (!error || error == DPI_ERR_AGAIN) continue;
			CHECK_INT(error, ==, DPI_ERR_END);
			DPI_Target_Stats stats = { .size = sizeof stats };
			CHECK_DPI(DPI_Get_Target_Stats(t[index], &stats));
			CHECK_INT(stats.memory, <=, 1 << 17);
			CHECK_DPI(DPI_Close_Target(t[index]));
			if (!index && open == 2) {
				struct flow_tally swap = tally[0];
				t[0] = t[1], tally[0] = tally[1], tally[1] = swap;
			}
			open--;
		}
		harness_barrier();
		CHECK_INT(tally[0].total + tally[1].total, ==, *sent);
		CHECK_DPI(DPI_Free_Schema(schema));
	}
	leave(ctx);
}

/* Some keys go to both targets, the others to the first alone, so that its segment has rows when the other has no room. */
static bool both(int64_t key)
{
	return (uint64_t)key * 0x9e3779b97f4a7c15u >> 63;
}

static int both_or_first(const void *row, size_t size, uint64_t hash, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	int64_t key;
	(void)size, (void)hash, (void)targets, (void)arg;
	memcpy(&key, row, sizeof key);
	to[0] = 0, to[1] = 1;
	*count = both(key) ? 2 : 1;
	return DPI_SUCCESS;
}

static void *drain_columns(void *arg)
{
	DPI_Target t = *(DPI_Target *)arg;
	DPI_Tuple u;
	struct flow_tally tally = { 0 };
	DPI_Schema schema = columns_schema(false);
	int error;
	while (!(error = DPI_Next(t, &u))) columns_take_row(schema, false, u.data, u.size, &tally);
	CHECK_INT(error, ==, DPI_ERR_END);
	CHECK_DPI(DPI_Free_Schema(schema));
	CHECK_DPI(DPI_Close_Target(t));
	return (void *)(uintptr_t)tally.total;
}

struct pushing {
	DPI_Source source;
	int64_t rows;
};

static void *push_columns(void *arg)
{
	struct pushing *p = arg;
	DPI_Schema schema = columns_schema(false);
	char row[256];
	for (int64_t i = 0; i < p->rows; i++) {
		size_t size = columns_row(schema, false, 0, i, row, sizeof row);
		CHECK_DPI(DPI_Push(row, size, p->source));
	}
	CHECK_DPI(DPI_Close_Source(p->source));
	CHECK_DPI(DPI_Free_Schema(schema));
	return NULL;
}

TEST(columns_room_at_several, "FL-420 FL-470", 1, .deadline_s = 120)
{
	enum { ROWS = 20000 };
	uint64_t second_gets = 0;
	(void)rank;
	for (int64_t i = 0; i < ROWS; i++) second_gets += both(i);
	CHECK_DPI(DPI_Register_Dist("both_or_first", 1, both_or_first, NULL));
	DPI_Context ctx = join();
	DPI_Flow f = COLUMNS_FLOW("f", false, ctx, .targets = 2, .sources = 1, .segment = 4096, .memory = 65536, .linger_us = 60 * SECOND, .dist = DPI_DIST_FUNCTION,
				  .dist_function = "both_or_first", .dist_version = 1);
	DPI_Target t[2] = { target_of(0, f), target_of(1, f) };
	struct pushing p = { source_of(f), ROWS };
	DPI_Source_Stats stats = { .size = sizeof stats };
	DPI_Endpoint_Info all[8] = { DPI_ENDPOINT_INFO_INIT };
	size_t count;
	pthread_t first = start_thread(drain_columns, &t[0]), source = start_thread(push_columns, &p);
	UNTIL(20 * SECOND, stats.waiting == 2, CHECK_DPI(DPI_Get_Endpoints(DPI_NODE_SELF, ctx, all, 8, &count));
	      for (size_t i = 0; i < count; i++) if (all[i].kind == DPI_ENDPOINT_SOURCE) stats = all[i].source);
	pthread_t second = start_thread(drain_columns, &t[1]);
	end_thread(source);
	CHECK_INT((uintptr_t)end_thread(first), ==, ROWS);
	CHECK_INT((uintptr_t)end_thread(second), ==, second_gets);
	leave(ctx);
}

/* Rows for a target that is gone are dropped and counted; the other gets all of its own. */
TEST(columns_dropped, "FL-445 FL-470", 1)
{
	DPI_Context ctx = join();
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .targets = 2, .sources = 1, .dist = DPI_DIST_ROUND_ROBIN, .on_death = DPI_DEATH_GOES_ON);
	DPI_Target gone = target_of(0, f), t = target_of(1, f);
	DPI_Source s = source_of(f);
	DPI_Schema schema = columns_schema(true);
	DPI_Source_Stats stats = { .size = sizeof stats };
	struct flow_tally tally = { 0 };
	struct ArrowArray a;
	DPI_Tuple u;
	int64_t sent = 0;
	push_batches(s, 0, 1);
	sent += BATCH;
	CHECK_DPI(DPI_Close_Target(gone));
	UNTIL(10 * SECOND, stats.dropped > 0, {
		columns_batch(true, 0, sent, BATCH, 0, &a);
		CHECK_DPI(DPI_Push_Arrow(&a, NULL, s, NULL));
		CHECK_DPI(DPI_Flush_Source(s));
		sent += BATCH;
		while (!DPI_Try_Next(t, &u)) columns_take_row(schema, true, u.data, u.size, &tally);
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
	});
	CHECK_INT(stats.rows + stats.dropped, ==, sent);
	CHECK_DPI(DPI_Push_Mark(1, s));
	CHECK_DPI(DPI_Close_Source(s));
	int error;
	while (!(error = DPI_Next(t, &u)))
		if (u.kind == DPI_TUPLE_ROW) columns_take_row(schema, true, u.data, u.size, &tally);
	CHECK_INT(error, ==, DPI_ERR_END);
	CHECK_INT(tally.total, ==, sent / 2);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

TEST(columns_misuse, "FL-480 FL-481 FL-482", 1, .once = true)
{
	DPI_Context ctx = join();
	struct ArrowArray a, out;
	struct ArrowSchema type;
	DPI_Batch b;
	size_t pushed = 7;
	const char *key[] = { "key" };
	void *room;
	DPI_Flow rows = FLOW("rows", ctx, .sources = 1), g;
	DPI_Source s = source_of(rows);
	DPI_Target t = target_of(0, rows);
	columns_batch(true, 0, 0, 5, 0, &a);
	CHECK_ERROR(DPI_Push_Arrow(&a, NULL, s, &pushed), DPI_ERR_ARGUMENT, "7 columns"); /* its rows are others */
	CHECK_INT(pushed, ==, 0);
	CHECK_DPI(DPI_Reserve(sizeof(struct flow_row), 0, s, &room));
	CHECK_ERROR(DPI_Push_Arrow(&a, NULL, s, &pushed), DPI_ERR_STATE, "DPI_Commit");
	CHECK_DPI(DPI_Discard(s));
	DPI_Schema schema = columns_schema(true), other = columns_schema(false);
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .sources = 1);
	CHECK_ERROR(DPI_Create_Flow("f", FLOW_ATTR(.create = DPI_CREATE_OR_OPEN, .schema = schema, .key = key, .key_count = 1, .sources = 1), ctx, &g), DPI_ERR_EXISTS,
		    "the flow's layout is columns, yours is rows");
	CHECK_ERROR(DPI_Create_Flow("rows 2", FLOW_ATTR(.schema = schema, .layout = 2), ctx, &g), DPI_ERR_ARGUMENT, "attr->layout is 2");
	CHECK_ERROR(DPI_Create_Flow("small", FLOW_ATTR(.schema = schema, .segment = 512, .layout = DPI_LAYOUT_COLUMNS), ctx, &g), DPI_ERR_SIZE, "attr->segment is 512");
	DPI_Codec codec = { .codec = DPI_CODEC_AES_256_GCM, .key = "key" };
	CHECK_ERROR(DPI_Create_Flow("coded", FLOW_ATTR(.schema = schema, .segment = 900, .codecs = &codec, .codec_count = 1, .layout = DPI_LAYOUT_COLUMNS), ctx, &g), DPI_ERR_SIZE,
		    "of which encryption takes 72");
	DPI_Source c = source_of(f);
	DPI_Target u = target_of(0, f);
	CHECK_ERROR(DPI_Reserve(100, 0, c, &room), DPI_ERR_USE, "columns");
	CHECK_ERROR(DPI_Push_Arrow(NULL, NULL, c, NULL), DPI_ERR_ARGUMENT, "array is NULL");
	CHECK_ERROR(DPI_Next_Arrow(u, NULL, &out, NULL), DPI_ERR_ARGUMENT, "batch is NULL");
	CHECK_ERROR(DPI_Next_Arrow(u, &b, NULL, NULL), DPI_ERR_ARGUMENT, "array is NULL");
	CHECK_DPI(DPI_Export_Arrow_Schema(other, &type));
	CHECK_ERROR(DPI_Push_Arrow(&a, &type, c, NULL), DPI_ERR_SCHEMA, "the batch's");
	type.release(&type);
	a.n_children--;
	CHECK_ERROR(DPI_Push_Arrow(&a, NULL, c, NULL), DPI_ERR_ARGUMENT, "6 columns");
	columns_batch(true, 0, 0, 5, 0, &a);
	a.children[COL_TEXT]->n_buffers = 2;
	CHECK_ERROR(DPI_Push_Arrow(&a, NULL, c, NULL), DPI_ERR_ARGUMENT, "text");
	columns_batch(true, 0, 0, 5, 0, &a);
	a.release(&a);
	CHECK_ERROR(DPI_Push_Arrow(&a, NULL, c, NULL), DPI_ERR_ARGUMENT, "released");
	CHECK_ERROR((DPI_Push)("abc", 3, c), DPI_ERR_CORRUPT, " ");
	columns_batch(true, 0, 0, 5, 0, &a);
	CHECK_DPI(DPI_Push_Arrow(&a, NULL, c, NULL)); /* it may be used on */
	CHECK_DPI(DPI_Close_Source(c));
	CHECK_DPI(DPI_Next_Arrow(u, &b, &out, NULL));
	CHECK_INT(b.count, ==, 5);
	out.release(&out);
	CHECK_ERROR(DPI_Next_Arrow(u, &b, &out, NULL), DPI_ERR_END, "'f'");
	CHECK_DPI(DPI_Close_Target(u));
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Free_Schema(schema));
	CHECK_DPI(DPI_Free_Schema(other));
	leave(ctx);
}

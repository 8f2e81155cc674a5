/* SPDX-License-Identifier: Apache-2.0
 * flow_watch.c: what can be seen of flows while they run: numbers, counters. */
#include "flow_kit.h"

/* Each source, in whatever process and order, is known to its target by the number that it is told; rows that vary are counted
 * by their own bytes. */
TEST(flow_source_number, "FL-601 FL-403", 3)
{
	enum { EACH = 3 };
	static const DPI_Column columns[] = { { "number", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	_Atomic uint64_t *bytes = harness_shared();
	DPI_Context ctx = join();
	DPI_Schema schema;
	DPI_Value v[2] = { 0 };
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	DPI_Flow f = FLOW("f", ctx, .schema = schema, .dist = DPI_DIST_ROUND_ROBIN, .sources = 2 * EACH);
	DPI_Target t = rank ? NULL : target_of(0, f);
	if (rank) {
		DPI_Source s[EACH];
		for (int i = 0; i < EACH; i++) s[i] = source_of(f);
		for (int i = EACH - 1; i >= 0; i--) {
			uint8_t row[100];
			size_t size;
			uint32_t number = UINT32_MAX;
			CHECK_DPI(DPI_Get_Source_Number(s[i], &number));
			v[0] = (DPI_Value){ .type = DPI_TYPE_INT64, .i = number };
			v[1] = (DPI_Value){ .type = DPI_TYPE_UTF8, .size = 5 + (uint32_t)i, .data = "nine bytes" };
			CHECK_DPI(DPI_Pack_Row(v, schema, row, sizeof row, &size));
			CHECK_DPI(DPI_Push(row, size, s[i]));
			*bytes += size;
			CHECK_DPI(DPI_Close_Source(s[i]));
		}
	}
	harness_barrier();
	if (rank == 0) {
		bool seen[2 * EACH] = { 0 };
		DPI_Tuple u;
		int error;
		while (!(error = DPI_Next(t, &u))) {
			CHECK_INT(u.source, <, 2 * EACH);
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 0, schema, v));
			CHECK_INT(v[0].i, ==, u.source);
			CHECK(!seen[u.source]);
			seen[u.source] = true;
		}
		CHECK_ERROR(error, DPI_ERR_END, "'f'");
		DPI_Target_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Target_Stats(t, &stats));
		CHECK_INT(stats.rows, ==, 2 * EACH);
		CHECK_INT(stats.bytes, ==, *bytes);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

static DPI_Endpoint_Info *endpoints(int node, DPI_Context ctx, size_t *count)
{
	static DPI_Endpoint_Info all[64];
	all[0].size = sizeof *all;
	CHECK_DPI(DPI_Get_Endpoints(node, ctx, all, 64, count));
	CHECK_INT(*count, <=, 64);
	for (size_t i = 0; i < *count; i++) {
		CHECK_INT(all[i].size, ==, sizeof *all);
		CHECK_INT(all[i].node, ==, node);
	}
	return all;
}

static const DPI_Endpoint_Info *endpoint(int kind, uint32_t number, const char *flow, const DPI_Endpoint_Info *all, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (all[i].kind == kind && all[i].number == number && !strcmp(all[i].flow.name, flow)) return &all[i];
	FAIL("there is no endpoint %d %u of '%s' among %zu", kind, number, flow, count);
	return NULL;
}

struct drain {
	DPI_Target target;
	struct flow_tally tally;
};

static void *drain(void *arg)
{
	struct drain *d = arg;
	flow_drain(d->target, &d->tally);
	return NULL;
}

static void see_from_outside(DPI_Context ctx)
{
	DPI_Endpoint_Info *all;
	const DPI_Endpoint_Info *source = NULL, *target[2] = { 0 };
	size_t count = 9;
	/* the source waits for room at target 1, and target 0 for the source */
	UNTIL(20 * SECOND, source->source.waiting == 2 && source->source.rows, all = endpoints(0, ctx, &count); CHECK_INT(count, ==, 1);
	      source = endpoint(DPI_ENDPOINT_SOURCE, 0, "f", all, count));
	uint64_t rows = source->source.rows;
	CHECK_INT(rows, >, 0);
	CHECK_INT(source->source.bytes, ==, rows * sizeof(struct flow_row));
	CHECK_INT(source->source.most_rows, >=, rows / 2);
	CHECK_INT(source->source.most_rows, <=, rows);
	CHECK_INT(source->flow.targets, ==, 2);
	CHECK_INT(source->flow.bound, ==, 2);
	CHECK_INT(source->flow.sources, ==, 1);
	CHECK_INT(source->flow.closed, ==, 0);
	CHECK_INT(source->flow.failed, ==, 0);
	CHECK(source->flow.sealed);
	UNTIL(20 * SECOND, target[0]->target.waiting == 1 && target[0]->target.rows + 2000 > rows / 2 && target[1]->fill, all = endpoints(1, ctx, &count); CHECK_INT(count, ==, 2);
	      target[0] = endpoint(DPI_ENDPOINT_TARGET, 0, "f", all, count); target[1] = endpoint(DPI_ENDPOINT_TARGET, 1, "f", all, count));
	CHECK_INT(target[1]->target.rows, ==, 0);
	CHECK_INT(target[1]->target.waiting, ==, 0);
	CHECK_INT(target[1]->fill, >, 0);
	CHECK_INT(target[1]->fill, <=, target[1]->target.memory);
	CHECK_INT(target[1]->target.memory, <=, 65536);
	/* more than there is room for, and none */
	DPI_Endpoint_Info one = DPI_ENDPOINT_INFO_INIT;
	CHECK_DPI(DPI_Get_Endpoints(1, ctx, &one, 1, &count));
	CHECK_INT(count, ==, 2);
	CHECK_INT(one.kind, ==, DPI_ENDPOINT_TARGET);
	CHECK_DPI(DPI_Get_Endpoints(1, ctx, NULL, 0, &count));
	CHECK_INT(count, ==, 2);
	CHECK_DPI(DPI_Get_Endpoints(DPI_NODE_SELF, ctx, &one, 1, &count));
	CHECK_INT(count, ==, 0);
	CHECK_ERROR(DPI_Get_Endpoints(1, ctx, &one, 1, NULL), DPI_ERR_ARGUMENT, "count is NULL");
	CHECK_ERROR(DPI_Get_Endpoints(1, ctx, NULL, 1, &count), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Get_Endpoints(77, ctx, &one, 1, &count), DPI_ERR_NODE, "77");
	one.size = 0;
	CHECK_ERROR(DPI_Get_Endpoints(1, ctx, &one, 1, &count), DPI_ERR_ARGUMENT, "size is 0");
}

/* Rank 0 pushes to two targets of rank 1, of which one is not read: rank 2, which has no part in it, sees who waits for whom. */
TEST(flow_seen_from_outside, "FL-604 FL-605", 3, .deadline_s = 180)
{
	_Atomic int *seen = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 1, .segment = 512, .memory = 65536);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		harness_barrier();
		push_rows(s, 0, 0, 20000);
		CHECK_DPI(DPI_Close_Source(s));
	} else if (rank == 1) {
		struct drain d[2] = { { .target = target_of(0, f) }, { .target = target_of(1, f) } };
		pthread_t thread = start_thread(drain, &d[0]);
		harness_barrier();
		AWAIT(*seen);
		drain(&d[1]);
		end_thread(thread);
		for (int i = 0; i < 2; i++) CHECK_DPI(DPI_Close_Target(d[i].target));
		CHECK_INT(d[0].tally.total + d[1].tally.total, ==, 20000);
	} else {
		size_t count[2];
		harness_barrier();
		see_from_outside(ctx);
		*seen = 1;
		UNTIL(20 * SECOND, !count[0] && !count[1], endpoints(0, ctx, &count[0]); endpoints(1, ctx, &count[1]));
	}
	leave(ctx);
}

/* More endpoints than one answer holds. */
TEST(flow_many_seen, "FL-604", 2, .once = true)
{
	enum { SOURCES = 200 };
	static DPI_Endpoint_Info all[SOURCES + 1];
	static DPI_Source s[SOURCES];
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1);
	if (rank) {
		for (int i = 0; i < SOURCES; i++) s[i] = source_of(f);
		DPI_Target t = target_of(0, f);
		harness_barrier();
		harness_barrier();
		for (int i = 0; i < SOURCES; i++) CHECK_DPI(DPI_Close_Source(s[i]));
		CHECK_DPI(DPI_Seal_Flow(f));
		flow_drain(t, &(struct flow_tally){ 0 });
		CHECK_DPI(DPI_Close_Target(t));
	} else {
		size_t count;
		harness_barrier();
		all[0].size = sizeof *all;
		CHECK_DPI(DPI_Get_Endpoints(1, ctx, all, SOURCES + 1, &count));
		CHECK_INT(count, ==, SOURCES + 1);
		for (uint32_t i = 0; i < SOURCES; i++) endpoint(DPI_ENDPOINT_SOURCE, i, "f", all, count);
		endpoint(DPI_ENDPOINT_TARGET, 0, "f", all, count);
		harness_barrier();
	}
	leave(ctx);
}

/* What is seen of a stage that runs at a source or target. */
static const DPI_Stage_Stats *stage_seen(int kind, uint32_t number, uint32_t stage, int what, const DPI_Endpoint_Info *all, size_t count)
{
	int of = kind == DPI_ENDPOINT_SOURCE_STAGE ? DPI_ENDPOINT_SOURCE : DPI_ENDPOINT_TARGET;
	bool behind = false;
	for (size_t i = 0; i < count; i++) {
		if (all[i].kind == of) behind = all[i].number == number;
		if (all[i].kind != kind || all[i].number != number || all[i].stage_number != stage) continue;
		CHECK(behind);
		CHECK_INT(all[i].stage_kind, ==, what);
		return &all[i].stage;
	}
	FAIL("there is no stage %u at endpoint %d %u among %zu", stage, kind, number, count);
	return NULL;
}

TEST(flow_stages_seen, "FL-607", 3, .deadline_s = 180)
{
	static const DPI_Stage_Column copy[] = { { .name = "key" } };
	const DPI_Stage stages[] = { { .kind = DPI_STAGE_FILTER, .text = "key % 4 <> 3" },
				     { .kind = DPI_STAGE_SAMPLE, .fraction = 0.5 },
				     { .kind = DPI_STAGE_PROJECT, .place = DPI_AT_TARGET, .columns = copy, .column_count = 1 } };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 2, .stages = stages, .stage_count = 3);
	if (rank < 2) {
		DPI_Source s = source_of(f);
		uint32_t number;
		CHECK_DPI(DPI_Get_Source_Number(s, &number));
		push_rows(s, rank, 0, 400 * (number + 1));
		CHECK_DPI(DPI_Flush_Source(s));
		harness_barrier();
		harness_barrier();
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		DPI_Endpoint_Info all[2 + 4 + 1 + 1];
		size_t count, some;
		harness_barrier();
		for (int taken = 0; taken < 450; taken++) { /* but 450: the sample takes every other of 300 and 600 */
			DPI_Tuple u;
			CHECK_DPI(DPI_Next(t, &u));
		}
		for (int node = 0; node < 3; node++) {
			all[0].size = sizeof *all;
			CHECK_DPI(DPI_Get_Endpoints(node, ctx, all, 8, &count));
			if (node == 2) break;
			CHECK_INT(count, ==, 3);
			uint32_t number = all[0].number;
			const DPI_Stage_Stats *filter = stage_seen(DPI_ENDPOINT_SOURCE_STAGE, number, 0, DPI_STAGE_FILTER, all, count);
			const DPI_Stage_Stats *sample = stage_seen(DPI_ENDPOINT_SOURCE_STAGE, number, 1, DPI_STAGE_SAMPLE, all, count);
			CHECK_INT(filter->rows, ==, 400 * (number + 1));
			CHECK_INT(filter->passed, ==, 300 * (number + 1));
			CHECK_INT(sample->rows, ==, filter->passed);
			CHECK_INT(sample->passed, ==, 150 * (number + 1));
			CHECK_INT(sample->bytes, ==, sample->passed * sizeof(struct flow_row));
			CHECK(filter->batches && !filter->row_errors && filter->size == sizeof *filter);
		}
		CHECK_INT(count, ==, 2);
		const DPI_Stage_Stats *project = stage_seen(DPI_ENDPOINT_TARGET_STAGE, 0, 2, DPI_STAGE_PROJECT, all, count);
		CHECK_INT(project->rows, ==, 450);
		CHECK_INT(project->bytes, ==, 450 * 8);
		CHECK_DPI(DPI_Get_Endpoints(1, ctx, all, 1, &some));
		CHECK_INT(some, ==, 3);
		harness_barrier();
		DPI_Tuple u;
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "'f'");
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

/* More stages than one answer holds. */
TEST(flow_many_stages_seen, "FL-607", 2, .once = true)
{
	enum { SOURCES = 20 };
	static DPI_Endpoint_Info all[SOURCES * (1 + DPI_STAGES_MAX)];
	DPI_Stage stages[DPI_STAGES_MAX];
	DPI_Source s[SOURCES];
	for (int i = 0; i < DPI_STAGES_MAX; i++) stages[i] = (DPI_Stage){ .kind = DPI_STAGE_FILTER, .text = "key >= 0" };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .stages = stages, .stage_count = DPI_STAGES_MAX);
	for (int i = 0; rank && i < SOURCES; i++) s[i] = source_of(f);
	harness_barrier();
	if (!rank) {
		size_t count;
		all[0].size = sizeof *all;
		CHECK_DPI(DPI_Get_Endpoints(1, ctx, all, sizeof all / sizeof *all, &count));
		CHECK_INT(count, ==, sizeof all / sizeof *all);
		for (uint32_t i = 0; i < SOURCES; i++)
			for (uint32_t k = 0; k < DPI_STAGES_MAX; k++) stage_seen(DPI_ENDPOINT_SOURCE_STAGE, i, k, DPI_STAGE_FILTER, all, count);
	}
	harness_barrier();
	DPI_Target t = rank ? NULL : target_of(0, f);
	harness_barrier();
	for (int i = 0; rank && i < SOURCES; i++) CHECK_DPI(DPI_Close_Source(s[i]));
	harness_barrier();
	if (t) CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

/* The keys that came most often, as this process's target has published them. */
static DPI_Heavy_Key *heavy_keys(DPI_Context ctx, size_t *count)
{
	static DPI_Heavy_Key all[64];
	all[0] = (DPI_Heavy_Key)DPI_HEAVY_KEY_INIT;
	CHECK_DPI(DPI_Get_Heavy_Keys(DPI_NODE_SELF, ctx, all, 64, count));
	return all;
}

/* Key n of 500 comes as often as any other, but the first few, which come in a tenth of the rows each. */
enum { HEAVY_ROWS = 30000, HEAVY_KINDS = 500, HEAVY_FEW = 3 };
static int heavy_key(int i)
{
	return i % 10 < HEAVY_FEW ? i % 10 : i / 10 % HEAVY_KINDS;
}

static void sketch_names(int rank, DPI_Flow_Attr *a)
{
	static const char *const key[] = { "name", "day" };
	static const DPI_Column columns[] = { { "x", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "name", DPI_TYPE_UTF8, 1, 0, 0, 0 }, { "day", DPI_TYPE_DATE32, 0, 0, 0, 0 } };
	DPI_Context ctx = join();
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Schema(columns, 3, &a->schema));
	a->create = DPI_CREATE_OR_OPEN, a->sources = 1, a->key = key, a->key_count = 2;
	CHECK_DPI(DPI_Create_Flow("f", a, ctx, &f));
	if (rank) {
		DPI_Source s = source_of(f);
		for (int i = 0; i < HEAVY_ROWS; i++) {
			char name[32];
			uint8_t row[128];
			size_t size;
			int k = heavy_key(i);
			snprintf(name, sizeof name, "\xc3\xa4\n%d", k);
			DPI_Value v[3] = { { .type = DPI_TYPE_INT64, .i = i }, { .type = DPI_TYPE_UTF8, .size = (uint32_t)strlen(name), .data = name },
					   { .type = DPI_TYPE_DATE32, .i = k } };
			if (!k) v[1] = (DPI_Value){ .type = DPI_TYPE_NULL };
			CHECK_DPI(DPI_Pack_Row(v, a->schema, row, sizeof row, &size));
			CHECK_DPI(DPI_Push(row, size, s));
		}
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target_Attr ta = DPI_TARGET_ATTR_INIT;
		DPI_Target t;
		DPI_Tuple u;
		size_t count, rows = 0;
		int error, found = 0;
		ta.sketch = 1;
		CHECK_DPI(DPI_Open_Target(0, &ta, f, &t));
		while (!(error = DPI_Next(t, &u))) rows++;
		CHECK_ERROR(error, DPI_ERR_END, "'f'");
		uint64_t came[HEAVY_KINDS] = { 0 };
		for (int i = 0; i < HEAVY_ROWS; i++) came[heavy_key(i)]++;
		const DPI_Heavy_Key *all = heavy_keys(ctx, &count);
		CHECK_INT(count, <=, DPI_HEAVY_KEYS);
		for (size_t i = 0; i < count; i++) {
			static const char *const names[] = { "NULL, 1970-01-01", "\xc3\xa4?1, 1970-01-02", "\xc3\xa4?2, 1970-01-03" };
			CHECK_STR(all[i].flow, "f");
			CHECK_INT(all[i].target, ==, 0);
			CHECK_INT(all[i].total, ==, rows);
			if (i) CHECK_INT(all[i].rows, <=, all[i - 1].rows);
			for (int k = 0; k < HEAVY_FEW; k++) {
				if (strcmp(all[i].key, names[k])) continue;
				found |= 1 << k;
				CHECK_INT(all[i].rows, >=, came[k]);
				CHECK_INT(all[i].rows - all[i].error, <=, came[k]);
				CHECK_INT(i, <, HEAVY_FEW);
			}
		}
		CHECK_INT(found, ==, (1 << HEAVY_FEW) - 1);
		CHECK_DPI(DPI_Close_Target(t));
		heavy_keys(ctx, &count);
		CHECK_INT(count, ==, 0);
	}
	CHECK_DPI(DPI_Free_Schema(a->schema));
	leave(ctx);
}

TEST(flow_heavy_keys, "FL-608", 2) { (void)ranks, sketch_names(rank, FLOW_ATTR(.segment = 4096)); }
TEST(flow_heavy_keys_of_columns, "FL-606 FL-608", 2) { (void)ranks, sketch_names(rank, FLOW_ATTR(.segment = 4096, .layout = DPI_LAYOUT_COLUMNS)); }

/* Behind a stage that keeps the key's columns, elsewhere in its rows. */
TEST(flow_heavy_keys_behind_stages, "FL-606 FL-608", 2)
{
	static const DPI_Stage_Column keeps[] = { { .name = "day" }, { .name = "twice", .text = "x * 2" }, { .name = "name" } };
	static const DPI_Stage stages[] = { { .kind = DPI_STAGE_PROJECT, .columns = keeps, .column_count = 3 } };
	(void)ranks;
	sketch_names(rank, FLOW_ATTR(.segment = 4096, .stages = stages, .stage_count = 1));
}

TEST(flow_sketch_without_keys, "FL-606", 1)
{
	static const DPI_Stage_Column twice[] = { { .name = "twice", .text = "x * 2" } };
	static const DPI_Stage loses[] = { { .kind = DPI_STAGE_PROJECT, .columns = twice, .column_count = 1 } };
	static const char *const key[] = { "x" };
	static const DPI_Column columns[] = { { "x", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	(void)rank, (void)ranks;
	DPI_Context ctx = join();
	DPI_Target_Attr ta = DPI_TARGET_ATTR_INIT;
	DPI_Flow_Attr *a = FLOW_ATTR(.key = key, .key_count = 1, .stages = loses, .stage_count = 1);
	DPI_Flow f;
	DPI_Target t;
	CHECK_DPI(DPI_Create_Schema(columns, 1, &a->schema));
	CHECK_DPI(DPI_Create_Flow("loses", a, ctx, &f));
	ta.sketch = 1;
	CHECK_ERROR(DPI_Open_Target(0, &ta, f, &t), DPI_ERR_UNSUPPORTED, "\"x\"");
	CHECK_DPI(DPI_Free_Schema(a->schema));
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------------------ stalls */

static DPI_Stall *stalls_of(int node, DPI_Context ctx, size_t *count)
{
	static DPI_Stall all[64];
	all[0] = (DPI_Stall)DPI_STALL_INIT;
	CHECK_DPI(DPI_Get_Stalls(node, ctx, all, 64, count));
	CHECK_INT(*count, <=, 64);
	return all;
}

/* Rank 1 pushes to two targets of rank 0, of which the second takes late; then the first waits for rank 1's rows. */
TEST(flow_stalls_by_peer, "FL-609 FL-610", 2)
{
	enum { ROWS = 20000 };
	_Atomic int *stage = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 1, .dist = DPI_DIST_ROUND_ROBIN, .segment = 2048, .memory = 65536);
	size_t count;
	if (rank) {
		DPI_Source s = source_of(f);
		for (int64_t n = 0; n < ROWS; n++) {
			struct flow_row r = row_of(1, n, n);
			CHECK_DPI(DPI_Push(&r, sizeof r, s));
		}
		DPI_Source_Stats x = { .size = sizeof x };
		CHECK_DPI(DPI_Get_Source_Stats(s, &x));
		CHECK_INT(x.stalls, >, 0);
		const DPI_Stall *all = stalls_of(DPI_NODE_SELF, ctx, &count);
		uint64_t stalls = 0, us = 0, slow = 0;
		for (size_t i = 0; i < count; i++) {
			CHECK(all[i].kind == DPI_ENDPOINT_SOURCE && all[i].number == 0 && all[i].node == 1 && all[i].peer < 2 && all[i].count);
			CHECK_STR(all[i].flow, "f");
			stalls += all[i].count, us += all[i].time_us;
			if (all[i].peer == 1) slow = all[i].time_us;
		}
		CHECK_INT(stalls, ==, x.stalls);
		CHECK_INT(us, ==, x.stall_us);
		CHECK_INT(slow, >, us / 2);
		DPI_Flow_Stats all_of_it = { .size = sizeof all_of_it };
		CHECK_DPI(DPI_Get_Flow_Stats(f, &all_of_it));
		CHECK_INT(all_of_it.sources, ==, 1);
		CHECK_INT(all_of_it.targets, ==, 2);
		CHECK_INT(all_of_it.sent, ==, ROWS);
		CHECK_INT(all_of_it.sent_bytes, ==, ROWS * sizeof(struct flow_row));
		CHECK_INT(all_of_it.rows, <=, ROWS);
		CHECK_INT(all_of_it.stall_us, ==, x.stall_us);
		CHECK_INT(all_of_it.slowest_target, ==, 1);
		CHECK_INT(all_of_it.slowest_us, ==, slow);
		CHECK_INT(all_of_it.memory, >, 0);
		size_t counters = 0;
#define ONE(name, unit, text) counters += all_of_it.name <= UINT64_MAX && *unit && *text;
		DPI_FLOW_STATS(ONE)
#undef ONE
		CHECK_INT(sizeof all_of_it, ==, sizeof(size_t) + 8 * counters);
		*stage = 1;
		while (*stage != 2) harness_pause();
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_ERROR(DPI_Get_Flow_Stats(f, NULL), DPI_ERR_ARGUMENT, "NULL");
	} else {
		DPI_Target t[2] = { target_of(0, f), target_of(1, f) };
		DPI_Tuple u;
		int64_t taken[2] = { 0 };
		for (int i = 0; i < 2000; i++) { /* 200 ms and more, in which the second does nothing */
			int error = DPI_SUCCESS;
			while (taken[0] < ROWS / 2 && !(error = DPI_Try_Next(t[0], &u))) taken[0]++;
			if (error && error != DPI_ERR_AGAIN) CHECK_DPI(error);
			harness_pause();
		}
		for (int which; taken[0] + taken[1] < ROWS; taken[which]++) {
			which = taken[0] == ROWS / 2 || taken[1] < taken[0];
			CHECK_DPI(DPI_Next(t[which], &u));
		}
		while (*stage != 1) harness_pause();
		*stage = 2;
		CHECK_ERROR(DPI_Next(t[0], &u), DPI_ERR_END, "'f'");
		CHECK_ERROR(DPI_Next(t[1], &u), DPI_ERR_END, "'f'");
		const DPI_Stall *all = stalls_of(DPI_NODE_SELF, ctx, &count);
		for (int i = 0; i < 2; i++) {
			DPI_Target_Stats x = { .size = sizeof x };
			uint64_t waits = 0, us = 0;
			CHECK_DPI(DPI_Get_Target_Stats(t[i], &x));
			for (size_t k = 0; k < count; k++) {
				CHECK(all[k].kind == DPI_ENDPOINT_TARGET && (!all[k].peer || all[k].peer == DPI_SOURCE_NONE));
				if (all[k].number == (uint32_t)i) waits += all[k].count, us += all[k].time_us;
			}
			CHECK_INT(waits, ==, x.waits);
			CHECK_INT(us, ==, x.wait_us);
			CHECK_DPI(DPI_Close_Target(t[i]));
		}
	}
	leave(ctx);
}

TEST(flow_sketch, "FL-606", 2)
{
	enum { ROWS = 40000, KEYS = 1000, HEAVY = 7 };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .salt = 5), keyless = FLOW("keyless", ctx, .dist = DPI_DIST_BROADCAST);
	if (rank) {
		DPI_Source s = source_of(f);
		for (int64_t n = 0; n < ROWS; n++) {
			struct flow_row r = row_of(1, n % 4 ? n % KEYS : HEAVY, n);
			CHECK_DPI(DPI_Push(&r, sizeof r, s));
		}
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		struct flow_tally tally = { 0 };
		DPI_Target t = NULL;
		DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
		a.sketch = 1;
		CHECK_ERROR(DPI_Open_Target(0, &a, keyless, &t), DPI_ERR_UNSUPPORTED, "no key");
		CHECK(!t);
		CHECK_DPI(DPI_Open_Target(0, &a, f, &t));
		flow_drain(t, &tally);
		DPI_Target_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Target_Stats(t, &stats));
		int64_t key = HEAVY;
		uint64_t hash;
		CHECK_DPI(DPI_Hash_Rows(&(DPI_Values){ .type = DPI_TYPE_INT64, .data = &key }, 1, 1, 5, &hash));
		CHECK_INT(stats.heavy_hash, ==, hash);
		CHECK_INT(stats.heavy_rows, >=, ROWS / 4);
		CHECK_INT(stats.heavy_rows, <=, ROWS / 4 + ROWS / 256 + ROWS / KEYS);
		/* those that are no multiple of 4; the heavy one is one of them */
		CHECK_INT(stats.distinct, >, 750 * 85 / 100);
		CHECK_INT(stats.distinct, <, 750 * 115 / 100);
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

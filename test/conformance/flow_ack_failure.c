/* SPDX-License-Identifier: Apache-2.0
 * flow_ack_failure.c: acknowledgements: rows that wait, deaths, many of everything, misuse. */
#include <signal.h>

#include "flow_ack_kit.h"

/* ------------------------------------------------------------------------------------------------------------ room */

TEST(ack_pending, "FL-511", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .ack = DPI_ACK_CONFIRMED, .ack_pending = 8);
	if (rank) {
		DPI_Target t = target_of(0, f);
		take(t, 8);
		harness_barrier(); /* 1 */
		CHECK_DPI(DPI_Ack(0, 1, t));
		harness_barrier(); /* 2 */
		pause_ms(30);
		CHECK_DPI(DPI_Ack(0, 2, t)); /* rank 0 waits for it inside a push */
		finish_target(t, f, ctx);
		return;
	}
	DPI_Source s = source_with(f, SECOND);
	struct flow_row r = row_of(0, 8, 8);
	DPI_Acked told[8];
	size_t count;
	for (int64_t n = 0; n < 8; n++) {
		struct flow_row row = row_of(0, n, n);
		UNTIL(LONG, !error, int error = DPI_Try_Push(&row, sizeof row, s));
	}
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier(); /* 1 */
	UNTIL(LONG, error == DPI_ERR_LIMIT, int error = DPI_Try_Push(&r, sizeof r, s); CHECK(error == DPI_ERR_LIMIT || error == DPI_ERR_AGAIN));
	CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_LIMIT, "DPI_Next_Acks");
	CHECK_DPI(DPI_Next_Acks(told, 8, s, &count));
	CHECK(count == 1 && told[0].key == 1);
	CHECK_DPI(DPI_Push(&r, sizeof r, s)); /* the place of the one */
	r = row_of(0, 9, 9);
	CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s), DPI_ERR_AGAIN, "ack_pending");
	CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_TIMEOUT, "8 rows wait");
	harness_barrier(); /* 2 */
	int error;
	while ((error = DPI_Push(&r, sizeof r, s)) == DPI_ERR_TIMEOUT) ;
	CHECK_INT(error, ==, DPI_ERR_LIMIT); /* it was acknowledged, and the program is to take it */
	CHECK_DPI(DPI_Wait_Ack(2, s));
	CHECK_DPI(DPI_Push(&r, sizeof r, s));
	finish_source(s, f, ctx);
}

/* ----------------------------------------------------------------------------------------------------------- death */

/* Ranks 2 and 3 die, one after the other; rank 1 confirms all. */
static void survive(int rank, DPI_Flow_Attr *a)
{
	_Atomic int *step = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = kit_flow("f", a, ctx);
	int ack_up_to = a->ack_up_to;
	DPI_Tuple u;
	if (rank) {
		DPI_Target t = target_of((uint32_t)rank - 1, f);
		int error;
		take(t, 10);
		confirm_all(t);
		while (rank == 1 || *step < rank - 1) { /* rank 2 at 1, 3 at 2 */
			error = DPI_Try_Next(t, &u);
			if (error == DPI_ERR_END) break;
			if (!error) confirm_all(t);
			else harness_pause();
		}
		if (rank > 1) {
			harness_expect_death(rank);
			harness_kill(rank, SIGKILL);
		}
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[4];
	size_t count;
	push_rows(s, 0, 0, 100);
	CHECK_DPI(DPI_Wait_Ack(100, s));
	*step = 1;
	for (int64_t n = 100; n < 2000; n += 10) { /* rank 2 dies meanwhile: two of three are left */
		push_rows(s, 0, n, 10);
		CHECK_DPI(DPI_Wait_Ack((uint64_t)n + 10, s));
		while (!ack_up_to && !DPI_Try_Next_Acks(told, 4, s, &count)) ;
	}
	AWAIT(!harness_alive(2));
	*step = 2;
	AWAIT(!harness_alive(3));
	uint64_t key = 2001;
	push_rows(s, 0, 2000, 1);
	for (;;) { /* what rank 3 confirmed before it died counts */
		int error = DPI_Wait_Ack(key, s);
		if (error) {
			CHECK_ERROR(error, DPI_ERR_PEER, "is lost: ");
			break;
		}
		push_rows(s, 0, (int64_t)key, 1);
		key++;
	}
	CHECK_ERROR(DPI_Wait_Ack(key, s), DPI_ERR_PEER, "is gone"); /* until it was told */
	int acknowledged = 9;
	CHECK_ERROR(DPI_Test_Ack(key, s, &acknowledged), DPI_ERR_PEER, "target");
	CHECK_INT(acknowledged, ==, 0);
	do CHECK_DPI(DPI_Next_Acks(told, 1, s, &count));
	while (!told[0].error);
	CHECK(told[0].key == key && told[0].error == DPI_ERR_PEER && told[0].acknowledged <= 1 && told[0].targets == 3);
	CHECK_DPI(DPI_Wait_Ack(key, s)); /* it was */
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

#define SURVIVES(...) FLOW_ATTR(EVERYWHERE, .ack_of = DPI_ACK_QUORUM, .ack_quorum = 2, .on_death = DPI_DEATH_GOES_ON, .segment = 1024, __VA_ARGS__)

TEST(ack_survives_death, "FL-510", 4, .deadline_s = 180)
{
	survive(rank, SURVIVES());
}

TEST(ack_survives_death_up_to, "FL-510", 4, .deadline_s = 180)
{
	survive(rank, SURVIVES(.ack_up_to = 1));
}

/* Half of the rows go nowhere, and some that arrive come to nothing. */
TEST(ack_survives_death_with_stages, "FL-510 FL-518", 4, .deadline_s = 180)
{
	static const DPI_Stage stages[] = { { .kind = DPI_STAGE_FILTER, .place = DPI_AT_SOURCE, .text = "number % 2 = 1" },
					    { .kind = DPI_STAGE_FILTER, .place = DPI_AT_TARGET, .text = "number % 5 <> 0" } };
	survive(rank, SURVIVES(.stages = stages, .stage_count = 2));
}

TEST(ack_survives_death_encoded, "FL-510 FL-517", 4, .deadline_s = 180)
{
	static const DPI_Codec lz4 = { DPI_CODEC_LZ4, 0, NULL };
	survive(rank, SURVIVES(.codecs = &lz4, .codec_count = 1, .ack_up_to = 1));
}

TEST(ack_survives_death_in_columns, "FL-510 FL-517", 4, .deadline_s = 180)
{
	survive(rank, SURVIVES(.layout = DPI_LAYOUT_COLUMNS));
}

/* The same with rows that wait in tables, here and there: rank 2 dies in round 30, rank 3 in round 60. */
TEST(ack_survives_death_reduced, "FL-510 FL-519", 4, .deadline_s = 180)
{
	static const DPI_Aggregate sum = { .function = DPI_AGGREGATE_SUM, .column = "number" };
	_Atomic int *step = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = kit_flow("f", SURVIVES(.aggregates = &sum, .aggregate_count = 1, .window = DPI_WINDOW_MARKS, .ack_up_to = 1), ctx);
	if (rank) {
		DPI_Target t = target_of((uint32_t)rank - 1, f);
		DPI_Tuple u;
		while (rank == 1 || *step < rank - 1) {
			int error = DPI_Try_Next(t, &u);
			if (error == DPI_ERR_END) break;
			if (!error) confirm_all(t);
			else harness_pause();
		}
		if (rank > 1) {
			harness_expect_death(rank);
			harness_kill(rank, SIGKILL);
		}
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[4];
	size_t count;
	int error = DPI_SUCCESS;
	for (int64_t round = 0; !error; round++) {
		if (round == 30) *step = 1;
		if (round == 60) *step = 2;
		push_rows(s, 0, 10 * round, 10);
		CHECK_DPI(DPI_Push_Mark((uint64_t)round, s));
		error = DPI_Wait_Ack((uint64_t)(10 * round + 10), s);
		if (error && round < 60) CHECK_DPI(error);
	}
	CHECK_ERROR(error, DPI_ERR_PEER, "is gone");
	do CHECK_DPI(DPI_Next_Acks(told, 1, s, &count));
	while (!told[0].error);
	CHECK(told[0].error == DPI_ERR_PEER && told[0].acknowledged <= 1 && told[0].targets == 3);
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* In a flow that fails, so does whoever waits. */
TEST(ack_of_a_flow_that_fails, "FL-510", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .ack = DPI_ACK_CONFIRMED);
	if (rank) {
		DPI_Target t = target_of(0, f);
		take(t, 1);
		harness_expect_death(1);
		harness_kill(1, SIGKILL);
		CHECK_DPI(DPI_Close_Target(t));
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[1];
	size_t count;
	push_rows(s, 0, 0, 1);
	CHECK_INT(DPI_Wait_Ack(1, s), ==, DPI_ERR_PEER);
	UNTIL(LONG, info.failed == DPI_ERR_PEER, DPI_Flow_Info info = DPI_FLOW_INFO_INIT; CHECK_DPI(DPI_Get_Flow_Info(f, &info)));
	CHECK_ERROR(DPI_Next_Acks(told, 1, s, &count), DPI_ERR_PEER, "lost target 0");
	CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_PEER, "target 0");
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ------------------------------------------------------------------------------------------------------------ many */

struct confirmer {
	DPI_Target target;
	int level;
	uint64_t seed;
};

static void *confirm_at_random(void *arg)
{
	struct confirmer *c = arg;
	DPI_Batch b;
	size_t lent = 0;
	for (int error; (error = DPI_Next_Batch(c->target, &b)) != DPI_ERR_END;) {
		CHECK_DPI(error);
		if (b.kind == DPI_TUPLE_ROW) lent++;
		if (c->level == DPI_ACK_CONFIRMED) {
			if (draw(&c->seed, 2)) CHECK_DPI(DPI_Ack(b.source, DPI_ACK_TAKEN, c->target));
			else confirm_all(c->target);
		}
		if (lent) CHECK_DPI(DPI_Release_Batch(lent, c->target));
		lent = 0;
	}
	return NULL;
}

/* Rows with a number that dropped divides go nowhere. */
static void many(int rank, DPI_Flow_Attr a, int64_t dropped)
{
	enum { ROWS = 4000 };
	static const char *const names[] = { "a", "b" };
	DPI_Context ctx = join();
	for (int round = 0; round < 2; round++) {
		int level = DPI_ACK_RELEASED + round;
		a.size = sizeof a, a.dist = DPI_DIST_BROADCAST, a.targets = 3, a.sources = 3, a.segment = 1024, a.ack = level;
		a.ack_of = round ? DPI_ACK_QUORUM : DPI_ACK_ALL, a.ack_quorum = round ? 2 : 0, a.ack_pending = 300, a.ack_column = "number", a.schema = NULL;
		DPI_Flow f = kit_flow(names[round], &a, ctx);
		struct confirmer c = { target_of((uint32_t)rank, f), level, draw_seed(rank) };
		uint64_t seed = draw_seed(rank + 3);
		pthread_t thread = start_thread(confirm_at_random, &c);
		DPI_Source s = source_of(f);
		DPI_Acked told[50];
		size_t count, total = 0;
		static bool seen[ROWS];
		memset(seen, 0, sizeof seen);
		for (int64_t n = 0; n < ROWS || total < ROWS;) {
			struct flow_row r = row_of(rank, n, n);
			int error = n < ROWS ? DPI_Push(&r, sizeof r, s) : DPI_ERR_LIMIT;
			if (!error) n++;
			else CHECK_INT(error, ==, DPI_ERR_LIMIT);
			if (!error && draw(&seed, 100)) continue;
			if (error) CHECK_DPI(DPI_Next_Acks(told, 50, s, &count));
			else if (DPI_Try_Next_Acks(told, 50, s, &count)) count = 0;
			for (size_t i = 0; i < count; i++) {
				bool goes = !dropped || (int64_t)told[i].key % dropped;
				CHECK(told[i].key < ROWS && !seen[told[i].key] && !told[i].error);
				CHECK_INT(told[i].targets, ==, goes ? 3 : 0);
				CHECK_INT(told[i].acknowledged, >=, !goes ? 0 : round ? 2 : 3);
				seen[told[i].key] = true;
			}
			total += count;
		}
		CHECK_INT(total, ==, ROWS);
		CHECK_DPI(DPI_Close_Source(s));
		end_thread(thread);
		CHECK_DPI(DPI_Close_Target(c.target));
		CHECK_DPI(DPI_Close_Flow(f));
	}
	leave(ctx);
}

TEST(ack_many, "FL-504 FL-505 FL-508", 3, .deadline_s = 180)
{
	many(rank, (DPI_Flow_Attr){ 0 }, 0);
}

TEST(ack_many_with_stages, "FL-504 FL-505 FL-508 FL-518", 3, .deadline_s = 180)
{
	static const DPI_Stage stages[] = { { .kind = DPI_STAGE_FILTER, .place = DPI_AT_SOURCE, .text = "number % 5 <> 0" },
					    { .kind = DPI_STAGE_FILTER, .place = DPI_AT_TARGET, .text = "number % 3 = 0 or number < 50" } };
	many(rank, (DPI_Flow_Attr){ .stages = stages, .stage_count = 2 }, 5);
}

TEST(ack_many_encoded, "FL-504 FL-505 FL-508 FL-517", 3, .deadline_s = 180)
{
	static const DPI_Codec lz4 = { DPI_CODEC_LZ4, 0, NULL };
	many(rank, (DPI_Flow_Attr){ .codecs = &lz4, .codec_count = 1 }, 0);
}

TEST(ack_many_in_columns, "FL-504 FL-505 FL-508 FL-517", 3, .deadline_s = 180)
{
	many(rank, (DPI_Flow_Attr){ .layout = DPI_LAYOUT_COLUMNS }, 0);
}

/* ---------------------------------------------------------------------------------------------------------- misuse */

#define WRONG(class, sentence, ...)                                                                     \
	do {                                                                                            \
		DPI_Flow_Attr wrong_attr = { .size = sizeof wrong_attr, .schema = schema, __VA_ARGS__ };    \
		DPI_Flow wrong_flow;                                                                    \
		CHECK_ERROR(DPI_Create_Flow("w", &wrong_attr, ctx, &wrong_flow), class, sentence);      \
	} while (0)

TEST(ack_definition, "FL-500 FL-501 FL-519", 1, .once = true)
{
	static const DPI_Column columns[] = { { "i", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "n", DPI_TYPE_INT64, 1, 0, 0, 0 }, { "d", DPI_TYPE_DOUBLE, 0, 0, 0, 0 } };
	DPI_Context ctx = join();
	DPI_Schema schema;
	DPI_Flow f, g;
	CHECK_DPI(DPI_Create_Schema(columns, 3, &schema));
	WRONG(DPI_ERR_ARGUMENT, "attr->ack is 4", .ack = 4);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack is -1", .ack = -1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_of is 3", .ack = 1, .ack_of = 3);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_up_to is 2", .ack = 1, .ack_up_to = 2);
	WRONG(DPI_ERR_ARGUMENT, "counts are told row by row", .ack = 1, .ack_up_to = 1, .ack_of = DPI_ACK_COUNT);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_pending is 4194305", .ack = 1, .ack_pending = 4194305);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_quorum is 2", .ack = 1, .ack_quorum = 2);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_quorum is 0", .ack = 1, .ack_of = DPI_ACK_QUORUM);
	WRONG(DPI_ERR_ARGUMENT, "at most 1, so", .ack = 1, .ack_of = DPI_ACK_QUORUM, .ack_quorum = 2);
	WRONG(DPI_ERR_ARGUMENT, "at most 3, so", .ack = 1, .targets = 3, .dist = DPI_DIST_BROADCAST, .ack_of = DPI_ACK_QUORUM, .ack_quorum = 4);
	WRONG(DPI_ERR_ARGUMENT, "both given", .ack = 1, .ack_column = "i", .ack_function = "f");
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_version is 3", .ack = 1, .ack_version = 3);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_function has no bytes", .ack = 1, .ack_function = "");
	WRONG(DPI_ERR_NAME, "attr->ack_column is \"x\"", .ack = 1, .ack_column = "x");
	WRONG(DPI_ERR_UNSUPPORTED, "never NULL", .ack = 1, .ack_column = "n");
	WRONG(DPI_ERR_UNSUPPORTED, "DOUBLE", .ack = 1, .ack_column = "d");
	static const DPI_Aggregate sum = { .function = DPI_AGGREGATE_SUM, .column = "i" };
	WRONG(DPI_ERR_ARGUMENT, "attr->ack is DPI_ACK_RELEASED, attr->aggregates", .ack = DPI_ACK_RELEASED, .aggregates = &sum, .aggregate_count = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack is DPI_ACK_CONFIRMED, attr->aggregates", .ack = DPI_ACK_CONFIRMED, .aggregates = &sum, .aggregate_count = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_of is set, and", .ack_of = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_quorum is set, and", .ack_quorum = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_up_to is set, and", .ack_up_to = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_pending is set, and", .ack_pending = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_version is set, and", .ack_version = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_column is set, and", .ack_column = "i");
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_function is set, and", .ack_function = "f");
	DPI_Flow_Attr a = { .size = sizeof a, .schema = schema, .ack = DPI_ACK_RELEASED, .ack_column = "i", .create = DPI_CREATE_OR_OPEN };
	CHECK_DPI(DPI_Create_Flow("f", &a, ctx, &f));
	a.ack_pending = 16384;
	CHECK_DPI(DPI_Create_Flow("f", &a, ctx, &g));
	a.ack_column = NULL;
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &g), DPI_ERR_EXISTS, "the flow's ack_column is i, yours is none");
	a.ack_column = "i", a.ack = DPI_ACK_CONFIRMED;
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &g), DPI_ERR_EXISTS, "the flow's ack is released, yours is confirmed");
	a.ack = DPI_ACK_NONE, a.ack_column = NULL, a.ack_pending = 0;
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &g), DPI_ERR_EXISTS, "the flow's ack is released, yours is none");
	a.ack = DPI_ACK_RELEASED, a.ack_column = "i", a.ack_of = DPI_ACK_COUNT;
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &g), DPI_ERR_EXISTS, "the flow's ack_of is all, yours is count");
	a.ack_column = NULL, a.ack_of = 0, a.ack_function = "k";
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &g), DPI_ERR_EXISTS, "ack_column");
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

TEST(ack_misuse, "FL-514", 1, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1), g = FLOW("g", ctx, .ack = DPI_ACK_RELEASED);
	DPI_Source s = source_of(f), h = source_of(g);
	DPI_Target t = target_of(0, f), u = target_of(0, g);
	DPI_Acked told[2];
	size_t count;
	uint64_t n;
	int acknowledged;
	CHECK_ERROR(DPI_Next_Acks(told, 2, s, &count), DPI_ERR_USE, "'f' has no acknowledgements");
	CHECK_ERROR(DPI_Try_Next_Acks(told, 2, s, &count), DPI_ERR_USE, "attr->ack");
	CHECK_ERROR(DPI_Wait_Ack(1, s), DPI_ERR_USE, "DPI_Wait_Ack");
	CHECK_ERROR(DPI_Test_Ack(1, s, &acknowledged), DPI_ERR_USE, "DPI_Test_Ack");
	CHECK_ERROR(DPI_Get_Source_Position(s, &n), DPI_ERR_USE, "DPI_Get_Source_Position");
	CHECK_ERROR(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t), DPI_ERR_USE, "'f'");
	CHECK_ERROR(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, u), DPI_ERR_USE, "DPI_ACK_CONFIRMED");
	CHECK_ERROR(DPI_Next_Acks(NULL, 2, h, &count), DPI_ERR_ARGUMENT, "acks is NULL");
	CHECK_ERROR(DPI_Next_Acks(told, 0, h, &count), DPI_ERR_ARGUMENT, "max is 0");
	CHECK_ERROR(DPI_Try_Next_Acks(told, 2, h, NULL), DPI_ERR_ARGUMENT, "count is NULL");
	CHECK_ERROR(DPI_Test_Ack(1, h, NULL), DPI_ERR_ARGUMENT, "acknowledged is NULL");
	CHECK_ERROR(DPI_Get_Source_Position(h, NULL), DPI_ERR_ARGUMENT, "position is NULL");
	CHECK_ERROR(DPI_Get_Taken(0, t, NULL), DPI_ERR_ARGUMENT, "rows is NULL");
	CHECK_ERROR(DPI_Wait_Ack(1, NULL), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Ack(0, 0, NULL), DPI_ERR_ARGUMENT, "NULL");
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_ERROR(DPI_Wait_Ack(1, s), DPI_ERR_HANDLE, "closed");
	CHECK_DPI(DPI_Close_Source(h));
	CHECK_DPI(DPI_Seal_Flow(g));
	struct flow_tally tally = { 0 };
	flow_drain(t, &tally);
	tally = (struct flow_tally){ 0 };
	flow_drain(u, &tally);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Target(u));
	CHECK_ERROR(DPI_Get_Taken(0, t, &n), DPI_ERR_HANDLE, "closed");
	leave(ctx);
}

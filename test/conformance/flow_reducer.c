/* SPDX-License-Identifier: Apache-2.0
 * flow_reducer.c: reducers of the program in flows. */
#include "reduce_flow_kit.h"

/* The least and the most of a, as one number; below -5000 it refuses, above 5000 it makes a state that its check refuses. */
struct range {
	int64_t least, most;
};

static int range_init(void *state, void *arg)
{
	(void)arg;
	*(struct range *)state = (struct range){ INT64_MAX, INT64_MIN };
	return DPI_SUCCESS;
}

static int range_accumulate(void *state, const DPI_Value *v, void *arg)
{
	struct range *r = state;
	(void)arg;
	if (v->i < -5000) return DPI_ERR_RANGE;
	if (v->i < r->least) r->least = v->i;
	if (v->i > r->most) r->most = v->i;
	return DPI_SUCCESS;
}

static int range_merge(void *state, const void *from, void *arg)
{
	struct range *r = state;
	const struct range *x = from;
	(void)arg;
	if (x->least < r->least) r->least = x->least;
	if (x->most > r->most) r->most = x->most;
	return DPI_SUCCESS;
}

static int range_finalise(const void *state, void *arg, DPI_Value *result)
{
	const struct range *r = state;
	*result = (DPI_Value){ .type = DPI_TYPE_INT64, .i = (r->most - r->least) * *(int64_t *)arg };
	return DPI_SUCCESS;
}

static int range_check(const void *state, void *arg)
{
	const struct range *r = state;
	(void)arg;
	return r->most > 5000 ? DPI_ERR_ARGUMENT : DPI_SUCCESS;
}

static int64_t two = 2;

static void register_range(const char *name, uint32_t version, bool merges)
{
	DPI_Reducer r = DPI_REDUCER_INIT;
	r.state = sizeof(struct range);
	r.result.type = DPI_TYPE_INT64;
	r.init = range_init, r.accumulate = range_accumulate, r.finalise = range_finalise, r.check = range_check;
	r.merge = merges ? range_merge : NULL;
	r.arg = &two;
	CHECK_DPI(DPI_Register_Reducer(name, version, &r));
}

static void reduce_ranges(int rank, const char *reducer)
{
	DPI_Aggregate a = { .function = DPI_AGGREGATE_REDUCER, .column = "a", .reducer = reducer, .version = 3, .name = "range" };
	enum { ROWS = 3000, KEYS = 50 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE(reducer, &a, 1, ctx, .sources = 2);
	DPI_Target t = rank ? NULL : target_of(0, f);
	DPI_Source s = source_of(f);
	push_sales(s, rank, 0, ROWS, KEYS);
	CHECK_DPI(DPI_Close_Source(s));
	if (t) {
		struct group *g = model_of(2, ROWS, KEYS);
		DPI_Tuple u;
		int error, groups = 0;
		for (; !(error = DPI_Next(t, &u)); groups++) {
			int64_t r[2];
			memcpy(r, u.data, sizeof r);
			struct group *x = g + r[0] + KEYS / 2;
			CHECK_INT(r[1], ==, 2 * (x->most - x->least));
		}
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		CHECK_INT(groups, ==, KEYS);
		CHECK_DPI(DPI_Close_Target(t));
		free(g);
	}
	leave(ctx);
}

TEST(flow_reducer, "FL-333 FL-335", 2)
{
	register_range("range", 3, true);
	register_range("range", 4, false);
	reduce_ranges(rank, "range");
}

TEST(flow_reducer_without_merge, "FL-325 FL-333", 2)
{
	register_range("whole range", 3, false);
	reduce_ranges(rank, "whole range");
}

static void push_a(DPI_Source s, int64_t key, int64_t a, int *error)
{
	struct sale x = { key, a, 0 };
	*error = DPI_Push(&x, sizeof x, s);
	if (!*error) *error = DPI_Flush_Source(s);
}

/* An error of its functions is the flow's. */
TEST(flow_reducer_refuses, "FL-332", 2)
{
	DPI_Aggregate a = { .function = DPI_AGGREGATE_REDUCER, .column = "a", .reducer = "range", .version = 1 };
	register_range("range", 1, true);
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", &a, 1, ctx, .sources = 1);
	if (rank) {
		DPI_Target t = target_of(0, f);
		DPI_Tuple u;
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_FLOW, "\"range\"");
		CHECK_DPI(DPI_Close_Target(t));
	} else {
		DPI_Source s = source_of(f);
		int error;
		push_a(s, 1, 10, &error);
		CHECK_DPI(error);
		push_a(s, 1, -6000, &error);
		CHECK_ERROR(error, DPI_ERR_FLOW, "\"range\"");
		CHECK_ERROR(DPI_Flush_Source(s), DPI_ERR_FLOW, "\"range\"");
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_FLOW, "\"range\"");
	}
	leave(ctx);
}

/* A source whose states the reducer's check refuses is cut off; a flow that goes on has the others' results. */
TEST(flow_reducer_checks, "FL-331", 3)
{
	DPI_Aggregate a = { .function = DPI_AGGREGATE_REDUCER, .column = "a", .reducer = "range", .version = 1 };
	register_range("range", 1, true);
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", &a, 1, ctx, .sources = 2, .on_death = DPI_DEATH_GOES_ON), g = REDUCE("g", &a, 1, ctx, .sources = 2);
	int error;
	if (rank == 0) {
		DPI_Target t = target_of(0, f), failing = target_of(0, g);
		DPI_Tuple u;
		harness_barrier();
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_CORRUPT, "cut off");
		harness_barrier();
		CHECK_DPI(DPI_Next(t, &u));
		CHECK_INT(((const int64_t *)u.data)[0], ==, 1);
		CHECK_INT(((const int64_t *)u.data)[1], ==, 40);
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_ERROR(DPI_Next(failing, &u), DPI_ERR_CORRUPT, "cut off");
		CHECK_ERROR(DPI_Next(failing, &u), DPI_ERR_CORRUPT, "cut off");
		CHECK_DPI(DPI_Close_Target(failing));
	} else {
		DPI_Source s = source_of(f), failing = source_of(g);
		harness_barrier();
		if (rank == 1) push_a(s, 1, 6000, &error);
		if (rank == 1) CHECK_DPI(error);
		harness_barrier();
		if (rank == 2) {
			push_a(s, 1, 10, &error);
			CHECK_DPI(error);
			push_a(s, 1, 30, &error);
			CHECK_DPI(error);
		}
		CHECK_DPI(DPI_Close_Source(s));
		if (rank == 1) push_a(failing, 2, 6000, &error);
		UNTIL(10 * SECOND, error == DPI_ERR_FLOW, error = DPI_Flush_Source(failing));
		CHECK_ERROR(DPI_Close_Source(failing), DPI_ERR_FLOW, "cut off");
	}
	leave(ctx);
}

TEST(flow_reducer_of_others, "FL-333", 2)
{
	DPI_Aggregate a = { .function = DPI_AGGREGATE_REDUCER, .column = "a", .reducer = "only here", .version = 5 };
	DPI_Context ctx = join();
	DPI_Flow f = NULL;
	DPI_Source s = NULL;
	DPI_Target t = NULL;
	if (rank == 0) {
		register_range("only here", 5, true);
		f = REDUCE("f", &a, 1, ctx, .sources = 1);
	}
	harness_barrier();
	if (rank == 1) {
		DPI_Flow_Attr attr = { .size = sizeof attr, .key = sale_key, .key_count = 1, .aggregates = &a, .aggregate_count = 1 };
		CHECK_DPI(DPI_Create_Schema(sale_columns, 3, &attr.schema));
		CHECK_ERROR(DPI_Create_Flow("g", &attr, ctx, &f), DPI_ERR_NAME, "\"only here\", version 5");
		CHECK_DPI(DPI_Free_Schema(attr.schema));
		CHECK_DPI(DPI_Open_Flow("f", NULL, 0, ctx, &f));
		CHECK_ERROR(DPI_Open_Source(f, NULL, &s), DPI_ERR_NAME, "\"only here\", version 5");
		CHECK_ERROR(DPI_Open_Target(0, NULL, f, &t), DPI_ERR_NAME, "\"only here\", version 5");
		DPI_Reducer other = DPI_REDUCER_INIT;
		other.state = 24;
		other.result.type = DPI_TYPE_INT64;
		other.accumulate = range_accumulate, other.merge = range_merge, other.finalise = range_finalise;
		CHECK_DPI(DPI_Register_Reducer("only here", 5, &other));
		CHECK_ERROR(DPI_Open_Source(f, NULL, &s), DPI_ERR_VERSION, "\"only here\"");
		CHECK_ERROR(DPI_Open_Target(0, NULL, f, &t), DPI_ERR_VERSION, "\"only here\"");
		register_range("only here", 5, true);
		s = source_of(f);
		CHECK_DPI(DPI_Close_Source(s));
	}
	leave(ctx);
}

TEST(flow_reducer_misuse, "FL-335", 0)
{
	DPI_Reducer r = DPI_REDUCER_INIT;
	char name[DPI_NAME_MAX + 1];
	memset(name, 'x', DPI_NAME_MAX);
	name[DPI_NAME_MAX] = 0;
	r.state = 8, r.result.type = DPI_TYPE_INT64;
	r.accumulate = range_accumulate, r.finalise = range_finalise;
	CHECK_DPI(DPI_Register_Reducer("fine", 1, &r)); /* before DPI_Init */
	CHECK_ERROR(DPI_Register_Reducer("fine", 1, NULL), DPI_ERR_ARGUMENT, "reducer is NULL");
	CHECK_ERROR(DPI_Register_Reducer(NULL, 1, &r), DPI_ERR_ARGUMENT, "name");
	CHECK_ERROR(DPI_Register_Reducer("", 1, &r), DPI_ERR_ARGUMENT, "name");
	CHECK_ERROR(DPI_Register_Reducer(name, 1, &r), DPI_ERR_ARGUMENT, "name");
	DPI_Reducer bad = r;
	bad.state = 0;
	CHECK_ERROR(DPI_Register_Reducer("bad", 1, &bad), DPI_ERR_ARGUMENT, "state");
	bad.state = DPI_STATE_MAX + 1;
	CHECK_ERROR(DPI_Register_Reducer("bad", 1, &bad), DPI_ERR_ARGUMENT, "state");
	bad = r;
	bad.accumulate = NULL;
	CHECK_ERROR(DPI_Register_Reducer("bad", 1, &bad), DPI_ERR_ARGUMENT, "accumulate");
	bad = r;
	bad.finalise = NULL;
	CHECK_ERROR(DPI_Register_Reducer("bad", 1, &bad), DPI_ERR_ARGUMENT, "finalise");
	bad = r;
	bad.result.type = 99;
	CHECK_ERROR(DPI_Register_Reducer("bad", 1, &bad), DPI_ERR_ARGUMENT, "type");
	for (uint32_t i = 0, error = 0; i <= DPI_FUNCTIONS_MAX && !error; i++) {
		error = (uint32_t)DPI_Register_Reducer("many", i, &r);
		if (error) CHECK_ERROR((int)error, DPI_ERR_LIMIT, "registered");
		CHECK(error || i < DPI_FUNCTIONS_MAX - 1);
	}
	CHECK_DPI(DPI_Register_Reducer("fine", 1, &r)); /* there is room for those that there are */
}

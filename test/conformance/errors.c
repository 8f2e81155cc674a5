/* SPDX-License-Identifier: Apache-2.0
 * errors.c: classes, names, the sentence. */
#include <sys/wait.h>

#include "memory_kit.h"

static const DPI_Open_Attr at_once = {.size = sizeof at_once, .wait_us = DPI_NO_WAIT};

static const struct {
	int number;
	const char *name;
} classes[] = {
	{0, "DPI_SUCCESS"},	   {1, "DPI_ERR_ARGUMENT"},	{2, "DPI_ERR_HANDLE"},	  {3, "DPI_ERR_STATE"},
	{4, "DPI_ERR_THREAD"},	   {5, "DPI_ERR_FORK"},		{6, "DPI_ERR_USE"},	  {7, "DPI_ERR_SIZE"},
	{8, "DPI_ERR_RANGE"},	   {9, "DPI_ERR_NAME"},		{10, "DPI_ERR_EXISTS"},	  {11, "DPI_ERR_NODE"},
	{12, "DPI_ERR_TIMEOUT"},   {13, "DPI_ERR_FULL"},	{14, "DPI_ERR_MEMORY"},	  {15, "DPI_ERR_LIMIT"},
	{16, "DPI_ERR_PEER"},	   {17, "DPI_ERR_REGISTRY"},	{18, "DPI_ERR_RECLAIMED"}, {19, "DPI_ERR_UNKNOWN"},
	{20, "DPI_ERR_UNSUPPORTED"}, {21, "DPI_ERR_CONFIG"},	{22, "DPI_ERR_AUTH"},	  {23, "DPI_ERR_VERSION"},
	{24, "DPI_ERR_TRANSPORT"}, {25, "DPI_ERR_AGAIN"},	{26, "DPI_ERR_CANCELLED"}, {27, "DPI_ERR_DESTROYED"},
	{28, "DPI_ERR_CORRUPT"},   {29, "DPI_ERR_INTERNAL"},	{30, "DPI_ERR_END"},	  {31, "DPI_ERR_SEALED"},
	{32, "DPI_ERR_FLOW"},	   {33, "DPI_ERR_SCHEMA"},	{34, "DPI_ERR_FENCED"},
};
#define CLASSES (int)(sizeof classes / sizeof *classes)

TEST(error_table, "R-1 R-2 R-3", 0)
{
	static const int constants[] = {DPI_SUCCESS,	  DPI_ERR_ARGUMENT,    DPI_ERR_HANDLE, DPI_ERR_STATE,	 DPI_ERR_THREAD,
					DPI_ERR_FORK,	  DPI_ERR_USE,	       DPI_ERR_SIZE,   DPI_ERR_RANGE,	 DPI_ERR_NAME,
					DPI_ERR_EXISTS,	  DPI_ERR_NODE,	       DPI_ERR_TIMEOUT, DPI_ERR_FULL,	 DPI_ERR_MEMORY,
					DPI_ERR_LIMIT,	  DPI_ERR_PEER,	       DPI_ERR_REGISTRY, DPI_ERR_RECLAIMED, DPI_ERR_UNKNOWN,
					DPI_ERR_UNSUPPORTED, DPI_ERR_CONFIG,   DPI_ERR_AUTH,   DPI_ERR_VERSION,	 DPI_ERR_TRANSPORT,
					DPI_ERR_AGAIN,	  DPI_ERR_CANCELLED,   DPI_ERR_DESTROYED, DPI_ERR_CORRUPT, DPI_ERR_INTERNAL,
					DPI_ERR_END,	  DPI_ERR_SEALED,      DPI_ERR_FLOW,   DPI_ERR_SCHEMA,	 DPI_ERR_FENCED};
	const char *text;
	for (int i = 0; i < CLASSES; i++) {
		CHECK_INT(classes[i].number, ==, i);
		CHECK_INT(constants[i], ==, i);
		CHECK_INT(DPI_Get_Error_Name(i, &text), ==, DPI_SUCCESS);
		CHECK_STR(text, classes[i].name);
		CHECK_INT(DPI_Get_Error_Text(i, &text), ==, DPI_SUCCESS);
		CHECK(text && *text);
	}
	static const int no_class[] = {-1, -2, 35, 36, 1000, INT32_MAX, INT32_MIN};
	for (int i = 0; i < 7; i++) {
		CHECK_INT(DPI_Get_Error_Name(no_class[i], &text), ==, DPI_ERR_ARGUMENT);
		CHECK_INT(DPI_Get_Error_Text(no_class[i], &text), ==, DPI_ERR_ARGUMENT);
	}
	CHECK_INT(DPI_Get_Error_Name(0, NULL), ==, DPI_ERR_ARGUMENT);
	CHECK_INT(DPI_Get_Error_Text(0, NULL), ==, DPI_ERR_ARGUMENT);
	CHECK_INT(DPI_Get_Error_Detail(NULL), ==, DPI_ERR_ARGUMENT);
}

static void *fails_elsewhere(void *ctx)
{
	DPI_Buffer buf;
	CHECK_STR(detail(), ""); /* on this thread none failed yet */
	CHECK_INT(DPI_Open_Buffer("elsewhere", &at_once, ctx, &buf), ==, DPI_ERR_NAME);
	CHECK_HAS(detail(), "elsewhere");
	return NULL;
}

TEST(detail_stays, "R-6 R-7 R-8", 0)
{
	char first[1024];
	const char *text;
	int node;
	DPI_Buffer q;
	CHECK_STR(detail(), "");
	DPI_Context ctx = join();
	CHECK_STR(detail(), "");
	CHECK_INT(DPI_Open_Buffer("not there", &at_once, ctx, &q), ==, DPI_ERR_NAME);
	CHECK_HAS(detail(), "not there");
	snprintf(first, sizeof first, "%s", detail());
	/* whatever succeeds, and whatever fails elsewhere */
	end_thread(start_thread(fails_elsewhere, ctx));
	CHECK_DPI(DPI_Get_Node_Id(ctx, &node));
	q = CREATE("q", 0, ctx, DPI_USE_QUEUE);
	MAKE("q", 0, ctx, DPI_USE_QUEUE);
	CHECK_DPI(DPI_Append("x", 1, q));
	CHECK_DPI(DPI_Flush_Buffer(q));
	TAKE(q, "x", 1);
	CHECK_DPI(DPI_Barrier("b", 1, 0, ctx));
	CHECK(DPI_Get_Error_Name(3, &text) == DPI_SUCCESS);
	CHECK_DPI(DPI_Close_Buffer(q));
	CHECK_STR(detail(), first);
	CHECK_DPI(DPI_Finalize(ctx));
	CHECK_STR(detail(), first);
	CHECK_INT(DPI_Get_Node_Id(ctx, &node), ==, DPI_ERR_STATE);
	CHECK(strcmp(detail(), first) && *detail());
}

TEST(detail_names_the_culprit, "R-9 R-6", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("the queue", 1, ctx, DPI_USE_QUEUE, .max_record = 1000),
		   r = MAKE("the region", 1, ctx, DPI_USE_REGION, .capacity = 4096), buf;
	static char data[5000];
	CHECK_ERROR(DPI_Open_Buffer("unheard of", &at_once, ctx, &buf), DPI_ERR_NAME, "unheard of");
	CHECK_ERROR(DPI_Destroy_Buffer("unheard of", ctx), DPI_ERR_NAME, "unheard of");
	CHECK_ERROR(DPI_Create_Buffer("the queue", 0, NULL, ctx, &buf), DPI_ERR_EXISTS, "the queue");
	CHECK_ERROR(DPI_Create_Buffer("x", 77, NULL, ctx, &buf), DPI_ERR_NODE, "77");
	CHECK_ERROR(DPI_Append(data, 1001, q), DPI_ERR_SIZE, "1001");
	CHECK_HAS(detail(), "1000");
	DPI_Record too_long = {data, 2345};
	size_t appended;
	CHECK_ERROR(DPI_Append_Batch(&too_long, 1, q, &appended), DPI_ERR_SIZE, "2345");
	CHECK_HAS(detail(), "1000");
	CHECK_ERROR(DPI_Write(data, 200, 4000, r), DPI_ERR_RANGE, "4000");
	CHECK_HAS(detail(), "4096");
	CHECK_ERROR(DPI_Read(data, 1, 9999, r), DPI_ERR_RANGE, "9999");
	CHECK_HAS(detail(), "4096");
	leave(ctx);
}

static void work_without_context(void)
{
	const char *text;
	uint32_t v;
	CHECK(DPI_Get_Error_Name(DPI_ERR_SIZE, &text) == DPI_SUCCESS);
	CHECK_STR(text, "DPI_ERR_SIZE");
	CHECK(DPI_Get_Error_Text(DPI_ERR_SIZE, &text) == DPI_SUCCESS && *text);
	CHECK(DPI_Get_Version(&v, &text) == DPI_SUCCESS && *text);
	CHECK(DPI_Get_Error_Detail(&text) == DPI_SUCCESS);
}

TEST(works_without_context, "R-10", 0)
{
	int status;
	work_without_context();
	DPI_Context ctx = join();
	pid_t child = fork();
	if (!child) {
		work_without_context();
		_exit(0);
	}
	CHECK_INT(waitpid(child, &status, 0), ==, child);
	CHECK_INT(status, ==, 0);
	CHECK_DPI(DPI_Finalize(ctx));
	work_without_context();
}

/* Failed calls leave nothing that others see. */
TEST(failure_has_no_effect, "R-4 M-9", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .max_record = 100), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 100),
		   l = MAKE("l", 1, ctx, DPI_USE_LOG, .max_record = 100), buf;
	static char data[200] = "nobody shall see this";
	uint64_t end = info_of(l).end, position;
	harness_barrier();
	if (rank == 0) {
		DPI_Record batch[] = {{"good", 4}, {data, 101}, {"bad", 3}};
		size_t n = 77;
		void *room;
		DPI_Request request;
		CHECK_ERROR(DPI_Append(data, 101, q), DPI_ERR_SIZE, "101");
		CHECK_ERROR(DPI_Append(NULL, 1, q), DPI_ERR_ARGUMENT, "data");
		CHECK_ERROR(DPI_Append_Vector((struct iovec[]){{data, 60}, {data, 60}}, 2, q), DPI_ERR_SIZE, "120");
		CHECK_ERROR(DPI_Append_Batch(batch, 3, q, &n), DPI_ERR_SIZE, "101");
		CHECK_INT(n, ==, 1);
		CHECK_ERROR(DPI_Append_Nb(data, 101, q, &request), DPI_ERR_SIZE, "101");
		CHECK_ERROR(DPI_Reserve_Append(101, q, &room), DPI_ERR_SIZE, "101");
		CHECK_ERROR(DPI_Append_Position(data, 101, l, &position), DPI_ERR_SIZE, "101");
		CHECK_ERROR(DPI_Append(data, 101, l), DPI_ERR_SIZE, "101");
		CHECK_ERROR(DPI_Write(data, 21, 80, r), DPI_ERR_RANGE, "80");
		CHECK_ERROR(DPI_Write(data, 101, 0, r), DPI_ERR_RANGE, "100");
		CHECK_ERROR(DPI_Fetch_Add(96, 1, r, NULL), DPI_ERR_RANGE, "96");
		CHECK_ERROR(DPI_Write(data, 2, UINT64_MAX, r), DPI_ERR_RANGE, "100");
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Flush_Buffer(l));
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_ERROR(DPI_Create_Buffer("fails", 9, NULL, ctx, &buf), DPI_ERR_NODE, "9");
		CHECK_ERROR(DPI_Open_Buffer("fails", &at_once, ctx, &buf), DPI_ERR_NAME, "fails");
	}
	harness_barrier();
	if (rank == 1) {
		TAKE_NOW(q, "good", 4);
		CHECK_EMPTY(q, DPI_NO_WAIT);
		CHECK_INT(info_of(l).end, ==, end);
		CHECK_DPI(DPI_Read(data, 100, 0, r));
		CHECK(all_bytes(data, 100, 0));
	}
	leave(ctx);
}

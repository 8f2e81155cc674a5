/* SPDX-License-Identifier: Apache-2.0
 * handles.c: null pointers, closed handles, handles of another kind, values outside their range, which class goes first. */
#include "memory_kit.h"

/* The sentence names what is NULL, and what to pass. */
#define NULL_ERROR(call)                                                                               \
	do {                                                                                           \
		const char *sentence;                                                                  \
		CHECK_ERROR(call, DPI_ERR_ARGUMENT, "NULL");                                           \
		CHECK_DPI(DPI_Get_Error_Detail(&sentence));                                            \
		if (!strstr(strstr(sentence, "NULL"), ": ")) FAIL(#call ": no remedy: %s", sentence);   \
	} while (0)

TEST(null_pointers, "R-11 P-18", 0)
{
	char data[8] = "";
	int number;
	size_t n;
	uint64_t word;
	void *room;
	DPI_Record record;
	DPI_Buffer buf;
	DPI_Memory m;
	DPI_Request none = DPI_REQUEST_NULL, request;
	DPI_Part part = {NULL, data, 1, 0, 0};
	DPI_Node_Info node_info = DPI_NODE_INFO_INIT;
	DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
	DPI_Buffer_Stats stats = {.size = sizeof stats};
	DPI_Peer_Stats peer = {.size = sizeof peer};
	DPI_Init_Attr null_settings = {sizeof null_settings, NULL, 3};
	NULL_ERROR(DPI_Init(NULL));
	DPI_Context ctx;
	NULL_ERROR(DPI_Init_With(&null_settings, &ctx));
	ctx = join();
	NULL_ERROR(DPI_Finalize(NULL));
	NULL_ERROR(DPI_Get_Node_Id(NULL, &number));
	NULL_ERROR(DPI_Get_Node_Id(ctx, NULL));
	NULL_ERROR(DPI_Get_Node_Count(NULL, &number));
	NULL_ERROR(DPI_Get_Node_Count(ctx, NULL));
	NULL_ERROR(DPI_Get_Node_Info(0, NULL, &node_info));
	NULL_ERROR(DPI_Get_Node_Info(0, ctx, NULL));
	NULL_ERROR(DPI_Barrier("b", 1, 0, NULL));
	NULL_ERROR(DPI_Barrier(NULL, 1, 0, ctx));
	NULL_ERROR(DPI_Get_Setting(NULL, ctx, data, sizeof data, NULL));
	NULL_ERROR(DPI_Get_Setting("linger", NULL, data, sizeof data, NULL));
	NULL_ERROR(DPI_Get_Setting("linger", ctx, NULL, 8, NULL));
	NULL_ERROR(DPI_Get_Buffer_Stats(NULL, &stats));
	NULL_ERROR(DPI_Get_Peer_Stats(0, NULL, &peer));
	NULL_ERROR(DPI_Get_Peer_Stats(0, ctx, NULL));
	NULL_ERROR(DPI_Create_Buffer(NULL, 0, NULL, ctx, &buf));
	NULL_ERROR(DPI_Create_Buffer("q", 0, NULL, NULL, &buf));
	NULL_ERROR(DPI_Create_Buffer("q", 0, NULL, ctx, NULL));
	NULL_ERROR(DPI_Open_Buffer(NULL, NULL, ctx, &buf));
	NULL_ERROR(DPI_Open_Buffer("q", NULL, NULL, &buf));
	NULL_ERROR(DPI_Open_Buffer("q", NULL, ctx, NULL));
	NULL_ERROR(DPI_Destroy_Buffer(NULL, ctx));
	NULL_ERROR(DPI_Destroy_Buffer("q", NULL));
	NULL_ERROR(DPI_Close_Buffer(NULL));
	NULL_ERROR(DPI_Get_Buffer_Info(NULL, &info));
	NULL_ERROR(DPI_Set_Timeout(0, NULL));
	NULL_ERROR(DPI_Register_Memory(NULL, 8, ctx, &m));
	NULL_ERROR(DPI_Register_Memory(data, 8, NULL, &m));
	NULL_ERROR(DPI_Register_Memory(data, 8, ctx, NULL));
	NULL_ERROR(DPI_Deregister_Memory(NULL));
	NULL_ERROR(DPI_Allocate_Memory(8, 0, 0, NULL, &room, &m));
	NULL_ERROR(DPI_Allocate_Memory(8, 0, 0, ctx, NULL, &m));
	NULL_ERROR(DPI_Allocate_Memory(8, 0, 0, ctx, &room, NULL));
	NULL_ERROR(DPI_Free_Memory(NULL));
	DPI_Buffer q = CREATE("q", 0, ctx, DPI_USE_QUEUE), l = CREATE("l", 0, ctx, DPI_USE_LOG),
		   r = CREATE("r", 0, ctx, DPI_USE_REGION, .capacity = 64);
	NULL_ERROR(DPI_Get_Buffer_Info(q, NULL));
	NULL_ERROR(DPI_Get_Buffer_Stats(q, NULL));
	NULL_ERROR(DPI_Append(data, 1, NULL));
	NULL_ERROR(DPI_Append(NULL, 1, q));
	NULL_ERROR(DPI_Append_Vector(NULL, 1, q));
	NULL_ERROR(DPI_Append_Vector(&(struct iovec){NULL, 1}, 1, q));
	NULL_ERROR(DPI_Append_Vector(&(struct iovec){data, 1}, 1, NULL));
	NULL_ERROR(DPI_Append_Batch(NULL, 1, q, &n));
	NULL_ERROR(DPI_Append_Batch(&(DPI_Record){NULL, 1}, 1, q, &n));
	NULL_ERROR(DPI_Append_Batch(&(DPI_Record){data, 1}, 1, NULL, &n));
	NULL_ERROR(DPI_Append_Position(NULL, 1, l, &word));
	NULL_ERROR(DPI_Append_Position(data, 1, l, NULL));
	NULL_ERROR(DPI_Append_Position(data, 1, NULL, &word));
	NULL_ERROR(DPI_Reserve_Append(1, q, NULL));
	NULL_ERROR(DPI_Reserve_Append(1, NULL, &room));
	NULL_ERROR(DPI_Commit_Append(1, NULL));
	NULL_ERROR(DPI_Discard_Append(NULL));
	NULL_ERROR(DPI_Flush_Buffer(NULL));
	NULL_ERROR(DPI_Next_Record(NULL, &record));
	NULL_ERROR(DPI_Next_Record(q, NULL));
	NULL_ERROR(DPI_Next_Records(NULL, 1, &record, &n));
	NULL_ERROR(DPI_Next_Records(q, 1, NULL, &n));
	NULL_ERROR(DPI_Next_Records(q, 1, &record, NULL));
	NULL_ERROR(DPI_Next_Run(NULL, 1, &(DPI_Run){0}));
	NULL_ERROR(DPI_Next_Run(q, 1, NULL));
	NULL_ERROR(DPI_Release_Records(0, NULL));
	NULL_ERROR(DPI_Read_Record(0, data, 8, NULL, NULL, NULL));
	NULL_ERROR(DPI_Read_Record(0, NULL, 8, l, NULL, NULL));
	NULL_ERROR(DPI_Truncate_Log(0, NULL));
	NULL_ERROR(DPI_Read(NULL, 1, 0, r));
	NULL_ERROR(DPI_Read(data, 1, 0, NULL));
	NULL_ERROR(DPI_Write(NULL, 1, 0, r));
	NULL_ERROR(DPI_Write(data, 1, 0, NULL));
	NULL_ERROR(DPI_Fetch_Add(0, 1, NULL, NULL));
	NULL_ERROR(DPI_Compare_Swap(0, 1, 1, NULL, NULL));
	NULL_ERROR(DPI_Get_Address(NULL, &room));
	NULL_ERROR(DPI_Get_Address(r, NULL));
	NULL_ERROR(DPI_Scatter(NULL, 1));
	NULL_ERROR(DPI_Gather(NULL, 1));
	NULL_ERROR(DPI_Scatter(&part, 1));
	CHECK_INT(part.error, ==, DPI_ERR_ARGUMENT);
	part = (DPI_Part){r, NULL, 1, 0, 0};
	NULL_ERROR(DPI_Gather(&part, 1));
	CHECK_INT(part.error, ==, DPI_ERR_ARGUMENT);
	NULL_ERROR(DPI_Test(NULL, &number));
	NULL_ERROR(DPI_Test(&none, NULL));
	NULL_ERROR(DPI_Wait(NULL, 0));
	NULL_ERROR(DPI_Wait_Any(NULL, 1, 0, &n));
	NULL_ERROR(DPI_Wait_Any(&none, 1, 0, NULL));
	NULL_ERROR(DPI_Cancel(DPI_REQUEST_NULL));
	/* of the calls that start something: no request either */
#define NULL_NB(call)                                                                                  \
	do {                                                                                           \
		request = (DPI_Request)&part;                                                          \
		NULL_ERROR(call);                                                                      \
		CHECK(request == DPI_REQUEST_NULL);                                                    \
	} while (0)
	NULL_NB(DPI_Append_Nb(NULL, 1, q, &request));
	NULL_NB(DPI_Append_Nb(data, 1, NULL, &request));
	NULL_NB(DPI_Append_Position_Nb(NULL, 1, l, &word, &request));
	NULL_NB(DPI_Append_Position_Nb(data, 1, l, NULL, &request));
	NULL_NB(DPI_Append_Position_Nb(data, 1, NULL, &word, &request));
	NULL_NB(DPI_Flush_Buffer_Nb(NULL, &request));
	NULL_NB(DPI_Read_Nb(NULL, 1, 0, r, &request));
	NULL_NB(DPI_Read_Nb(data, 1, 0, NULL, &request));
	NULL_NB(DPI_Write_Nb(NULL, 1, 0, r, &request));
	NULL_NB(DPI_Write_Nb(data, 1, 0, NULL, &request));
	NULL_NB(DPI_Read_Record_Nb(0, NULL, 1, l, NULL, NULL, &request));
	NULL_NB(DPI_Read_Record_Nb(0, data, 1, NULL, NULL, NULL, &request));
	NULL_NB(DPI_Fetch_Add_Nb(0, 1, NULL, NULL, &request));
	NULL_NB(DPI_Compare_Swap_Nb(0, 1, 1, NULL, NULL, &request));
	NULL_NB(DPI_Scatter_Nb(NULL, 1, &request));
	NULL_NB(DPI_Gather_Nb(NULL, 1, &request));
	NULL_ERROR(DPI_Append_Nb(data, 1, q, NULL));
	NULL_ERROR(DPI_Append_Position_Nb(data, 1, l, &word, NULL));
	NULL_ERROR(DPI_Flush_Buffer_Nb(q, NULL));
	NULL_ERROR(DPI_Read_Nb(data, 1, 0, r, NULL));
	NULL_ERROR(DPI_Write_Nb(data, 1, 0, r, NULL));
	NULL_ERROR(DPI_Read_Record_Nb(0, data, 1, l, NULL, NULL, NULL));
	NULL_ERROR(DPI_Fetch_Add_Nb(0, 1, r, NULL, NULL));
	NULL_ERROR(DPI_Compare_Swap_Nb(0, 1, 1, r, NULL, NULL));
	NULL_ERROR(DPI_Scatter_Nb(&part, 1, NULL));
	NULL_ERROR(DPI_Gather_Nb(&part, 1, NULL));
	/* null is no error for 0 bytes */
	CHECK_DPI(DPI_Append(NULL, 0, q));
	CHECK_DPI(DPI_Append_Batch(&(DPI_Record){NULL, 0}, 1, q, NULL));
	CHECK_DPI(DPI_Append_Batch(NULL, 0, q, NULL));
	CHECK_DPI(DPI_Append_Vector(NULL, 0, q));
	CHECK_DPI(DPI_Read(NULL, 0, 64, r));
	CHECK_DPI(DPI_Write(NULL, 0, 0, r));
	CHECK_DPI(DPI_Scatter(NULL, 0));
	CHECK_DPI(DPI_Gather(NULL, 0));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Also after as many others were opened that a place in a table is used again. */
TEST(closed_handles, "R-12 A-20", 0)
{
	static char memory[64];
	DPI_Context ctx = join();
	DPI_Buffer q = CREATE("q", 0, ctx, DPI_USE_QUEUE), r = CREATE("r", 0, ctx, DPI_USE_REGION, .capacity = 64);
	DPI_Memory m, m2;
	DPI_Request request, done;
	DPI_Record record;
	DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
	DPI_Buffer_Stats stats = {.size = sizeof stats};
	DPI_Part part = {q, memory, 1, 0, 0};
	void *address;
	int flag;
	size_t n;
	CHECK_DPI(DPI_Register_Memory(memory, sizeof memory, ctx, &m));
	CHECK_DPI(DPI_Deregister_Memory(m));
	CHECK_DPI(DPI_Append_Nb("x", 1, q, &request));
	done = request;
	CHECK_DPI(DPI_Wait(&request, 0));
	CHECK_DPI(DPI_Close_Buffer(q));
	CHECK_DPI(DPI_Close_Buffer(r));
	for (int round = 0; round < 3; round++) {
		CHECK_ERROR(DPI_Close_Buffer(q), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Append("x", 1, q), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Append_Nb("x", 1, q, &request), DPI_ERR_HANDLE, "closed");
		CHECK(request == DPI_REQUEST_NULL);
		CHECK_ERROR(DPI_Reserve_Append(1, q, &address), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Commit_Append(1, q), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Flush_Buffer(q), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Next_Record(q, &record), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Next_Records(q, 1, &record, &n), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Next_Run(q, 1, &(DPI_Run){0}), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Release_Records(0, q), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Get_Buffer_Info(q, &info), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Get_Buffer_Stats(q, &stats), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Set_Timeout(0, q), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Read(memory, 1, 0, r), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Write(memory, 1, 0, r), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Fetch_Add(0, 1, r, NULL), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Get_Address(r, &address), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Scatter(&part, 1), DPI_ERR_HANDLE, "closed");
		CHECK_INT(part.error, ==, DPI_ERR_HANDLE);
		CHECK_ERROR(DPI_Deregister_Memory(m), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Cancel(done), DPI_ERR_HANDLE, "closed");
		DPI_Request copy = done;
		CHECK_ERROR(DPI_Test(&copy, &flag), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Wait(&copy, 0), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Wait_Any(&copy, 1, 0, &n), DPI_ERR_HANDLE, "closed");
		DPI_Buffer other[20];
		for (int i = 0; i < 20; i++) {
			other[i] = open_buffer("q", ctx);
			CHECK_DPI(DPI_Register_Memory(memory, sizeof memory, ctx, &m2));
			CHECK(other[i] != q);
			CHECK_DPI(DPI_Deregister_Memory(m2));
		}
		for (int i = 0; i < 20; i++) CHECK_DPI(DPI_Close_Buffer(other[i]));
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(other_kinds, "R-13", 0)
{
	static char memory[64];
	DPI_Context ctx = join();
	DPI_Buffer q = CREATE("q", 0, ctx, DPI_USE_QUEUE), buf;
	DPI_Memory m, allocated;
	DPI_Request request;
	void *address;
	int flag;
	CHECK_DPI(DPI_Register_Memory(memory, sizeof memory, ctx, &m));
	CHECK_DPI(DPI_Allocate_Memory(64, 0, 0, ctx, &address, &allocated));
	CHECK_DPI(DPI_Append_Nb("x", 1, q, &request));
	const void *handles[] = {ctx, q, m, request, &ctx, "no handle", (void *)1, (void *)-1};
	for (int i = 0; i < 8; i++) {
		void *h = (void *)(uintptr_t)handles[i];
		DPI_Request other = h;
		if (h != ctx) {
			CHECK_ERROR(DPI_Finalize(h), DPI_ERR_HANDLE, "handle");
			CHECK_ERROR(DPI_Get_Node_Id(h, &flag), DPI_ERR_HANDLE, "handle");
			CHECK_ERROR(DPI_Open_Buffer("q", NULL, h, &buf), DPI_ERR_HANDLE, "handle");
		}
		if (h != q) {
			CHECK_ERROR(DPI_Append("x", 1, h), DPI_ERR_HANDLE, "handle");
			CHECK_ERROR(DPI_Flush_Buffer(h), DPI_ERR_HANDLE, "handle");
			CHECK_ERROR(DPI_Close_Buffer(h), DPI_ERR_HANDLE, "handle");
		}
		if (h != m) CHECK_ERROR(DPI_Deregister_Memory(h), DPI_ERR_HANDLE, "handle");
		CHECK_ERROR(DPI_Free_Memory(h), DPI_ERR_HANDLE, ": ");
		if (h == request) continue;
		CHECK_ERROR(DPI_Test(&other, &flag), DPI_ERR_HANDLE, "handle");
		CHECK_ERROR(DPI_Wait(&other, 0), DPI_ERR_HANDLE, "handle");
		CHECK_ERROR(DPI_Cancel(other), DPI_ERR_HANDLE, "handle");
	}
	CHECK_ERROR(DPI_Deregister_Memory(allocated), DPI_ERR_HANDLE, "DPI_Free_Memory");
	CHECK_DPI(DPI_Wait(&request, 0));
	CHECK_DPI(DPI_Deregister_Memory(m));
	CHECK_DPI(DPI_Free_Memory(allocated));
	CHECK_DPI(DPI_Finalize(ctx));
}

static void try_attr(DPI_Buffer_Attr attr, DPI_Context ctx, const char *field)
{
	DPI_Buffer buf;
	attr.size = sizeof attr;
	CHECK_ERROR(DPI_Create_Buffer("attr", 0, &attr, ctx, &buf), DPI_ERR_ARGUMENT, field);
}

TEST(values_outside, "R-14 A-10", 0)
{
	DPI_Context ctx = join();
	DPI_Buffer q = CREATE("q", 0, ctx, DPI_USE_QUEUE), buf;
	DPI_Request request;
	size_t n;
	void *address;
	DPI_Memory m;
	static const int wrong[] = {-1, 99, INT32_MAX, INT32_MIN};
	for (int i = 0; i < 4; i++) {
		try_attr((DPI_Buffer_Attr){.use = wrong[i]}, ctx, "use");
		try_attr((DPI_Buffer_Attr){.create = wrong[i]}, ctx, "create");
		try_attr((DPI_Buffer_Attr){.growth = wrong[i]}, ctx, "growth");
		try_attr((DPI_Buffer_Attr){.full = wrong[i]}, ctx, "full");
		try_attr((DPI_Buffer_Attr){.huge_pages = wrong[i]}, ctx, "huge_pages");
		CHECK_ERROR(DPI_Allocate_Memory(64, wrong[i], 0, ctx, &address, &m), DPI_ERR_ARGUMENT, "huge_pages");
	}
	try_attr((DPI_Buffer_Attr){.numa = -1}, ctx, "numa");
	try_attr((DPI_Buffer_Attr){.timeout_us = -2}, ctx, "timeout");
	try_attr((DPI_Buffer_Attr){.timeout_us = INT64_MIN}, ctx, "timeout");
	try_attr((DPI_Buffer_Attr){.linger_us = -2}, ctx, "linger");
	try_attr((DPI_Buffer_Attr){.use = DPI_USE_REGION}, ctx, "capacity");
	DPI_Open_Attr open[] = {{.wait_us = -2}, {.timeout_us = -2}, {.timeout_us = INT64_MIN}, {.linger_us = -2}};
	static const char *const fields[] = {"wait", "timeout", "timeout", "linger"};
	for (int i = 0; i < 4; i++) {
		open[i].size = sizeof *open;
		CHECK_ERROR(DPI_Open_Buffer("q", &open[i], ctx, &buf), DPI_ERR_ARGUMENT, fields[i]);
	}
	CHECK_ERROR(DPI_Barrier("b", 1, -2, ctx), DPI_ERR_ARGUMENT, "timeout");
	CHECK_ERROR(DPI_Set_Timeout(-2, q), DPI_ERR_ARGUMENT, "timeout");
	CHECK_DPI(DPI_Append_Nb("x", 1, q, &request));
	CHECK_ERROR(DPI_Wait(&request, -2), DPI_ERR_ARGUMENT, "timeout");
	CHECK(request != DPI_REQUEST_NULL);
	CHECK_ERROR(DPI_Wait_Any(&request, 1, INT64_MIN, &n), DPI_ERR_ARGUMENT, "timeout");
	CHECK(request != DPI_REQUEST_NULL);
	CHECK_DPI(DPI_Wait(&request, 0));
	CHECK_ERROR(DPI_Append_Vector(&(struct iovec){"x", 1}, -1, q), DPI_ERR_ARGUMENT, "count");
	CHECK_ERROR(DPI_Next_Records(q, 0, &(DPI_Record){0}, &n), DPI_ERR_ARGUMENT, "max");
	CHECK_ERROR(DPI_Next_Run(q, 0, &(DPI_Run){0}), DPI_ERR_ARGUMENT, "max");
	CHECK_DPI(DPI_Flush_Buffer(q));
	TAKE_NOW(q, "x", 1);
	CHECK_EMPTY(q, DPI_NO_WAIT);
	CHECK_DPI(DPI_Finalize(ctx));
}

static void *take_one(void *buf)
{
	TAKE(buf, "x", 1);
	return NULL;
}

/* A call for which several classes fit. */
TEST(which_class_first, "R-15", 0)
{
	static char data[200];
	DPI_Context ctx = join();
	DPI_Buffer q = CREATE("q", 0, ctx, DPI_USE_QUEUE, .max_record = 100), r = CREATE("r", 0, ctx, DPI_USE_REGION, .capacity = 64),
		   other = open_buffer("q", ctx);
	DPI_Buffer closed = open_buffer("q", ctx);
	uint64_t position;
	CHECK_DPI(DPI_Close_Buffer(closed));
	/* the common ones before the rest */
	CHECK_ERROR(DPI_Append(NULL, 101, q), DPI_ERR_ARGUMENT, ": ");
	CHECK_ERROR(DPI_Append(data, 101, closed), DPI_ERR_HANDLE, ": ");
	CHECK_ERROR(DPI_Append(NULL, 101, r), DPI_ERR_ARGUMENT, ": ");
	CHECK_ERROR(DPI_Read(NULL, 1, 999, r), DPI_ERR_ARGUMENT, ": ");
	CHECK_ERROR(DPI_Read(NULL, 1, 999, q), DPI_ERR_ARGUMENT, ": ");
	CHECK_ERROR(DPI_Fetch_Add(999, 1, q, NULL), DPI_ERR_USE, "q");
	CHECK_ERROR(DPI_Append_Position(data, 101, q, &position), DPI_ERR_USE, "q");
	CHECK_ERROR(DPI_Append_Position(data, 101, q, NULL), DPI_ERR_ARGUMENT, ": ");
	/* then thread before use, and use before the rest */
	pthread_t t = start_thread(take_one, q);
	await_asleep();
	CHECK_ERROR(DPI_Read(data, 1, 0, q), DPI_ERR_THREAD, "thread");
	CHECK_ERROR(DPI_Append(data, 101, q), DPI_ERR_THREAD, "thread");
	CHECK_ERROR(DPI_Append(NULL, 1, q), DPI_ERR_ARGUMENT, ": ");
	CHECK_ERROR(DPI_Next_Records(q, 0, &(DPI_Record){0}, &(size_t){0}), DPI_ERR_ARGUMENT, "max");
	CHECK_DPI(DPI_Append("x", 1, other));
	end_thread(t);
	CHECK_DPI(DPI_Finalize(ctx));
}

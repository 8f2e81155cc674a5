/* SPDX-License-Identifier: Apache-2.0
 * structs.c: attribute and information structs of other sizes than ours. */
#include "memory_kit.h"

/* A struct with room behind it for a newer program's fields. */
#define BIGGER(type)                                                                                   \
	struct {                                                                                       \
		type known;                                                                            \
		uint8_t more[64];                                                                      \
	}

TEST(shorter_attributes, "R-16", 0)
{
	DPI_Context ctx;
	DPI_Buffer buf;
	DPI_Init_Attr init = DPI_INIT_ATTR_INIT;
	const char *setting = "linger=7ms";
	char text[16];
	init.size = sizeof init.size;
	init.settings = (const char *const *)-1; /* beyond what size says */
	init.settings_count = 3;
	CHECK_DPI(DPI_Init_With(&init, &ctx));
	CHECK_DPI(DPI_Finalize(ctx));
	init = (DPI_Init_Attr){sizeof init, &setting, 1};
	CHECK_DPI(DPI_Init_With(&init, &ctx));
	CHECK_DPI(DPI_Get_Setting("linger", ctx, text, sizeof text, NULL));
	CHECK_STR(text, "7ms");

	DPI_Buffer_Attr attr;
	memset(&attr, 0xee, sizeof attr);
	attr.size = offsetof(DPI_Buffer_Attr, use);
	CHECK_DPI(DPI_Create_Buffer("short", 0, &attr, ctx, &buf));
	CHECK_INT(info_of(buf).use, ==, DPI_USE_QUEUE);
	CHECK_INT(info_of(buf).max_record, ==, 64 << 10);
	attr.use = DPI_USE_LOG;
	attr.create = DPI_CREATE_NEW;
	attr.size = offsetof(DPI_Buffer_Attr, capacity);
	CHECK_DPI(DPI_Create_Buffer("log", 0, &attr, ctx, &buf));
	CHECK_INT(info_of(buf).use, ==, DPI_USE_LOG);
	/* every length up to the whole, with the fields that it holds wholly */
	for (size_t size = offsetof(DPI_Buffer_Attr, timeout_us); size < sizeof attr; size++) {
		memset(&attr, 0, sizeof attr);
		memset((char *)&attr + size, 0xee, sizeof attr - size);
		attr.size = size;
		attr.use = DPI_USE_QUEUE;
		attr.max_record = 77;
		CHECK_DPI(DPI_Create_Buffer("partly", 0, &attr, ctx, &buf));
		CHECK_INT(info_of(buf).max_record, ==, 77);
		CHECK_DPI(DPI_Close_Buffer(buf));
		CHECK_DPI(DPI_Destroy_Buffer("partly", ctx));
	}
	DPI_Open_Attr open;
	memset(&open, 0xee, sizeof open);
	open.size = sizeof open.size;
	CHECK_DPI(DPI_Open_Buffer("short", &open, ctx, &buf));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(longer_attributes, "R-17", 0)
{
	BIGGER(DPI_Init_Attr) init = {.known = DPI_INIT_ATTR_INIT};
	BIGGER(DPI_Buffer_Attr) attr = {.known = DPI_BUFFER_ATTR_INIT};
	BIGGER(DPI_Open_Attr) open = {.known = DPI_OPEN_ATTR_INIT};
	DPI_Context ctx;
	DPI_Buffer buf;
	init.known.size = sizeof init;
	attr.known.size = sizeof attr;
	open.known.size = sizeof open;
	for (size_t i = 0; i < 64; i += 21) {
		init.more[i] = 1;
		CHECK_ERROR(DPI_Init_With(&init.known, &ctx), DPI_ERR_UNSUPPORTED, ": ");
		init.more[i] = 0;
	}
	CHECK_DPI(DPI_Init_With(&init.known, &ctx));
	for (size_t i = 0; i < 64; i += 21) {
		attr.more[i] = 0x80;
		CHECK_ERROR(DPI_Create_Buffer("q", 0, &attr.known, ctx, &buf), DPI_ERR_UNSUPPORTED, "attr");
		attr.more[i] = 0;
	}
	CHECK_DPI(DPI_Create_Buffer("q", 0, &attr.known, ctx, &buf));
	for (size_t i = 0; i < 64; i += 21) {
		open.more[i] = 0xff;
		CHECK_ERROR(DPI_Open_Buffer("q", &open.known, ctx, &buf), DPI_ERR_UNSUPPORTED, "attr");
		open.more[i] = 0;
	}
	CHECK_DPI(DPI_Open_Buffer("q", &open.known, ctx, &buf));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(sizes_of_nothing, "R-18", 0)
{
	DPI_Init_Attr init = DPI_INIT_ATTR_INIT;
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	DPI_Open_Attr open = DPI_OPEN_ATTR_INIT;
	DPI_Node_Info node = DPI_NODE_INFO_INIT;
	DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
	DPI_Buffer_Stats stats;
	DPI_Peer_Stats peer;
	DPI_Context ctx;
	DPI_Buffer q, buf;
	for (size_t size = 0; size < sizeof(size_t); size++) {
		init.size = size;
		CHECK_ERROR(DPI_Init_With(&init, &ctx), DPI_ERR_ARGUMENT, "size");
	}
	ctx = join();
	q = CREATE("q", 0, ctx, DPI_USE_QUEUE);
	for (size_t size = 0; size < sizeof(size_t); size++) {
		attr.size = open.size = node.size = info.size = stats.size = peer.size = size;
		CHECK_ERROR(DPI_Create_Buffer("n", 0, &attr, ctx, &buf), DPI_ERR_ARGUMENT, "size");
		CHECK_ERROR(DPI_Open_Buffer("q", &open, ctx, &buf), DPI_ERR_ARGUMENT, "size");
		CHECK_ERROR(DPI_Get_Node_Info(0, ctx, &node), DPI_ERR_ARGUMENT, "size");
		CHECK_ERROR(DPI_Get_Buffer_Info(q, &info), DPI_ERR_ARGUMENT, "size");
		CHECK_ERROR(DPI_Get_Buffer_Stats(q, &stats), DPI_ERR_ARGUMENT, "size");
		CHECK_ERROR(DPI_Get_Peer_Stats(0, ctx, &peer), DPI_ERR_ARGUMENT, "size");
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A caller that knows less, and one that knows more, than the library: nothing is written beyond its size. */
#define TRY_SIZES(type, call, ...)                                                                          \
	do {                                                                                           \
		union {                                                                                \
			type known;                                                                    \
			uint8_t bytes[sizeof(type) + 64];                                              \
		} whole, x;                                                                            \
		whole.known.size = sizeof(type);                                                       \
		CHECK_DPI(DPI_Get_##call(__VA_ARGS__, &whole.known));                                  \
		for (size_t size = sizeof(size_t); size <= sizeof x; size++) {                         \
			memset(&x, 0xee, sizeof x);                                                    \
			x.known.size = size;                                                           \
			CHECK_DPI(DPI_Get_##call(__VA_ARGS__, &x.known));                              \
			CHECK(all_bytes(x.bytes + size, sizeof x - size, 0xee));                       \
			CHECK_INT(x.known.size, ==, size);                                             \
			size_t n = size < sizeof(type) ? size : sizeof(type);                          \
			CHECK(!memcmp(x.bytes + sizeof(size_t), whole.bytes + sizeof(size_t), n - sizeof(size_t))); \
			if (size > n) CHECK(all_bytes(x.bytes + n, size - n, 0));                      \
		}                                                                                      \
	} while (0)

TEST(information_of_other_sizes, "R-19", 0)
{
	DPI_Context ctx = join();
	DPI_Buffer q = CREATE("q", 0, ctx, DPI_USE_QUEUE);
	CHECK_DPI(DPI_Append("x", 1, q));
	CHECK_DPI(DPI_Flush_Buffer(q));
	TRY_SIZES(DPI_Node_Info, Node_Info, 0, ctx);
	TRY_SIZES(DPI_Buffer_Info, Buffer_Info, q);
	TRY_SIZES(DPI_Buffer_Stats, Buffer_Stats, q);
	TRY_SIZES(DPI_Peer_Stats, Peer_Stats, 0, ctx);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* What the caller handed over is the caller's again when the call has returned. */
TEST(attributes_are_read_once, "R-20", 2)
{
	char name[] = "queue", setting[] = "linger=3ms";
	const char *settings[] = {setting};
	DPI_Init_Attr init = {sizeof init, settings, 1};
	DPI_Context ctx;
	char text[16];
	CHECK_DPI(DPI_Init_With(&init, &ctx));
	memset(setting, '#', sizeof setting - 1);
	memset(&init, 0xff, sizeof init);
	settings[0] = NULL;
	CHECK_DPI(DPI_Get_Setting("linger", ctx, text, sizeof text, NULL));
	CHECK_STR(text, "3ms");
	DPI_Buffer_Attr attr = {.size = sizeof attr, .create = DPI_CREATE_OR_OPEN, .max_record = 100};
	DPI_Buffer q, again;
	CHECK_DPI(DPI_Create_Buffer(name, 1, &attr, ctx, &q));
	memset(name, '#', sizeof name - 1);
	memset(&attr, 0xff, sizeof attr);
	CHECK_STR(info_of(q).name, "queue");
	CHECK_INT(info_of(q).max_record, ==, 100);
	strcpy(name, "queue");
	DPI_Open_Attr open = DPI_OPEN_ATTR_INIT;
	open.timeout_us = 20 * MS;
	CHECK_DPI(DPI_Open_Buffer(name, &open, ctx, &again));
	memset(name, '#', sizeof name - 1);
	memset(&open, 0xff, sizeof open);
	CHECK_STR(info_of(again).name, "queue");
	CHECK_DPI(DPI_Append("x", 1, again));
	CHECK_DPI(DPI_Flush_Buffer(again));
	if (rank == 1) {
		TAKE(q, "x", 1);
		TAKE(q, "x", 1);
	}
	strcpy(name, "b");
	CHECK_DPI(DPI_Barrier(name, 2, 0, ctx));
	leave(ctx);
}

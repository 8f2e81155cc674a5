/* SPDX-License-Identifier: Apache-2.0
 * settings.c: settings and the cluster file. */
#include <fcntl.h>

#include "memory_kit.h"

/* The calls of this file change the environment, so each case is a process of its own. */
static int init_with(const char *setting, DPI_Context *ctx)
{
	DPI_Init_Attr attr = DPI_INIT_ATTR_INIT;
	attr.settings = &setting;
	attr.settings_count = 1;
	return DPI_Init_With(&attr, ctx);
}

static void check_setting(const char *name, DPI_Context ctx, const char *value, const char *origin)
{
	char text[256];
	const char *from = "";
	CHECK_DPI(DPI_Get_Setting(name, ctx, text, sizeof text, &from));
	if (value) CHECK_STR(text, value);
	CHECK_STR(from, origin);
}

static const char *in_tmp(const char *name)
{
	static char path[4096];
	snprintf(path, sizeof path, "%s/%s", getenv("TMPDIR"), name);
	return path;
}

static const char *write_file(const char *name, const char *text)
{
	const char *path = in_tmp(name);
	FILE *f = fopen(path, "w");
	CHECK(f);
	fputs(text, f);
	CHECK(!fclose(f));
	return path;
}

TEST(where_values_come_from, "E-19 E-20", 0)
{
	DPI_Context ctx;
	CHECK_DPI(DPI_Init(&ctx));
	check_setting("linger", ctx, NULL, "default");
	CHECK_DPI(DPI_Finalize(ctx));
	setenv("DPI_LINGER", "3ms", 1);
	CHECK_DPI(DPI_Init(&ctx));
	check_setting("linger", ctx, "3ms", "environment");
	check_setting("DPI_LINGER", ctx, "3ms", "environment");
	check_setting("dpi_linger", ctx, "3ms", "environment");
	check_setting("LINGER", ctx, "3ms", "environment");
	CHECK_DPI(DPI_Finalize(ctx));
	static const char *const calls[] = {"linger=4ms", "LINGER=4ms", "DPI_LINGER=4ms", "Dpi_Linger=4ms"};
	for (int i = 0; i < 4; i++) {
		CHECK_DPI(init_with(calls[i], &ctx));
		check_setting("DPI_LINGER", ctx, "4ms", "call");
		check_setting("linger", ctx, "4ms", "call");
		CHECK_DPI(DPI_Finalize(ctx));
	}
}

TEST(file_goes_last, "E-19 E-20", 0)
{
	DPI_Context ctx;
	const char *path = write_file("cluster", "0 unix:dpi-conformance-file\njob from-file\n");
	setenv("DPI_CLUSTER", path, 1);
	setenv("DPI_NODE", "0", 1);
	CHECK_DPI(DPI_Init(&ctx));
	check_setting("job", ctx, "from-file", "file");
	check_setting("cluster", ctx, path, "environment");
	CHECK_DPI(DPI_Finalize(ctx));
	setenv("DPI_JOB", "from-environment", 1);
	CHECK_DPI(DPI_Init(&ctx));
	check_setting("job", ctx, "from-environment", "environment");
	CHECK_DPI(DPI_Finalize(ctx));
	CHECK_DPI(init_with("job=from-call", &ctx));
	check_setting("job", ctx, "from-call", "call");
	CHECK_DPI(DPI_Finalize(ctx));
	unlink(path);
}

TEST(get_setting, "E-21 E-22", 0)
{
	DPI_Context ctx;
	char text[64];
	setenv("DPI_LINGER", "1234us", 1);
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_ERROR(DPI_Get_Setting("lingre", ctx, text, sizeof text, NULL), DPI_ERR_CONFIG, "lingre");
	CHECK_ERROR(DPI_Get_Setting("", ctx, text, sizeof text, NULL), DPI_ERR_CONFIG, ": ");
	CHECK_ERROR(DPI_Get_Setting("DPI_", ctx, text, sizeof text, NULL), DPI_ERR_CONFIG, ": ");
	for (size_t size = 0; size < 10; size++) {
		memset(text, '#', sizeof text);
		int error = DPI_Get_Setting("linger", ctx, text, size, NULL);
		CHECK_INT(error, ==, size < 7 ? DPI_ERR_SIZE : DPI_SUCCESS);
		CHECK(all_bytes(text + size, sizeof text - size, '#'));
		if (size) CHECK(memchr(text, 0, size));
	}
	CHECK_STR(text, "1234us");
	CHECK_DPI(DPI_Get_Setting("linger", ctx, text, 7, NULL));
	CHECK_ERROR(DPI_Get_Setting("linger", ctx, NULL, 0, NULL), DPI_ERR_SIZE, "7");
	CHECK_DPI(DPI_Finalize(ctx));
}

/* What a unit means shows in how long a call waits. */
TEST(units_of_time, "E-23 P-3", 0)
{
	static const struct {
		const char *text;
		int64_t us;
	} values[] = {{"300000", 300000}, {"300000us", 300000}, {"300ms", 300000}};
	static const char *const long_ones[] = {"1s", "1min", "2S", "5MS", "1MIN"};
	DPI_Context ctx;
	DPI_Record r;
	char text[64];
	for (size_t i = 0; i < 3; i++) {
		setenv("DPI_TIMEOUT", values[i].text, 1);
		CHECK_DPI(DPI_Init(&ctx));
		DPI_Buffer q = CREATE("q", 0, ctx, DPI_USE_QUEUE);
		int64_t start = now();
		CHECK_ERROR(DPI_Next_Record(q, &r), DPI_ERR_TIMEOUT, "q");
		CHECK_NOT_BEFORE(start, values[i].us);
		CHECK_AT_ONCE(start);
		CHECK_DPI(DPI_Finalize(ctx));
	}
	for (size_t i = 0; i < 3; i++) {
		setenv("DPI_TIMEOUT", long_ones[i], 1);
		CHECK_DPI(DPI_Init(&ctx));
		CHECK_DPI(DPI_Get_Setting("timeout", ctx, text, sizeof text, NULL));
		CHECK_DPI(DPI_Finalize(ctx));
	}
}

TEST(wrong_values, "E-24 E-25", 0)
{
	static const char *const wrong[][2] = {
		{"DPI_TIMEOUT", "5parsecs"}, {"DPI_TIMEOUT", ""},	 {"DPI_TIMEOUT", "ms"},	    {"DPI_LINGER", "5 ms"},
		{"DPI_LINGER", "-1"},	     {"DPI_LINGER", "1.5ms"},	 {"DPI_LINGER", "5msec"},   {"DPI_LINGER", "99999999999999999999"},
		{"DPI_SPIN", "9223372036854775807s"}, {"DPI_SPIN", "0x10"}, {"DPI_LOG", "loud"},
	};
	DPI_Context ctx;
	char call[64];
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		setenv(wrong[i][0], wrong[i][1], 1);
		CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_CONFIG, wrong[i][0]);
		CHECK_HAS(detail(), wrong[i][1]);
		unsetenv(wrong[i][0]);
		snprintf(call, sizeof call, "%s=%s", wrong[i][0], wrong[i][1]);
		CHECK_ERROR(init_with(call, &ctx), DPI_ERR_CONFIG, wrong[i][0]);
		CHECK_HAS(detail(), wrong[i][1]);
	}
	CHECK_ERROR(init_with("lingre=5ms", &ctx), DPI_ERR_CONFIG, "lingre");
	CHECK_ERROR(init_with("DPI_LINGRE=5ms", &ctx), DPI_ERR_CONFIG, "LINGRE");
	CHECK_ERROR(init_with("linger", &ctx), DPI_ERR_CONFIG, "linger");
	CHECK_ERROR(init_with("=5ms", &ctx), DPI_ERR_CONFIG, "=5ms");
	CHECK_ERROR(init_with("", &ctx), DPI_ERR_CONFIG, ": ");
	CHECK_ERROR(init_with(NULL, &ctx), DPI_ERR_ARGUMENT, "settings");
	CHECK_ERROR(DPI_Init_With((&(DPI_Init_Attr){sizeof(DPI_Init_Attr), NULL, 1}), &ctx), DPI_ERR_ARGUMENT, "settings");
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(misspelt_variable, "E-26", 0, .expect_stderr = true)
{
	char said[4096];
	DPI_Context ctx;
	setenv("DPI_LINGRE", "1", 1);
	setenv("DPI_TIMEOUTS", "1", 1);
	setenv("DPI_COLOUR_OF_THE_SKY", "1", 1);
	setenv("DPIX", "1", 1);
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_DPI(DPI_Finalize(ctx));
	harness_stderr(said, sizeof said);
	CHECK_HAS(said, "DPI_LINGRE");
	CHECK_HAS(said, "DPI_TIMEOUTS");
	CHECK_HAS(said, "DPI_TIMEOUT?");
	CHECK_HAS(said, "DPI_COLOUR_OF_THE_SKY");
	CHECK(!strstr(said, "DPIX"));
}

TEST(cluster_file_errors, "E-27", 0)
{
	static const struct {
		const char *text;
		int line;
	} files[] = {
		{"0 127.0.0.1:7000\n%%%\n", 2},
		{"# a comment\n\nnobody knows what this is\n", 3},
		{"0 127.0.0.1:7000\n0 127.0.0.1:7001\n", 2},
		{"0 127.0.0.1:7000\n1 127.0.0.1:99999\n", 2},
		{"0 127.0.0.1:7000\nx 127.0.0.1:7001\n", 2},
		{"0 127.0.0.1:7000\n-1 127.0.0.1:7001\n", 2},
		{"0\n", 1},
		{"0 127.0.0.1:7000 more and more\n", 1},
	};
	DPI_Context ctx;
	setenv("DPI_NODE", "0", 1);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		char where[4200];
		const char *path = write_file("cluster", files[i].text);
		setenv("DPI_CLUSTER", path, 1);
		snprintf(where, sizeof where, "%s:%d", path, files[i].line);
		CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_CONFIG, where);
		CHECK_INT(strlen(detail()), >, strlen(where) + 10);
	}
	unlink(getenv("DPI_CLUSTER"));
	CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_CONFIG, getenv("DPI_CLUSTER"));
}

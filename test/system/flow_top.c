/* SPDX-License-Identifier: Apache-2.0
 * flow_top.c: dpi-top joins a cluster in which a flow runs, from which it sees who waits for whom; its JSON is parsed. */
#include <dpi.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

ENROL(shm, "DPI_TRANSPORT=shm", NULL);
ENROL(tcp, "DPI_TRANSPORT=tcp", NULL);

/* ---------------------------------------------------------------------------------------------------------------- JSON */

/* Behind a value that is valid JSON; NULL: it is not. */
static const char *json(const char *s)
{
	if (*s == '{' || *s == '[') {
		char end = *s == '{' ? '}' : ']';
		if (*++s == end) return s + 1;
		for (;; s++) {
			if (end == '}' && (*s != '"' || !(s = json(s)) || *s++ != ':')) return NULL;
			s = json(s);
			if (!s || (*s != ',' && *s != end)) return NULL;
			if (*s == end) return s + 1;
		}
	}
	if (*s == '"') {
		for (s++; *s && *s != '"'; s++)
			if (*s == '\\' && !*++s) return NULL;
		return *s ? s + 1 : NULL;
	}
	static const char *const words[] = { "null", "true", "false" };
	for (int i = 0; i < 3; i++)
		if (!strncmp(s, words[i], strlen(words[i]))) return s + strlen(words[i]);
	char *end;
	strtod(s, &end);
	return end == s ? NULL : end;
}

/* The value of a field of an object that begins at from, or of one in it, whichever comes first. */
static const char *field(const char *from, const char *name)
{
	char key[64];
	snprintf(key, sizeof key, "\"%s\":", name);
	const char *at = strstr(from, key);
	if (!at) FAIL("no field %s in %.300s", name, from);
	return at + strlen(key);
}

static double value(const char *from, const char *name)
{
	return strtod(field(from, name), NULL);
}

/* The object of the list 'name' whose first field is this one, such as "target":1. */
static const char *object(const char *line, const char *name, int number)
{
	char key[64];
	snprintf(key, sizeof key, "{\"%s\":%d,", name, number);
	const char *at = strstr(line, key);
	if (!at) FAIL("no %s in %.600s", key, line);
	return at;
}

/* --------------------------------------------------------------------------------------------------------------- dpi-top */

/* Run it, behind what sh makes of before, and give all that it prints; its exit status must be this one. */
static char *top(const char *before, const char *arguments, int status)
{
	static char text[1 << 16];
	char command[1024];
	snprintf(command, sizeof command, "%s %s/bin/dpi-top %s", before, harness_build(), arguments);
	FILE *f = popen(command, "r");
	CHECK(f);
	size_t size = fread(text, 1, sizeof text - 1, f);
	text[size] = 0;
	int ended = pclose(f);
	if (!WIFEXITED(ended) || WEXITSTATUS(ended) != status) FAIL("%s ended with %d: %s", command, ended, text);
	return text;
}

/* Rings grow before they are full for good: has nothing moved any more in the time between two looks? */
static bool stuck(const char *line)
{
	const char *flow = strstr(line, "{\"flow\":\"f ");
	return flow && value(flow, "rows_per_s") == 0 && value(object(flow, "source", 0), "rows_per_s") == 0 &&
	       value(object(flow, "source", 0), "waited") == 1 && value(object(flow, "target", 0), "waiting") == 1;
}

static void check_json(const char *line)
{
	const char *end = json(line);
	CHECK(end && !strcmp(end, "\n"));
	const char *flow = strstr(line, "{\"flow\":\"f \\\"1\\\"\"");
	if (!flow) FAIL("no flow in %s", line);
	CHECK_INT(value(line, "nodes"), ==, 3);
	CHECK(!strncmp(field(flow, "sealed"), "true", 4));
	CHECK(!strncmp(field(flow, "failed"), "null", 4));
	CHECK_INT(value(flow, "targets"), ==, 2);
	CHECK_INT(value(flow, "bound"), ==, 2);
	CHECK_INT(value(flow, "sources"), ==, 1);
	CHECK_INT(value(flow, "closed"), ==, 0);
	CHECK(!strncmp(field(line, "errors"), "[]", 2));
	const char *source = object(flow, "source", 0), *idle = object(flow, "target", 0), *full = object(flow, "target", 1);
	CHECK_INT(value(source, "node"), ==, 0);
	CHECK_INT(value(source, "waits_for_target"), ==, 1);
	CHECK_INT(value(source, "waits_for_node"), ==, 1);
	CHECK_INT(value(source, "rows_per_s"), ==, 0);
	CHECK(value(source, "waited") == 1);
	CHECK_INT(value(source, "rows"), >, 0);
	CHECK_INT(value(idle, "waiting"), ==, 1);
	CHECK_INT(value(idle, "rows"), >, 0);
	CHECK_INT(value(idle, "node"), ==, 1);
	CHECK_INT(value(idle, "distinct"), >, 0);
	CHECK(*field(flow, "stalls_for") == '[' && *field(source, "stalls_for") == '['); /* what waits now was not counted yet */
	CHECK(!strncmp(field(idle, "waits_for"), "[{\"for_source\":0,\"count\":", 25) || !strncmp(field(idle, "waits_for"), "[]", 2));
	const char *heavy = field(idle, "heavy_keys");
	CHECK(!strncmp(heavy, "[{\"key\":\"0\",", 12) && value(heavy, "rows") > value(heavy, "error"));
	CHECK_INT(value(full, "waiting"), ==, 0);
	CHECK_INT(value(full, "rows"), ==, 0);
	CHECK_INT(value(full, "fill"), >, 0);
	CHECK_INT(value(full, "fill"), <=, value(full, "memory"));
}

/* While rows go through, they have a rate. */
static void check_rates(void)
{
	static char line[1 << 16];
	char command[1024];
	snprintf(command, sizeof command, "%s/bin/dpi-top --json --interval 0.05 2>/dev/null", harness_build());
	FILE *f = popen(command, "r");
	CHECK(f);
	bool moved = false;
	for (int i = 0; i < 400 * harness_slow() && !moved; i++) {
		CHECK(fgets(line, sizeof line, f));
		const char *end = json(line);
		CHECK(end && !strcmp(end, "\n"));
		const char *flow = strstr(line, "{\"flow\":\"f ");
		moved = flow && value(flow, "rows_per_s") > 0 && value(flow, "skew") >= 1 && value(object(flow, "source", 0), "bytes_per_s") > 0;
	}
	CHECK(moved);
	pclose(f);
}

/* --------------------------------------------------------------------------------------------------------------- the flow */

struct stage {
	_Atomic int looked, moving, stop;
};

static DPI_Flow flow_of(DPI_Context ctx)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	static const char *const key[] = { "key" };
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Schema(columns, 1, &a.schema));
	a.create = DPI_CREATE_OR_OPEN;
	a.targets = 2;
	a.sources = 1;
	a.key = key;
	a.key_count = 1;
	a.dist = DPI_DIST_RADIX;
	a.segment = 512;
	a.memory = 65536;
	CHECK_DPI(DPI_Create_Flow("f \"1\"", &a, ctx, &f));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	return f;
}

static void *drain(void *arg)
{
	DPI_Target t = arg;
	DPI_Tuple u;
	int error;
	while (!(error = DPI_Next(t, &u))) {}
	CHECK_INT(error, ==, DPI_ERR_END);
	CHECK_DPI(DPI_Close_Target(t));
	return NULL;
}

static void watch(struct stage *stage)
{
	const char *line;
	do line = top("", "--once --json --interval 0.2", 0);
	while (!stuck(line));
	check_json(line);
	do line = top("sleep 600 & p=$!; trap 'kill $p' EXIT; env -u DPI_CLUSTER -u DPI_JOB", "--process $p --once --json --interval 0.05", 0);
	while (!stuck(line));
	check_json(line);
	const char *text;
	do text = top("", "--once --interval 0.05", 0);
	while (!strstr(text, "stalled 100 %"));
	CHECK(strstr(text, "3 nodes  1 flows  3 sources and targets"));
	CHECK(strstr(text, "f \"1\"  sealed  sources 1 of 1 open  targets 2 of 2 bound"));
	CHECK(strstr(text, "stalled 100 %  waits for target 1 on node 1"));
	CHECK(strstr(text, "waits for its sources"));
	CHECK(strstr(text, " keys, one has "));
	CHECK(strstr(text, " %: 0")); /* and which */
	CHECK(!strchr(text, '\033')); /* it is no terminal */
	top("exec 2>&1;", "--interval never", 2);
	CHECK(strstr(top("exec 2>&1; env -u DPI_CLUSTER", "", 2), "no cluster is named"));
	CHECK(strstr(top("exec 2>&1; env -u DPI_CLUSTER", "--process 0", 2), "--process"));
	stage->looked = 1;
	while (!stage->moving) harness_pause();
	check_rates();
	stage->stop = 1;
}

TEST(dpi_top, "FL-604 FL-605", 3, .deadline_s = 180, .env = "DPI_TIMEOUT=150s")
{
	struct stage *stage = harness_shared();
	DPI_Context ctx;
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = flow_of(ctx);
	if (rank == 0) {
		DPI_Source s;
		CHECK_DPI(DPI_Open_Source(f, NULL, &s));
		harness_barrier();
		for (int64_t n = 0; !stage->stop; n++) {
			int64_t key = n % 8 < 4 ? n : n % 2; /* each target has one key that comes often */
			CHECK_DPI(DPI_Push(&key, sizeof key, s));
			if (n > 30000) stage->moving = 1; /* more than both targets hold */
			if (n > 30000 && n % 64 == 0) harness_pause();
		}
		CHECK_DPI(DPI_Close_Source(s));
	} else if (rank == 1) {
		DPI_Target t[2];
		DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
		pthread_t thread;
		a.sketch = 1;
		for (uint32_t i = 0; i < 2; i++) CHECK_DPI(DPI_Open_Target(i, &a, f, &t[i]));
		CHECK(!pthread_create(&thread, NULL, drain, t[0]));
		harness_barrier();
		while (!stage->looked) harness_pause();
		drain(t[1]);
		CHECK(!pthread_join(thread, NULL));
	} else {
		harness_barrier();
		watch(stage);
	}
	CHECK_DPI(DPI_Barrier("end", 3, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ------------------------------------------------------------------------------------------------------------- stages */

/* Three stages, of which the second drops rows for an error: of six rows four pass the filter, and of these two the division. */
static DPI_Flow staged(DPI_Context ctx)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	static const DPI_Stage_Column quotient[] = { { .name = "quotient", .text = "12 / (key % 2)" } }, cast[] = { { .name = "quotient", .type = DPI_TYPE_INT32 } };
	const DPI_Stage stages[] = { { .kind = DPI_STAGE_FILTER, .text = "key % 3 <> 0" },
				     { .kind = DPI_STAGE_PROJECT, .columns = quotient, .column_count = 1 },
				     { .kind = DPI_STAGE_CAST, .place = DPI_AT_TARGET, .columns = cast, .column_count = 1 } };
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Schema(columns, 1, &a.schema));
	a.create = DPI_CREATE_OR_OPEN;
	a.sources = 2;
	a.stages = stages;
	a.stage_count = 3;
	a.row_error = DPI_ROW_ERROR_DROPS;
	CHECK_DPI(DPI_Create_Flow("staged", &a, ctx, &f));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	return f;
}

static void check_stages(void)
{
	const char *line = top("", "--once --json --interval 0.05", 0), *end = json(line);
	CHECK(end && !strcmp(end, "\n"));
	const char *flow = strstr(line, "{\"flow\":\"staged\"");
	if (!flow) FAIL("no flow in %s", line);
	static const struct {
		const char *kind, *at;
		int endpoints, rows, passed, errors;
	} want[] = { { "\"filter\"", "\"sources\"", 2, 1200, 800, 0 },
		     { "\"project\"", "\"sources\"", 2, 800, 400, 400 },
		     { "\"cast\"", "\"targets\"", 1, 400, 400, 0 } };
	for (int i = 0; i < 3; i++) {
		const char *stage = object(flow, "stage", i);
		CHECK(stage < strstr(flow, "open_sources"));
		CHECK(!strncmp(field(stage, "kind"), want[i].kind, strlen(want[i].kind)));
		CHECK(!strncmp(field(stage, "at"), want[i].at, strlen(want[i].at)));
		CHECK_INT(value(stage, "endpoints"), ==, want[i].endpoints);
		CHECK_INT(value(stage, "rows"), ==, want[i].rows);
		CHECK_INT(value(stage, "passed"), ==, want[i].passed);
		CHECK_INT(value(stage, "row_errors"), ==, want[i].errors);
	}
	for (int i = 0; i < 2; i++) {
		const char *filter = strstr(object(flow, "source", i), "{\"stage\":0,");
		CHECK(filter);
		CHECK_INT(value(filter, "rows"), ==, 600);
		CHECK_INT(value(filter, "passed"), ==, 400);
		CHECK_INT(value(filter, "bytes"), ==, 400 * 8);
	}
	const char *cast = strstr(object(flow, "target", 0), "{\"stage\":2,");
	CHECK(cast);
	CHECK_INT(value(cast, "rows"), ==, 400);
	const char *text = top("", "--once --interval 0.05", 0), *first = strstr(text, "stage  0     at source"), *last = strstr(text, "stage  2     at target");
	CHECK(strstr(text, "3 nodes  1 flows  3 sources and targets"));
	CHECK(first && last && first < last);
	CHECK(strstr(text, " 1.20 k rows  passes   67 %  filter\n"));
	CHECK(strstr(text, " 800 rows  passes   50 %  project  400 rows with an error\n"));
	CHECK(strstr(text, " 400 rows  passes  100 %  cast\n"));
}

/* Ranks 0 and 1 push, rank 1 takes, rank 2 looks. */
TEST(dpi_top_stages, "FL-607 FL-719", 3, .deadline_s = 120)
{
	DPI_Context ctx;
	DPI_Target t = NULL;
	DPI_Source s = NULL;
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = staged(ctx);
	if (rank == 1) CHECK_DPI(DPI_Open_Target(0, NULL, f, &t));
	if (rank < 2) {
		CHECK_DPI(DPI_Open_Source(f, NULL, &s));
		for (int64_t n = 0; n < 600; n++) CHECK_DPI(DPI_Push(&n, sizeof n, s));
		CHECK_DPI(DPI_Flush_Source(s));
	}
	for (int i = 0; t && i < 400; i++) {
		DPI_Tuple u;
		CHECK_DPI(DPI_Next(t, &u));
	}
	harness_barrier();
	if (rank == 2) check_stages();
	harness_barrier();
	if (s) CHECK_DPI(DPI_Close_Source(s));
	if (t) drain(t);
	CHECK_DPI(DPI_Barrier("end", 3, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

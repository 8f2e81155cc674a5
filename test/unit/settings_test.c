/* SPDX-License-Identifier: Apache-2.0
 * settings_test.c: src/core/settings.h: what is a value and what is none, who goes before whom, and slips that are told. */
#include "unit.h"

#include "error.h"
#include "log.h"
#include "settings.h"

static const enum dpi_setting_kind SIZE = DPI_KIND_size, TIME = DPI_KIND_time, INTEGER = DPI_KIND_integer;

TEST(settings_values, "", 0)
{
	static const struct {
		enum dpi_setting_kind kind;
		const char *text;
		int64_t number;
	} good[] = {
		{ SIZE, "0", 0 }, { SIZE, "1", 1 }, { SIZE, "4096", 4096 }, { SIZE, "64k", 65536 }, { SIZE, "64K", 65536 },
		{ SIZE, "2m", 2 << 20 }, { SIZE, "2M", 2 << 20 }, { SIZE, "1g", 1 << 30 }, { SIZE, "1G", 1 << 30 }, { SIZE, "007", 7 },
		{ SIZE, "8589934591g", INT64_C(8589934591) << 30 }, { SIZE, "9223372036854775807", INT64_MAX },
		{ TIME, "0", 0 }, { TIME, "5", 5 }, { TIME, "500us", 500 }, { TIME, "5ms", 5000 }, { TIME, "5MS", 5000 },
		{ TIME, "2s", 2000000 },
		{ TIME, "1min", 60000000 }, { TIME, "9223372036854s", INT64_C(9223372036854) * 1000000 },
		{ INTEGER, "0", 0 }, { INTEGER, "-1", -1 }, { INTEGER, "12", 12 }, { INTEGER, "-9223372036854775808", INT64_MIN },
		{ INTEGER, "9223372036854775807", INT64_MAX },
	};
	static const struct {
		enum dpi_setting_kind kind;
		const char *text;
	} bad[] = {
		{ SIZE, "" }, { SIZE, " " }, { SIZE, "k" }, { SIZE, "64 k" }, { SIZE, " 64k" }, { SIZE, "64k " },
		{ SIZE, "64kb" }, { SIZE, "64kk" },
		{ SIZE, "64x" }, { SIZE, "-1" }, { SIZE, "-1k" }, { SIZE, "1.5m" }, { SIZE, "1e6" }, { SIZE, "0x10" }, { SIZE, "64ms" },
		{ SIZE, "1t" }, { SIZE, "8589934592g" }, { SIZE, "9007199254740992k" }, { SIZE, "9223372036854775808" },
		{ SIZE, "99999999999999999999" },
		{ SIZE, "64k\n" }, { SIZE, "\t1" }, { SIZE, "one" }, { SIZE, "+" }, { SIZE, "-" }, { SIZE, "1-2" }, { SIZE, "4096," },
		{ TIME, "" }, { TIME, "ms" }, { TIME, "5 ms" }, { TIME, "5m" }, { TIME, "5sec" }, { TIME, "-5ms" },
		{ TIME, "-1" }, { TIME, "0.5s" },
		{ TIME, "9223372036855s" }, { TIME, "9223372036854775807us1" }, { TIME, "9223372036854775808" },
		{ TIME, "64k" }, { TIME, "infinite" },
		{ INTEGER, "" }, { INTEGER, "1k" }, { INTEGER, "1s" }, { INTEGER, "9223372036854775808" },
		{ INTEGER, "-9223372036854775809" },
		{ INTEGER, "--1" }, { INTEGER, "1 2" }, { INTEGER, "0b1" }, { INTEGER, "\xc2\xbd" },
	};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		int64_t number = -77;
		CHECK_INT(dpi_setting_parse(good[i].kind, good[i].text, &number), ==, DPI_SUCCESS);
		if (number != good[i].number) FAIL("'%s' is %" PRId64, good[i].text, number);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		static const char *const forms[] = { "", "a whole number", "64k", "5ms" };
		int64_t number = -77;
		CHECK_ERROR(dpi_setting_parse(bad[i].kind, bad[i].text, &number), DPI_ERR_CONFIG, forms[bad[i].kind]);
		CHECK_HAS(dpi_detail(), bad[i].text);
		CHECK_INT(number, ==, -77);
	}
}

/* Just below and just above what fits, for each unit. */
TEST(settings_values_at_the_edge, "", 0)
{
	static const struct {
		enum dpi_setting_kind kind;
		const char *unit;
		int64_t factor;
	} units[] = { { DPI_KIND_size, "k", 1 << 10 }, { DPI_KIND_size, "m", 1 << 20 }, { DPI_KIND_size, "g", 1 << 30 },
		      { DPI_KIND_time, "us", 1 },
		      { DPI_KIND_time, "ms", 1000 }, { DPI_KIND_time, "s", 1000000 }, { DPI_KIND_time, "min", 60000000 } };
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		char text[64];
		int64_t most = INT64_MAX / units[i].factor, number;
		snprintf(text, sizeof text, "%" PRId64 "%s", most, units[i].unit);
		CHECK_INT(dpi_setting_parse(units[i].kind, text, &number), ==, DPI_SUCCESS);
		CHECK_INT(number, ==, most * units[i].factor);
		snprintf(text, sizeof text, "%" PRIu64 "%s", (uint64_t)most + 1, units[i].unit);
		CHECK_ERROR(dpi_setting_parse(units[i].kind, text, &number), DPI_ERR_CONFIG, text);
	}
}

/* Whatever it is made of, a text is one value, or an error that quotes it. */
TEST(settings_values_of_any_text, "", 0)
{
	struct draws d = draws_from(rank);
	static const char letters[] = "0123456789kKmMgGsSuin +-.xe\t";
	for (int n = rounds(100000); n; n--) {
		char text[16] = "", again[64];
		int64_t number, second;
		for (uint64_t i = draw_below(&d, 8), k = 0; k < i; k++) text[k] = letters[draw_below(&d, sizeof letters - 1)];
		enum dpi_setting_kind kind = (enum dpi_setting_kind)(DPI_KIND_integer + (int)draw_below(&d, 3));
		if (dpi_setting_parse(kind, text, &number)) {
			CHECK_HAS(dpi_detail(), text);
			continue;
		}
		CHECK(kind == DPI_KIND_integer || number >= 0);
		CHECK(strspn(text + strspn(text, "+-"), "0123456789") > 0 && !strpbrk(text, " .\tx"));
		snprintf(again, sizeof again, "%" PRId64, number);
		CHECK_INT(dpi_setting_parse(kind, again, &second), ==, DPI_SUCCESS);
		CHECK_INT(second, ==, number);
	}
}

TEST(settings_table, "", 0)
{
	for (int i = 0; i < DPI_SETTING_COUNT; i++) {
		const struct dpi_setting_def *def = &dpi_setting_defs[i];
		char name[64], lower[64];
		int64_t number;
		CHECK(*def->name && *def->text && strlen(def->name) < 40);
		if (def->kind != DPI_KIND_text) CHECK_INT(dpi_setting_parse(def->kind, def->value, &number), ==, DPI_SUCCESS);
		snprintf(name, sizeof name, "DPI_%s", def->name);
		for (int k = 0; k < 64; k++) lower[k] = (char)(name[k] >= 'A' && name[k] <= 'Z' ? name[k] + 32 : name[k]);
		CHECK_INT(dpi_setting_find(name), ==, i);
		CHECK_INT(dpi_setting_find(def->name), ==, i);
		CHECK_INT(dpi_setting_find(lower), ==, i);
		CHECK_INT(dpi_setting_find(lower + 4), ==, i);
	}
	CHECK_INT(dpi_setting_find(""), ==, -1);
	CHECK_INT(dpi_setting_find("DPI_"), ==, -1);
	CHECK_INT(dpi_setting_find("DPI"), ==, -1);
	CHECK_INT(dpi_setting_find("LINGE"), ==, -1);
	CHECK_INT(dpi_setting_find("LINGERS"), ==, -1);
	CHECK_INT(dpi_setting_find("DPI_DPI_LINGER"), ==, -1);
}

/* -------------------------------------------------------------------------------------------- who goes before whom */

static struct dpi_settings s;

static void check(enum dpi_setting which, const char *value, int64_t number, const char *origin)
{
	CHECK_STR(s.value[which], value);
	CHECK_STR(s.origin[which], origin);
	CHECK_INT(s.number[which], ==, number);
}

TEST(settings_have_an_order, "", 0, .env = "DPI_LINGER=7ms DPI_SPIN=9us DPI_TRANSPORT= UNRELATED_DPI_LINGER=3")
{
	static const char *const call[] = { "spin=1ms", "DPI_LOG=debug", "nodes=3", "NODES=4", "job=a=b" };
	CHECK_INT(dpi_settings_read(&s, NULL, 0), ==, DPI_SUCCESS);
	check(DPI_SETTING_LINGER, "7ms", 7000, "environment");
	check(DPI_SETTING_SPIN, "9us", 9, "environment");
	check(DPI_SETTING_TRANSPORT, "", 0, "environment");
	check(DPI_SETTING_NODES, "0", 0, "default");
	check(DPI_SETTING_TIMEOUT, "30s", 30000000, "default");
	dpi_settings_free(&s);
	CHECK_INT(dpi_settings_read(&s, call, 5), ==, DPI_SUCCESS);
	check(DPI_SETTING_LINGER, "7ms", 7000, "environment");
	check(DPI_SETTING_SPIN, "1ms", 1000, "call");
	check(DPI_SETTING_LOG, "debug", 0, "call");
	check(DPI_SETTING_NODES, "4", 4, "call"); /* the last one counts */
	check(DPI_SETTING_JOB, "a=b", 0, "call");
	CHECK_INT(dpi_settings_set(&s, DPI_SETTING_NODES, "12", "file"), ==, DPI_SUCCESS);
	check(DPI_SETTING_NODES, "12", 12, "file");
	CHECK_ERROR(dpi_settings_set(&s, DPI_SETTING_NODES, "x", "launcher"), DPI_ERR_CONFIG, "DPI_NODES (from launcher)");
	check(DPI_SETTING_NODES, "12", 12, "file"); /* an error changes nothing */
	dpi_settings_free(&s);
	dpi_settings_free(&s);
}

TEST(settings_of_the_environment_are_checked, "", 0, .env = "DPI_LINGER=soon")
{
	static const char *const call[] = { "linger=1ms" };
	CHECK_ERROR(dpi_settings_read(&s, NULL, 0), DPI_ERR_CONFIG, "DPI_LINGER (from environment): 'soon' is not a time");
	CHECK(!s.value[DPI_SETTING_CLUSTER]); /* nothing is left of it */
	CHECK_ERROR(dpi_settings_read(&s, call, 1), DPI_ERR_CONFIG, "soon"); /* though the call would go before it */
}

TEST(settings_of_the_call_are_checked, "", 0)
{
	static const struct {
		const char *pair;
		int error;
		const char *part;
	} bad[] = {
		{ "linger", DPI_ERR_CONFIG, "'linger' is not of the form name=value" },
		{ "=1", DPI_ERR_CONFIG, "name=value" },
		{ "", DPI_ERR_CONFIG, "name=value" },
		{ "linge=1", DPI_ERR_CONFIG, "no setting 'linge'" },
		{ "linger=", DPI_ERR_CONFIG, "DPI_LINGER (from call)" },
		{ "linger=-1", DPI_ERR_CONFIG, "'-1' is not a time" },
		{ "nodes=many", DPI_ERR_CONFIG, "'many' is not a whole number" },
		{ "a_name_that_is_longer_than_any_setting_that_there_is_or_will_ever_be=1", DPI_ERR_CONFIG, "" },
		{ NULL, DPI_ERR_ARGUMENT, "settings[0] is NULL" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CHECK_ERROR(dpi_settings_read(&s, &bad[i].pair, 1), bad[i].error, bad[i].part);
		CHECK(!s.value[0]);
	}
}

/* ------------------------------------------------------------------------------------------------------------ slips */

static void read_and_see(char *said, size_t room)
{
	CHECK_INT(dpi_settings_read(&s, NULL, 0), ==, DPI_SUCCESS);
	dpi_settings_free(&s);
	harness_stderr(said, room);
}

TEST(settings_guess_what_was_meant, "", 0, .expect_stderr = true,
     .env = "DPI_LINGR=1ms DPI_TRANPSORT=shm DPI_TIME_OUT=1s DPI_NODDE=1 DPI_CLUSTERS=x "
	    "DPI_SOMETHING_QUITE_ELSE=1 DPI_=1 DPI_Q=1")
{
	static const char *const guesses[][2] = { { "DPI_LINGR", "DPI_LINGER" }, { "DPI_TRANPSORT", "DPI_TRANSPORT" },
						  { "DPI_TIME_OUT", "DPI_TIMEOUT" }, { "DPI_NODDE", "DPI_NODE" },
						  { "DPI_CLUSTERS", "DPI_CLUSTER" } };
	char said[8192], line[256];
	int lines = 0;
	read_and_see(said, sizeof said);
	for (size_t i = 0; i < sizeof guesses / sizeof *guesses; i++) {
		snprintf(line, sizeof line, "dpi: warning: environment variable %s is not a setting and has no effect; did you mean %s?\n",
			 guesses[i][0], guesses[i][1]);
		CHECK_HAS(said, line);
	}
	CHECK_HAS(said, "DPI_SOMETHING_QUITE_ELSE is not a setting and has no effect; dpi-info --settings lists them\n");
	CHECK_HAS(said, "variable DPI_Q is not a setting and has no effect; dpi-info --settings lists them\n"); /* no guess */
	for (const char *c = said; *c; c++) lines += *c == '\n';
	CHECK_INT(lines, ==, 8);
}

TEST(settings_warn_at_that_level_only, "", 0, .expect_stderr = true, .env = "DPI_LINGR=1ms")
{
	char said[1024];
	dpi_log_set(DPI_LOG_ERROR, -1);
	read_and_see(said, sizeof said);
	CHECK_STR(said, "");
	dpi_log_set(DPI_LOG_WARNING, 12);
	read_and_see(said, sizeof said);
	CHECK_HAS(said, "dpi: node 12: warning: environment variable DPI_LINGR");
}

TEST(settings_take_long_names_for_slips, "", 0, .expect_stderr = true)
{
	char name[3000], said[8192];
	for (int n = 60; n < 3000; n += 700) {
		memset(name, 'A', sizeof name);
		memcpy(name, "DPI_", 4);
		name[n] = 0;
		CHECK_INT(setenv(name, "1", 1), ==, 0);
	}
	read_and_see(said, sizeof said);
}

/* SPDX-License-Identifier: Apache-2.0
 * error_test.c: src/core/error.h and log.h: a thread's sentence, whole or cut, and lines of the log. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>

#include "error.h"
#include "log.h"

TEST(error_sentence_stays_until_the_next, "", 0)
{
	const char *text = NULL;
	CHECK_STR(dpi_detail(), "");
	CHECK_INT(DPI_Get_Error_Detail(&text), ==, DPI_SUCCESS);
	CHECK_STR(text, "");
	CHECK_INT(dpi_fail(DPI_ERR_SIZE, "%d of %s", 7, "nine"), ==, DPI_ERR_SIZE);
	CHECK_STR(text, "7 of nine");
	CHECK_INT(DPI_Get_Error_Detail(NULL), ==, DPI_ERR_ARGUMENT);
	CHECK_STR(dpi_detail(), "7 of nine"); /* the sentence that was asked for */
	CHECK_INT(dpi_fail(DPI_ERR_NAME, "%s, and %s", dpi_detail(), dpi_detail()), ==, DPI_ERR_NAME);
	CHECK_STR(dpi_detail(), "7 of nine, and 7 of nine"); /* made of the old one */
	CHECK_INT(dpi_fail(DPI_ERR_NAME, "%s", ""), ==, DPI_ERR_NAME);
	CHECK_STR(dpi_detail(), "");
}

TEST(error_sentence_carries_errno, "", 0)
{
	errno = ENOSPC;
	CHECK_INT(dpi_fail_errno(DPI_ERR_MEMORY, "no room for %d", 3), ==, DPI_ERR_MEMORY);
	CHECK_STR(dpi_detail(), "no room for 3: No space left on device");
	errno = 99999;
	CHECK_ERROR(dpi_fail_errno(DPI_ERR_MEMORY, "odd"), DPI_ERR_MEMORY, "odd: Unknown error 99999");
}

TEST(error_sentence_is_cut_where_it_is_too_long, "", 0)
{
	static char text[4 * DPI_DETAIL_MAX];
	for (size_t n = DPI_DETAIL_MAX - 3; n < sizeof text; n = n * 3 / 2) {
		memset(text, 'x', n);
		text[n] = 0;
		dpi_fail(DPI_ERR_SIZE, "%s", text);
		CHECK_INT(strlen(dpi_detail()), ==, n < DPI_DETAIL_MAX ? n : DPI_DETAIL_MAX - 1);
		CHECK_INT(strspn(dpi_detail(), "x"), ==, strlen(dpi_detail()));
		errno = EPERM;
		dpi_fail_errno(DPI_ERR_SIZE, "%s", text);
		CHECK_INT(strlen(dpi_detail()), ==, DPI_DETAIL_MAX - 1);
		dpi_fail(DPI_ERR_SIZE, "a%s", dpi_detail());
		CHECK_INT(strlen(dpi_detail()), ==, DPI_DETAIL_MAX - 1);
		CHECK(!strncmp(dpi_detail(), "axxx", 4));
	}
}

TEST(error_aside_leaves_the_sentence, "", 0)
{
	dpi_fail(DPI_ERR_NAME, "before");
	int before = dpi_aside();
	dpi_fail(DPI_ERR_SIZE, "aside");
	CHECK_STR(dpi_detail(), "aside");
	int inner = dpi_aside();
	dpi_fail(DPI_ERR_SIZE, "deeper");
	CHECK_STR(dpi_detail(), "deeper");
	CHECK_INT(dpi_aside_over(inner, DPI_SUCCESS), ==, DPI_SUCCESS);
	CHECK_STR(dpi_detail(), "aside");
	CHECK_INT(dpi_aside_over(before, DPI_SUCCESS), ==, DPI_SUCCESS);
	CHECK_STR(dpi_detail(), "before");
}

TEST(error_aside_that_is_the_calls_own, "", 0)
{
	int before[10];
	dpi_fail(DPI_ERR_NAME, "before");
	for (int i = 0; i < 10; i++) before[i] = dpi_aside(); /* deeper than there are places */
	dpi_fail(DPI_ERR_SIZE, "from the depth");
	for (int i = 9; i >= 0; i--) CHECK_ERROR(dpi_aside_over(before[i], DPI_ERR_SIZE), DPI_ERR_SIZE, "from the depth");
	CHECK_STR(dpi_detail(), "from the depth");
	CHECK_ERROR(dpi_fail(DPI_ERR_PEER, "the next"), DPI_ERR_PEER, "the next");
}

static void *fail_often(void *arg)
{
	char expected[32];
	CHECK_STR(dpi_detail(), ""); /* a thread of its own */
	for (int i = 0; i < rounds(20000); i++) {
		snprintf(expected, sizeof expected, "thread %d, %d", (int)(intptr_t)arg, i);
		dpi_fail(DPI_ERR_SIZE, "%s", expected);
		CHECK_STR(dpi_detail(), expected);
	}
	return NULL;
}

TEST(error_sentences_belong_to_their_threads, "", 0)
{
	pthread_t t[3];
	dpi_fail(DPI_ERR_NAME, "mine");
	for (intptr_t i = 0; i < 3; i++) t[i] = start_thread(fail_often, (void *)i);
	for (int i = 0; i < 3; i++) end_thread(t[i]);
	CHECK_STR(dpi_detail(), "mine");
}

TEST(error_names, "", 0)
{
	static const int none[] = { -1, 35, 36, 1000, INT32_MAX, INT32_MIN };
	const char *text = "as before";
	for (int i = 0; i < 35; i++) CHECK(!strncmp(dpi_error_name(i), "DPI_", 4));
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		CHECK_ERROR(DPI_Get_Error_Name(none[i], &text), DPI_ERR_ARGUMENT, "is not an error class: they run from 0 to 34");
		CHECK_ERROR(DPI_Get_Error_Text(none[i], &text), DPI_ERR_ARGUMENT, "is not an error class");
		CHECK_STR(dpi_error_name(none[i]), "?");
	}
	CHECK_STR(text, "as before");
	CHECK_ERROR(DPI_Get_Error_Name(0, NULL), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Get_Error_Text(0, NULL), DPI_ERR_ARGUMENT, "NULL");
}

/* ------------------------------------------------------------------------------------------------------------- log */

TEST(log_prints_up_to_its_level, "", 0, .expect_stderr = true)
{
	static const char *const names[] = { "error", "warning", "information", "debug" };
	char said[4096], expected[4096] = "", line[64];
	for (int least = DPI_LOG_ERROR; least <= DPI_LOG_DEBUG; least++) {
		dpi_log_set(least, least % 2 ? least : -1);
		for (int level = DPI_LOG_ERROR; level <= DPI_LOG_DEBUG; level++) {
			dpi_log(level, "%d at %d", level, least);
			if (level > least) continue;
			if (least % 2) snprintf(line, sizeof line, "dpi: node %d: %s: %d at %d\n", least, names[level], level, least);
			else snprintf(line, sizeof line, "dpi: %s: %d at %d\n", names[level], level, least);
			strcat(expected, line);
		}
	}
	harness_stderr(said, sizeof said);
	CHECK_STR(said, expected);
}

TEST(log_cuts_a_long_line, "", 0, .expect_stderr = true)
{
	static char text[5000], said[8192];
	for (int n = 1100; n < 5000; n += 37) {
		memset(text, 'y', sizeof text - 1);
		text[n] = 0;
		size_t before = harness_stderr(said, sizeof said);
		if (before > 6000) {
			CHECK(!ftruncate(2, 0) && !lseek(2, 0, SEEK_SET));
			before = 0;
		}
		dpi_log(DPI_LOG_ERROR, "%s", text);
		size_t size = harness_stderr(said, sizeof said) - before;
		CHECK(size >= 1000 && size <= 1200);
		CHECK(said[before + size - 1] == '\n' && said[before + size - 2] == 'y');
		CHECK(!strncmp(said + before, "dpi: error: yyy", 15));
	}
}

static void *log_often(void *arg)
{
	static const char text[] = "the quick brown fox jumps over the lazy dog";
	for (int i = 0; i < 100; i++) dpi_log(DPI_LOG_WARNING, "from %d: %s", (int)(intptr_t)arg, text);
	return NULL;
}

TEST(log_lines_do_not_mix, "", 0, .expect_stderr = true)
{
	static char said[65536];
	pthread_t t[3];
	CHECK(!fcntl(2, F_SETFL, O_APPEND)); /* a terminal, a pipe: writes do not overlap */
	for (intptr_t i = 0; i < 3; i++) t[i] = start_thread(log_often, (void *)i);
	for (int i = 0; i < 3; i++) end_thread(t[i]);
	harness_stderr(said, sizeof said);
	int lines = 0;
	for (char *save = NULL, *line = strtok_r(said, "\n", &save); line; line = strtok_r(NULL, "\n", &save), lines++) {
		CHECK(!strncmp(line, "dpi: warning: from ", 19));
		CHECK_STR(line + 20, ": the quick brown fox jumps over the lazy dog");
	}
	CHECK_INT(lines, ==, 300);
}

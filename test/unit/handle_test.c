/* SPDX-License-Identifier: Apache-2.0
 * handle_test.c: src/core/handle.h: what is not a live handle of the right kind is an error, whatever it is. */
#include "unit.h"

#include <sys/wait.h>

#include "context.h"
#include "handle.h"

#define INDEX(handle) ((handle) & (DPI_HANDLE_MAX - 1))

static const enum dpi_handle_kind kinds[] = { DPI_HANDLE_CONTEXT, DPI_HANDLE_BUFFER, DPI_HANDLE_REQUEST, DPI_HANDLE_MEMORY,
					      DPI_HANDLE_SCHEMA };
#define KINDS ((int)(sizeof kinds / sizeof *kinds))

static void *get(uint64_t handle)
{
	return dpi_handle_get((enum dpi_handle_kind)(handle >> 56), handle);
}

TEST(handles_before_there_is_a_table, "", 0)
{
	struct draws d = draws_from(rank);
	CHECK(!dpi_handle_get(DPI_HANDLE_BUFFER, 0) && !get(UINT64_MAX));
	for (int k = 0; k < KINDS; k++)
		for (int i = 0; i < 1000; i++) CHECK(!get((uint64_t)kinds[k] << 56 | draw(&d) >> 8));
	uint64_t likely = (uint64_t)DPI_HANDLE_BUFFER << 56 | 1 << 20 | 1;
	CHECK_ERROR(dpi_handle_error(DPI_HANDLE_BUFFER, likely), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(dpi_handle_error(DPI_HANDLE_BUFFER, 0), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(dpi_handle_error(DPI_HANDLE_SCHEMA, 0), DPI_ERR_ARGUMENT, "NULL"); /* schemas need none */
}

TEST(handles_are_of_one_kind, "", 0)
{
	static const char *const names[] = { "context", "buffer", "request", "memory", "schema" };
	static struct dpi_context ctx;
	uint64_t h[KINDS];
	int objects[KINDS];
	CHECK_INT(dpi_handles_open(), ==, DPI_SUCCESS);
	CHECK_INT(dpi_handles_open(), ==, DPI_SUCCESS); /* again is harmless */
	CHECK(dpi_context_set(&ctx));
	for (int i = 0; i < KINDS; i++) {
		h[i] = dpi_handle_open(kinds[i], &objects[i]);
		CHECK(h[i] && INDEX(h[i]));
	}
	for (int i = 0; i < KINDS; i++)
		for (int k = 0; k < KINDS; k++) {
			char wrong[64];
			CHECK(dpi_handle_get(kinds[k], h[i]) == (i == k ? &objects[i] : NULL));
			snprintf(wrong, sizeof wrong, "a %s handle was passed where a %s is needed", names[i], names[k]);
			if (i != k) CHECK_ERROR(dpi_handle_error(kinds[k], h[i]), DPI_ERR_HANDLE, wrong);
		}
	for (int i = 0; i < KINDS; i++) {
		dpi_handle_close(h[i]);
		for (int k = 0; k < KINDS; k++) CHECK(!dpi_handle_get(kinds[k], h[i]));
		CHECK_ERROR(dpi_handle_error(kinds[i], h[i]), DPI_ERR_HANDLE, "closed");
		dpi_handle_close(h[i]); /* once more changes nothing */
	}
	CHECK_ERROR(dpi_handle_error(DPI_HANDLE_BUFFER, 0), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(dpi_handle_error(DPI_HANDLE_BUFFER, 12345), DPI_ERR_HANDLE, "never opened");
	CHECK_ERROR(dpi_handle_error(DPI_HANDLE_BUFFER, UINT64_MAX), DPI_ERR_HANDLE, "never opened");
	dpi_context_set(NULL);
	CHECK_ERROR(dpi_handle_error(DPI_HANDLE_BUFFER, h[1]), DPI_ERR_STATE, "no context is open");
	CHECK_ERROR(dpi_handle_error(DPI_HANDLE_SCHEMA, h[4]), DPI_ERR_HANDLE, "closed"); /* schemas need none */
}

TEST(handles_that_were_invented, "", 0)
{
	struct draws d = draws_from(rank);
	int object;
	CHECK_INT(dpi_handles_open(), ==, DPI_SUCCESS);
	uint64_t h[64];
	for (int i = 0; i < 64; i++) h[i] = dpi_handle_open(kinds[i % 4], &object);
	for (int n = rounds(1000000); n; n--) {
		uint64_t real = h[draw_below(&d, 64)], made = real, bits = draw_below(&d, 64), how = draw_below(&d, 4);
		if (how == 0) made = draw(&d);
		else if (how == 1) made ^= (uint64_t)1 << bits;
		else if (how == 2) made = (real >> 56 << 56) | (draw(&d) >> 8);
		else made = real + draw_below(&d, 3) - 1; /* a neighbour's place with this one's rest */
		bool is_real = false;
		for (int i = 0; i < 64; i++) is_real |= made == h[i];
		CHECK(get(made) == (is_real ? &object : NULL));
		if (!is_real) dpi_handle_close(made); /* closes nobody's */
	}
	for (int i = 0; i < 64; i++) CHECK(get(h[i]) == &object);
}

/* Against a queue of the places that are free: the one closed longest ago comes first, the one closed last never. */
TEST(handles_come_back_as_late_as_can_be, "", 0)
{
	enum { N = 50 };
	struct draws d = draws_from(rank);
	uint64_t open[N] = { 0 }, old[4 * N] = { 0 }, fresh = 1, queue[4 * N], first = 0, last = 0;
	int object;
	CHECK_INT(dpi_handles_open(), ==, DPI_SUCCESS);
	for (int n = rounds(20000); n; n--) {
		int i = (int)draw_below(&d, N);
		if (open[i]) {
			dpi_handle_close(open[i]);
			CHECK(last - first < 4 * N);
			queue[last++ % (4 * N)] = INDEX(open[i]);
			old[draw_below(&d, 4 * N)] = open[i];
			open[i] = 0;
		} else {
			open[i] = dpi_handle_open(DPI_HANDLE_BUFFER, &object);
			CHECK_INT(INDEX(open[i]), ==, last - first > 1 ? queue[first++ % (4 * N)] : fresh++);
		}
		for (int k = 0; k < 4 * N; k++) CHECK(!old[k] || (old[k] != open[i] && !get(old[k])));
	}
}

TEST(handles_run_out_and_come_back, "", 0)
{
	int object;
	uint64_t count = 0, h, some[3] = { 0 };
	CHECK_INT(dpi_handles_open(), ==, DPI_SUCCESS);
	while ((h = dpi_handle_open(DPI_HANDLE_REQUEST, &object))) some[count++ % 3] = h;
	CHECK_INT(count, ==, DPI_HANDLE_MAX - 1); /* index 0 is none */
	CHECK(!dpi_handle_open(DPI_HANDLE_BUFFER, &object));
	for (int i = 0; i < 3; i++) { /* one closed, one opened; also when only one is free */
		dpi_handle_close(some[i]);
		CHECK(!get(some[i]));
		CHECK((h = dpi_handle_open(DPI_HANDLE_BUFFER, &object)));
		CHECK(get(h) == &object && !get(some[i]));
		CHECK(!dpi_handle_open(DPI_HANDLE_BUFFER, &object));
	}
	dpi_handle_close(h);
	dpi_handle_close(some[0]); /* closed long ago */
	CHECK(dpi_handle_open(DPI_HANDLE_BUFFER, &object));
	CHECK(!dpi_handle_open(DPI_HANDLE_BUFFER, &object));
}

/* ------------------------------------------------------------------------------------------------------- threads */

static _Atomic uint64_t stale[64];
static _Atomic bool over;

static void *open_and_close(void *arg)
{
	struct draws d = draws_from((int)(intptr_t)arg);
	uint64_t mine[32] = { 0 };
	int objects[32];
	for (int n = rounds(200000); n; n--) {
		int i = (int)draw_below(&d, 32);
		enum dpi_handle_kind kind = kinds[draw_below(&d, 4)];
		if (mine[i]) {
			CHECK(get(mine[i]) == &objects[i]);
			dpi_handle_close(mine[i]);
			CHECK(!get(mine[i]));
			atomic_store_explicit(&stale[draw_below(&d, 64)], mine[i], memory_order_relaxed);
			mine[i] = 0;
		} else {
			mine[i] = dpi_handle_open(kind, &objects[i]);
			CHECK(mine[i] >> 56 == kind && get(mine[i]) == &objects[i]);
		}
	}
	for (int i = 0; i < 32; i++) dpi_handle_close(mine[i]);
	return NULL;
}

/* Uses what others have closed, while its place is given to the next. */
static void *use_after_close(void *arg)
{
	struct draws d = draws_from((int)(intptr_t)arg);
	while (!atomic_load_explicit(&over, memory_order_relaxed)) {
		uint64_t h = atomic_load_explicit(&stale[draw_below(&d, 64)], memory_order_relaxed);
		if (h) CHECK(!get(h));
		if (h && !draw_below(&d, 16)) dpi_handle_close(h);
	}
	return NULL;
}

TEST(handles_of_many_threads, "", 0)
{
	pthread_t t[4];
	CHECK_INT(dpi_handles_open(), ==, DPI_SUCCESS);
	for (intptr_t i = 0; i < 4; i++) t[i] = start_thread(i < 3 ? open_and_close : use_after_close, (void *)i);
	for (int i = 0; i < 3; i++) end_thread(t[i]);
	atomic_store(&over, true);
	end_thread(t[3]);
	int object;
	uint64_t h = dpi_handle_open(DPI_HANDLE_BUFFER, &object);
	CHECK(INDEX(h) <= 3 * 32 + 2); /* places were reused */
}

/* ----------------------------------------------------------------------------------------------------------- fork */

static void *keep_busy(void *arg)
{
	while (!atomic_load(&over)) dpi_handle_close(dpi_handle_open(DPI_HANDLE_BUFFER, arg));
	return NULL;
}

TEST(handles_are_dead_in_a_forked_child, "", 0)
{
	int object, status;
	CHECK_INT(dpi_handles_open(), ==, DPI_SUCCESS);
	uint64_t h = dpi_handle_open(DPI_HANDLE_BUFFER, &object);
	pthread_t t = start_thread(keep_busy, &object); /* may hold the lock at the time of the fork */
	for (int n = rounds(100); n; n--) {
		pid_t child = fork();
		CHECK(child >= 0);
		if (!child) {
			alarm((unsigned)(50 * harness_slow()));
			CHECK(!get(h));
			CHECK_ERROR(dpi_handle_error(DPI_HANDLE_BUFFER, h), DPI_ERR_FORK, "forked child");
			CHECK_ERROR(dpi_handle_error(DPI_HANDLE_BUFFER, 0), DPI_ERR_FORK, "exec");
			CHECK_ERROR(dpi_handles_open(), DPI_ERR_FORK, "DPI_Init");
			_exit(0);
		}
		CHECK_INT(waitpid(child, &status, 0), ==, child);
		if (status) FAIL("the child ended with %x", (unsigned)status);
		CHECK(get(h) == &object);
	}
	atomic_store(&over, true);
	end_thread(t);
}

/* SPDX-License-Identifier: Apache-2.0
 * memory_kit.h: what the cases of chapters 2 to 6 share. They use dpi.h alone, so any implementation can be tried.
 *
 *	TEST(append_take, "M-4 A-35", 2)
 *	{
 *		DPI_Context ctx = join();
 *		DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .max_record = 100);	// whoever comes first creates it
 *		if (rank == 0) CHECK_DPI(DPI_Append("abc", 3, q));
 *		if (rank == 1) TAKE(q, "abc", 3);
 *		leave(ctx);					// waits for the others first
 *	}
 *
 * The helpers fail the case by themselves. Times are microseconds; upper bounds are widened by GRACE and harness_slow(). */
#ifndef MEMORY_KIT_H
#define MEMORY_KIT_H

#include <dpi.h>
#include <harness.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define MS INT64_C(1000)
#define SECOND INT64_C(1000000)

/* ------------------------------------------------------------------------------------------------------------- time */

int64_t now(void);
void pause_ms(int ms);
/* Statements on time. A machine may stand still for seconds, so each is given GRACE more: what is told from it is a call that
 * waits for its timeout, which is longer (DPI_TIMEOUT), or for ever. 'At once' is a second. */
#define GRACE (8 * SECOND)
#define CHECK_WITHIN(start, us) CHECK_INT(now() - (start), <, ((us) + GRACE) * harness_slow())
#define CHECK_AT_ONCE(start) CHECK_WITHIN(start, SECOND)
#define CHECK_NOT_BEFORE(start, us) CHECK_INT(now() - (start), >=, (us))
/* Repeat a statement until the condition holds; fails after so many microseconds. */
#define UNTIL(us, condition, ...)                                                                      \
	do {                                                                                           \
		int64_t kit_start = now();                                                             \
		for (;;) {                                                                             \
			__VA_ARGS__;                                                                   \
			if (condition) break;                                                          \
			if (now() - kit_start > ((us) + GRACE) * harness_slow()) FAIL("not within %d us: %s", (int)(us), #condition); \
			harness_pause();                                                               \
		}                                                                                      \
	} while (0)

/* --------------------------------------------------------------------------------------- contexts, buffers, records */

DPI_Context join(void);
void leave(DPI_Context ctx); /* when all ranks are here */

/* MAKE(name, node, ctx, use[, .field = value…]): create or open. CREATE: a new one; it must not be there. */
#define ATTR(...) (&(DPI_Buffer_Attr){.size = sizeof(DPI_Buffer_Attr), .use = __VA_ARGS__})
#define MAKE(name, node, ctx, ...) kit_make(name, node, DPI_CREATE_OR_OPEN, ATTR(__VA_ARGS__), ctx)
#define CREATE(name, node, ctx, ...) kit_make(name, node, DPI_CREATE_NEW, ATTR(__VA_ARGS__), ctx)
DPI_Buffer kit_make(const char *name, int node, int create, DPI_Buffer_Attr *attr, DPI_Context ctx);
DPI_Buffer open_buffer(const char *name, DPI_Context ctx);
/* With a deadline for its calls and a linger time; 0: the default. */
DPI_Buffer open_with(const char *name, int64_t timeout_us, int64_t linger_us, DPI_Context ctx);
DPI_Buffer_Info info_of(DPI_Buffer buf);
DPI_Buffer_Stats stats_of(DPI_Buffer buf);

/* The next record must be this one. */
#define TAKE(buf, bytes, size) kit_take(__FILE__, __LINE__, buf, bytes, size)
void kit_take(const char *file, int line, DPI_Buffer buf, const void *bytes, size_t size);
/* Now, without waiting. */
#define TAKE_NOW(buf, bytes, size)                                                                     \
	do {                                                                                           \
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, buf));                                          \
		TAKE(buf, bytes, size);                                                                \
		CHECK_DPI(DPI_Set_Timeout(0, buf));                                                    \
	} while (0)
/* Append records of 1000 bytes until there is no room; how many. For DPI_FULL_WAIT; the handle's timeout is the default then. */
#define FILLER 1000
int fill_up(DPI_Buffer buf);
/* There is none; waits so long. */
#define CHECK_EMPTY(buf, us)                                                                           \
	do {                                                                                           \
		DPI_Record kit_record;                                                                 \
		CHECK_DPI(DPI_Set_Timeout(us, buf));                                                   \
		CHECK_ERROR(DPI_Next_Record(buf, &kit_record), DPI_ERR_TIMEOUT, " ");                   \
		CHECK_DPI(DPI_Set_Timeout(0, buf));                                                    \
	} while (0)

/* Records that say who appended them, their number and size, and carry a hash of all their bytes. */
#define STAMP_SIZE 32u /* least size */
#define STAMPS_MAX 64  /* appenders of a tally */
void stamp(void *data, size_t size, uint64_t appender, uint64_t number);
/* Fails unless the record is whole; gives its number. */
uint64_t check_stamp(const void *data, size_t size, uint64_t *appender);
/* One appender's numbers must come without gap, from 0. */
struct tally {
	uint64_t next[STAMPS_MAX], total;
};
void tally_take(struct tally *t, const void *data, size_t size);

/* ------------------------------------------------------------------------------------------------------------- more */

uint64_t draw(uint64_t *state, uint64_t below); /* 0 … below - 1 */
uint64_t draw_seed(int rank);			/* follows TEST_SEED */
void fill(void *data, size_t size, uint64_t key);
bool filled(const void *data, size_t size, uint64_t key);
bool all_bytes(const void *data, size_t size, int byte);
/* Zeros that end where no byte can be read, so that they begin at any address; free them with the same size. */
void *guarded(size_t size);
void guarded_free(void *memory, size_t size);

pthread_t start_thread(void *(*run)(void *), void *arg);
void *end_thread(pthread_t thread);
/* Wait until the thread that was started last sleeps: it is inside a call that waits. */
void await_asleep(void);
int64_t cpu_us(void);		   /* used by this process */
int entries(const char *directory); /* how many */
const char *detail(void);

#endif

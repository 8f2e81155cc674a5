/* SPDX-License-Identifier: Apache-2.0
 * memory_kit.c: what the cases of chapters 2 to 6 share. */
#include "memory_kit.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

static int64_t clock_us(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec / 1000;
}

int64_t now(void) { return clock_us(CLOCK_MONOTONIC); }
int64_t cpu_us(void) { return clock_us(CLOCK_PROCESS_CPUTIME_ID); }

void pause_ms(int ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
	while (nanosleep(&t, &t)) {}
}

DPI_Context join(void)
{
	DPI_Context ctx;
	CHECK_QUIET(DPI_Init(&ctx));
	return ctx;
}

void leave(DPI_Context ctx)
{
	harness_barrier();
	CHECK_QUIET(DPI_Finalize(ctx));
}

DPI_Buffer kit_make(const char *name, int node, int create, DPI_Buffer_Attr *attr, DPI_Context ctx)
{
	DPI_Buffer buf;
	attr->create = create;
	CHECK_QUIET(DPI_Create_Buffer(name, node, attr, ctx, &buf));
	return buf;
}

DPI_Buffer open_with(const char *name, int64_t timeout_us, int64_t linger_us, DPI_Context ctx)
{
	DPI_Open_Attr attr = DPI_OPEN_ATTR_INIT;
	DPI_Buffer buf;
	attr.timeout_us = timeout_us;
	attr.linger_us = linger_us;
	CHECK_QUIET(DPI_Open_Buffer(name, &attr, ctx, &buf));
	return buf;
}

DPI_Buffer open_buffer(const char *name, DPI_Context ctx) { return open_with(name, 0, 0, ctx); }

DPI_Buffer_Info info_of(DPI_Buffer buf)
{
	DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
	CHECK_DPI(DPI_Get_Buffer_Info(buf, &info));
	return info;
}

DPI_Buffer_Stats stats_of(DPI_Buffer buf)
{
	DPI_Buffer_Stats stats = {.size = sizeof stats};
	CHECK_DPI(DPI_Get_Buffer_Stats(buf, &stats));
	return stats;
}

void kit_take(const char *file, int line, DPI_Buffer buf, const void *bytes, size_t size)
{
	DPI_Record r;
	int error = DPI_Next_Record(buf, &r);
	if (error) harness_fail(file, line, "TAKE: error %d: %s", error, detail());
	if (r.size != size) harness_fail(file, line, "TAKE: a record of %zu bytes, not %zu", r.size, size);
	if (size && memcmp(r.data, bytes, size)) harness_fail(file, line, "TAKE: other bytes, beginning with %.20s", (const char *)r.data);
}

int fill_up(DPI_Buffer buf)
{
	static const char data[FILLER];
	int n = 1, error;
	CHECK_DPI(DPI_Append(data, sizeof data, buf)); /* the first may have to connect */
	CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, buf));
	while (!(error = DPI_Append(data, sizeof data, buf))) CHECK_INT(++n, <, 100000);
	CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
	CHECK_DPI(DPI_Set_Timeout(0, buf));
	return n;
}

/* ------------------------------------------------------------------------------------------------- stamped records */

struct stamp {
	uint64_t hash, appender, number, size;
};

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33, x *= 0xff51afd7ed558ccdu;
	x ^= x >> 33, x *= 0xc4ceb9fe1a85ec53u;
	return x ^ x >> 33;
}

/* Of everything behind the hash itself. */
static uint64_t hash(const uint8_t *data, size_t size)
{
	uint64_t h = size, word;
	size_t i = sizeof h;
	for (; i + 8 <= size; i += 8) {
		memcpy(&word, data + i, 8);
		h = mix(h ^ word);
	}
	for (; i < size; i++) h = mix(h ^ data[i]);
	return h;
}

void stamp(void *data, size_t size, uint64_t appender, uint64_t number)
{
	struct stamp s = {0, appender, number, size};
	memcpy(data, &s, sizeof s);
	fill((uint8_t *)data + sizeof s, size - sizeof s, appender << 32 ^ number);
	s.hash = hash(data, size);
	memcpy(data, &s.hash, sizeof s.hash);
}

uint64_t check_stamp(const void *data, size_t size, uint64_t *appender)
{
	struct stamp s;
	if (size < sizeof s) FAIL("a record of %zu bytes that nobody appended", size);
	memcpy(&s, data, sizeof s);
	if (s.size != size || s.hash != hash(data, size))
		FAIL("torn: a record of %zu bytes that says appender %" PRIu64 ", number %" PRIu64 ", size %" PRIu64, size, s.appender,
		     s.number, s.size);
	*appender = s.appender;
	return s.number;
}

void tally_take(struct tally *t, const void *data, size_t size)
{
	uint64_t appender, number = check_stamp(data, size, &appender);
	if (appender >= STAMPS_MAX || number != t->next[appender])
		FAIL("appender %" PRIu64 ": number %" PRIu64 " where %" PRIu64 " is due", appender, number,
		     appender < STAMPS_MAX ? t->next[appender] : 0);
	t->next[appender]++;
	t->total++;
}

/* ------------------------------------------------------------------------------------------------------------ more */

uint64_t draw(uint64_t *state, uint64_t below)
{
	*state += 0x9e3779b97f4a7c15u;
	return mix(*state) % below;
}

uint64_t draw_seed(int rank) { return mix(harness_seed() + (uint64_t)rank); }

void fill(void *data, size_t size, uint64_t key)
{
	uint8_t *at = data;
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = mix(key + 1 + i);
		memcpy(at + i, &word, size - i < 8 ? size - i : 8);
	}
}

bool filled(const void *data, size_t size, uint64_t key)
{
	const uint8_t *at = data;
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = mix(key + 1 + i);
		if (memcmp(at + i, &word, size - i < 8 ? size - i : 8)) return false;
	}
	return true;
}

bool all_bytes(const void *data, size_t size, int byte)
{
	for (size_t i = 0; i < size; i++)
		if (((const uint8_t *)data)[i] != byte) return false;
	return true;
}

void *guarded(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (size + page - 1) / page * page;
	uint8_t *p = mmap(NULL, body + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || mprotect(p + page, body, PROT_READ | PROT_WRITE)) FAIL("no guarded memory");
	return p + page + body - size;
}

void guarded_free(void *memory, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (size + page - 1) / page * page;
	munmap((uint8_t *)memory + size - body - page, body + 2 * page);
}

static _Atomic pid_t last_thread;

struct start {
	void *(*run)(void *);
	void *arg;
};

static void *begin(void *arg)
{
	struct start s = *(struct start *)arg;
	free(arg);
	last_thread = (pid_t)syscall(SYS_gettid);
	return s.run(s.arg);
}

pthread_t start_thread(void *(*run)(void *), void *arg)
{
	pthread_t t;
	struct start *s = malloc(sizeof *s);
	CHECK(s);
	*s = (struct start){run, arg};
	last_thread = 0;
	CHECK(!pthread_create(&t, NULL, begin, s));
	return t;
}

void *end_thread(pthread_t thread)
{
	void *result;
	CHECK(!pthread_join(thread, &result));
	return result;
}

/* What the kernel says of the thread: 'S' is asleep. */
static char thread_state(pid_t thread)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
	if (f) fclose(f);
	text[n] = 0;
	const char *end = strrchr(text, ')');
	return end && end[1] ? end[2] : '?';
}

void await_asleep(void)
{
	/* several looks, as a lock may make it sleep for a moment, too */
	for (int in_a_row = 0; in_a_row < 5; pause_ms(4)) in_a_row = last_thread && thread_state(last_thread) == 'S' ? in_a_row + 1 : 0;
}

int entries(const char *directory)
{
	int n = 0;
	DIR *d = opendir(directory);
	CHECK(d);
	while (readdir(d)) n++;
	closedir(d);
	return n;
}

const char *detail(void)
{
	const char *text = "";
	CHECK(DPI_Get_Error_Detail(&text) == DPI_SUCCESS);
	return text;
}

/* SPDX-License-Identifier: Apache-2.0
 * scale.c: more processes than cores, many buffers, many appenders, and machines that refuse: few descriptors, little memlock, a full
 * /dev/shm, nowhere to write. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "dpi.h"
#include "harness.h"

ENROL(shm, "DPI_TRANSPORT=shm", NULL);
ENROL(tcp, "DPI_TRANSPORT=tcp", NULL);
ENROL(automatic, NULL, NULL);

/* All to all: every node has a queue, every node appends to each, and counts what came. */
#define EACH 200

TEST(sixteen_processes_on_few_cores, "", 16, .deadline_s = 180)
{
	DPI_Context ctx;
	DPI_Buffer to[16], own = NULL;
	DPI_Record r;
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	uint64_t sum = 0;
	attr.create = DPI_CREATE_OR_OPEN;
	CHECK_DPI(DPI_Init(&ctx));
	for (int i = 0; i < ranks; i++) {
		char name[16];
		snprintf(name, sizeof name, "in%d", i);
		CHECK_DPI(DPI_Create_Buffer(name, i, &attr, ctx, &to[i]));
	}
	own = to[rank];
	for (uint64_t k = 0; k < EACH; k++)
		for (int i = 0; i < ranks; i++) CHECK_DPI(DPI_Append(&k, sizeof k, to[i]));
	for (int i = 0; i < ranks; i++) CHECK_DPI(DPI_Flush_Buffer(to[i]));
	for (int k = 0; k < EACH * ranks; k++) {
		uint64_t v;
		CHECK_DPI(DPI_Next_Record(own, &r));
		memcpy(&v, r.data, sizeof v);
		sum += v;
	}
	CHECK_INT(sum, ==, (uint64_t)ranks * EACH * (EACH - 1) / 2);
	CHECK_DPI(DPI_Barrier("end", (uint32_t)ranks, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(a_thousand_buffers, "", 2, .deadline_s = 180)
{
	enum { COUNT = 1000 };
	static DPI_Buffer q[COUNT];
	DPI_Context ctx;
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	DPI_Record r;
	char name[32];
	attr.capacity = 4096;
	attr.max_record = 512;
	CHECK_DPI(DPI_Init(&ctx));
	for (int i = 0; i < COUNT; i++) {
		snprintf(name, sizeof name, "many%d", i);
		if (rank == 0) CHECK_DPI(DPI_Create_Buffer(name, 0, &attr, ctx, &q[i]));
		else CHECK_DPI(DPI_Open_Buffer(name, NULL, ctx, &q[i]));
		if (rank == 1) CHECK_DPI(DPI_Append(&i, sizeof i, q[i]));
		if (rank == 1) CHECK_DPI(DPI_Flush_Buffer(q[i]));
	}
	for (int i = 0; i < COUNT && rank == 0; i++) {
		int v;
		CHECK_DPI(DPI_Next_Record(q[i], &r));
		memcpy(&v, r.data, sizeof v);
		CHECK_INT(v, ==, i);
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	for (int i = 0; i < COUNT; i++) CHECK_DPI(DPI_Close_Buffer(q[i]));
	CHECK_DPI(DPI_Barrier("closed", 2, 0, ctx));
	for (int i = 0; i < COUNT && rank == 0; i++) {
		snprintf(name, sizeof name, "many%d", i);
		CHECK_DPI(DPI_Destroy_Buffer(name, ctx));
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

/* 256 sources and 256 targets, each in use with each other: 65,536 ways. In the processes' one thread each; memory as the flow says. */
enum { WIDE = 256, WIDE_RANKS = 8, WIDE_EACH = WIDE / WIDE_RANKS, WIDE_ROWS = 8 };

struct wide {
	DPI_Source s[WIDE_EACH];
	DPI_Target t[WIDE_EACH];
	int64_t rows[WIDE_EACH], sum[WIDE_EACH];
	int ended;
};

static void take_wide(struct wide *w)
{
	for (int k = 0; k < WIDE_EACH; k++) {
		DPI_Tuple u;
		int error = DPI_ERR_AGAIN;
		while (w->t[k] && !(error = DPI_Try_Next(w->t[k], &u))) {
			const int64_t *row = u.data;
			w->rows[k]++;
			w->sum[k] += row[1];
		}
		if (!w->t[k] || error == DPI_ERR_AGAIN) continue;
		CHECK_INT(error, ==, DPI_ERR_END);
		DPI_Target_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Target_Stats(w->t[k], &stats));
		CHECK_INT(stats.sources, ==, WIDE);
		CHECK_DPI(DPI_Close_Target(w->t[k]));
		w->t[k] = NULL;
		w->ended++;
	}
}

/* Bytes that this process has of memory for itself and of memory that it shares. */
static uint64_t resident(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	CHECK(f && fscanf(f, "%*u %lu", &pages) == 1);
	fclose(f);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

TEST(flow_256_by_256, "", WIDE_RANKS, .deadline_s = 240)
{
	static const DPI_Column columns[] = { { "to", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "number", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	static const char *const key[] = { "to" };
	static struct wide w;
	const uint64_t memory = 4 << 20;
	_Atomic int *pushed = harness_shared();
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	DPI_Context ctx;
	DPI_Flow f;
	struct rlimit few = { WIDE_EACH * WIDE / 2, WIDE_EACH * WIDE / 2 }; /* a way keeps no descriptor, but while it is opened */
	CHECK(!setrlimit(RLIMIT_NOFILE, &few));
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_DPI(DPI_Create_Schema(columns, 2, &a.schema));
	a.create = DPI_CREATE_OR_OPEN, a.targets = a.sources = WIDE, a.key = key, a.key_count = 1, a.dist = DPI_DIST_RADIX;
	a.segment = 512, a.memory = memory;
	CHECK_DPI(DPI_Create_Flow("wide", &a, ctx, &f));
	for (int i = 0; i < WIDE_EACH; i++) CHECK_DPI(DPI_Open_Target((uint32_t)(rank * WIDE_EACH + i), NULL, f, &w.t[i]));
	harness_barrier();
	uint64_t before = resident();
	for (int i = 0; i < WIDE_EACH; i++) CHECK_DPI(DPI_Open_Source(f, NULL, &w.s[i]));
	for (int64_t n = 0; n < WIDE_ROWS * WIDE; n++)
		for (int i = 0; i < WIDE_EACH; i++) {
			int64_t row[2] = { n % WIDE, n };
			int error;
			while ((error = DPI_Try_Push(row, sizeof row, w.s[i])) == DPI_ERR_AGAIN) take_wide(&w);
			CHECK_DPI(error);
		}
	for (int i = 0; i < WIDE_EACH; i++) {
		DPI_Target_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Target_Stats(w.t[i], &stats));
		CHECK_INT(stats.memory, <=, memory);
	}
	uint64_t after = resident();
	++*pushed;
	while (w.ended < WIDE_EACH) { /* closing waits for room: not before everybody takes alone */
		take_wide(&w);
		if (*pushed < WIDE_RANKS || !w.s[0]) continue;
		for (int i = 0; i < WIDE_EACH; i++) CHECK_DPI(DPI_Close_Source(w.s[i]));
		w.s[0] = NULL;
	}
	/* the rings of its targets, and those of others that it writes to */
	CHECK_INT(after - before, <=, 2 * WIDE_EACH * memory);
	for (int i = 0; i < WIDE_EACH; i++) {
		int64_t to = rank * WIDE_EACH + i;
		CHECK_INT(w.rows[i], ==, WIDE * WIDE_ROWS);
		CHECK_INT(w.sum[i], ==, WIDE * (WIDE_ROWS * to + WIDE * (WIDE_ROWS * (WIDE_ROWS - 1) / 2)));
	}
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	CHECK_DPI(DPI_Barrier("end", WIDE_RANKS, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* 64 appenders: 16 threads in each of four processes, one consumer. */
enum { THREADS = 16, RECORDS = 500 };
struct crowd {
	DPI_Context ctx;
	uint32_t id;
};

static void *append_some(void *arg)
{
	struct crowd *c = arg;
	DPI_Buffer q;
	CHECK_DPI(DPI_Open_Buffer("crowd", NULL, c->ctx, &q));
	for (uint32_t i = 0; i < RECORDS; i++) {
		uint32_t record[2] = { c->id, i };
		CHECK_DPI(DPI_Append(record, sizeof record, q));
	}
	CHECK_DPI(DPI_Close_Buffer(q));
	return NULL;
}

TEST(sixty_four_appenders, "", 5, .deadline_s = 180)
{
	DPI_Context ctx;
	CHECK_DPI(DPI_Init(&ctx));
	if (rank > 0) {
		pthread_t thread[THREADS];
		struct crowd crowd[THREADS];
		for (uint32_t i = 0; i < THREADS; i++) {
			crowd[i] = (struct crowd){ ctx, (uint32_t)(rank - 1) * THREADS + i };
			CHECK(!pthread_create(&thread[i], NULL, append_some, &crowd[i]));
		}
		for (int i = 0; i < THREADS; i++) CHECK(!pthread_join(thread[i], NULL));
	} else {
		DPI_Buffer q;
		DPI_Record r;
		uint32_t next[4 * THREADS] = { 0 };
		CHECK_DPI(DPI_Create_Buffer("crowd", 0, NULL, ctx, &q));
		for (int i = 0; i < 4 * THREADS * RECORDS; i++) {
			uint32_t v[2];
			CHECK_DPI(DPI_Next_Record(q, &r));
			CHECK_INT(r.size, ==, sizeof v);
			memcpy(v, r.data, sizeof v);
			CHECK_INT(v[0], <, 4 * THREADS);
			CHECK_INT(v[1], ==, next[v[0]]);
			next[v[0]]++;
		}
	}
	CHECK_DPI(DPI_Barrier("end", (uint32_t)ranks, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ------------------------------------------------------------------------------------------- machines that refuse */

/* A round of everything that takes resources; a refusal is an error with a sentence, and the library works on. */
static void use_everything(DPI_Context ctx, int rank)
{
	DPI_Buffer q, region;
	DPI_Record r;
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	attr.create = DPI_CREATE_OR_OPEN;
	CHECK_DPI(DPI_Create_Buffer("work", 0, &attr, ctx, &q));
	attr.use = DPI_USE_REGION;
	attr.capacity = 1 << 20;
	CHECK_DPI(DPI_Create_Buffer("memory", 0, &attr, ctx, &region));
	uint64_t n = 0;
	CHECK_DPI(DPI_Fetch_Add(0, 1, region, &n));
	CHECK_DPI(DPI_Append(&n, sizeof n, q));
	CHECK_DPI(DPI_Flush_Buffer(q));
	for (int i = 0; i < 2 && rank == 0; i++) CHECK_DPI(DPI_Next_Record(q, &r));
	CHECK_DPI(DPI_Barrier("used", 2, 0, ctx));
	CHECK_DPI(DPI_Close_Buffer(region));
	CHECK_DPI(DPI_Close_Buffer(q));
}

TEST(few_descriptors, "", 2, .deadline_s = 180)
{
	DPI_Context ctx;
	CHECK_DPI(DPI_Init(&ctx));
	use_everything(ctx, rank);
	if (rank == 1) { /* fill the table of descriptors, ask for more, make room again */
		int fds[4096], count = 0;
		struct rlimit limit = { 256, 256 };
		CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
		while (count < 4096 && (fds[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) count++;
		DPI_Buffer q;
		DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
		attr.use = DPI_USE_REGION;
		attr.capacity = 4096;
		int error = DPI_Create_Buffer("no-room", DPI_NODE_SELF, &attr, ctx, &q);
		const char *why;
		DPI_Get_Error_Detail(&why);
		if (error != DPI_ERR_LIMIT) FAIL("error %d: %s", error, why);
		CHECK_HAS(why, "ulimit -n");
		while (count) close(fds[--count]);
		CHECK_DPI(DPI_Create_Buffer("no-room", DPI_NODE_SELF, &attr, ctx, &q));
		CHECK_DPI(DPI_Close_Buffer(q));
	}
	use_everything(ctx, rank);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(little_memlock, "", 2)
{
	DPI_Context ctx;
	struct rlimit limit = { 65536, 65536 };
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK_DPI(DPI_Init(&ctx));
	use_everything(ctx, rank);
	static char own[1 << 20];
	DPI_Memory memory;
	CHECK_DPI(DPI_Register_Memory(own, sizeof own, ctx, &memory)); /* shm and tcp lock nothing */
	CHECK_DPI(DPI_Deregister_Memory(memory));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(a_full_dev_shm_and_nowhere_to_write, "", 2)
{
	DPI_Context ctx;
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) SKIP("no mount namespace: %s", strerror(errno));
	if (mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=4k")) SKIP("no tmpfs can be mounted: %s", strerror(errno));
	int fd = open("/dev/shm/full", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	char page[4096] = "";
	while (write(fd, page, sizeof page) > 0) continue;
	CHECK_INT(errno, ==, ENOSPC);
	/* every other place that a library might think of */
	if (mount("tmpfs", "/tmp", "tmpfs", MS_RDONLY, "size=4k")) SKIP("no tmpfs can be mounted: %s", strerror(errno));
	setenv("TMPDIR", "/proc", 1);
	setenv("XDG_RUNTIME_DIR", "/proc", 1);
	CHECK(!chdir("/proc"));
	CHECK_DPI(DPI_Init(&ctx));
	use_everything(ctx, rank);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(memory_that_cannot_be_had, "", 1)
{
	DPI_Context ctx;
	DPI_Buffer q;
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	attr.use = DPI_USE_REGION;
	attr.capacity = (uint64_t)1 << 39; /* half a terabyte of pages */
	struct rlimit limit = { (uint64_t)1 << 33, (uint64_t)1 << 33 };
	CHECK(!setrlimit(RLIMIT_AS, &limit));
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_ERROR(DPI_Create_Buffer("vast", 0, &attr, ctx, &q), DPI_ERR_MEMORY, "shared memory cannot be had");
	attr.capacity = 4096;
	CHECK_DPI(DPI_Create_Buffer("vast", 0, &attr, ctx, &q));
	CHECK_DPI(DPI_Finalize(ctx));
}

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

/* SPDX-License-Identifier: Apache-2.0
 * kill.c: kill -9 of appenders, homes and the registry at random moments, hundreds of times. What was flushed arrives, nothing arrives torn, twice or
 * out of order, nobody else is delayed, and a home's death is an error in time at whoever appends. */
#include <unistd.h>

#include "kit.h"

ENROL_PLAIN;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ------------------------------------------------------------------------------------------- appenders are killed */

#define LIVES 400 /* of appenders, together */
#define KILLS 200

struct header {
	uint32_t life, size;
	uint64_t sequence;
};

struct killing {
	_Atomic int ready, stop, lives;
	_Atomic uint64_t flushed[LIVES]; /* records of a life that a flush has returned for */
	_Atomic uint64_t ended[LIVES];	 /* 1: the life closed its handle in peace */
};

/* Every byte of a record follows from its life, its number and its size. */
static void fill(uint8_t *record, uint32_t life, uint64_t sequence, uint32_t size)
{
	struct header h = { life, size, sequence };
	memcpy(record, &h, sizeof h);
	for (uint32_t i = sizeof h; i < size; i++) record[i] = (uint8_t)(life * 31 + sequence * 7 + i);
}

static void appender(struct killing *k)
{
	DPI_Context ctx;
	DPI_Buffer q;
	uint32_t life = (uint32_t)k->lives++;
	uint64_t state = harness_seed() + life, sequence = 0;
	static uint8_t record[20000];
	CHECK_INT(life, <, LIVES);
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_DPI(DPI_Open_Buffer("victims", NULL, ctx, &q));
	while (!k->stop) {
		uint32_t size = (uint32_t)sizeof(struct header) + (uint32_t)draw(&state, one_in(&state, 16) ? 16000 : 100);
		fill(record, life, sequence, size);
		CHECK_DPI(DPI_Append(record, size, q));
		sequence++;
		if (!one_in(&state, 8)) continue;
		CHECK_DPI(DPI_Flush_Buffer(q));
		k->flushed[life] = sequence;
	}
	CHECK_DPI(DPI_Close_Buffer(q));
	k->flushed[life] = sequence;
	k->ended[life] = 1;
	CHECK_DPI(DPI_Finalize(ctx));
}

static uint64_t all_flushed(struct killing *k)
{
	uint64_t sum = 0;
	for (int i = 0; i < k->lives; i++) sum += k->flushed[i];
	return sum;
}

/* At any moment, and every second time once records have come since: a life may take longer to begin than the killer's pauses. */
static void killer(struct killing *k)
{
	uint64_t state = harness_seed();
	AWAIT(k->ready);
	for (int i = times(KILLS, 10); i; i--) {
		uint64_t before = all_flushed(k);
		if (i & 1) AWAIT(all_flushed(k) > before);
		kill_one(1, 3, 6000, &state);
	}
	k->stop = 1;
}

static void consumer(struct killing *k)
{
	DPI_Context ctx;
	DPI_Buffer q;
	DPI_Record r;
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	static uint64_t next[LIVES];
	static uint8_t expected[20000];
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_DPI(DPI_Create_Buffer("victims", DPI_NODE_SELF, &attr, ctx, &q));
	CHECK_DPI(DPI_Set_Timeout(300000, q));
	k->ready = 1;
	for (bool last = false;;) {
		int error = DPI_Next_Record(q, &r);
		if (error == DPI_ERR_TIMEOUT) { /* one more silence after everybody has gone */
			bool gone = k->stop && !harness_alive(1) && !harness_alive(2) && !harness_alive(3);
			if (last) break;
			last = gone;
			continue;
		}
		CHECK_DPI(error);
		struct header h;
		CHECK_INT(r.size, >=, sizeof h);
		memcpy(&h, r.data, sizeof h);
		CHECK_INT(h.life, <, LIVES);
		CHECK_INT(h.size, ==, r.size);
		CHECK_INT(h.sequence, ==, next[h.life]);
		next[h.life]++;
		fill(expected, h.life, h.sequence, h.size);
		CHECK(!memcmp(expected, r.data, r.size));
	}
	uint64_t records = 0;
	for (int i = 0; i < k->lives; i++) {
		CHECK_INT(next[i], >=, k->flushed[i]);
		if (k->ended[i]) CHECK_INT(next[i], ==, k->flushed[i]);
		records += next[i];
	}
	CHECK_INT(records, >, 0);
	DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
	info.size = sizeof info;
	do CHECK_DPI(DPI_Get_Buffer_Info(q, &info));
	while (info.appenders || info.memory); /* nobody's ring, lock or memory is left */
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(appenders_are_killed, "", 5, .deadline_s = 180)
{
	struct killing *k = harness_shared();
	if (rank == 0) consumer(k);
	else if (rank == 4) killer(k);
	else appender(k);
}

/* ------------------------------------------------------------------------------------------------ homes are killed */

#define ROUNDS 60

struct homes {
	_Atomic int round, opened, failed;
};

static void home(struct homes *s)
{
	DPI_Context ctx;
	DPI_Buffer q;
	DPI_Record r;
	char name[32];
	int round = s->round;
	CHECK_DPI(DPI_Init(&ctx));
	snprintf(name, sizeof name, "mortal%d", round);
	CHECK_DPI(DPI_Create_Buffer(name, DPI_NODE_SELF, NULL, ctx, &q));
	for (;;) DPI_Next_Record(q, &r); /* until it is killed */
}

static void mourner(struct homes *s)
{
	DPI_Context ctx;
	CHECK_DPI(DPI_Init(&ctx));
	for (int round = 0; round < times(ROUNDS, 3); round++) {
		DPI_Buffer q;
		DPI_Open_Attr attr = DPI_OPEN_ATTR_INIT;
		char name[32], record[500] = "";
		int error;
		AWAIT(s->round >= round);
		attr.timeout_us = 30000000;
		snprintf(name, sizeof name, "mortal%d", round);
		CHECK_DPI(DPI_Open_Buffer(name, &attr, ctx, &q));
		s->opened++;
		double begin;
		for (uint64_t i = 0;; i++) {
			begin = now();
			error = DPI_Append(record, (size_t)(i % sizeof record), q);
			if (!error && i % 10 == 0) error = DPI_Flush_Buffer(q);
			if (error) break;
		}
		const char *why;
		DPI_Get_Error_Detail(&why);
		if (error != DPI_ERR_PEER) FAIL("error %d: %s", error, why);
		CHECK_HAS(why, "node 1");
		CHECK(now() - begin < 10.0 * harness_slow());
		DPI_Close_Buffer(q);
		s->failed++;
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(homes_are_killed, "", 5, .deadline_s = 180)
{
	struct homes *s = harness_shared();
	if (rank == 1) {
		home(s);
	} else if (rank != 4) {
		mourner(s); /* node 0 holds the registry, and appends too */
	} else {
		uint64_t state = harness_seed();
		for (int round = 0; round < times(ROUNDS, 3); round++) {
			AWAIT(s->opened == 3 * (round + 1));
			pause_us(draw(&state, 4000));
			harness_kill(1, SIGKILL);
			AWAIT(s->failed == 3 * (round + 1) && !harness_alive(1));
			s->round = round + 1;
			if (round + 1 < times(ROUNDS, 3)) harness_spawn_rank(1);
		}
	}
}

/* -------------------------------------------------------------------------------------------- the registry is killed */

struct registries {
	_Atomic int round, up, opened, failed;
};

static void registry(struct registries *s)
{
	DPI_Context ctx;
	DPI_Buffer b;
	CHECK_DPI(DPI_Init(&ctx));
	s->up = s->round + 1;
	for (uint64_t i = 0;; i++) { /* until it is killed: in the middle of its own names, and of the others' */
		char name[32];
		snprintf(name, sizeof name, "own%" PRIu64, i % 8);
		if (DPI_Create_Buffer(name, DPI_NODE_SELF, NULL, ctx, &b)) continue;
		DPI_Close_Buffer(b);
		DPI_Destroy_Buffer(name, ctx);
	}
}

/* Names are made and found until there is nobody to ask; what was open before goes on. */
static void citizen(int rank, struct registries *s)
{
	for (int round = 0; round < times(ROUNDS, 3); round++) {
		DPI_Context ctx;
		DPI_Buffer steady, b;
		DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
		DPI_Record r;
		char mine[32];
		int error = DPI_SUCCESS;
		AWAIT(s->up == round + 1);
		CHECK_DPI(DPI_Init(&ctx));
		snprintf(mine, sizeof mine, "steady%d", rank);
		CHECK_DPI(DPI_Create_Buffer(mine, DPI_NODE_SELF, &attr, ctx, &steady));
		s->opened++;
		double begin = now();
		for (uint64_t i = 0; !error; i++) {
			char name[32];
			snprintf(name, sizeof name, "brief%d-%" PRIu64, rank, i);
			begin = now();
			error = DPI_Create_Buffer(name, i % 2 ? 1 + (rank + 1) % 3 : DPI_NODE_SELF, &attr, ctx, &b);
			if (error == DPI_ERR_NODE) error = DPI_SUCCESS; /* that one is not there yet, or not any more */
			else if (!error) {
				DPI_Close_Buffer(b);
				begin = now();
				error = DPI_Destroy_Buffer(name, ctx);
			}
		}
		const char *why;
		DPI_Get_Error_Detail(&why);
		if (error != DPI_ERR_REGISTRY && error != DPI_ERR_PEER) FAIL("error %d: %s", error, why);
		if (now() - begin >= 10.0 * harness_slow()) FAIL("after %.1f s: %s", now() - begin, why);
		CHECK_DPI(DPI_Append("goes on", 7, steady));
		CHECK_DPI(DPI_Next_Record(steady, &r));
		CHECK_INT(r.size, ==, 7);
		begin = now();
		CHECK_DPI(DPI_Finalize(ctx));
		CHECK(now() - begin < 10.0 * harness_slow());
		s->failed++;
	}
}

TEST(registries_are_killed, "", 5, .deadline_s = 180)
{
	struct registries *s = harness_shared();
	if (rank == 0) {
		registry(s);
	} else if (rank != 4) {
		citizen(rank, s);
	} else {
		uint64_t state = harness_seed();
		for (int round = 0; round < times(ROUNDS, 3); round++) {
			AWAIT(s->opened == 3 * (round + 1));
			pause_us(draw(&state, 8000));
			harness_kill(0, SIGKILL);
			AWAIT(s->failed == 3 * (round + 1) && !harness_alive(0));
			s->round = round + 1;
			if (round + 1 < times(ROUNDS, 3)) harness_spawn_rank(0);
		}
	}
}

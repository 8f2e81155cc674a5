/* SPDX-License-Identifier: Apache-2.0
 * failure.c: nodes that are stopped, killed, gone. */
#include <signal.h>

#include "memory_kit.h"

/* An appender is killed at a random moment of a tight loop of appends, flushes and room in use; several times, while another
 * appends all the time. What it had flushed is there, what is there is whole and without gap, the other goes on. */
struct killed {
	_Atomic uint64_t flushed[64]; /* by incarnation of rank 2: the records that must be there */
	_Atomic uint64_t steady;
	_Atomic int stop;
};

static void append_until_killed(DPI_Buffer to, struct killed *k, uint64_t incarnation)
{
	static uint8_t data[12000];
	uint64_t seed = draw_seed((int)incarnation);
	DPI_Request request = DPI_REQUEST_NULL;
	for (uint64_t n = 0;;) {
		size_t size = STAMP_SIZE + draw(&seed, draw(&seed, 10) ? 300 : sizeof data - STAMP_SIZE);
		void *room;
		stamp(data, size, incarnation, n++);
		switch (draw(&seed, 5)) {
		case 0:
			CHECK_DPI(DPI_Reserve_Append(sizeof data, to, &room));
			memcpy(room, data, size);
			CHECK_DPI(DPI_Commit_Append(size, to));
			break;
		case 1:
			CHECK_DPI(DPI_Append_Nb(data, size, to, &request));
			CHECK_DPI(DPI_Wait(&request, 0));
			break;
		default: CHECK_DPI(DPI_Append(data, size, to));
		}
		if (draw(&seed, 6) == 0) {
			CHECK_DPI(DPI_Flush_Buffer(to));
			k->flushed[incarnation] = n;
		}
	}
}

static void append_steadily(DPI_Buffer to, struct killed *k)
{
	uint8_t data[100];
	uint64_t n = 0;
	for (; !k->stop; n++) {
		stamp(data, sizeof data, 0, n);
		int64_t start = now();
		CHECK_DPI(DPI_Append(data, sizeof data, to));
		CHECK_WITHIN(start, SECOND); /* nobody's death delays it */
		if (n % 64 == 0) usleep(200);
	}
	CHECK_DPI(DPI_Flush_Buffer(to));
	k->steady = n;
	k->stop = 2;
}

#define KILLS 6

static void kill_appenders(int rank, int use)
{
	struct killed *k = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer to = MAKE("to", 1, ctx, use, .capacity = 32768, .max_record = 12000);
	if (rank == 2) {
		harness_expect_death(2);
		append_until_killed(to, k, (uint64_t)harness_spawns(2));
	}
	if (rank == 0) {
		append_steadily(open_buffer("to", ctx), k);
		AWAIT(k->stop == 3);
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	struct tally t = {.total = 0};
	uint64_t seed = draw_seed(1), at = use == DPI_USE_LOG ? info_of(to).first : 0;
	static uint8_t data[12000];
	int64_t until = now() + 20 * MS + (int64_t)draw(&seed, 30) * MS;
	int kills = 0;
	CHECK_DPI(DPI_Set_Timeout(20 * MS, to));
	for (bool finished = false; !finished;) {
		DPI_Record r;
		size_t size = 0;
		int error = use == DPI_USE_QUEUE ? DPI_Next_Record(to, &r) : DPI_Read_Record(at, data, sizeof data, to, &size, &at);
		if (!error && use == DPI_USE_LOG) r = (DPI_Record){data, size};
		if (!error) tally_take(&t, r.data, r.size);
		else if (error != DPI_ERR_TIMEOUT) CHECK_DPI(error);
		if (kills < KILLS && now() > until) {
			harness_kill(2, SIGKILL);
			AWAIT(!harness_alive(2));
			kills++;
			if (kills < KILLS) harness_spawn_rank(2);
			else k->stop = 1;
			until = now() + 20 * MS + (int64_t)draw(&seed, 30) * MS;
		}
		/* everything of the dead must come within the bound of its death, and all of the steady one */
		finished = k->stop == 2 && error == DPI_ERR_TIMEOUT && now() > until + 300 * MS;
	}
	CHECK_INT(t.next[0], ==, k->steady);
	for (int i = 1; i <= KILLS; i++) CHECK_INT(t.next[i], >=, k->flushed[i]);
	k->stop = 3;
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(killed_appenders_of_a_queue, "M-36 M-37 A-64 M-4 M-7 P-7", 3, .deadline_s = 180) { kill_appenders(rank, DPI_USE_QUEUE); }
TEST(killed_appenders_of_a_log, "M-36 M-37 M-4 M-6 M-7", 3, .deadline_s = 180) { kill_appenders(rank, DPI_USE_LOG); }

/* Dead with room reserved and half written; and a handle's process that never closed it. */
TEST(killed_with_room, "M-36 M-37 A-32", 3)
{
	if (rank == 2) harness_expect_death(2);
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG);
	uint64_t at = info_of(l).first;
	if (rank == 2) {
		void *room;
		DPI_Buffer both[] = {q, l};
		for (int i = 0; i < 2; i++) {
			CHECK_DPI(DPI_Append("flushed", 7, both[i]));
			CHECK_DPI(DPI_Flush_Buffer(both[i]));
			CHECK_DPI(DPI_Reserve_Append(1000, both[i], &room));
			memset(room, 'x', 500);
		}
		harness_barrier();
		harness_kill(2, SIGKILL);
	}
	harness_barrier();
	AWAIT(!harness_alive(2));
	if (rank == 0) {
		CHECK_DPI(DPI_Append("others", 6, q));
		CHECK_DPI(DPI_Append("others", 6, l));
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Flush_Buffer(l));
	} else {
		char text[16];
		size_t n;
		for (int i = 0; i < 2; i++) {
			DPI_Record r;
			CHECK_DPI(DPI_Next_Record(q, &r));
			CHECK((r.size == 7 && !memcmp(r.data, "flushed", 7)) || (r.size == 6 && !memcmp(r.data, "others", 6)));
			CHECK_DPI(DPI_Read_Record(at, text, sizeof text, l, &n, &at));
			CHECK((n == 7 && !memcmp(text, "flushed", 7)) || (n == 6 && !memcmp(text, "others", 6)));
		}
		CHECK_EMPTY(q, 30 * MS);
		UNTIL(SECOND, info_of(q).appenders == 1, (void)0);
	}
	CHECK_DPI(DPI_Barrier("two", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Stopped in the middle of appending, with room reserved, and while it is a home; then it goes on. */
TEST(stopped, "P-12 M-37 M-12", 4)
{
	_Atomic int *stage = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 8192, .max_record = 1000), l = MAKE("l", 1, ctx, DPI_USE_LOG),
		   r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096), its = MAKE("its", 2, ctx, DPI_USE_REGION, .capacity = 4096);
	DPI_Record record;
	harness_barrier();
	if (rank == 2) {
		void *room;
		CHECK_DPI(DPI_Append("before", 6, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Append("before", 6, l));
		CHECK_DPI(DPI_Flush_Buffer(l));
		CHECK_DPI(DPI_Reserve_Append(1000, q, &room));
		memset(room, 'r', 1000);
		*stage = 1;
		/* appends without end until told, and is stopped somewhere */
		DPI_Buffer more = open_buffer("q", ctx);
		uint64_t n = 0;
		while (*stage < 4) {
			uint64_t number[2] = {2, n++};
			CHECK_DPI(DPI_Append(number, sizeof number, more));
		}
		CHECK_DPI(DPI_Commit_Append(1000, q));
		CHECK_DPI(DPI_Close_Buffer(more));
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Append("after", 5, l));
		CHECK_DPI(DPI_Flush_Buffer(l));
		char text[4];
		CHECK_DPI(DPI_Read(text, 4, 0, its));
		CHECK(!memcmp(text, "wait", 4));
		*(_Atomic uint64_t *)(stage + 2) = n;
		*stage = 5;
	}
	if (rank == 0) {
		AWAIT(*stage >= 1);
		pause_ms(5);
		harness_kill(2, SIGSTOP);
		/* nobody else is delayed */
		int64_t start = now();
		DPI_Request request;
		for (int i = 0; i < 200; i++) {
			uint64_t number[2] = {0, (uint64_t)i};
			CHECK_DPI(DPI_Append(number, sizeof number, q));
			CHECK_DPI(DPI_Append(number, sizeof number, l));
			if (i % 20 == 0) CHECK_DPI(DPI_Flush_Buffer(q));
			CHECK_DPI(DPI_Fetch_Add(0, 1, r, NULL));
		}
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Flush_Buffer(l));
		CREATE("new", 3, ctx, DPI_USE_QUEUE);
		CHECK_DPI(DPI_Barrier("all but one", 3, 0, ctx));
		CHECK_WITHIN(start, 3 * SECOND);
		/* what needs an answer of it waits */
		CHECK_DPI(DPI_Write_Nb("wait", 4, 0, its, &request));
		DPI_Node_Info info = DPI_NODE_INFO_INIT;
		CHECK_DPI(DPI_Get_Node_Info(2, ctx, &info));
		CHECK_INT(info.alive, ==, 1);
		*stage = 3;
		harness_kill(2, SIGCONT);
		CHECK_DPI(DPI_Wait(&request, 0));
		CHECK_DPI(DPI_Flush_Buffer(its));
		*stage = 4;
	}
	if (rank == 3) {
		open_buffer("new", ctx);
		CHECK_DPI(DPI_Barrier("all but one", 3, 0, ctx));
	}
	if (rank == 1) {
		uint64_t next[3] = {0, 0, 0}, number[2];
		bool before = false, room = false;
		while (next[0] < 200 || !before) { /* appenders have no order among them */
			CHECK_DPI(DPI_Next_Record(q, &record));
			if (record.size == 6) before = true;
			else if (record.size == 16) {
				memcpy(number, record.data, 16);
				CHECK_INT(number[1], ==, next[number[0]]++);
			} else {
				CHECK(record.size == 1000 && all_bytes(record.data, 1000, 'r'));
				room = true;
			}
		}
		CHECK(!room);
		CHECK_DPI(DPI_Barrier("all but one", 3, 0, ctx));
		CHECK_DPI(DPI_Set_Timeout(200 * MS, q));
		for (;;) {
			int error = DPI_Next_Record(q, &record);
			if (error == DPI_ERR_TIMEOUT && *stage >= 5) break;
			if (error == DPI_ERR_TIMEOUT) continue;
			CHECK_DPI(error);
			if (record.size == 16) {
				memcpy(number, record.data, 16);
				CHECK_INT(number[1], ==, next[number[0]]++);
			} else {
				CHECK(record.size == 1000 && all_bytes(record.data, 1000, 'r'));
				room = true;
			}
		}
		CHECK(room);
		CHECK_INT(next[2], ==, *(_Atomic uint64_t *)(stage + 2));
	}
	AWAIT(*stage >= 5);
	leave(ctx);
}

/* Posts fail and connections die below two appenders, as the seed says: what a call reported is what happened. */
enum { FAULTY_MOST = 20000, FAULTY_NONE = 0, FAULTY_APPENDED, FAULTY_FAILED, FAULTY_UNKNOWN };
struct faulty {
	_Atomic int ended;
	_Atomic uint64_t flushed[3]; /* by rank: records below it are there */
	_Atomic uint8_t became[3][FAULTY_MOST];
};

static void append_through_faults(int rank, struct faulty *f, DPI_Buffer q)
{
	static uint8_t data[6000];
	uint64_t seed = draw_seed(rank), n = 0;
	bool over = false;
	for (; n < FAULTY_MOST && !over; n++) {
		size_t size = STAMP_SIZE + draw(&seed, draw(&seed, 8) ? 200 : sizeof data - STAMP_SIZE);
		stamp(data, size, (uint64_t)rank, n);
		int error = DPI_Append(data, size, q);
		f->became[rank][n] = error == DPI_SUCCESS ? FAULTY_APPENDED : error == DPI_ERR_UNKNOWN ? FAULTY_UNKNOWN : FAULTY_FAILED;
		if (!error && draw(&seed, 4) == 0) {
			error = DPI_Flush_Buffer(q);
			if (!error) f->flushed[rank] = n + 1;
		}
		CHECK(!error || error == DPI_ERR_TRANSPORT || error == DPI_ERR_UNKNOWN || error == DPI_ERR_PEER || error == DPI_ERR_TIMEOUT);
		if (error == DPI_ERR_TRANSPORT) CHECK_HAS(detail(), "seed=");
		over = error == DPI_ERR_PEER;
	}
	CHECK(over); /* so many posts find a death */
	f->ended++;
}

TEST(faults_below, "M-9 M-10", 3, .once = true, .one_transport = true)
{
	struct faulty *f = harness_shared();
	char hook[100];
	snprintf(hook, sizeof hook, "seed=%" PRIu64 "%s", harness_seed() % 1000000, rank ? ",error=0.02,death=0.002" : "");
	setenv("DPI_TRANSPORT", "hook:tcp", 1);
	setenv("DPI_HOOK", hook, 1);
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 0, ctx, DPI_USE_QUEUE, .max_record = 6000);
	harness_barrier();
	CHECK_DPI(DPI_Set_Timeout(SECOND, q));
	if (rank) append_through_faults(rank, f, q);
	static bool seen[3][FAULTY_MOST];
	uint64_t next[3] = {0}, by;
	for (bool last = false; !rank;) {
		DPI_Record r;
		bool ended = f->ended == 2;
		int error = DPI_Next_Record(q, &r);
		if (error == DPI_ERR_TIMEOUT && last) break;
		last = ended;
		if (error == DPI_ERR_TIMEOUT) continue;
		CHECK_DPI(error);
		uint64_t n = check_stamp(r.data, r.size, &by);
		CHECK(by >= 1 && by <= 2 && n < FAULTY_MOST && n >= next[by]);
		next[by] = n + 1;
		seen[by][n] = true;
	}
	for (by = 1; by < 3 && !rank; by++)
		for (uint64_t n = 0; n < FAULTY_MOST; n++) {
			if (seen[by][n]) CHECK(f->became[by][n] == FAULTY_APPENDED || f->became[by][n] == FAULTY_UNKNOWN);
			else CHECK(n >= f->flushed[by] || f->became[by][n] != FAULTY_APPENDED);
		}
	harness_barrier();
	leave(ctx);
}

/* A node is stopped while it appends to queues that somebody destroys: their home, and who asks it for more, do not wait for it. */
TEST(stopped_while_it_writes, "P-12", 3)
{
	static const char *const name[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
	enum { QUEUES = sizeof name / sizeof *name };
	_Atomic int *stage = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q[QUEUES];
	static uint8_t bytes[1 << 14];
	for (int i = 0; i < QUEUES && rank != 1; i++)
		q[i] = MAKE(name[i], 1, ctx, DPI_USE_QUEUE, .capacity = 1 << 16, .max_capacity = 1 << 16, .max_record = sizeof bytes,
			    .full = DPI_FULL_ERROR);
	harness_barrier();
	if (rank == 2) {
		int error = DPI_SUCCESS;
		for (int i = 0; error != DPI_ERR_DESTROYED; i++) {
			error = DPI_Append(bytes, sizeof bytes, q[i % QUEUES]);
			if (!error) error = DPI_Flush_Buffer(q[i % QUEUES]);
			CHECK(!error || error == DPI_ERR_FULL || error == DPI_ERR_DESTROYED);
			if (i == 5 * QUEUES) *stage = 1;
		}
	}
	if (rank == 0) {
		AWAIT(*stage >= 1);
		pause_ms(5);
		harness_kill(2, SIGSTOP);
		int64_t start = now();
		for (int i = 0; i < QUEUES; i++) {
			CHECK_DPI(DPI_Destroy_Buffer(name[i], ctx));
			CHECK_DPI(DPI_Close_Buffer(q[i]));
		}
		DPI_Buffer more = CREATE("more", 1, ctx, DPI_USE_QUEUE);
		CHECK_DPI(DPI_Append("here", 4, more));
		CHECK_DPI(DPI_Flush_Buffer(more));
		CHECK_WITHIN(start, 3 * SECOND);
		harness_kill(2, SIGCONT);
	}
	harness_barrier();
	leave(ctx);
}

/* The home is killed while each rank waits in another call on it, and while an appender is at full speed. */
TEST(home_killed, "M-38 P-7 R-9 P-10", 5)
{
	static char data[FILLER], text[8];
	if (rank == 1) harness_expect_death(1);
	DPI_Context ctx = join();
	DPI_Buffer full = MAKE("full", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = FILLER, .growth = DPI_GROWTH_NONE),
		   q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 1 << 20), again;
	uint64_t end = info_of(l).end;
	int error = DPI_SUCCESS;
	DPI_Record record;
	if (rank == 2) fill_up(full);
	if (rank != 1) {
		CHECK_DPI(DPI_Append("x", 1, q));
		CHECK_DPI(DPI_Write("x", 1, 0, r));
	}
	harness_barrier();
	if (rank == 1)
		for (;;) DPI_Next_Record(q, &record);
	if (rank == 0) {
		pause_ms(30);
		harness_kill(1, SIGKILL);
		AWAIT(!harness_alive(1));
	}
	int64_t start = now();
	if (rank == 2) error = DPI_Append(data, sizeof data, full);
	if (rank == 3) error = DPI_Read_Record(end, text, sizeof text, l, NULL, NULL);
	if (rank == 4)
		while (!error) error = DPI_Append(data, sizeof data, q);
	CHECK_WITHIN(start, SECOND + 100 * MS);
	if (rank >= 2) CHECK_ERROR(error, DPI_ERR_PEER, "1");
	AWAIT(!harness_alive(1));
	start = now();
	/* within the bound: every call that needs it */
#define DIES(call)                                                                                     \
	do {                                                                                           \
		UNTIL(SECOND, kit_error == DPI_ERR_PEER, int kit_error = (call));                      \
		CHECK_HAS(detail(), "1");                                                              \
	} while (0)
	DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
	DIES(DPI_Flush_Buffer(q));
	DIES(DPI_Flush_Buffer(l));
	DIES(DPI_Flush_Buffer(r));
	DIES(DPI_Read(text, 1, 0, r));
	DIES(DPI_Write(text, 1, 0, r));
	DIES(DPI_Fetch_Add(0, 1, r, NULL));
	DIES(DPI_Append("x", 1, q));
	DIES(DPI_Read_Record(end, text, 8, l, NULL, NULL));
	DIES(DPI_Append_Position("x", 1, l, &end));
	DIES(DPI_Truncate_Log(0, l));
	DIES(DPI_Get_Buffer_Info(q, &info));
	CHECK_WITHIN(start, SECOND + 500 * MS);
	/* closing says so, or not, and closes */
	DPI_Buffer all[] = {full, q, l, r};
	for (int i = 0; i < 4; i++) {
		error = DPI_Close_Buffer(all[i]);
		CHECK(error == DPI_SUCCESS || error == DPI_ERR_PEER);
		CHECK_ERROR(DPI_Close_Buffer(all[i]), DPI_ERR_HANDLE, "closed");
	}
	CHECK_WITHIN(start, 2 * SECOND);
	/* the names are free */
	if (rank == 0) UNTIL(SECOND, !e, int e = DPI_Create_Buffer("q", 0, NULL, ctx, &again));
	CHECK_DPI(DPI_Barrier("four", 4, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A home that left in an orderly way is dead as well; one that comes again under its number is another node. */
TEST(home_comes_again, "M-38 E-9 E-3 A-28", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
	if (rank == 0) {
		CHECK_DPI(DPI_Append("old", 3, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
	}
	harness_barrier();
	if (rank == 1) {
		CHECK_DPI(DPI_Finalize(ctx));
		ctx = join();
		UNTIL(SECOND, !e, int e = DPI_Create_Buffer("q", 1, NULL, ctx, &q));
	}
	harness_barrier();
	if (rank == 0) {
		UNTIL(SECOND, e == DPI_ERR_PEER, int e = DPI_Flush_Buffer(q));
		DPI_Buffer again = open_buffer("q", ctx);
		CHECK_DPI(DPI_Append("new", 3, again));
		CHECK_DPI(DPI_Flush_Buffer(again));
		CHECK_ERROR(DPI_Flush_Buffer(q), DPI_ERR_PEER, "1");
	} else {
		TAKE(q, "new", 3);
		CHECK_EMPTY(q, DPI_NO_WAIT);
	}
	leave(ctx);
}

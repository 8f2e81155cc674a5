/* SPDX-License-Identifier: Apache-2.0
 * flow_model.c: random flows against a model. Every rank draws the same plan from the seed and the scenario's number: the flow's definition,
 * who has which sources and targets, what each does (flow_plan.h), and what happens to the flow meanwhile (flow_fate.h). The model is the plan:
 * it says of each row of each source to which targets it goes, so a target knows which rows must come next (flow_taker.h), and a source which
 * of its rows may be acknowledged (flow_pusher.h, flow_ledger.h). A source's progress stands in shared memory, for marks and for kills.
 *
 * TEST_FIRST=N begins with scenario N, as a failure names it, and flow_model_fresh draws others in each run (TEST_SEED=N repeats them where
 * the command line names the case); flow_model_soak goes on for TEST_SOAK seconds. */
#include <signal.h>
#include <unistd.h>

#include "flow_pusher.h"
#include "flow_taker.h"

ENROL_WITH_FAULTS;

/* ---------------------------------------------------------------------------------------------------------- scenarios */

/* Has all that happens before it happened? */
static bool due(const struct scenario *s)
{
	uint64_t rows = 0;
	for (uint32_t i = 0; i < s->p.sources; i++) {
		bool here = s->f.what != KILLED || s->p.source_rank[i] == VICTIM;
		if (here && s->f.what == KILLED && s->now->source[i] == NOT_YET) return false;
		rows += here ? s->now->pushed[i] : 0;
	}
	for (uint32_t t = 0; s->f.what == KILLED && t < s->p.targets; t++) {
		if (s->p.target_rank[t] != VICTIM) continue;
		if (s->now->target[t] == NOT_YET) return false;
		for (uint32_t i = 0; i < s->p.sources; i++) rows += s->now->came[t][i];
	}
	return (s->f.what != DESTROYED || s->now->joined == RANKS) && (rows >= s->f.when || all_over(s));
}

/* What has become of the victim's endpoints, where that is certain. */
static void note_ends(const struct scenario *s)
{
	static const int end[] = { [OPEN] = DPI_END_DEAD, [CLOSING] = 0, [OVER] = DPI_END_CLOSED };
	bool going_on = false; /* no target can have ended */
	for (uint32_t i = 0; i < s->p.sources; i++) {
		going_on |= s->now->source[i] < CLOSING;
		if (s->p.source_rank[i] == VICTIM) s->now->source_end[i] = end[s->now->source[i]];
	}
	for (uint32_t t = 0; t < s->p.targets; t++)
		if (s->p.target_rank[t] == VICTIM) s->now->target_end[t] = s->now->target[t] == OVER ? DPI_END_CLOSED : going_on ? DPI_END_DEAD : 0;
	/* its sources are over now, for who waits for that */
	for (uint32_t i = 0; i < s->p.sources; i++)
		if (s->p.source_rank[i] == VICTIM) s->now->source[i] = OVER;
}

/* The scenario's fate, by the rank whose task it is. */
static void meddle(struct scenario *s, struct shared *shared, DPI_Context ctx)
{
	int scenarios = shared->done[0] + 1;
	if (s->f.what == SEALED) pause_us(s->f.pause);
	else AWAIT(due(s));
	s->now->begun = 1;
	switch (s->f.what) {
	case KILLED:
		harness_kill(VICTIM, SIGKILL);
		AWAIT(!harness_alive(VICTIM));
		note_ends(s);
		shared->done[VICTIM] = scenarios;
		shared->kills++;
		harness_spawn_rank(VICTIM);
		break;
	case CANCELLED: CHECK_DPI(DPI_Cancel_Flow("enough of it", s->flow)); break;
	case DESTROYED: CHECK_DPI(DPI_Destroy_Flow(s->p.name, ctx)); break;
	default: CHECK_DPI(DPI_Seal_Flow(s->flow));
	}
	s->now->done = 1;
}

static void check_one_end(const struct scenario *s, uint32_t number, bool target, int state)
{
	DPI_Flow_End end = DPI_FLOW_END_INIT;
	if (!state) return;
	do {
		CHECK_DPI((target ? DPI_Get_Flow_Target : DPI_Get_Flow_Source)(number, s->flow, &end));
		harness_pause();
	} while (end.state == DPI_END_OPEN || (end.state == DPI_END_NONE && !target)); /* news come by and by */
	if (end.state != state || end.node != VICTIM)
		FAIL("scenario %d: %s %u is said to be %d, of node %d, not %d", s->p.number, target ? "target" : "source", number, end.state, end.node, state);
}

/* What everybody is told of the flow, and of those who died. */
static void check_fate(const struct scenario *s)
{
	bool died = false, unknown = false;
	AWAIT(s->f.what == CALM || s->now->done);
	for (uint32_t i = 0; s->f.what == KILLED && i < s->p.sources + s->p.targets; i++) {
		bool target = i >= s->p.sources;
		uint32_t index = target ? i - s->p.sources : i;
		if ((target ? s->p.target_rank : s->p.source_rank)[index] != VICTIM) continue;
		int end = target ? s->now->target_end[index] : s->now->source_end[index];
		died |= end == DPI_END_DEAD;
		unknown |= !end;
		if (!s->f.error) check_one_end(s, target ? index : s->now->number[index] - 1, target, end);
	}
	if (unknown) return;
	bool fails = s->f.error && (died || s->f.what != KILLED);
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	do {
		CHECK_DPI(DPI_Get_Flow_Info(s->flow, &info));
		harness_pause();
	} while (fails && !info.failed);
	CHECK_INT(info.failed, ==, fails ? s->f.error : 0);
}

static void seal(struct scenario *s)
{
	struct endpoint e = { .s = s };
	AWAIT(all_opened(s));
	if (!setjmp(e.out)) GOOD(&e, DPI_Seal_Flow(s->flow));
}

static void play(struct shared *shared, int number, int rank, DPI_Context ctx)
{
	struct scenario s = { .now = &shared->progress[number % 2], .ctx = ctx };
	struct endpoint end[SOURCES + TARGETS];
	int ends = 0;
	struct loop loop = { .turns = 0 };
	pthread_t thread;
	s.p = make_model(number, &s.f);
	s.flow = open_flow(&s.p, ctx);
	make_sieve(&s.p, rank, ctx);
	s.now->joined++;
	for (uint32_t i = 0; i < s.p.sources + s.p.targets; i++) {
		bool source = i < s.p.sources;
		uint32_t index = source ? i : i - s.p.sources;
		if ((source ? s.p.source_rank[index] : s.p.target_rank[index]) != rank) continue;
		end[ends] = (struct endpoint){ .s = &s, .index = index, .fd = -1, .loops = s.f.way[rank] != THREADS };
		if (s.f.way[rank] == ONE_LOOP) loop_add(&loop, &end[ends].turn, source ? be_source : be_target, &end[ends]);
		else if (pthread_create(&end[ends].thread, NULL, source ? be_source : be_target, &end[ends])) FAIL("pthread_create");
		ends++;
	}
	if (loop.turns && pthread_create(&thread, NULL, loop_run, &loop)) FAIL("pthread_create");
	bool meddles = s.f.what != CALM && rank == s.f.by, seals = !s.p.declared && s.f.what != SEALED && rank == s.p.sealer;
	if (meddles && s.f.before) meddle(&s, shared, ctx);
	if (seals) seal(&s);
	if (meddles && !s.f.before) meddle(&s, shared, ctx);
	if (loop.turns && pthread_join(thread, NULL)) FAIL("pthread_join");
	for (int i = 0; i < ends && !loop.turns; i++)
		if (pthread_join(end[i].thread, NULL)) FAIL("pthread_join");
	check_fate(&s);
	close_flow(&s.p, s.flow);
}

static int ack_of(const void *row, size_t size, void *arg, uint64_t *key)
{
	(void)size, (void)arg;
	memcpy(key, (const uint8_t *)row + 8, 8);
	*key = *key * 3 + 7;
	return DPI_SUCCESS;
}

static void drop_sieve(int number, DPI_Context ctx)
{
	struct fate f;
	struct plan p = make_model(number, &f);
	char name[32];
	sieve_name(&p, name);
	if (p.bloom) CHECK_DPI(DPI_Destroy_Bloom(name, ctx));
}

/* least: scenarios, however long they take */
static void run_model(int rank, int least, int most, double limit)
{
	struct shared *shared = harness_shared();
	DPI_Context ctx;
	double start = seconds();
	int first = number_from("TEST_FIRST", 0);
	CHECK_DPI(DPI_Register_Dist("model_dist", 1, dist, NULL));
	CHECK_DPI(DPI_Register_Group("model_group", 1, group, NULL));
	CHECK_DPI(DPI_Register_Map("model_map", 1, map, NULL));
	CHECK_DPI(DPI_Register_Ack("model_ack", 2, ack_of, NULL));
	hold_key();
	CHECK_DPI(DPI_Init(&ctx));
	if (rank == 0) shared->last = most;
	shared->up++;
	for (int n = shared->done[rank]; n < most; n = shared->done[rank]) {
		for (int r = 0; r < RANKS; r++) AWAIT(shared->done[r] >= n);
		if (n >= shared->last && n) break;
		play(shared, first + n, rank, ctx);
		if (rank == 0) {
			for (int r = 1; r < RANKS; r++) AWAIT(shared->done[r] > n); /* nobody is in it any more */
			char name[32];
			snprintf(name, sizeof name, "model%d", first + n);
			int error = DPI_Destroy_Flow(name, ctx);
			if (error != DPI_ERR_NAME) CHECK_DPI(error); /* that was its fate */
			drop_sieve(first + n, ctx);
			memset(&shared->progress[(first + n + 1) % 2], 0, sizeof *shared->progress);
			if (seconds() - start > limit && n + 1 >= least) shared->last = n + 1;
		}
		shared->done[rank]++;
	}
	AWAIT(shared->done[0] >= shared->done[rank]); /* it destroys what may lie here */
	if (rank == 0) AWAIT(shared->up == RANKS + shared->kills); /* the last to be killed needs the registry to begin */
	if (rank == 0) printf("%d scenarios in %.1f s\n", shared->done[0], seconds() - start);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_model, "", RANKS, .deadline_s = 270)
{
	run_model(rank, 100, 150, 15); /* seconds: on a slow machine the least do */
}

/* Other ones each time. */
TEST(flow_model_fresh, "", RANKS, .deadline_s = 270, .fresh = true)
{
	run_model(rank, 40, 100, 8);
}

TEST(flow_model_soak, "", RANKS, .deadline_s = 1000000, .only_named = true)
{
	run_model(rank, 100, 1 << 30, number_from("TEST_SOAK", 3600));
}

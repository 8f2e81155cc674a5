/* SPDX-License-Identifier: Apache-2.0 */
/* Records of several appenders, in the memory of one consumer who reads every line, by verbs alone, in both ways that there are.
 * --mode rings: a ring of --ring bytes for each appender; a record is a write to the next place.
 * --mode fetch_add: one ring of as many bytes in all; an atomic add at the consumer's says which place is whose, then a write fills it.
 * --window records of an appender are on their way at once. A place ends with its number, which comes last: the consumer looks at it. How
 * far the consumer is an appender reads when half of the places may be taken. */
#include "../common.h"
#include "../process.h"
#include "verbs_side.h"

#include <stdlib.h>
#include <unistd.h>

enum { APPENDERS = 16, HEADS = 4096, TAIL = APPENDERS * CACHE_LINE }; /* the consumer's memory: heads, the tail, rings from HEADS on */
enum what { ADD, WRITE, READ };

static struct options o;
static struct rdma_device devices[2];
static struct shared {
	struct verbs_said said[APPENDERS][2]; /* the appender's end, the consumer's */
	_Atomic uint64_t appended[APPENDERS]; /* + 1, once it is done */
	_Atomic bool begun;
} *shared;

struct layout {
	uint64_t place; /* bytes */
	uint64_t rings, places;	/* of each */
};

static struct layout layout;
static bool adds;

static void layout_of(void)
{
	adds = !strcmp(o.mode, "fetch_add");
	layout.place = (o.size + sizeof(uint64_t) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	layout.rings = adds ? 1 : o.appenders;
	layout.places = o.ring * (adds ? o.appenders : 1) / layout.place;
	if (layout.places < 4)
		die(2, "--ring has room for %llu records, and takes 4 at least", (unsigned long long)layout.places);
}

static uint64_t place_offset(uint64_t ring, uint64_t number)
{
	return HEADS + (ring * layout.places + number % layout.places) * layout.place;
}

/* -------------------------------------------------------------------------------------------------------------- appender */

/* Its memory: the head, the window's numbers, the window's records. Requests are counted: completions are in order. */
struct appender {
	struct verbs_side verbs;
	struct ibv_qp *qp;
	struct verbs_said *home;
	uint64_t ring, head, asked, got, written, done;
	bool reading;
	struct ibv_send_wr *request; /* to be posted at once */
	struct ibv_sge *piece;
	int count;
};

static uint64_t *word(struct appender *a, uint64_t index)
{
	return (uint64_t *)(void *)(a->verbs.memory + index * sizeof(uint64_t));
}

static unsigned char *record_of(struct appender *a, uint64_t number)
{
	return a->verbs.memory + HEADS * 4 + number % o.window * layout.place;
}

static struct ibv_send_wr *add(struct appender *a, enum what what, const void *local, uint64_t bytes, uint64_t offset)
{
	struct ibv_send_wr *r = &a->request[a->count];

	a->piece[a->count] = (struct ibv_sge){ (uintptr_t)local, (uint32_t)bytes, a->verbs.mr->lkey };
	*r = (struct ibv_send_wr){ .wr_id = what, .sg_list = &a->piece[a->count], .num_sge = 1 };
	r->opcode = what == ADD ? IBV_WR_ATOMIC_FETCH_AND_ADD : what == READ ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
	if (what == ADD) {
		r->wr.atomic.remote_addr = a->home->address + offset;
		r->wr.atomic.rkey = a->home->key;
		r->wr.atomic.compare_add = 1;
	} else {
		r->wr.rdma.remote_addr = a->home->address + offset;
		r->wr.rdma.rkey = a->home->key;
	}
	r->send_flags = what == WRITE ? 0 : IBV_SEND_SIGNALED;
	if (a->count++)
		r[-1].next = r;
	return r;
}

/* Numbers: of a ring of one's own they are at hand. */
static void ask(struct appender *a)
{
	while (!time_is_up && a->asked < (adds ? a->written : a->done) + o.window) {
		uint64_t *number = word(a, 1 + a->asked % o.window);
		if (adds)
			add(a, ADD, number, sizeof *number, TAIL);
		else
			*number = a->got++;
		a->asked++;
	}
}

static void write_records(struct appender *a)
{
	while (a->written < a->got) {
		uint64_t number = *word(a, 1 + a->written % o.window), flag = number + 1;
		unsigned char *record = record_of(a, a->written);

		if (number - a->head >= layout.places / 2 && !a->reading) {
			a->reading = true;
			add(a, READ, word(a, 0), sizeof(uint64_t), a->ring * CACHE_LINE);
		}
		if (number - a->head >= layout.places)
			return;
		memcpy(record + layout.place - sizeof flag, &flag, sizeof flag);
		struct ibv_send_wr *r = add(a, WRITE, record, layout.place, place_offset(a->ring, number));
		/* where an add follows, its completion tells that the record's memory is free */
		if (++a->written % (o.window / 4 + 1) == 0 || a->written == a->asked)
			r->send_flags = IBV_SEND_SIGNALED;
		r->wr_id = WRITE | a->written << 2;
	}
}

static void complete(struct appender *a)
{
	struct ibv_wc wc;

	while (verbs_poll(&a->verbs, &wc)) {
		enum what what = wc.wr_id & 3;
		if (what == ADD)
			a->got++;
		else if (what == WRITE)
			a->done = wc.wr_id >> 2;
		else {
			a->head = *(volatile uint64_t *)word(a, 0);
			a->reading = false;
		}
	}
}

static void append(unsigned index, void *arg)
{
	struct appender a = { .home = &shared->said[index][1], .ring = adds ? 0 : index };
	unsigned most = (unsigned)(2 * o.window + 2), spins = 0;

	pin_appender(index);
	alarm(30);
	verbs_open(&a.verbs, &devices[1], HEADS * 4 + o.window * layout.place, (int)most * 2);
	if (adds && a.verbs.limits.atomic_cap == IBV_ATOMIC_NONE)
		die(EXIT_SKIPPED, "device %s has no atomics", devices[1].name);
	a.qp = verbs_pair(&a.verbs, &shared->said[index][0], a.home, most * 2, 1, 1);
	a.request = calloc(most, sizeof *a.request);
	a.piece = calloc(most, sizeof *a.piece);
	if (!a.request || !a.piece)
		die(1, "no memory");
	for (uint64_t i = 0; i < o.window; i++)
		memcpy(record_of(&a, i), arg, o.size);
	while (!shared->begun)
		relax(&spins);
	timer_start(o.seconds);
	while (!time_is_up || a.done < a.asked) {
		a.count = 0;
		write_records(&a);
		ask(&a);
		if (!adds)
			write_records(&a);
		if (a.count)
			verbs_post(a.qp, a.request);
		complete(&a);
	}
	shared->appended[index] = a.written + 1;
	while (shared->begun) /* until the consumer has all */
		usleep(1000);
	ibv_destroy_qp(a.qp);
	verbs_close(&a.verbs);
}

/* -------------------------------------------------------------------------------------------------------------- consumer */

/* Records of this ring, up to all its places; their sum. */
static uint64_t take(struct verbs_side *s, uint64_t ring, uint64_t *number, uint64_t *sum)
{
	_Atomic uint64_t *head = (_Atomic uint64_t *)(void *)(s->memory + ring * CACHE_LINE);
	uint64_t first = *number;

	while (*number - first < layout.places) {
		unsigned char *place = s->memory + place_offset(ring, *number);
		_Atomic uint64_t *flag = (_Atomic uint64_t *)(void *)(place + layout.place - sizeof *flag);
		if (atomic_load_explicit(flag, memory_order_acquire) != *number + 1)
			break;
		*sum += read_lines(place, o.size);
		atomic_store_explicit(head, ++*number, memory_order_release);
	}
	return *number - first;
}

/* How many there will be; UINT64_MAX: somebody appends still. */
static uint64_t appended(void)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < o.appenders; i++) {
		if (!shared->appended[i])
			return UINT64_MAX;
		sum += shared->appended[i] - 1;
	}
	return sum;
}

int main(int argc, char **argv)
{
	uint64_t number[APPENDERS] = { 0 }, records = 0, sum = 0, start;
	struct ibv_qp *qp[APPENDERS];
	static struct verbs_side s;
	unsigned char *record;
	unsigned spins = 0;

	options_parse(&o, "size ring window appenders seconds mode path", argc, argv);
	if (strcmp(o.mode, "rings") && strcmp(o.mode, "fetch_add"))
		die(2, "--mode takes rings or fetch_add here");
	if (o.appenders > APPENDERS || o.window > 1024)
		die(2, "--appenders takes 1 to %d", APPENDERS);
	rdma_devices_choose(devices, o.path);
	layout_of();
	record = record_new(o.size);
	shared = shared_memory(sizeof *shared);
	for (uint64_t i = 0; i < o.appenders; i++)
		spawn(append, (unsigned)i, record);
	pin_consumer();
	alarm(30);
	verbs_open(&s, &devices[0], HEADS + layout.rings * layout.places * layout.place, 16);
	for (uint64_t i = 0; i < o.appenders; i++)
		qp[i] = verbs_pair(&s, &shared->said[i][1], &shared->said[i][0], 1, 1, 1);
	timer_start(o.seconds);
	start = now_ns();
	shared->begun = true;
	while (records != appended()) {
		uint64_t before = records;
		for (uint64_t ring = 0; ring < layout.rings; ring++)
			records += take(&s, ring, &number[ring], &sum);
		if (records != before)
			spins = 0;
		else
			relax(&spins);
	}
	uint64_t time = now_ns() - start;
	if (sum != records * read_lines(record, o.size))
		die(1, "the records that arrived are not those sent");
	shared->begun = false;
	reap((unsigned)o.appenders);
	for (uint64_t i = 0; i < o.appenders; i++)
		ibv_destroy_qp(qp[i]);
	verbs_close(&s);
	result_stream("verbs_append", &o, records, time);
	return 0;
}

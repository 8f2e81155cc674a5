/* SPDX-License-Identifier: Apache-2.0 */
/* Every row to each target over MPI, as a careful program would write it: rank 0 gathers rows into messages of --batch bytes, and --window
 * of them are on their way while the next is filled. --mode stream: a message is sent to each target (isend), which has --window receives
 * posted. --mode ibcast: rounds of MPI_Ibcast, as many begun at once. --mode bcast: MPI_Bcast, one after another. The first word of a
 * message counts its rows; the last has the END bit. */
#include "../shuffle.h"
#include "mpi_start.h"

#include <mpi.h>
#include <stdlib.h>

#define END (UINT64_C(1) << 63)

enum way { ISEND, IBCAST, BCAST };

struct slot {
	unsigned char *message; /* its first line: the count */
	MPI_Request request[PARTIES];
	int requests;
};

static struct slot *slots;
static size_t room; /* bytes of rows in a message */
static enum way way;
static int rank;

static void *array(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		die(1, "no memory for %zu times %zu bytes", count, size);
	return memory;
}

/* A full message goes, or an empty one is to come. Messages all have one size, so that no target asks what comes next. */
static void begin(struct slot *s)
{
	int bytes = (int)(CACHE_LINE + room);

	s->requests = 0;
	if (way == BCAST)
		MPI_Bcast(s->message, bytes, MPI_BYTE, 0, MPI_COMM_WORLD);
	else if (way == IBCAST)
		MPI_Ibcast(s->message, bytes, MPI_BYTE, 0, MPI_COMM_WORLD, &s->request[s->requests++]);
	else if (rank)
		MPI_Irecv(s->message, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD, &s->request[s->requests++]);
	else
		for (unsigned t = 0; t < shuffle.targets; t++)
			MPI_Isend(s->message, bytes, MPI_BYTE, (int)(1 + t), 0, MPI_COMM_WORLD, &s->request[s->requests++]);
}

static void wait_for(struct slot *s)
{
	MPI_Waitall(s->requests, s->request, MPI_STATUSES_IGNORE);
}

static struct slot *next(struct slot *s)
{
	return s + 1 == slots + shuffle.o.window ? slots : s + 1;
}

static always_inline void fill(size_t size, unsigned char *to, const unsigned char *row, size_t count)
{
	for (; count--; row += size, to += size)
		memcpy(to, row, size);
}

static void push_until_end(const struct rows *rows, struct outcome *mine)
{
	size_t size = shuffle.o.size, most = room / size, at = 0;
	uint64_t pushed = 0, end = 0;

	struct slot *s = slots;

	for (; !end; s = next(s)) {
		unsigned char *to = s->message + CACHE_LINE;
		uint64_t filled = 0;

		wait_for(s);
		end = time_is_up ? END : 0;
		for (size_t n; !end && filled < most; filled += n) {
			n = rows->count - at < most - filled ? rows->count - at : most - filled;
			WITH_SIZE(size, fill, to + filled * size, rows->data + at * size, n);
			at = at + n == rows->count ? 0 : at + n;
		}
		pushed += filled;
		filled |= end;
		memcpy(s->message, &filled, sizeof filled);
		begin(s);
	}
	for (size_t i = 1; way != BCAST && i < shuffle.o.window; i++, s = next(s)) { /* for what targets have begun beyond the end */
		wait_for(s);
		begin(s);
	}
	outcome_sent(mine, rows, pushed);
}

static void take_until_end(struct outcome *mine)
{
	uint64_t count = 0;

	for (size_t i = 0; way != BCAST && i < shuffle.o.window; i++)
		begin(slots + i);
	for (struct slot *s = slots; !(count & END); s = next(s)) {
		if (way == BCAST)
			begin(s);
		else
			wait_for(s);
		memcpy(&count, s->message, sizeof count);
		take_rows(&mine->got, s->message + CACHE_LINE, count & ~END, shuffle.o.size);
		if (way != BCAST && !(count & END))
			begin(s);
	}
	mine->end = now_ns();
}

int main(int argc, char **argv)
{
	const char *tuning[] = { "--mca", "btl_vader_eager_limit", NULL, "--mca", "btl_vader_max_send_size", NULL,
				 "--mca", "btl_tcp_eager_limit", NULL, NULL };
	static const char *const names[] = { "mpi_isend", "mpi_ibcast", "mpi_bcast" };
	struct outcome mine = { 0 }, *all = NULL;
	struct rows rows = { 0 };
	char eager[24];

	shuffle_options("transport mode batch window eager", argc, argv);
	way = !strcmp(shuffle.o.mode, "ibcast") ? IBCAST : !strcmp(shuffle.o.mode, "bcast") ? BCAST : ISEND;
	if (way == ISEND && strcmp(shuffle.o.mode, "stream"))
		die(2, "--mode takes stream, ibcast or bcast here");
	if (!shuffle.broadcast || shuffle.sources != 1 || shuffle.both)
		die(2, "one source sends every row to each target here: --dist broadcast --sources 1 --roles apart");
	room = (shuffle.o.batch / shuffle.o.size ? shuffle.o.batch / shuffle.o.size : 1) * shuffle.o.size;
	snprintf(eager, sizeof eager, "%llu", (unsigned long long)shuffle.o.eager);
	tuning[2] = tuning[5] = tuning[8] = eager;
	mpi_start(&shuffle.o, shuffle.processes, shuffle.o.eager ? tuning : NULL, argv, &rank);
	shuffle_pin((unsigned)rank);
	slots = array(shuffle.o.window, sizeof *slots);
	for (size_t i = 0; i < shuffle.o.window; i++)
		slots[i].message = record_new(CACHE_LINE + room);
	if (!rank)
		rows = rows_new(0);
	MPI_Barrier(MPI_COMM_WORLD);
	timer_start(shuffle.o.seconds);
	mine.start = now_ns();
	if (rank)
		take_until_end(&mine);
	else
		push_until_end(&rows, &mine);
	for (size_t i = 0; i < shuffle.o.window; i++)
		wait_for(slots + i);
	if (!rank)
		all = array(shuffle.processes, sizeof *all);
	MPI_Gather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, 0, MPI_COMM_WORLD);
	if (!rank)
		outcome_print(names[way], all);
	MPI_Finalize();
	return 0;
}

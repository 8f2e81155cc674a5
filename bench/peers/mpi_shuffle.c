/* SPDX-License-Identifier: Apache-2.0 */
/* A shuffle over MPI as a careful program would write it.
 * --mode stream: rows are gathered into messages of --batch bytes, two buffers for each target, so that one is filled while
 * the other is sent (isend); --window receives are posted for each source.
 * --mode alltoallv: rounds; in each a rank deals out --batch bytes of rows for each target and all exchange them. */
#include "../shuffle.h"
#include "mpi_start.h"

#include <mpi.h>
#include <stdlib.h>

enum { DATA, END };

static size_t message; /* bytes */
static int me_source, me_target;
static struct outcome mine;

static void *array(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		die(1, "no memory for %zu times %zu bytes", count, size);
	return memory;
}

static int rank_of_target(unsigned target)
{
	return (int)(shuffle.both ? target : shuffle.sources + target);
}

/* ------------------------------------------------------------------------------------------------- isend and irecv */

struct out {
	unsigned char *buffer[2], *at, *stop;
	MPI_Request request[2];
	int filling;
};

struct in { /* messages of one source match its receives in the order of posting */
	unsigned char *buffers;
	MPI_Request *requests;
	size_t next;
	bool ended;
};

static struct out outs[PARTIES];
static struct in ins[PARTIES];
static unsigned open_sources;

static void post(unsigned source, size_t slot)
{
	MPI_Irecv(ins[source].buffers + slot * message, (int)message, MPI_BYTE, (int)source, MPI_ANY_TAG, MPI_COMM_WORLD,
		  &ins[source].requests[slot]);
}

/* Takes the messages that are there; false if there is none. */
static bool take_ready(void)
{
	bool any = false;

	for (unsigned s = 0; me_target >= 0 && s < shuffle.sources; s++) {
		struct in *in = &ins[s];
		MPI_Status status;
		int there = 1, bytes;

		while (!in->ended) {
			MPI_Test(&in->requests[in->next], &there, &status);
			if (!there)
				break;
			any = true;
			MPI_Get_count(&status, MPI_BYTE, &bytes);
			take_rows(&mine.got, in->buffers + in->next * message, (size_t)bytes / shuffle.o.size,
				  shuffle.o.size);
			if (status.MPI_TAG == END) {
				in->ended = true;
				open_sources--;
			} else {
				post(s, in->next);
				in->next = in->next + 1 == shuffle.o.window ? 0 : in->next + 1;
			}
		}
	}
	return any;
}

static void wait_or_take(unsigned *spins)
{
	if (take_ready())
		*spins = 0;
	else if (shuffle.crowded && shuffle.both) /* MPI_Test is rest enough elsewhere */
		shuffle_relax(spins);
}

static void wait_for(MPI_Request *request)
{
	int done = 0;

	if (me_target < 0) {
		MPI_Wait(request, MPI_STATUS_IGNORE);
		return;
	}
	for (unsigned spins = 0; MPI_Test(request, &done, MPI_STATUS_IGNORE), !done;)
		wait_or_take(&spins);
}

static void send_buffer(unsigned target, int tag)
{
	struct out *out = &outs[target];

	MPI_Isend(out->buffer[out->filling], (int)(out->at - out->buffer[out->filling]), MPI_BYTE,
		  rank_of_target(target), tag, MPI_COMM_WORLD, &out->request[out->filling]);
	out->filling ^= 1;
	wait_for(&out->request[out->filling]);
	out->at = out->buffer[out->filling];
	out->stop = out->at + message;
}

static always_inline void push_rows(size_t size, const unsigned char *row, size_t count)
{
	for (; count--; row += size) {
		unsigned target = row_target(row, shuffle.targets);
		struct out *out = &outs[target];

		memcpy(out->at, row, size);
		out->at += size;
		if (__builtin_expect(out->at == out->stop, 0))
			send_buffer(target, DATA);
	}
}

static uint64_t push_until_end(const struct rows *rows)
{
	size_t look = rows_per_look(), at = 0;
	uint64_t pushed = 0;

	for (unsigned looks = 1; !time_is_up; looks++) {
		size_t count = rows->count - at < look ? rows->count - at : look;

		WITH_SIZE(shuffle.o.size, push_rows, rows->data + at * shuffle.o.size, count);
		pushed += count;
		at = at + count == rows->count ? 0 : at + count;
		if (shuffle.both && looks % 8 == 0)
			take_ready();
	}
	for (unsigned t = 0; t < shuffle.targets; t++)
		send_buffer(t, END);
	for (unsigned t = 0; t < shuffle.targets; t++)
		wait_for(&outs[t].request[outs[t].filling ^ 1]);
	return pushed;
}

static void stream_open(void)
{
	for (unsigned t = 0; me_source >= 0 && t < shuffle.targets; t++) {
		struct out *out = &outs[t];

		for (int b = 0; b < 2; b++) {
			out->buffer[b] = record_new(message);
			out->request[b] = MPI_REQUEST_NULL;
		}
		out->at = out->buffer[0];
		out->stop = out->at + message;
	}
	for (unsigned s = 0; me_target >= 0 && s < shuffle.sources; s++) {
		ins[s].buffers = record_new(shuffle.o.window * message);
		ins[s].requests = array(shuffle.o.window, sizeof(MPI_Request));
		for (size_t slot = 0; slot < shuffle.o.window; slot++)
			post(s, slot);
		open_sources++;
	}
}

static void stream(const struct rows *rows)
{
	uint64_t pushed = 0;

	if (me_source >= 0)
		pushed = push_until_end(rows);
	for (unsigned spins = 0; open_sources;)
		wait_or_take(&spins);
	mine.end = now_ns();
	for (unsigned s = 0; me_target >= 0 && s < shuffle.sources; s++)
		for (size_t slot = 0; slot < shuffle.o.window; slot++)
			if (ins[s].requests[slot] != MPI_REQUEST_NULL) {
				MPI_Cancel(&ins[s].requests[slot]);
				MPI_Wait(&ins[s].requests[slot], MPI_STATUS_IGNORE);
			}
	if (me_source >= 0)
		outcome_sent(&mine, rows, pushed);
}

/* ------------------------------------------------------------------------------------------------------- alltoallv */

struct round { /* what a rank tells each other one before a round */
	int bytes, over;
};

struct exchange { /* by rank */
	struct round out[PARTIES], in[PARTIES];
	int to[PARTIES], sizes[PARTIES], from[PARTIES], received[PARTIES];
	unsigned char *sent, *got;
	size_t got_room;
	uint16_t *part;
};

static always_inline void deal_rows(size_t size, const unsigned char *row, size_t count, const uint16_t *part,
				    unsigned char **at)
{
	for (size_t i = 0; i < count; i++, row += size) {
		memcpy(at[part[i]], row, size);
		at[part[i]] += size;
	}
}

/* Counts first, then copies each row to its place. */
static void deal(struct exchange *x, const unsigned char *row, size_t count)
{
	size_t size = shuffle.o.size;
	unsigned char *at[PARTIES], *next = x->sent;
	size_t counts[PARTIES] = { 0 };

	for (size_t i = 0; i < count; i++)
		counts[x->part[i] = (uint16_t)row_target(row + i * size, shuffle.targets)]++;
	for (unsigned t = 0; t < shuffle.targets; t++) {
		int rank = rank_of_target(t);

		at[t] = next;
		x->to[rank] = (int)(next - x->sent);
		x->out[rank].bytes = x->sizes[rank] = (int)(counts[t] * size);
		next += counts[t] * size;
	}
	WITH_SIZE(size, deal_rows, row, count, x->part, at);
}

static void take_exchanged(struct exchange *x)
{
	size_t all = 0;

	for (unsigned r = 0; r < shuffle.processes; r++) {
		x->from[r] = (int)all;
		x->received[r] = x->in[r].bytes;
		all += (size_t)x->in[r].bytes;
	}
	if (all > x->got_room) { /* seldom: the rounds' sizes vary little */
		free(x->got);
		x->got_room = all + all / 4;
		x->got = record_new(x->got_room);
	}
	MPI_Alltoallv(x->sent, x->sizes, x->to, MPI_BYTE, x->got, x->received, x->from, MPI_BYTE, MPI_COMM_WORLD);
	take_rows(&mine.got, x->got, all / shuffle.o.size, shuffle.o.size);
}

static void alltoallv(const struct rows *rows)
{
	size_t size = shuffle.o.size, most = message / size * shuffle.targets, at = 0, over = 0;
	struct exchange *x = array(1, sizeof *x);
	uint64_t pushed = 0;

	x->sent = record_new(most * size);
	x->part = array(most, sizeof *x->part);
	while (over < shuffle.sources) { /* a source that is over goes on with empty rounds */
		size_t count = me_source < 0 || time_is_up ? 0 : rows->count - at < most ? rows->count - at : most;

		deal(x, count ? rows->data + at * size : NULL, count);
		for (unsigned r = 0; r < shuffle.processes; r++)
			x->out[r].over = me_source >= 0 && !count;
		pushed += count;
		at = at + count == rows->count ? 0 : at + count;
		MPI_Alltoall(x->out, 2, MPI_INT, x->in, 2, MPI_INT, MPI_COMM_WORLD);
		over = 0;
		for (unsigned r = 0; r < shuffle.processes; r++)
			over += (unsigned)x->in[r].over;
		take_exchanged(x);
	}
	mine.end = now_ns();
	if (me_source >= 0)
		outcome_sent(&mine, rows, pushed);
	free(x->sent);
	free(x->got);
	free(x->part);
	free(x);
}

int main(int argc, char **argv)
{
	const char *tuning[] = { "--mca", "btl_vader_eager_limit", NULL, "--mca", "btl_vader_max_send_size", NULL,
				 "--mca", "btl_tcp_eager_limit", NULL, NULL };
	struct outcome *all = NULL;
	struct rows rows = { 0 };
	char eager[24];
	bool rounds;
	int rank;

	shuffle_options("transport mode batch window eager", argc, argv);
	rounds = !strcmp(shuffle.o.mode, "alltoallv");
	if (!rounds && strcmp(shuffle.o.mode, "stream"))
		die(2, "--mode takes stream or alltoallv here");
	if (shuffle.broadcast)
		die(2, "--dist takes hash here");
	message = shuffle.o.batch / shuffle.o.size ? shuffle.o.batch / shuffle.o.size * shuffle.o.size : shuffle.o.size;
	snprintf(eager, sizeof eager, "%llu", (unsigned long long)shuffle.o.eager);
	tuning[2] = tuning[5] = tuning[8] = eager;
	mpi_start(&shuffle.o, shuffle.processes, shuffle.o.eager ? tuning : NULL, argv, &rank);
	me_source = source_of((unsigned)rank);
	me_target = target_of((unsigned)rank);
	shuffle_pin((unsigned)rank);
	if (me_source >= 0)
		rows = rows_new((unsigned)me_source);
	if (!rounds)
		stream_open();
	MPI_Barrier(MPI_COMM_WORLD);
	timer_start(shuffle.o.seconds);
	mine.start = now_ns();
	if (rounds)
		alltoallv(&rows);
	else
		stream(&rows);
	if (!rank)
		all = array(shuffle.processes, sizeof *all);
	MPI_Gather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, 0, MPI_COMM_WORLD);
	if (!rank)
		outcome_print(rounds ? "mpi_alltoallv" : "mpi", all);
	MPI_Finalize();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The join over MPI as a careful program would write it: rows are gathered into messages of --batch bytes, two buffers for each
 * rank, so that one is filled while the other is sent (isend); --window receives are posted for each rank. What a rank has for
 * itself is not sent. */
#include "../join.h"
#include "../shuffle.h"
#include "mpi_start.h"

#include <mpi.h>
#include <stdlib.h>

enum { DATA, END };

static struct options o;
static int me;
static unsigned ranks;
static size_t message;

typedef void take_function(struct join_table *t, const void *rows, size_t bytes);

struct out {
	unsigned char *buffer[2];
	size_t filled;
	MPI_Request request[2];
	int filling;
};
struct in {
	unsigned char *buffers;
	MPI_Request *requests;
	size_t next;
	bool ended;
};
static struct out outs[PARTIES];
static struct in ins[PARTIES];

static void take_orders(struct join_table *t, const void *rows, size_t bytes)
{
	join_keep(t, rows, bytes / sizeof(struct join_order));
}

static void take_items(struct join_table *t, const void *rows, size_t bytes)
{
	join_probe(t, rows, bytes / sizeof(struct join_item));
}

static void post(unsigned rank, size_t slot)
{
	MPI_Irecv(ins[rank].buffers + slot * message, (int)message, MPI_BYTE, (int)rank, MPI_ANY_TAG, MPI_COMM_WORLD, &ins[rank].requests[slot]);
}

/* Takes the messages that are there; how many ranks have more to send. */
static unsigned take_ready(take_function *take, struct join_table *t)
{
	unsigned open = 0;

	for (unsigned r = 0; r < ranks; r++) {
		struct in *in = &ins[r];
		MPI_Status status;
		int there = 1, bytes;

		if (r == (unsigned)me)
			continue;
		while (!in->ended) {
			MPI_Test(&in->requests[in->next], &there, &status);
			if (!there)
				break;
			MPI_Get_count(&status, MPI_BYTE, &bytes);
			take(t, in->buffers + in->next * message, (size_t)bytes);
			in->ended = status.MPI_TAG == END;
			post(r, in->next); /* the next table's, after the end */
			in->next = in->next + 1 == o.window ? 0 : in->next + 1;
		}
		open += !in->ended;
	}
	return open;
}

static void send_buffer(unsigned rank, int tag, take_function *take, struct join_table *t)
{
	struct out *out = &outs[rank];
	int done;

	if (rank == (unsigned)me) {
		take(t, out->buffer[0], out->filled);
	} else {
		MPI_Isend(out->buffer[out->filling], (int)out->filled, MPI_BYTE, (int)rank, tag, MPI_COMM_WORLD, &out->request[out->filling]);
		out->filling ^= 1;
		while (MPI_Test(&out->request[out->filling], &done, MPI_STATUS_IGNORE), !done)
			take_ready(take, t);
	}
	out->filled = 0;
}

static always_inline void move(size_t size, const void *rows, size_t count, take_function *take, struct join_table *t)
{
	const unsigned char *row = rows;

	for (unsigned r = 0; r < ranks; r++)
		ins[r].ended = r == (unsigned)me;
	for (size_t i = 0; i < count; i++, row += size) {
		unsigned rank = row_target(row, ranks);
		struct out *out = &outs[rank];

		memcpy(out->buffer[out->filling] + out->filled, row, size);
		out->filled += size;
		if (__builtin_expect(out->filled + size > message, 0))
			send_buffer(rank, DATA, take, t);
		if (i % 2048 == 2047)
			take_ready(take, t);
	}
	for (unsigned r = 0; r < ranks; r++)
		send_buffer(r, END, take, t);
	while (take_ready(take, t))
		;
}

static void open_ways(void)
{
	for (unsigned r = 0; r < ranks; r++) {
		for (int b = 0; b < 2; b++) {
			outs[r].buffer[b] = record_new(message);
			outs[r].request[b] = MPI_REQUEST_NULL;
		}
		ins[r].buffers = record_new(o.window * message);
		ins[r].requests = calloc(o.window, sizeof(MPI_Request));
		if (!ins[r].requests)
			die(1, "no memory for %llu requests", (unsigned long long)o.window);
		for (size_t slot = 0; r != (unsigned)me && slot < o.window; slot++)
			post(r, slot);
	}
}

static void close_ways(void)
{
	for (unsigned r = 0; r < ranks; r++)
		for (size_t slot = 0; r != (unsigned)me && slot < o.window; slot++) {
			MPI_Cancel(&ins[r].requests[slot]);
			MPI_Wait(&ins[r].requests[slot], MPI_STATUS_IGNORE);
		}
	for (unsigned r = 0; r < ranks; r++)
		MPI_Waitall(2, outs[r].request, MPI_STATUSES_IGNORE);
}

int main(int argc, char **argv)
{
	const char *tuning[] = { "--mca", "btl_vader_eager_limit", NULL, "--mca", "btl_vader_max_send_size", NULL, NULL };
	struct join_outcome mine, *all = NULL;
	struct join_table t = { 0 };
	struct share s;
	char eager[24];

	options_parse(&o, "transport processes scale batch window eager", argc, argv);
	message = o.batch ? o.batch : 65536;
	ranks = (unsigned)o.processes;
	snprintf(eager, sizeof eager, "%llu", (unsigned long long)o.eager);
	tuning[2] = tuning[5] = eager;
	mpi_start(&o, ranks, o.eager ? tuning : NULL, argv, &me);
	pin_core((unsigned)me);
	s = share_new(o.scale, (unsigned)me, ranks);
	mine.want = share_answer(&s);
	open_ways();
	MPI_Barrier(MPI_COMM_WORLD);
	mine.start = now_ns();
	move(sizeof *s.orders, s.orders, s.order_count, take_orders, &t);
	join_build(&t);
	move(sizeof *s.items, s.items, s.item_count, take_items, &t);
	mine.end = now_ns();
	mine.got = t.answer;
	close_ways();
	if (!me && !(all = calloc(ranks, sizeof *all)))
		die(1, "no memory for the answers of %u ranks", ranks);
	MPI_Gather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, 0, MPI_COMM_WORLD);
	if (!me)
		join_print("mpi", &o, all, ranks);
	MPI_Finalize();
	return 0;
}

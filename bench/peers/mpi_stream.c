/* SPDX-License-Identifier: Apache-2.0 */
/* A stream over MPI as a careful program would write it: isend and irecv with --window messages in flight; records are
 * packed by hand into messages of --batch bytes, or sent one by one with --batch 0. Rank 0 receives from all others. */
#include "../process.h"
#include "mpi_start.h"

#include <mpi.h>
#include <stdlib.h>

enum { DATA, END };

static struct options o;
static size_t message; /* bytes */

static void produce(unsigned char *buffers, MPI_Request *requests)
{
	const unsigned char *record = record_new(o.size);

	for (size_t slot = 0; !time_is_up; slot = slot + 1 == o.window ? 0 : slot + 1) {
		unsigned char *buffer = buffers + slot * message;

		MPI_Wait(&requests[slot], MPI_STATUS_IGNORE);
		if (o.size == 64) /* a program that knows its record lets the compiler copy it */
			for (size_t at = 0; at < message; at += 64)
				memcpy(buffer + at, record, 64);
		else
			for (size_t at = 0; at < message; at += o.size)
				memcpy(buffer + at, record, o.size);
		MPI_Isend(buffer, (int)message, MPI_BYTE, 0, DATA, MPI_COMM_WORLD, &requests[slot]);
	}
	MPI_Waitall((int)o.window, requests, MPI_STATUSES_IGNORE);
	MPI_Send(NULL, 0, MPI_BYTE, 0, END, MPI_COMM_WORLD);
}

static void post(unsigned char *buffers, MPI_Request *requests, size_t slot)
{
	MPI_Irecv(buffers + slot * message, (int)message, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &requests[slot]);
}

/* Messages match receives in the order of posting, so waiting in that order sees each appender's END last. The clock starts
 * at the barrier, not at the first message: one MPI_Wait may take in far more than the message it returns. */
static void consume(unsigned char *buffers, MPI_Request *requests)
{
	uint64_t messages = 0, sum = 0, start = now_ns(), end;
	unsigned open = (unsigned)o.appenders;
	MPI_Status status;

	for (size_t slot = 0; slot < o.window; slot++)
		post(buffers, requests, slot);
	for (size_t slot = 0; open; slot = slot + 1 == o.window ? 0 : slot + 1) {
		MPI_Wait(&requests[slot], &status);
		if (status.MPI_TAG == END) {
			open--;
		} else {
			for (const unsigned char *p = buffers + slot * message, *last = p + message; p < last; p += o.size)
				sum += read_lines(p, o.size);
			messages++;
		}
		post(buffers, requests, slot);
	}
	end = now_ns();
	for (size_t slot = 0; slot < o.window; slot++) {
		MPI_Cancel(&requests[slot]);
		MPI_Wait(&requests[slot], MPI_STATUS_IGNORE);
	}
	keep(sum);
	result_stream("mpi", &o, messages * (message / o.size), end - start);
}

int main(int argc, char **argv)
{
	const char *tuning[] = { "--mca", "btl_vader_eager_limit", NULL, "--mca", "btl_vader_max_send_size", NULL,
				 "--mca", "btl_tcp_eager_limit", NULL, NULL };
	char eager[24];
	MPI_Request *requests;
	unsigned char *buffers;
	int rank;

	options_parse(&o, "size seconds appenders batch window eager transport", argc, argv);
	message = o.batch / o.size ? o.batch / o.size * o.size : o.size;
	snprintf(eager, sizeof eager, "%llu", (unsigned long long)o.eager);
	tuning[2] = tuning[5] = tuning[8] = eager;
	mpi_start(&o, (unsigned)o.appenders + 1, o.eager ? tuning : NULL, argv, &rank);
	requests = malloc(o.window * sizeof *requests);
	buffers = record_new(o.window * message);
	if (!requests)
		die(1, "no memory for %llu requests", (unsigned long long)o.window);
	for (size_t slot = 0; slot < o.window; slot++)
		requests[slot] = MPI_REQUEST_NULL;
	MPI_Barrier(MPI_COMM_WORLD);
	timer_start(o.seconds);
	if (rank)
		produce(buffers, requests);
	else
		consume(buffers, requests);
	MPI_Finalize();
	free(buffers);
	free(requests);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* MPI ping-pong between two ranks by blocking calls, which spin: the fastest way for small messages. */
#include "../latency.h"
#include "../process.h"
#include "mpi_start.h"

#include <mpi.h>

enum { DATA, END };

static struct options o;

static void round_trip(void *buffer)
{
	MPI_Send(buffer, (int)o.size, MPI_BYTE, 1, DATA, MPI_COMM_WORLD);
	MPI_Recv(buffer, (int)o.size, MPI_BYTE, 1, DATA, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void echo(void *buffer)
{
	MPI_Status status;

	for (;;) {
		MPI_Recv(buffer, (int)o.size, MPI_BYTE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
		if (status.MPI_TAG == END)
			return;
		MPI_Send(buffer, (int)o.size, MPI_BYTE, 0, DATA, MPI_COMM_WORLD);
	}
}

int main(int argc, char **argv)
{
	unsigned char *buffer;
	int rank;

	options_parse(&o, "size seconds mode transport", argc, argv);
	if (strcmp(o.mode, "spin"))
		die(2, "MPI waits by spinning: --mode spin");
	mpi_start(&o, 2, NULL, argv, &rank);
	buffer = record_new(o.size);
	timer_start(o.seconds); /* only for the process's own deadline */
	if (rank) {
		echo(buffer);
	} else {
		latency_run("mpi", &o, round_trip, buffer);
		MPI_Send(NULL, 0, MPI_BYTE, 1, END, MPI_COMM_WORLD);
	}
	MPI_Finalize();
	return 0;
}

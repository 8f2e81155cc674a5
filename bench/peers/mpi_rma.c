/* SPDX-License-Identifier: Apache-2.0 */
/* Append by one-sided MPI: reserve room by fetch-and-op on a counter at rank 0, put the record there, flush, then publish
 * its sequence number. A message is one record, or --batch bytes of records packed by hand. */
#include "../process.h"
#include "mpi_start.h"

#include <mpi.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Rank 0's window: two counters on lines of their own, then slots of a sequence number and a message. */
enum { RESERVED = 0, CONSUMED = 2 * CACHE_LINE, SLOTS = 4 * CACHE_LINE };

static struct options o;
static size_t message, stride, slots; /* bytes, bytes, a count */
static MPI_Win window;

static MPI_Aint slot_of(uint64_t sequence)
{
	return (MPI_Aint)(SLOTS + sequence % slots * stride);
}

static uint64_t fetch(MPI_Aint at, uint64_t operand, MPI_Op op)
{
	uint64_t value;

	MPI_Fetch_and_op(&operand, &value, MPI_UINT64_T, 0, at, op, window);
	MPI_Win_flush(0, window);
	return value;
}

static void produce(void)
{
	const unsigned char *record = record_new(o.size);
	unsigned char *packed = record_new(message);
	uint64_t consumed = 0;

	while (!time_is_up) {
		uint64_t sequence = fetch(RESERVED, 1, MPI_SUM), published = sequence + 1;

		for (unsigned spins = 0; sequence - consumed >= slots && sequence >= consumed; relax(&spins))
			consumed = fetch(CONSUMED, 0, MPI_NO_OP);
		for (size_t at = 0; at < message; at += o.size)
			memcpy(packed + at, record, o.size);
		MPI_Put(packed, (int)message, MPI_BYTE, 0, slot_of(sequence) + CACHE_LINE, (int)message, MPI_BYTE, window);
		MPI_Win_flush(0, window);
		MPI_Accumulate(&published, 1, MPI_UINT64_T, 0, slot_of(sequence), 1, MPI_UINT64_T, MPI_REPLACE, window);
		MPI_Win_flush(0, window);
	}
}

/* Consumes until all appenders have entered the barrier and all they reserved has been seen. */
static void consume(unsigned char *base)
{
	uint64_t next = 0, sum = 0, start = now_ns(), end;
	_Atomic uint64_t *credit = (_Atomic uint64_t *)(void *)(base + CONSUMED);
	_Atomic uint64_t *reserved = (_Atomic uint64_t *)(void *)(base + RESERVED);
	MPI_Request barrier;
	int over = 0;

	MPI_Ibarrier(MPI_COMM_WORLD, &barrier);
	for (unsigned idle = 0;;) {
		unsigned char *slot = base + slot_of(next);

		/* unified memory model: an atomic load of the window sees what was accumulated */
		if (atomic_load_explicit((_Atomic uint64_t *)(void *)slot, memory_order_acquire) != next + 1) {
			if (over && next == atomic_load(reserved))
				break;
			if (++idle % 16 == 0) /* over tcp, the puts land only inside MPI */
				MPI_Test(&barrier, &over, MPI_STATUS_IGNORE);
			continue;
		}
		for (size_t at = 0; at < message; at += o.size)
			sum += read_lines(slot + CACHE_LINE + at, o.size);
		if (++next % (slots / 4) == 0)
			atomic_store_explicit(credit, next, memory_order_release);
	}
	end = now_ns();
	keep(sum);
	result_stream("mpi_rma", &o, next * (message / o.size), end - start);
}

int main(int argc, char **argv)
{
	/* left to itself, a window on one host is shared memory even where tcp was asked for */
	static const char *const shm[] = { "--mca", "osc", "sm", NULL }, *const tcp[] = { "--mca", "osc", "pt2pt", NULL };
	unsigned char *base;
	int rank;

	options_parse(&o, "size ring seconds appenders batch transport", argc, argv);
	message = o.batch / o.size ? o.batch / o.size * o.size : o.size;
	stride = CACHE_LINE + (message + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	slots = o.ring * o.appenders / stride; /* one ring for all, as large as their private ones together */
	if (slots < 4)
		die(2, "the ring holds less than four messages");
	mpi_start(&o, (unsigned)o.appenders + 1, strcmp(o.transport, "tcp") ? shm : tcp, argv, &rank);
	MPI_Win_allocate(rank ? 0 : (MPI_Aint)(SLOTS + slots * stride), 1, MPI_INFO_NULL, MPI_COMM_WORLD, &base, &window);
	if (!rank)
		memset(base, 0, SLOTS + slots * stride);
	MPI_Win_lock_all(MPI_MODE_NOCHECK, window);
	MPI_Win_sync(window);
	MPI_Barrier(MPI_COMM_WORLD);
	timer_start(o.seconds);
	if (rank) {
		MPI_Request barrier;

		produce();
		MPI_Ibarrier(MPI_COMM_WORLD, &barrier);
		MPI_Wait(&barrier, MPI_STATUS_IGNORE);
	} else {
		consume(base);
	}
	MPI_Win_unlock_all(window);
	MPI_Win_free(&window);
	MPI_Finalize();
	return 0;
}

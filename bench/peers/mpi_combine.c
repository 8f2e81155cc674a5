/* SPDX-License-Identifier: Apache-2.0 */
/* Sums by key of the rows of --sources ranks at rank 0, by MPI, as careful programs would write it. --method hash: any keys; each rank adds
 * its rows up in a hash table and sends what is in it (gatherv), of which rank 0 makes one table. --method radix: a key is a place in
 * an array that every rank has, so there is neither a table nor a key that travels: MPI_Reduce of the arrays.
 * As in dpi_group_by: rows of 16 B in memory, the same number of the same keys, drawn at random; rank 0 is source and target; the clock runs
 * from the first rank's beginning to the last result. Not so, all in favour of this side: its tables are made for as many groups as there will be, ours
 * grow; its sums wrap at 64 bits, ours are of 128 and looked at for overflow; 16 B travel for a group of a rank, 24 B of ours; ranks are bound to
 * cores, ours go where the kernel puts them; no other rank is told of the end. */
#include "../process.h"
#include "mpi_start.h"

#include <mpi.h>
#include <stdlib.h>

struct row {
	int64_t key, value;
};

static struct options o;

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
	return *state;
}

static void *array(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		die(1, "no memory for %zu times %zu bytes", count, size);
	return memory;
}

/* ------------------------------------------------------------------------------------------------------- any keys */

struct table {
	struct row *slot; /* key 0: none */
	unsigned shift;
	size_t slots;
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static struct table table_new(void)
{
	struct table t = { .shift = 63, .slots = 2 };

	for (; t.slots < 2 * o.groups; t.slots *= 2)
		t.shift--;
	t.slot = array(t.slots, sizeof *t.slot);
	return t;
}

static void add(struct table *t, const struct row *row, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t at = (uint64_t)row[i].key * 0x9e3779b97f4a7c15 >> t->shift;

		while (t->slot[at].key && t->slot[at].key != row[i].key)
			at = at + 1 == t->slots ? 0 : at + 1;
		t->slot[at].key = row[i].key;
		t->slot[at].value += row[i].value;
	}
}

static size_t pack(const struct table *t, struct row *to)
{
	size_t n = 0;

	for (size_t i = 0; i < t->slots; i++)
		if (t->slot[i].key)
			to[n++] = t->slot[i];
	return n;
}

static int64_t combine_any(const struct row *row, size_t count, int rank)
{
	static struct table mine, whole;
	static struct row *packed, *all;
	int bytes, sizes[64], at[64], sum = 0;
	int64_t got = 0;

	if (!packed) {
		mine = table_new(), whole = table_new();
		packed = array(o.groups, sizeof *packed), all = array(o.groups * o.sources, sizeof *all);
	}
	memset(mine.slot, 0, mine.slots * sizeof *mine.slot);
	add(&mine, row, count);
	bytes = (int)(pack(&mine, packed) * sizeof *packed);
	MPI_Gather(&bytes, 1, MPI_INT, sizes, 1, MPI_INT, 0, MPI_COMM_WORLD);
	for (size_t r = 0; !rank && r < o.sources; r++)
		at[r] = sum, sum += sizes[r];
	MPI_Gatherv(packed, bytes, MPI_BYTE, all, sizes, at, MPI_BYTE, 0, MPI_COMM_WORLD);
	if (!rank) {
		memset(whole.slot, 0, whole.slots * sizeof *whole.slot);
		add(&whole, all, (size_t)sum / sizeof *all);
		for (size_t i = 0; i < whole.slots; i++)
			got += whole.slot[i].value;
	}
	return got;
}

/* ------------------------------------------------------------------------------------------------ keys that are places */

static int64_t combine_places(const struct row *row, size_t count, int rank)
{
	static int64_t *mine, *whole;
	int64_t got = 0;

	if (!mine)
		mine = array(o.groups, sizeof *mine), whole = array(o.groups, sizeof *whole);
	memset(mine, 0, o.groups * sizeof *mine);
	for (size_t i = 0; i < count; i++)
		mine[row[i].key] += row[i].value;
	MPI_Reduce(mine, whole, (int)o.groups, MPI_INT64_T, MPI_SUM, 0, MPI_COMM_WORLD);
	for (size_t g = 0; !rank && g < o.groups; g++)
		got += whole[g];
	return got;
}

int main(int argc, char **argv)
{
	int64_t expected = 0, wanted = 0, got = 0;
	uint64_t rounds = 0, ns = 0, start, end, first, state;
	bool any;
	int rank, goes_on = 1;
	struct row *row;
	size_t count;

	options_parse(&o, "transport sources groups footprint method seconds", argc, argv);
	any = !strcmp(o.method, "hash");
	if (!any && strcmp(o.method, "radix"))
		die(2, "--method takes hash or radix here");
	mpi_start(&o, (unsigned)o.sources, NULL, argv, &rank);
	pin_core((unsigned)rank);
	count = o.footprint / sizeof *row / o.sources;
	row = array(count, sizeof *row);
	state = 88172645463325252u + (uint64_t)rank * 0x9e3779b97f4a7c15;
	for (size_t i = 0; i < count; i++) {
		uint64_t group = draw(&state) % o.groups;
		row[i] = (struct row){ (int64_t)(any ? mix(group + 1) : group), (int64_t)(draw(&state) >> 40) };
		expected += row[i].value;
	}
	timer_start(o.seconds);
	for (; goes_on; rounds++) {
		MPI_Barrier(MPI_COMM_WORLD);
		start = now_ns();
		got = (any ? combine_any : combine_places)(row, count, rank);
		end = now_ns();
		MPI_Reduce(&start, &first, 1, MPI_UINT64_T, MPI_MIN, 0, MPI_COMM_WORLD); /* some may begin before rank 0 runs */
		ns += rank ? 0 : end - first;
		goes_on = !time_is_up;
		MPI_Bcast(&goes_on, 1, MPI_INT, 0, MPI_COMM_WORLD);
	}
	MPI_Reduce(&expected, &wanted, 1, MPI_INT64_T, MPI_SUM, 0, MPI_COMM_WORLD);
	if (!rank) {
		double rows = (double)(count * o.sources * rounds);

		if (got != wanted)
			die(1, "the sums are wrong");
		result_print("group_by", any ? "mpi_gather" : "mpi_reduce", &o,
			     (struct metric[]){ { "records_per_s", rows / ((double)ns * 1e-9) }, { "ms", (double)ns * 1e-6 / (double)rounds }, { NULL, 0 } });
	}
	MPI_Finalize();
	return 0;
}

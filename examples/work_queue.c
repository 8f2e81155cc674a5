/* SPDX-License-Identifier: Apache-2.0
 * work_queue.c: processes share work by fetch-and-add on one counter: whoever is free takes the next piece. Here they
 * count the primes below LIMIT, piece by piece, and append each piece's count to a queue of node 0.
 *
 *	dpirun -n 4 build/examples/work_queue
 */
#include "check.h"

#define LIMIT 2000000u
#define PIECE 10000u /* numbers in a piece */
#define PIECES (LIMIT / PIECE)

struct result {
	uint32_t piece, node, primes;
};

static uint32_t count_primes(uint32_t from, uint32_t to)
{
	uint32_t primes = 0;

	for (uint32_t n = from < 2 ? 2 : from; n < to; n++) {
		uint32_t divisor = 2;
		while (divisor * divisor <= n && n % divisor)
			divisor++;
		primes += divisor * divisor > n;
	}
	return primes;
}

static void work(uint32_t node, DPI_Buffer counter, DPI_Buffer results)
{
	for (;;) {
		uint64_t piece; /* the counter before: no two processes see the same */

		CHECK(DPI_Fetch_Add(0, 1, counter, &piece));
		if (piece >= PIECES)
			break;
		uint32_t from = (uint32_t)piece * PIECE;
		struct result r = { (uint32_t)piece, node, count_primes(from, from + PIECE) };
		CHECK(DPI_Append(&r, sizeof r, results));
	}
	CHECK(DPI_Flush_Buffer(results));
}

/* Another way to the same answer, in one process: the sieve of Eratosthenes. */
static uint32_t sieve(void)
{
	char *composite = calloc(LIMIT, 1);
	uint32_t primes = 0;

	if (!composite)
		return 0;
	for (uint32_t n = 2; n < LIMIT; n++) {
		primes += !composite[n];
		for (uint64_t multiple = (uint64_t)n * n; !composite[n] && multiple < LIMIT; multiple += n)
			composite[multiple] = 1;
	}
	free(composite);
	return primes;
}

/* Every piece once, in whatever order. Returns whether the sum is right. */
static int gather(int nodes, DPI_Buffer results)
{
	uint32_t *pieces_of = calloc((size_t)nodes, sizeof *pieces_of), primes = 0, right = sieve();
	unsigned char seen[PIECES] = { 0 };
	int once = 1;

	for (uint32_t i = 0; pieces_of && i < PIECES; i++) {
		DPI_Record record;
		struct result r;

		CHECK(DPI_Next_Record(results, &record));
		r = *(const struct result *)record.data; /* records lie at multiples of 8 */
		primes += r.primes;
		pieces_of[r.node]++;
		once &= !seen[r.piece]++;
	}
	for (int node = 0; pieces_of && node < nodes; node++)
		printf("node %d did %u of %u pieces\n", node, pieces_of[node], PIECES);
	printf("%u primes below %u; answer checked: %s\n", primes, LIMIT, primes == right && once ? "ok" : "WRONG");
	free(pieces_of);
	return primes == right && once;
}

int main(void)
{
	DPI_Context ctx;
	DPI_Buffer counter, results;
	DPI_Buffer_Attr region = DPI_BUFFER_ATTR_INIT, queue = DPI_BUFFER_ATTR_INIT;
	int node, nodes, well = 1;

	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));

	/* A region is zeroed memory: here the one word that counts pieces. */
	region.use = DPI_USE_REGION;
	region.capacity = sizeof(uint64_t);
	region.create = DPI_CREATE_OR_OPEN;
	CHECK(DPI_Create_Buffer("counter", 0, &region, ctx, &counter));
	queue.create = DPI_CREATE_OR_OPEN;
	CHECK(DPI_Create_Buffer("results", 0, &queue, ctx, &results));

	CHECK(DPI_Barrier("start", (uint32_t)nodes, 0, ctx)); /* a fair start, so that all of them get some */
	work((uint32_t)node, counter, results);
	if (node == 0)
		well = gather(nodes, results);

	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	return well ? 0 : 1;
}

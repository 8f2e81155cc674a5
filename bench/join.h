/* SPDX-License-Identifier: Apache-2.0 */
/* What every join program shares: the tables, a hash join in one process, and the answer that is checked.
 *   select count(*), sum(l_extendedprice), sum(o_totalprice) from orders join lineitem on o_orderkey = l_orderkey
 * of TPC-H of scale factor --scale, both tables in memory before the clock starts. The join makes no use of keys being dense or
 * unique. With --select only so large a share of the orders is in the table. --processes processes have an equal share of each table. */
#ifndef BENCH_JOIN_H
#define BENCH_JOIN_H

#include "common.h"
#include "process.h"

struct join_order {
	int64_t key, total;
	int64_t date;
};
struct join_item {
	int64_t key, price;
	int32_t discount, ship_date;
};

struct share {
	struct join_order *orders;
	struct join_item *items;
	size_t order_count, item_count;
};
struct share share_new(double scale, unsigned process, unsigned processes);

/* Keep about so many of the orders: the lines of the others find none. */
void share_select(struct share *s, double fraction);

struct answer {
	uint64_t rows;
	int64_t price, total;
};
/* What a share's rows must join to, wherever they go. */
struct answer share_answer(const struct share *s);
void answer_add(struct answer *to, const struct answer *a);

/* A hash table with open addressing; of one key there may be many. */
struct join_table {
	struct join_order *kept; /* as they came */
	size_t count, room;
	struct join_slot *slot;
	uint64_t mask;
	struct answer answer;
};
void join_keep(struct join_table *t, const struct join_order *orders, size_t count);
void join_build(struct join_table *t); /* all have come */
void join_probe(struct join_table *t, const struct join_item *items, size_t count);
void join_free(struct join_table *t);

/* Of one process. */
struct join_outcome {
	struct answer want, got;
	uint64_t start, end; /* nanoseconds */
	uint64_t sent;	     /* bytes of rows; 0: not counted */
};
/* Checks the sum of all processes' answers and prints the program's line. */
void join_print(const char *peer, const struct options *o, const struct join_outcome *all, unsigned processes);

#endif

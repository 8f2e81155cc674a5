/* SPDX-License-Identifier: Apache-2.0 */
/* The join by DuckDB, both tables in its memory, --processes threads, the second run of the query. */
#include "../join.h"
#include "duckdb.h"

static void fill(const struct share *s)
{
	void *appender;
	int bad = duck.appender_create(duck.connection, NULL, "orders", &appender);

	for (size_t i = 0; i < s->order_count && !bad; i++)
		bad = duck.append_int64(appender, s->orders[i].key) || duck.append_int64(appender, s->orders[i].total) ||
		      duck.append_int64(appender, s->orders[i].date) || duck.appender_end_row(appender);
	bad = bad || duck.appender_destroy(&appender) || duck.appender_create(duck.connection, NULL, "lineitem", &appender);
	for (size_t i = 0; i < s->item_count && !bad; i++)
		bad = duck.append_int64(appender, s->items[i].key) || duck.append_int64(appender, s->items[i].price) ||
		      duck.append_int32(appender, s->items[i].discount) || duck.append_int32(appender, s->items[i].ship_date) ||
		      duck.appender_end_row(appender);
	if (bad || duck.appender_destroy(&appender))
		die(1, "DuckDB did not take the tables");
}

int main(int argc, char **argv)
{
	static const char sql[] = "select count(*)::bigint, sum(l_extendedprice)::bigint, sum(o_totalprice)::bigint "
				  "from orders join lineitem on o_orderkey = l_orderkey";
	struct join_outcome mine = { 0 };
	struct duck_result r;
	struct options o;
	struct share s;

	options_parse(&o, "processes scale", argc, argv);
	duck_open(o.processes);
	duck_run("create table orders (o_orderkey bigint, o_totalprice bigint, o_orderdate bigint)", NULL);
	duck_run("create table lineitem (l_orderkey bigint, l_extendedprice bigint, l_discount integer, l_shipdate integer)", NULL);
	s = share_new(o.scale, 0, 1);
	mine.want = share_answer(&s);
	fill(&s);
	duck_run(sql, NULL);
	mine.start = now_ns();
	duck_run(sql, &r);
	mine.end = now_ns();
	mine.got = (struct answer){ (uint64_t)duck.value_int64(&r, 0, 0), duck.value_int64(&r, 1, 0), duck.value_int64(&r, 2, 0) };
	duck.destroy_result(&r);
	join_print("duckdb", &o, &mine, 1);
	return 0;
}

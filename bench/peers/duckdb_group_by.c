/* SPDX-License-Identifier: Apache-2.0 */
/* The same group-by sum by DuckDB, from memory, with two threads. Its tables are compressed in memory as it likes. */
#include "../process.h"
#include "duckdb.h"

static struct options o;

int main(int argc, char **argv)
{
	uint64_t count, rows = 0, start;
	char sql[512];
	double ns;

	options_parse(&o, "groups footprint seconds", argc, argv);
	duck_open(2);
	count = o.footprint / 16;
	snprintf(sql, sizeof sql,
		 "CREATE TABLE t AS SELECT CAST(hash(hash(i) %% %llu) >> 1 AS BIGINT) AS key, CAST(hash(i) >> 40 AS BIGINT) AS value "
		 "FROM range(%llu) r(i)", (unsigned long long)o.groups, (unsigned long long)count);
	duck_run(sql, NULL);
	timer_start(o.seconds);
	start = now_ns();
	for (; !time_is_up; rows += count)
		duck_run("SELECT count(*), sum(s) FROM (SELECT key, sum(value) AS s FROM t GROUP BY key)", NULL);
	ns = (double)(now_ns() - start);
	result_print("group_by", "duckdb", &o, (struct metric[]){ { "records_per_s", (double)rows / (ns * 1e-9) },
		     { "ms", ns * 1e-6 / ((double)rows / (double)count) }, { NULL, 0 } });
	return 0;
}

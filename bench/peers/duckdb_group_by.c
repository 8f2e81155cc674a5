/* SPDX-License-Identifier: Apache-2.0 */
/* The same group-by by DuckDB, from memory, with --processes threads: sums of integers, or the least, greatest or ten greatest texts. Its
 * tables are compressed in memory as it likes. */
#include "../process.h"
#include "duckdb.h"

static struct options o;

struct query {
	const char *aggregate, *value, *text;
};

/* Every group's result is used, so that none is left out. Texts as reduce_text has them: 8 to 24 hexadecimal digits. */
#define INTEGER "CAST(hash(i) >> 40 AS BIGINT)"
#define TEXT "substr(md5(CAST(i AS VARCHAR)), 1, CAST(8 + hash(i) % 17 AS BIGINT))"
static const struct query queries[] = {
	{ "sum", INTEGER, "SELECT count(*), sum(r) FROM (SELECT key, sum(value) AS r FROM t GROUP BY key)" },
	{ "min", TEXT, "SELECT count(*), min(r) FROM (SELECT key, min(value) AS r FROM t GROUP BY key)" },
	{ "max", TEXT, "SELECT count(*), min(r) FROM (SELECT key, max(value) AS r FROM t GROUP BY key)" },
	{ "top", TEXT, "SELECT count(*), sum(len(r)) FROM (SELECT key, max(value, 10) AS r FROM t GROUP BY key)" },
};

int main(int argc, char **argv)
{
	uint64_t count, rows = 0, start;
	const struct query *q = queries;
	char sql[512];
	double ns;

	options_parse(&o, "processes groups aggregate footprint seconds", argc, argv);
	while (strcmp(q->aggregate, o.aggregate))
		q++;
	duck_open(o.processes);
	count = o.footprint / (q->value == queries->value ? 16 : 48); /* as dpi_group_by, or reduce_text, has rows */
	snprintf(sql, sizeof sql,
		 "CREATE TABLE t AS SELECT CAST(hash(hash(i) %% %llu) >> 1 AS BIGINT) AS key, %s AS value "
		 "FROM range(%llu) r(i)", (unsigned long long)o.groups, q->value, (unsigned long long)count);
	duck_run(sql, NULL);
	timer_start(o.seconds);
	start = now_ns();
	for (; !time_is_up; rows += count)
		duck_run(q->text, NULL);
	ns = (double)(now_ns() - start);
	result_print("group_by", "duckdb", &o, (struct metric[]){ { "records_per_s", (double)rows / (ns * 1e-9) },
		     { "ms", ns * 1e-6 / ((double)rows / (double)count) }, { NULL, 0 } });
	return 0;
}

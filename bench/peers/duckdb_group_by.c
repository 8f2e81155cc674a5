/* SPDX-License-Identifier: Apache-2.0 */
/* The same group-by sum by DuckDB, from memory, with two threads; TEST_DUCKDB names its library. Its tables are compressed
 * in memory as it likes. */
#include "../common.h"
#include "../process.h"

#include <dlfcn.h>
#include <stdlib.h>

static struct options o;

struct result { /* as duckdb.h has it: its fields are its own */
	uint64_t count[3];
	void *inside[3];
};

static int (*query)(void *, const char *, struct result *);
static const char *(*why)(struct result *);
static void (*destroy)(struct result *);
static void *connection;

static void run(const char *sql)
{
	struct result r;

	if (query(connection, sql, &r))
		die(1, "DuckDB: %s", why(&r));
	destroy(&r);
}

static void load(void)
{
	const char *name = getenv("TEST_DUCKDB");
	void *library, *db;
	int (*open)(const char *, void **), (*connect)(void *, void **);

	if (!name)
		die(EXIT_SKIPPED, "TEST_DUCKDB does not name a libduckdb.so");
	library = dlopen(name, RTLD_NOW);
	if (!library)
		die(EXIT_SKIPPED, "%s", dlerror());
	*(void **)&open = dlsym(library, "duckdb_open");
	*(void **)&connect = dlsym(library, "duckdb_connect");
	*(void **)&query = dlsym(library, "duckdb_query");
	*(void **)&why = dlsym(library, "duckdb_result_error");
	*(void **)&destroy = dlsym(library, "duckdb_destroy_result");
	if (!open || !connect || !query || !why || !destroy || open(NULL, &db) || connect(db, &connection))
		die(EXIT_SKIPPED, "%s does not open a database", name);
}

int main(int argc, char **argv)
{
	uint64_t count, rows = 0, start;
	char sql[512];
	double ns;

	options_parse(&o, "groups footprint seconds", argc, argv);
	load();
	count = o.footprint / 16;
	run("PRAGMA threads=2");
	snprintf(sql, sizeof sql,
		 "CREATE TABLE t AS SELECT CAST(hash(hash(i) %% %llu) >> 1 AS BIGINT) AS key, CAST(hash(i) >> 40 AS BIGINT) AS value "
		 "FROM range(%llu) r(i)", (unsigned long long)o.groups, (unsigned long long)count);
	run(sql);
	timer_start(o.seconds);
	start = now_ns();
	for (; !time_is_up; rows += count)
		run("SELECT count(*), sum(s) FROM (SELECT key, sum(value) AS s FROM t GROUP BY key)");
	ns = (double)(now_ns() - start);
	result_print("group_by", "duckdb", &o, (struct metric[]){ { "rows_per_s", (double)rows / (ns * 1e-9) },
		     { "ms", ns * 1e-6 / ((double)rows / (double)count) }, { NULL, 0 } });
	return 0;
}

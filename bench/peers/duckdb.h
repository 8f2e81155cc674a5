/* SPDX-License-Identifier: Apache-2.0 */
/* DuckDB, a database in memory. BENCH_DUCKDB names libduckdb.so, else it is the one that `make peers` fetched (../run/main.c). It is
 * loaded, not linked: no Debian package has it. */
#ifndef BENCH_DUCKDB_H
#define BENCH_DUCKDB_H

#include "../common.h"

#include <dlfcn.h>
#include <stdlib.h>

struct duck_result { /* as duckdb.h has it: its fields are its own */
	uint64_t own[8];
};

#define DUCK_FUNCTIONS(X)                                                           \
	X(int, open, (const char *path, void **database))                           \
	X(int, connect, (void *database, void **connection))                        \
	X(int, query, (void *connection, const char *sql, struct duck_result *r))   \
	X(const char *, result_error, (struct duck_result *r))                      \
	X(void, destroy_result, (struct duck_result *r))                            \
	X(int64_t, value_int64, (struct duck_result *r, uint64_t column, uint64_t row)) \
	X(int, appender_create, (void *connection, const char *schema, const char *table, void **appender)) \
	X(int, append_int64, (void *appender, int64_t value))                       \
	X(int, append_int32, (void *appender, int32_t value))                       \
	X(int, appender_end_row, (void *appender))                                  \
	X(int, appender_destroy, (void **appender))

static struct {
	void *connection;
#define FIELD(type, name, arguments) type(*name) arguments;
	DUCK_FUNCTIONS(FIELD)
#undef FIELD
} duck;

/* Its result stays the caller's, to be destroyed, unless r is NULL. */
static inline void duck_run(const char *sql, struct duck_result *r)
{
	struct duck_result own = { { 0 } };

	if (duck.query(duck.connection, sql, r ? r : &own))
		die(1, "%s: %s", sql, duck.result_error(r ? r : &own));
	if (!r)
		duck.destroy_result(&own);
}

static inline void duck_open(uint64_t threads)
{
	const char *path = getenv("BENCH_DUCKDB");
	void *library, *database;
	char text[64];

	if (!path)
		die(EXIT_SKIPPED, "no DuckDB: make peers fetches it, or BENCH_DUCKDB names a libduckdb.so");
	library = dlopen(path, RTLD_NOW);
	if (!library)
		die(EXIT_SKIPPED, "%s", dlerror());
#define LOAD(type, name, arguments)                                   \
	*(void **)&duck.name = dlsym(library, "duckdb_" #name);       \
	if (!duck.name)                                               \
		die(EXIT_SKIPPED, "%s has no duckdb_" #name, path);
	DUCK_FUNCTIONS(LOAD)
#undef LOAD
	if (duck.open(NULL, &database) || duck.connect(database, &duck.connection))
		die(1, "DuckDB does not open a database in memory");
	snprintf(text, sizeof text, "set threads to %llu", (unsigned long long)threads);
	duck_run(text, NULL);
}

#endif

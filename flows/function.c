/* SPDX-License-Identifier: Apache-2.0
 * function.c: the table of the functions that the program has registered. It only grows; a function registered again is
 * another one for whoever looks it up afterwards. */
#include "function.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

enum kind { GROUP, DIST, MAP, ACK };

static const char *const kinds[] = { "group", "dist", "map", "ack" };
static const char *const calls[] = { "DPI_Register_Group", "DPI_Register_Dist", "DPI_Register_Map", "DPI_Register_Ack" };

struct function {
	enum kind kind;
	uint32_t version;
	char name[DPI_NAME_MAX];
	union {
		DPI_Group_Function *group;
		DPI_Dist_Function *dist;
		DPI_Map_Function *map;
		DPI_Ack_Function *ack;
	};
	void *arg;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct function *table;
static size_t used, room;

/* Under the lock. */
static struct function *find(enum kind kind, const char *name, uint32_t version)
{
	for (size_t i = 0; i < used; i++) {
		struct function *f = table + i;
		if (f->kind == kind && f->version == version && !strcmp(f->name, name)) return f;
	}
	return NULL;
}

/* Under the lock: a place for one more. */
static int grow(const struct function *f)
{
	if (used < room) return DPI_SUCCESS;
	if (used == DPI_FUNCTIONS_MAX)
		return dpi_fail(DPI_ERR_LIMIT, "%d functions are registered, the most: \"%s\" version %u finds no place; an "
				"old one is replaced by registering its name and version again", DPI_FUNCTIONS_MAX, f->name,
				f->version);
	size_t more = room ? 2 * room : 16;
	struct function *t = realloc(table, more * sizeof *t);
	if (!t) return dpi_fail(DPI_ERR_MEMORY, "no memory for the table of functions");
	table = t, room = more;
	return DPI_SUCCESS;
}

static int add(struct function f, const char *name, bool given)
{
	size_t n = name ? strnlen(name, DPI_NAME_MAX) : 0;
	if (!n || n == DPI_NAME_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "%s: the name of a function has 1 to %d bytes", calls[f.kind],
				DPI_NAME_MAX - 1);
	memcpy(f.name, name, n + 1);
	if (!given) return dpi_fail(DPI_ERR_ARGUMENT, "%s: the function \"%s\" is NULL: pass what is to be called", calls[f.kind], f.name);
	pthread_mutex_lock(&lock);
	struct function *old = find(f.kind, f.name, f.version);
	int error = old ? DPI_SUCCESS : grow(&f);
	if (old) *old = f;
	else if (!error) table[used++] = f;
	pthread_mutex_unlock(&lock);
	return error;
}

int DPI_Register_Group(const char *name, uint32_t version, DPI_Group_Function *function, void *arg)
{
	return add((struct function){ .kind = GROUP, .version = version, .group = function, .arg = arg }, name, function);
}

int DPI_Register_Dist(const char *name, uint32_t version, DPI_Dist_Function *function, void *arg)
{
	return add((struct function){ .kind = DIST, .version = version, .dist = function, .arg = arg }, name, function);
}

int DPI_Register_Map(const char *name, uint32_t version, DPI_Map_Function *function, void *arg)
{
	return add((struct function){ .kind = MAP, .version = version, .map = function, .arg = arg }, name, function);
}

int DPI_Register_Ack(const char *name, uint32_t version, DPI_Ack_Function *function, void *arg)
{
	return add((struct function){ .kind = ACK, .version = version, .ack = function, .arg = arg }, name, function);
}

static int get(enum kind kind, const char *name, uint32_t version, struct function *f)
{
	pthread_mutex_lock(&lock);
	const struct function *found = find(kind, name, version);
	if (found) *f = *found;
	pthread_mutex_unlock(&lock);
	if (found) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_NAME, "this process has registered no %s function \"%s\" of version %u: %s, in every "
			"process that opens an endpoint of the flow", kinds[kind], name, version, calls[kind]);
}

int dpi_function_group(const char *name, uint32_t version, struct dpi_group_function *f)
{
	struct function found;
	int error = get(GROUP, name, version, &found);
	if (!error) *f = (struct dpi_group_function){ found.group, found.arg };
	return error;
}

int dpi_function_dist(const char *name, uint32_t version, struct dpi_dist_function *f)
{
	struct function found;
	int error = get(DIST, name, version, &found);
	if (!error) *f = (struct dpi_dist_function){ found.dist, found.arg };
	return error;
}

int dpi_function_map(const char *name, uint32_t version, struct dpi_map_function *f)
{
	struct function found;
	int error = get(MAP, name, version, &found);
	if (!error) *f = (struct dpi_map_function){ found.map, found.arg };
	return error;
}

int dpi_function_ack(const char *name, uint32_t version, struct dpi_ack_function *f)
{
	struct function found;
	int error = get(ACK, name, version, &found);
	if (!error) *f = (struct dpi_ack_function){ found.ack, found.arg };
	return error;
}

/* SPDX-License-Identifier: Apache-2.0
 * reducer.c: reducers of the program, by name and version. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "error.h"
#include "table.h"

struct entry {
	struct entry *next;
	uint32_t version;
	DPI_Reducer reducer;
	char name[DPI_NAME_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *list;
static uint32_t count;

static struct entry *find(const char *name, uint32_t version)
{
	struct entry *e = list;
	while (e && (e->version != version || strcmp(e->name, name))) e = e->next;
	return e;
}

static int check(const char *name, const DPI_Reducer *r)
{
	size_t length = name ? strnlen(name, DPI_NAME_MAX) : 0;
	if (!length || length == DPI_NAME_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "a reducer's name has 1 to %d bytes", DPI_NAME_MAX - 1);
	if (!r->state || r->state > DPI_STATE_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "the reducer \"%s\" has a state of %u bytes: 1 to %d", name, r->state,
				DPI_STATE_MAX);
	if (!r->accumulate || !r->finalise)
		return dpi_fail(DPI_ERR_ARGUMENT, "the reducer \"%s\" has no accumulate or no finalise: it needs both",
				name);
	DPI_Column c = r->result;
	struct dpi_schema *s;
	c.name = name;
	int error = dpi_schema_new(&c, 1, &s); /* its sentence speaks of column 0, of the reducer's name */
	if (!error) dpi_schema_unref(s);
	return error;
}

int dpi_reducer_register(const char *name, uint32_t version, const DPI_Reducer *reducer)
{
	if (!reducer || reducer->size < sizeof(DPI_Reducer))
		return dpi_fail(DPI_ERR_ARGUMENT, "reducer is NULL, or its size is not set: use DPI_REDUCER_INIT");
	int error = check(name, reducer);
	if (error) return error;
	pthread_mutex_lock(&lock);
	struct entry *e = find(name, version);
	if (!e && count < DPI_FUNCTIONS_MAX && (e = calloc(1, sizeof *e))) {
		memcpy(e->name, name, strlen(name));
		e->version = version;
		e->next = list;
		list = e;
		count++;
	}
	if (e) {
		e->reducer = *reducer;
		e->reducer.result.name = NULL;
	}
	bool many = count >= DPI_FUNCTIONS_MAX;
	pthread_mutex_unlock(&lock);
	if (e) return DPI_SUCCESS;
	return many ? dpi_fail(DPI_ERR_LIMIT, "%d reducers are registered: no more", DPI_FUNCTIONS_MAX)
		    : dpi_fail(DPI_ERR_MEMORY, "no memory for the reducer \"%s\"", name);
}

int dpi_reducer_find(const char *name, uint32_t version, DPI_Reducer *reducer)
{
	pthread_mutex_lock(&lock);
	struct entry *e = find(name, version);
	if (e) *reducer = e->reducer;
	pthread_mutex_unlock(&lock);
	if (e) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_NAME,
			"the reducer \"%.*s\", version %u, is not registered in this process: register it first",
			DPI_NAME_MAX, name, version);
}

int dpi_reducer_failed(const struct dpi_aggregate *a, const char *function, int error)
{
	/* those that mean something else to who calls the table */
	bool other = error < 0 || error >= DPI_ERROR_CLASSES || error == DPI_ERR_FULL || error == DPI_ERR_AGAIN ||
		     error == DPI_ERR_CORRUPT;
	return dpi_fail(other ? DPI_ERR_FLOW : error, "%s of the reducer \"%s\" of version %u returned %s (%d)", function,
			a->reducer, a->version, dpi_error_name(error), error);
}

/* Is the one of this process like the one that the reduction was made with? */
static int same(const struct dpi_aggregate *a, const DPI_Reducer *u)
{
	const DPI_Column *x = &u->result, *y = &a->result;
	if (u->state == a->bytes && !u->merge != a->merges && x->type == y->type && x->nullable == y->nullable &&
	    x->width == y->width && x->precision == y->precision && x->scale == y->scale)
		return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_VERSION,
			"the reducer \"%s\", version %u, of this process has another state or result than that of the reduction: "
			"register the same one everywhere", a->reducer, a->version);
}

int dpi_aggregate_reducer(const struct dpi_aggregate *a, DPI_Reducer *u)
{
	int error = dpi_reducer_find(a->reducer, a->version, u);
	return error ? error : same(a, u);
}

int dpi_reduction_check(const struct dpi_reduction *r)
{
	DPI_Reducer u;
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < r->count && !error; i++)
		if (r->aggregate[i].function == DPI_AGGREGATE_REDUCER) error = dpi_aggregate_reducer(r->aggregate + i, &u);
	return error;
}

int DPI_Register_Reducer(const char *name, uint32_t version, const DPI_Reducer *reducer)
{
	DPI_Reducer r = DPI_REDUCER_INIT;
	if (!reducer) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Register_Reducer: reducer is NULL: pass one, DPI_REDUCER_INIT begins it");
	int error = dpi_take("DPI_Register_Reducer", &r, sizeof r, reducer);
	return error ? error : dpi_reducer_register(name, version, &r);
}

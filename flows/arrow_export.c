/* SPDX-License-Identifier: Apache-2.0
 * arrow_export.c: our columns, lent as a record batch. Children may be moved out of it and released apart and later, so the
 * owner is told when the last of them is. */
#include <stdlib.h>

#include "arrow.h"
#include "error.h"

/* One piece of memory: children, pointers to them, the buffers of all (1 of the batch, 3 of each child). */
struct export {
	_Atomic size_t references;
	void (*released)(void *owner);
	void *owner;
	struct ArrowArray child[];
};

static void drop(struct ArrowArray *a)
{
	struct export *e = a->private_data;
	a->release = NULL;
	if (atomic_fetch_sub_explicit(&e->references, 1, memory_order_acq_rel) != 1) return;
	if (e->released) e->released(e->owner);
	free(e);
}

static void release_all(struct ArrowArray *a)
{
	for (int64_t i = 0; i < a->n_children; i++)
		if (a->children[i]->release) a->children[i]->release(a->children[i]);
	drop(a);
}

static void export_column(const struct dpi_vector *v, size_t rows, struct export *e, struct ArrowArray *child,
			  const void **buffer)
{
	*child = (struct ArrowArray){ .length = (int64_t)rows, .null_count = v->valid ? -1 : 0,
				      .n_buffers = v->offset ? 3 : 2, .buffers = buffer, .release = drop,
				      .private_data = e };
	buffer[0] = v->valid;
	buffer[1] = v->offset ? (const void *)v->offset : v->data;
	buffer[2] = v->offset ? v->data : NULL;
}

int dpi_arrow_export(const struct dpi_schema *s, const struct dpi_batch *batch, void (*released)(void *owner), void *owner,
		     struct ArrowArray *array)
{
	size_t n = s->columns, of_child = sizeof(struct ArrowArray) + 4 * sizeof(void *);
	struct export *e = calloc(1, sizeof *e + n * of_child + sizeof(void *));
	if (!e) return dpi_fail(DPI_ERR_MEMORY, "no memory to export a batch of %zu columns", n);
	struct ArrowArray **pointer = (struct ArrowArray **)(e->child + n);
	const void **buffer = (const void **)(pointer + n);
	e->references = n + 1;
	e->released = released;
	e->owner = owner;
	for (size_t i = 0; i < n; i++) {
		export_column(batch->column + i, batch->rows, e, e->child + i, buffer + 1 + 3 * i);
		pointer[i] = e->child + i;
	}
	*array = (struct ArrowArray){ .length = (int64_t)batch->rows, .n_buffers = 1, .n_children = (int64_t)n,
				      .buffers = buffer, .children = pointer, .release = release_all, .private_data = e };
	return DPI_SUCCESS;
}

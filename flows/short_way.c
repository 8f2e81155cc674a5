/* SPDX-License-Identifier: Apache-2.0
 * short_way.c: what dpi.h lets programs do by themselves when they push and take rows. */
#define DPI_NO_INLINE /* here are the calls themselves */
#include "short_way.h"

#include "pipe.h"
#include "retain.h"
#include "source.h"
#include "target.h"

#define SAME(first, public, second, private)                                                          \
	_Static_assert(offsetof(first, public) == offsetof(second, private) &&                        \
			       sizeof((first){ 0 }.public) == sizeof((second){ 0 }.private),         \
		       "dpi.h and the library differ")
#define SAME_PUSH(public, private) SAME(struct dpi_push_1, public, struct dpi_source, private)
SAME_PUSH(busy, busy);
SAME_PUSH(row, short_row);
SAME_PUSH(kind, route_short.kind);
SAME_PUSH(offset, route_short.offset);
SAME_PUSH(seed, route_short.seed);
SAME_PUSH(parts, route_short.parts);
SAME_PUSH(shift, route_short.shift);
SAME_PUSH(way, way);
SAME_PUSH(only, only);
SAME_PUSH(failed, failed);
#define SAME_NEXT(public, private) SAME(struct dpi_next_1, public, struct dpi_target, private)
SAME_NEXT(busy, busy);
SAME_NEXT(stride, stride);
SAME_NEXT(at, at);
SAME_NEXT(stop, stop);
SAME_NEXT(source, source);
_Static_assert(DPI_HANDLE_SOURCE == 7 && DPI_HANDLE_TARGET == 8, "dpi.h and handle.h differ");
_Static_assert(DPI_SHORT_ONE == 1 && DPI_SHORT_HASH_8 == 2 && DPI_SHORT_HASH_4 == 3 && DPI_SHORT_RADIX_8 == 4 && DPI_SHORT_RADIX_4 == 5,
	       "dpi.h and route.h differ");

void dpi_source_short(struct dpi_source *s)
{
	const struct dpi_definition *d = s->flow->definition;
	dpi_route_short(s->route, &s->route_short);
	/* without membarrier a row needs a fence of its own: see dpi_append_arm */
	bool fence = atomic_load_explicit(&s->ctx->bells.page->fence, memory_order_relaxed);
	bool can = !s->bloom && !s->ack && (s->pipe ? dpi_pipe_short(s) : !fence && !s->columns);
	can = can && d->schema->plain && s->reserved < 0;
	uint32_t row = can && s->route_short.kind ? s->push_size : 0;
	s->every = can && !row && !s->pipe && !s->retain && !s->id && s->push_size ? dpi_route_all(s->route, &s->every_count) : NULL;
	__atomic_store_n(&s->short_row, row, __ATOMIC_SEQ_CST);
	if (s->retain && atomic_load(&s->retain->moved)) __atomic_store_n(&s->short_row, 0, __ATOMIC_SEQ_CST); /* retain.h */
}

/* A row was written when the linger service had just let go of its lane; or does not know of it, as it is to be published now. */
int dpi_push_arm_1(DPI_Source source, uint32_t target)
{
	struct dpi_source *s = dpi_source_get(source);
	if (!s || target >= s->flow->definition->targets || !s->way[target]) return DPI_SUCCESS;
	if (s->way[target]->prompt) return dpi_push_prompt(s, target);
	dpi_append_arm(s->way[target]);
	return DPI_SUCCESS;
}

int DPI_Push(const void *row, size_t size, DPI_Source source)
{
	struct dpi_source *s = dpi_source_get(source);
	struct dpi_push_1 *p = (struct dpi_push_1 *)(void *)s;
	if (!s) return dpi_push_slow(row, size, source);
	uint32_t target;
	int armed;
	if (!dpi_push_short_1(p, row, size, &target, &armed)) return dpi_push_slow(row, size, source);
	if (__builtin_expect(!armed, 0)) return dpi_push_arm_1(source, target);
	return DPI_SUCCESS;
}

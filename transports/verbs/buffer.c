/* SPDX-License-Identifier: Apache-2.0
 * buffer.c: registered memory: buffers to copy into, and registrations that last as long as an operation. */
#include <errno.h>
#include <stdlib.h>

#include "verbs.h"

int dpi_verbs_slab(DPI_Tp *tp)
{
	struct verbs_slab *s = calloc(1, sizeof *s);
	if (s) s->memory = aligned_alloc(4096, (size_t)SLAB * BUFFER);
	if (!s || !s->memory) {
		free(s);
		return verbs_fail(tp, DPI_ERR_MEMORY, "no memory for verbs' buffers");
	}
	s->mr = ibv_reg_mr(tp->pd, s->memory, (size_t)SLAB * BUFFER, IBV_ACCESS_LOCAL_WRITE | (tp->limits.iwarp ? IBV_ACCESS_REMOTE_WRITE : 0));
	if (!s->mr) {
		int error = errno;
		free(s->memory);
		free(s);
		return dpi_verbs_refused(tp, error, (uint64_t)SLAB * BUFFER, "the memory of its buffers");
	}
	for (int i = 0; i < SLAB; i++) {
		s->buffer[i] = (struct verbs_buffer){ tp->buffers, s->memory + (size_t)i * BUFFER, s->mr->lkey, 0 };
		tp->buffers = &s->buffer[i];
	}
	s->next = tp->slabs;
	tp->slabs = s;
	tp->slab_count++;
	return DPI_SUCCESS;
}

struct verbs_buffer *dpi_verbs_buffers(DPI_Tp *tp, uint64_t size)
{
	struct verbs_buffer *first = NULL, **last = &first;
	do {
		if (!tp->buffers && (tp->slab_count == SLABS || dpi_verbs_slab(tp))) {
			*last = NULL;
			dpi_verbs_buffers_free(tp, first);
			return NULL;
		}
		struct verbs_buffer *b = tp->buffers;
		tp->buffers = b->next;
		b->used = size < BUFFER ? (uint32_t)size : BUFFER;
		size -= b->used;
		*last = b;
		last = &b->next;
	} while (size);
	*last = NULL;
	return first;
}

void dpi_verbs_buffers_free(DPI_Tp *tp, struct verbs_buffer *b)
{
	while (b) {
		struct verbs_buffer *next = b->next;
		b->next = tp->buffers;
		tp->buffers = b;
		b = next;
	}
}

void dpi_verbs_gather(struct verbs_buffer *to, const struct iovec *iov, int count)
{
	uint32_t at = 0;
	for (int i = 0; i < count; i++) {
		const uint8_t *from = iov[i].iov_base;
		size_t left = iov[i].iov_len;
		while (left) {
			if (at == to->used) to = to->next, at = 0;
			size_t n = to->used - at < left ? to->used - at : left;
			memcpy(to->memory + at, from, n);
			from += n, left -= n, at += (uint32_t)n;
		}
	}
}

void dpi_verbs_scatter(const struct iovec *iov, int count, const struct verbs_buffer *from)
{
	uint32_t at = 0;
	for (int i = 0; i < count; i++) {
		uint8_t *to = iov[i].iov_base;
		size_t left = iov[i].iov_len;
		while (left) {
			if (at == from->used) from = from->next, at = 0;
			size_t n = from->used - at < left ? from->used - at : left;
			memcpy(to, from->memory + at, n);
			to += n, left -= n, at += (uint32_t)n;
		}
	}
}

/* ------------------------------------------------------------------------------------------------- registrations */

/* The last window that begins at or before the address. One hidden by a longer one is not found: that costs a
 * registration, no more. */
struct verbs_region *dpi_verbs_window_find(const DPI_Tp *tp, const struct iovec *v, bool write)
{
	const uint8_t *at = v->iov_base;
	uint32_t low = 0, high = tp->windows;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (tp->exposed[middle]->address <= at) low = middle + 1;
		else high = middle;
	}
	if (!low) return NULL;
	DPI_Tp_Window *w = tp->exposed[low - 1];
	uint64_t offset = (uint64_t)(at - w->address);
	if (!w->mr || w->closing || offset > w->length || v->iov_len > w->length - offset || (write && !w->filled)) return NULL;
	return &w->local;
}

int dpi_verbs_register(DPI_Tp *tp, const struct iovec *v, bool write, struct verbs_region **region)
{
	int access = write ? IBV_ACCESS_LOCAL_WRITE | (tp->limits.iwarp ? IBV_ACCESS_REMOTE_WRITE : 0) : 0;
	*region = NULL;
	for (struct verbs_region *r = tp->regions; r; r = r->next) {
		const uint8_t *at = v->iov_base;
		if (at < r->address || v->iov_len > r->length || (uint64_t)(at - r->address) > r->length - v->iov_len || (access & ~r->access)) continue;
		r->refs++;
		*region = r;
		return DPI_SUCCESS;
	}
	struct verbs_region *r = calloc(1, sizeof *r);
	if (!r) return verbs_fail(tp, DPI_ERR_MEMORY, "no memory to register a range");
	r->mr = ibv_reg_mr(tp->pd, v->iov_base, v->iov_len, access);
	if (!r->mr) {
		int error = errno;
		free(r);
		return dpi_verbs_refused(tp, error, v->iov_len, "memory of an operation");
	}
	r->address = v->iov_base;
	r->length = v->iov_len;
	r->access = access;
	r->refs = 1;
	r->next = tp->regions;
	tp->regions = r;
	*region = r;
	return DPI_SUCCESS;
}

void dpi_verbs_unregister(DPI_Tp *tp, struct verbs_region *r)
{
	if (--r->refs || r->exposed) return;
	struct verbs_region **p = &tp->regions;
	while (*p != r) p = &(*p)->next;
	*p = r->next;
	ibv_dereg_mr(r->mr);
	free(r);
}

void dpi_verbs_memory_close(DPI_Tp *tp)
{
	while (tp->regions) {
		tp->regions->refs = 1;
		dpi_verbs_unregister(tp, tp->regions);
	}
	while (tp->slabs) {
		struct verbs_slab *s = tp->slabs;
		tp->slabs = s->next;
		ibv_dereg_mr(s->mr);
		free(s->memory);
		free(s);
	}
}

/* SPDX-License-Identifier: Apache-2.0
 * operation.c: shm puts, gets and atomics, each done before it returns. */
#include "shm.h"

#include <stdatomic.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "notification words are little endian"
#endif

/* Copies go by whole words of the window, so that an aligned 8-byte word is never torn, whoever looks at it meanwhile. */
static void store_words(uint8_t *to, const uint8_t *from, size_t size)
{
	for (; size && (uintptr_t)to % 8; size--) *to++ = *from++;
	for (; size >= 8; size -= 8, to += 8, from += 8) {
		uint64_t word;
		memcpy(&word, from, 8);
		atomic_store_explicit((_Atomic uint64_t *)(void *)to, word, memory_order_relaxed);
	}
	while (size--) *to++ = *from++;
}

static void load_words(uint8_t *to, uint8_t *from, size_t size)
{
	for (; size && (uintptr_t)from % 8; size--) *to++ = *from++;
	for (; size >= 8; size -= 8, to += 8, from += 8) {
		uint64_t word = atomic_load_explicit((_Atomic uint64_t *)(void *)from, memory_order_relaxed);
		memcpy(to, &word, 8);
	}
	while (size--) *to++ = *from++;
}

/* Are the pieces, together, inside the window? */
static int check(const DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, uint32_t access)
{
	DPI_Tp *tp = r->endpoint->tp;
	if (count < 0 || (count && !iov)) return shm_fail(tp, DPI_ERR_ARGUMENT, "%d pieces to copy", count);
	if (count > SHM_IOV) return shm_fail(tp, DPI_ERR_LIMIT, "%d pieces in one operation; shm takes %d", count, SHM_IOV);
	if (!(r->access & access))
		return shm_fail(tp, DPI_ERR_USE, "the window is not exposed for %s",
				access == DPI_TP_READ ? "reading" : "writing");
	uint64_t left = offset <= r->length ? r->length - offset : 0;
	bool fits = offset <= r->length;
	for (int i = 0; fits && i < count; i++) {
		fits = iov[i].iov_len <= left;
		left -= iov[i].iov_len;
	}
	if (!fits)
		return shm_fail(tp, DPI_ERR_RANGE, "%d pieces at offset %llu lie outside the window of %llu bytes", count,
				(unsigned long long)offset, (unsigned long long)r->length);
	return DPI_SUCCESS;
}

/* The word at an offset, or NULL with the sentence said. */
static _Atomic uint64_t *word_at(const DPI_Tp_Remote *r, uint64_t offset)
{
	if (offset <= r->length && r->length - offset >= 8 && !((uintptr_t)(r->base + offset) % 8))
		return (_Atomic uint64_t *)(void *)(r->base + offset);
	shm_fail(r->endpoint->tp, DPI_ERR_RANGE, "offset %llu is no multiple of 8, or outside the window of %llu bytes",
		 (unsigned long long)offset, (unsigned long long)r->length);
	return NULL;
}

int shm_put(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
	    uint32_t flags, void *cookie)
{
	(void)flags, (void)cookie;
	_Atomic uint64_t *word = NULL;
	int error = check(remote, iov, count, offset, DPI_TP_WRITE);
	if (error) return error;
	if (notify && notify->offset != DPI_TP_NO_OFFSET && !(word = word_at(remote, notify->offset))) return DPI_ERR_RANGE;
	/* puts in the order posted: pairs with the acquire of whoever has seen this one */
	atomic_thread_fence(memory_order_release);
	uint8_t *to = remote->base + offset;
	for (int i = 0; i < count; i++) {
		store_words(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	if (!notify) return DPI_SUCCESS;
	if (word) atomic_store_explicit(word, notify->value, memory_order_release);
	if (notify->bell != DPI_TP_NO_BELL) {
		const DPI_Tp_Core *core = remote->endpoint->tp->core;
		core->ring(core->self, remote->endpoint->ring_node, notify->bell);
	}
	return DPI_SUCCESS;
}

int shm_get(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, void *cookie)
{
	(void)cookie;
	int error = check(remote, iov, count, offset, DPI_TP_READ);
	if (error) return error;
	uint8_t *from = remote->base + offset;
	for (int i = 0; i < count; i++) {
		load_words(iov[i].iov_base, from, iov[i].iov_len);
		from += iov[i].iov_len;
	}
	atomic_thread_fence(memory_order_acquire);
	return DPI_SUCCESS;
}

static _Atomic uint64_t *atomic_word(DPI_Tp_Remote *r, uint64_t offset, int *error)
{
	*error = DPI_ERR_RANGE;
	if (r->access & DPI_TP_ATOMIC) return word_at(r, offset);
	*error = shm_fail(r->endpoint->tp, DPI_ERR_USE, "the window is not exposed for atomics");
	return NULL;
}

int shm_fetch_add(DPI_Tp_Remote *remote, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie)
{
	(void)cookie;
	int error;
	_Atomic uint64_t *word = atomic_word(remote, offset, &error);
	if (!word) return error;
	*result = atomic_fetch_add(word, operand);
	return DPI_SUCCESS;
}

int shm_compare_swap(DPI_Tp_Remote *remote, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
		     void *cookie)
{
	(void)cookie;
	int error;
	_Atomic uint64_t *word = atomic_word(remote, offset, &error);
	if (!word) return error;
	atomic_compare_exchange_strong(word, &expected, desired);
	*result = expected; /* the word before, whether it was swapped or not */
	return DPI_SUCCESS;
}

int shm_flush(DPI_Tp_Endpoint *endpoint, void *cookie)
{
	(void)endpoint, (void)cookie;
	/* every store is with the others before this returns, not merely in order */
	atomic_thread_fence(memory_order_seq_cst);
	return DPI_SUCCESS;
}

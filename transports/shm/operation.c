/* SPDX-License-Identifier: Apache-2.0
 * operation.c: shm puts, gets and atomics, each done before it returns. */
#include "shm.h"

#include <stdatomic.h>
#include <string.h>

#include "dpi_words.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "notification words are little endian"
#endif

/* Copies go by whole words of the window, so that an aligned 8-byte word is never torn, whoever looks at it meanwhile; nor
 * where the caller's pieces meet inside a word. */
static void store_word(uint8_t *to, const uint8_t *from)
{
	uint64_t word;
	memcpy(&word, from, 8);
	atomic_store_explicit((_Atomic uint64_t *)(void *)to, word, memory_order_relaxed);
}

static void store_words(uint8_t *to, const struct iovec *iov, int count)
{
	uint8_t part[8]; /* of the word at to */
	size_t have = 0;
	for (int i = 0; i < count; i++) {
		const uint8_t *from = iov[i].iov_base;
		size_t size = iov[i].iov_len;
		for (; size && !have && (uintptr_t)to % 8; size--) *to++ = *from++;
		for (; size && have; size--) {
			part[have++] = *from++;
			if (have < 8) continue;
			store_word(to, part);
			to += 8;
			have = 0;
		}
		size_t whole = size & ~(size_t)7;
		dpi_words_store(to, from, whole);
		to += whole, from += whole, size -= whole;
		while (size--) part[have++] = *from++;
	}
	for (size_t i = 0; i < have; i++) to[i] = part[i];
}

static uint64_t load_word(uint8_t *from)
{
	return atomic_load_explicit((_Atomic uint64_t *)(void *)from, memory_order_relaxed);
}

static void load_words(uint8_t *from, const struct iovec *iov, int count)
{
	uint8_t part[8]; /* of the word before from: the last left bytes are still to be given out */
	size_t left = 0;
	for (int i = 0; i < count; i++) {
		uint8_t *to = iov[i].iov_base;
		size_t size = iov[i].iov_len;
		for (; size && !left && (uintptr_t)from % 8; size--) *to++ = *from++;
		for (; size && left; size--) *to++ = part[8 - left--];
		size_t whole = size & ~(size_t)7;
		dpi_words_load(to, from, whole);
		to += whole, from += whole, size -= whole;
		if (!size) continue;
		memcpy(part, &(uint64_t){ load_word(from) }, 8);
		from += 8;
		for (left = 8; size; size--) *to++ = part[8 - left--];
	}
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
	store_words(remote->base + offset, iov, count);
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
	load_words(remote->base + offset, iov, count);
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

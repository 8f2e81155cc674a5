/* SPDX-License-Identifier: Apache-2.0
 * transport_ops.c: windows and operations of the kit. */
#include "transport_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* ----------------------------------------------------------------------------------------------------- windows */

static uint64_t pages(uint64_t length)
{
	return (length + 4095) / 4096 * 4096 + 4096;
}

/* Zeroed. In a file the window does not start where the file does. */
void kit_memory(struct kit_window *w, uint64_t length, bool file)
{
	*w = (struct kit_window){.length = length, .fd = -1};
	if (file) {
		w->fd_offset = 4096;
		w->fd = memfd_create("kit", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		off_t size = (off_t)(w->fd_offset + pages(length));
		if (w->fd < 0 || ftruncate(w->fd, size) || posix_fallocate(w->fd, 0, size) ||
		    fcntl(w->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
			FAIL("memory of %" PRIu64 " bytes: %s", length, strerror(errno));
	}
	w->memory = mmap(NULL, pages(length), PROT_READ | PROT_WRITE, file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, w->fd,
			 (off_t)w->fd_offset);
	if (w->memory == MAP_FAILED) FAIL("memory of %" PRIu64 " bytes: %s", length, strerror(errno));
}

int kit_expose(struct kit_window *w, uint32_t access)
{
	DPI_Tp_Memory memory = {
		.address = w->memory, .length = w->length, .fd = w->fd, .fd_offset = w->fd_offset, .access = access};
	int error = kit.table->expose(kit.tp, &memory, &w->window, &w->key);
	if (error) w->window = NULL;
	else CHECK_INT(w->key.size, <=, DPI_TP_KEY_MAX);
	return error;
}

void kit_free(struct kit_window *w)
{
	int error = DPI_SUCCESS;
	while (w->window && (error = kit.table->withdraw(w->window)) == DPI_ERR_AGAIN) kit_pause();
	CHECK_KIT(error);
	munmap(w->memory, pages(w->length));
	if (w->fd >= 0) close(w->fd);
	w->window = NULL;
	w->fd = -1;
}

int kit_attach(const DPI_Tp_Key *key, uint64_t length, struct kit_remote *r)
{
	void *direct = &kit; /* to be overwritten */
	*r = (struct kit_remote){.length = length};
	int error = kit.table->attach(kit.to, key, length, &r->remote, &direct);
	r->direct = direct;
	if (!error && kit_has(DPI_TP_DIRECT) != !!direct) FAIL("the direct pointer is %p", direct);
	return error;
}

void kit_detach(struct kit_remote *r)
{
	int error;
	while ((error = kit.table->detach(r->remote)) == DPI_ERR_AGAIN) kit_pause();
	CHECK_KIT(error);
}

void kit_share(struct kit_window *mine, uint64_t length, uint32_t access, struct kit_remote *theirs)
{
	DPI_Tp_Key key;
	kit_memory(mine, length, true);
	CHECK_KIT(kit_expose(mine, access));
	kit_swap_keys(&mine->key, &key);
	CHECK_KIT(kit_attach(&key, length, theirs));
	if (key.fd >= 0) close(key.fd); /* not kept by attach */
}

/* --------------------------------------------------------------------------------------------------- operations */

bool kit_finished(const struct kit_op *op)
{
	return op->posted != DPI_TP_PENDING || op->completions;
}

int kit_finish(struct kit_op *op)
{
	while (!kit_finished(op)) kit_pause();
	return op->posted == DPI_TP_PENDING ? op->error : op->posted;
}

int kit_put_pieces(struct kit_remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify)
{
	struct kit_op op;
	KIT_POST(&op, kit.table->put(r->remote, iov, count, offset, notify, 0, &op));
	return kit_finish(&op);
}

int kit_put(struct kit_remote *r, const void *data, size_t size, uint64_t offset, const DPI_Tp_Notify *notify)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};
	return kit_put_pieces(r, &iov, size ? 1 : 0, offset, notify);
}

int kit_get(struct kit_remote *r, void *data, size_t size, uint64_t offset)
{
	struct kit_op op;
	struct iovec iov = {data, size};
	KIT_POST(&op, kit.table->get(r->remote, &iov, 1, offset, &op));
	return kit_finish(&op);
}

int kit_fetch_add(struct kit_remote *r, uint64_t offset, uint64_t operand, uint64_t *before)
{
	struct kit_op op;
	KIT_POST(&op, kit.table->fetch_add(r->remote, offset, operand, &op.result, &op));
	int error = kit_finish(&op);
	*before = op.result;
	return error;
}

int kit_compare_swap(struct kit_remote *r, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *before)
{
	struct kit_op op;
	KIT_POST(&op, kit.table->compare_swap(r->remote, offset, expected, desired, &op.result, &op));
	int error = kit_finish(&op);
	*before = op.result;
	return error;
}

int kit_flush(void)
{
	struct kit_op op;
	KIT_POST(&op, kit.table->flush(kit.to, &op));
	return kit_finish(&op);
}

uint64_t kit_word(const struct kit_window *w, uint64_t offset)
{
	return atomic_load_explicit((_Atomic uint64_t *)(void *)(w->memory + offset), memory_order_acquire);
}

/* -------------------------------------------------------------------------------------------------------- bytes */

uint8_t kit_pattern(uint64_t seed, uint64_t at)
{
	uint64_t z = (seed * 0x9e3779b97f4a7c15u) ^ (at * 0xd1342543de82ef95u);
	return (uint8_t)((z ^ z >> 29 ^ z >> 47) | 1); /* never 0 */
}

void kit_fill(void *memory, uint64_t seed, uint64_t from, uint64_t size)
{
	for (uint64_t i = 0; i < size; i++) ((uint8_t *)memory)[i] = kit_pattern(seed, from + i);
}

bool kit_filled(const void *memory, uint64_t seed, uint64_t from, uint64_t size)
{
	for (uint64_t i = 0; i < size; i++)
		if (((const uint8_t *)memory)[i] != kit_pattern(seed, from + i)) return false;
	return true;
}

bool kit_all(const void *memory, uint8_t byte, uint64_t size)
{
	for (uint64_t i = 0; i < size; i++)
		if (((const uint8_t *)memory)[i] != byte) return false;
	return true;
}

uint64_t kit_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 16;
}

int64_t kit_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* SPDX-License-Identifier: Apache-2.0
 * window.c: shm windows: descriptors out, mappings in. A descriptor that comes from a peer is hostile until it is proven
 * that the pages behind it cannot go away: a load beyond the end of a file is a SIGBUS. */
#include "shm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Is [offset, offset + length) inside the file, and the file sealed against shrinking? NULL, or why not. */
static const char *unfit(int fd, uint64_t offset, uint64_t length)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0) return "is not a memfd that can be sealed";
	if (!(seals & F_SEAL_SHRINK)) return "is not sealed against shrinking (F_SEAL_SHRINK)";
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) return "cannot be examined";
	/* sealed, so the size only grows from here on */
	if (offset > (uint64_t)st.st_size || length > (uint64_t)st.st_size - offset) return "is smaller than the window";
	return NULL;
}

int shm_expose(DPI_Tp *tp, const DPI_Tp_Memory *memory, DPI_Tp_Window **window, DPI_Tp_Key *key)
{
	struct shm_key k = { .magic = SHM_MAGIC,
			     .access = memory->access,
			     .incarnation = tp->core->incarnation,
			     .fd_offset = memory->fd_offset,
			     .length = memory->length };
	if (!memory->length) return shm_fail(tp, DPI_ERR_ARGUMENT, "a window of no bytes");
	if (memory->fd < 0)
		return shm_fail(tp, DPI_ERR_UNSUPPORTED,
				"memory without a file descriptor cannot be shared with other processes; allocate it with "
				"DPI_Allocate_Memory");
	const char *why = unfit(memory->fd, memory->fd_offset, memory->length);
	if (why) return shm_fail(tp, DPI_ERR_UNSUPPORTED, "the memory's file %s", why);
	if ((memory->access & DPI_TP_ATOMIC) && memory->fd_offset % 8)
		return shm_fail(tp, DPI_ERR_ARGUMENT, "a window for atomics starts at a multiple of 8, not at %llu",
				(unsigned long long)memory->fd_offset);
	DPI_Tp_Window *w = calloc(1, sizeof *w);
	if (!w) return shm_fail(tp, DPI_ERR_MEMORY, "no memory for a window");
	w->tp = tp;
	LIST_INSERT_HEAD(&tp->windows, w, link);
	memset(key, 0, sizeof *key);
	key->size = sizeof k;
	key->fd = memory->fd;
	memcpy(key->bytes, &k, sizeof k);
	*window = w;
	return DPI_SUCCESS;
}

int shm_withdraw(DPI_Tp_Window *window)
{
	LIST_REMOVE(window, link);
	free(window);
	return DPI_SUCCESS;
}

/* Mappings start and end at these multiples: a page, or a huge page of a hugetlb file. */
static uint64_t granule(int fd)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct statfs fs;
	if (!fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC && (uint64_t)fs.f_bsize > page)
		return (uint64_t)fs.f_bsize;
	return page;
}

int shm_attach(DPI_Tp_Endpoint *endpoint, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct)
{
	DPI_Tp *tp = endpoint->tp;
	struct shm_key k;
	if (key->size != sizeof k || (memcpy(&k, key->bytes, sizeof k), k.magic != SHM_MAGIC) || !k.length)
		return shm_fail(tp, DPI_ERR_CORRUPT,
				"this is no key of a shm window; does the peer run another version of the library?");
	if (k.incarnation != endpoint->incarnation)
		return shm_fail(tp, DPI_ERR_PEER,
				"the window's key is of another process (incarnation %llx, not %llx): its owner restarted",
				(unsigned long long)k.incarnation, (unsigned long long)endpoint->incarnation);
	if (key->fd < 0)
		return shm_fail(tp, DPI_ERR_CORRUPT, "the key of a shm window came without its descriptor");
	if (!length || length > k.length)
		return shm_fail(tp, DPI_ERR_RANGE, "the window is said to have %llu bytes, its key says %llu",
				(unsigned long long)length, (unsigned long long)k.length);
	const char *why = unfit(key->fd, k.fd_offset, k.length);
	if (why)
		return shm_fail(tp, DPI_ERR_CORRUPT, "the file the peer gave for its window %s; it was not mapped", why);

	uint64_t page = granule(key->fd), lead = k.fd_offset % page;
	uint64_t span = (lead + length + page - 1) / page * page;
	int prot = PROT_READ | (k.access & (DPI_TP_WRITE | DPI_TP_ATOMIC) ? PROT_WRITE : 0);
	DPI_Tp_Remote *r = calloc(1, sizeof *r);
	if (!r) return shm_fail(tp, DPI_ERR_MEMORY, "no memory for an attached window");
	r->mapping = mmap(NULL, span, prot, MAP_SHARED, key->fd, (off_t)(k.fd_offset - lead));
	if (r->mapping == MAP_FAILED) {
		int e = errno;
		free(r);
		if (e == ENOMEM)
			return shm_fail(tp, DPI_ERR_MEMORY,
					"mapping a window of %llu bytes: %s; address space (ulimit -v) or the number of "
					"mappings (vm.max_map_count) is used up", (unsigned long long)length, strerror(e));
		return shm_fail(tp, DPI_ERR_CORRUPT,
				"the file the peer gave for its window cannot be mapped as its key says: %s", strerror(e));
	}
	r->endpoint = endpoint;
	r->base = (uint8_t *)r->mapping + lead;
	r->length = length;
	r->access = k.access;
	r->mapping_length = span;
	LIST_INSERT_HEAD(&endpoint->remotes, r, link);
	*remote = r;
	*direct = r->base;
	return DPI_SUCCESS;
}

int shm_detach(DPI_Tp_Remote *remote)
{
	munmap(remote->mapping, remote->mapping_length);
	LIST_REMOVE(remote, link);
	free(remote);
	return DPI_SUCCESS;
}

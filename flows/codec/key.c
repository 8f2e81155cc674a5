/* SPDX-License-Identifier: Apache-2.0
 * key.c: the named keys of the process. */
#include "key.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "auth.h"
#include "error.h"

struct key {
	char name[DPI_NAME_MAX]; /* "": free */
	uint8_t bytes[DPI_KEY_BYTES];
};

/* Zero in a forked child, who has neither the keys nor the mark. */
struct store {
	_Atomic uint64_t mark;
	struct key key[DPI_KEYS_HELD_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct store *_Atomic store;

static int check_name(const char *name)
{
	if (!name) return dpi_fail(DPI_ERR_ARGUMENT, "the key's name is NULL: pass the one that the codec names");
	size_t n = strnlen(name, DPI_NAME_MAX);
	if (!n || n == DPI_NAME_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "the name of a key has 1 to %d bytes", DPI_NAME_MAX - 1);
	return DPI_SUCCESS;
}

/* Under the lock. */
static int make_store(void)
{
	if (store) return DPI_SUCCESS;
	struct store *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED) return dpi_fail_errno(DPI_ERR_MEMORY, "no memory for keys");
	if (madvise(s, sizeof *s, MADV_WIPEONFORK)) {
		int error = dpi_fail_errno(DPI_ERR_MEMORY, "memory for keys cannot be kept from forked children");
		munmap(s, sizeof *s);
		return error;
	}
	madvise(s, sizeof *s, MADV_DONTDUMP);
	mlock(s, sizeof *s); /* the limit may be too low: then keys can be swapped out as any memory */
	store = s;
	return DPI_SUCCESS;
}

static struct key *find(const char *name)
{
	for (struct key *k = store->key; k < store->key + DPI_KEYS_HELD_MAX; k++)
		if (!strcmp(k->name, name)) return k;
	return NULL;
}

static int set(const char *name, const void *bytes)
{
	int error = make_store();
	if (error) return error;
	struct key *k = find(name);
	if (!k) k = find("");
	if (!k)
		return dpi_fail(DPI_ERR_LIMIT, "%d keys are held, the most: remove one before \"%s\"", DPI_KEYS_HELD_MAX,
				name);
	memcpy(k->bytes, bytes, DPI_KEY_BYTES);
	strcpy(k->name, name);
	return DPI_SUCCESS;
}

int DPI_Set_Key(const char *name, const void *key, size_t size)
{
	int error = check_name(name);
	if (error) return error;
	if (!key) return dpi_fail(DPI_ERR_ARGUMENT, "key is NULL: pass its bytes");
	if (size != DPI_KEY_SIZE)
		return dpi_fail(DPI_ERR_SIZE, "the key \"%s\" has %zu bytes: one of AES-256 has %d", name, size,
				DPI_KEY_SIZE);
	pthread_mutex_lock(&lock);
	error = set(name, key);
	pthread_mutex_unlock(&lock);
	return error;
}

static int no_key(const char *name)
{
	return dpi_fail(DPI_ERR_NAME, "this process holds no key \"%s\": DPI_Set_Key, in every process that uses it", name);
}

int DPI_Remove_Key(const char *name)
{
	int error = check_name(name);
	if (error) return error;
	pthread_mutex_lock(&lock);
	struct key *k = store ? find(name) : NULL;
	if (k) explicit_bzero(k, sizeof *k);
	pthread_mutex_unlock(&lock);
	return k ? DPI_SUCCESS : no_key(name);
}

int dpi_key_get(const char *name, uint8_t key[DPI_KEY_BYTES])
{
	int error = check_name(name);
	if (error) return error;
	pthread_mutex_lock(&lock);
	struct key *k = store ? find(name) : NULL;
	if (k) memcpy(key, k->bytes, DPI_KEY_BYTES);
	pthread_mutex_unlock(&lock);
	return k ? DPI_SUCCESS : no_key(name);
}

uint64_t dpi_key_process(void)
{
	struct store *s = store;
	return s ? atomic_load_explicit(&s->mark, memory_order_relaxed) : 0;
}

int dpi_key_process_mark(uint64_t *mark)
{
	pthread_mutex_lock(&lock);
	int error = make_store();
	while (!error && !(*mark = store->mark)) {
		uint64_t drawn;
		error = dpi_auth_random(&drawn, sizeof drawn);
		if (!error) store->mark = drawn;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

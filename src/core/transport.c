/* SPDX-License-Identifier: Apache-2.0
 * transport.c: tables of transports: those built in, those in modules, and what stands in empty slots. */
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "context.h"

extern const DPI_Transport dpi_shm, dpi_tcp, dpi_hook;
static const DPI_Transport *const builtin[] = { &dpi_shm, &dpi_tcp, &dpi_hook };

const DPI_Transport *dpi_transport_at(int index)
{
	return index >= 0 && index < (int)(sizeof builtin / sizeof *builtin) ? builtin[index] : NULL;
}

const DPI_Transport *dpi_transport_builtin(const char *name)
{
	for (size_t i = 0; i < sizeof builtin / sizeof *builtin; i++)
		if (!strcmp(builtin[i]->name, name)) return builtin[i];
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------ modules */

#define MODULES_FOLDER "dpi" /* beside the library: LIBDIR/dpi */

static bool file_in(char *file, size_t size, const char *folder, int length, const char *name)
{
	int n = snprintf(file, size, "%.*s/libdpi-%s.so", length, folder, name);
	return n > 0 && (size_t)n < size && !access(file, F_OK);
}

/* The folder of the shared library, or, in a program that holds the static one, of the program: build/ or PREFIX/ has both. */
static void own_folder(char *folder, size_t size, bool *program)
{
	const char *library = dpi_library_path();
	ssize_t n = -1;
	*program = !strstr(library, ".so");
	if (*program) n = readlink("/proc/self/exe", folder, size - 1);
	if (n >= 0) folder[n] = 0;
	else snprintf(folder, size, "%s", library);
	char *slash = strrchr(folder, '/');
	snprintf(slash ? slash : folder, slash ? size - (size_t)(slash - folder) : size, "%s", slash ? "" : ".");
}

/* The module's file: in a folder of the setting, in LIBDIR/dpi, or else where the loader looks. */
static void module_file(char *file, size_t size, const char *folders, const char *name)
{
	static const char *const beside[] = { "/" MODULES_FOLDER, "/../" MODULES_FOLDER, "/../lib/" MODULES_FOLDER };
	char own[4096], folder[4200];
	bool program;
	for (const char *at = folders; *at; at += strcspn(at, ":"), at += *at == ':')
		if (file_in(file, size, at, (int)strcspn(at, ":"), name)) return;
	own_folder(own, sizeof own, &program);
	for (int i = program; i < (program ? 3 : 1); i++) {
		snprintf(folder, sizeof folder, "%s%s", own, beside[i]);
		if (file_in(file, size, folder, (int)strlen(folder), name)) return;
	}
	snprintf(file, size, "libdpi-%s.so", name);
}

int dpi_transport_find(const char *folders, const char *name, void **module, const DPI_Transport **table)
{
	char file[4096];
	*module = NULL;
	*table = dpi_transport_builtin(name);
	if (*table) return DPI_SUCCESS;
	if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name) || strlen(name) > 31)
		return dpi_fail(DPI_ERR_CONFIG, "DPI_TRANSPORT: '%s' is not the name of a transport; dpi-info --transports lists them", name);
	module_file(file, sizeof file, folders, name);
	void *loaded = dlopen(file, RTLD_NOW | RTLD_LOCAL);
	if (!loaded)
		return dpi_fail(DPI_ERR_CONFIG, "DPI_TRANSPORT: there is no transport '%s' built in (dpi-info lists those that are), and no module: %s", name, dlerror());
	DPI_Tp_Entry entry;
	*(void **)&entry = dlsym(loaded, "dpi_transport_1");
	*table = entry ? entry() : NULL;
	if (!*table || (*table)->abi != DPI_TP_ABI) {
		int abi = *table ? (int)(*table)->abi : -1;
		dlclose(loaded);
		return dpi_fail(DPI_ERR_VERSION, "%s is not a transport of ABI %d (it says %d): build it against this library's headers",
				file, DPI_TP_ABI, abi);
	}
	*module = loaded;
	return DPI_SUCCESS;
}

static bool has_entries(const char *folder)
{
	DIR *d = opendir(folder);
	bool some = false;
	for (struct dirent *e; d && !some && (e = readdir(d));) some = e->d_name[0] != '.';
	if (d) closedir(d);
	return some;
}

/* Modules bring libraries with them, some megabytes and milliseconds, which a process without such devices is spared. */
bool dpi_transport_needless(const char *name)
{
	static const char *const devices[] = { "/sys/class/infiniband", "/sys/class/cxi", "/sys/class/hfi1" };
	bool rdma = false;
	if (dpi_transport_builtin(name)) return false;
	for (size_t i = 0; i < sizeof devices / sizeof *devices && !rdma; i++) rdma = has_entries(devices[i]);
	return !rdma;
}

/* -------------------------------------------------------------------------------------------------- empty slots */

#define STUB(name, ...)                                                                               \
	static int no_##name(__VA_ARGS__)                                                             \
	{                                                                                             \
		return dpi_fail(DPI_ERR_UNSUPPORTED, "the transport has no " #name);                  \
	}
#define U __attribute__((unused))
STUB(probe, U const DPI_Tp_Core *a, U char *b, U size_t c)
STUB(open, U const DPI_Tp_Core *a, U const struct DPI_Transport *b, U DPI_Tp **c)
STUB(query, U DPI_Tp *a, U DPI_Tp_Attr *b)
STUB(address, U DPI_Tp *a, U void *b, U uint32_t *c)
STUB(connect, U DPI_Tp *a, U uint32_t b, U const DPI_Tp_Peer *c, U int64_t d, U DPI_Tp_Endpoint **e)
STUB(expose, U DPI_Tp *a, U const DPI_Tp_Memory *b, U DPI_Tp_Window **c, U DPI_Tp_Key *d)
STUB(withdraw, U DPI_Tp_Window *a)
STUB(attach, U DPI_Tp_Endpoint *a, U const DPI_Tp_Key *b, U uint64_t c, U DPI_Tp_Remote **d, U void **e)
STUB(detach, U DPI_Tp_Remote *a)
STUB(put, U DPI_Tp_Remote *a, U const struct iovec *b, U int c, U uint64_t d, U const DPI_Tp_Notify *e, U uint32_t f, U void *g)
STUB(get, U DPI_Tp_Remote *a, U const struct iovec *b, U int c, U uint64_t d, U void *e)
STUB(fetch_add, U DPI_Tp_Remote *a, U uint64_t b, U uint64_t c, U uint64_t *d, U void *e)
STUB(compare_swap, U DPI_Tp_Remote *a, U uint64_t b, U uint64_t c, U uint64_t d, U uint64_t *e, U void *f)
STUB(send, U DPI_Tp_Endpoint *a, U const void *b, U size_t c, U uint32_t d)
STUB(flush, U DPI_Tp_Endpoint *a, U void *b)
STUB(cancel, U DPI_Tp_Endpoint *a, U void *b)
STUB(get_fd, U DPI_Tp *a, U uint32_t b, U int *c)
STUB(put_many, U DPI_Tp *a, U const DPI_Tp_To *b, U int c, U const struct iovec *d, U int e, U uint32_t f, U void *g)
static void no_close(U DPI_Tp *a) {}
static void no_disconnect(U DPI_Tp_Endpoint *a) {}
/* a transport of loads and stores has nothing to progress and nothing to arm */
static int no_progress(U DPI_Tp *a, U uint32_t b, int *events)
{
	if (events) *events = 0;
	return DPI_SUCCESS;
}
static int no_arm(U DPI_Tp *a, U uint32_t b)
{
	return DPI_SUCCESS;
}
#undef U

void dpi_transport_fill(DPI_Transport *f, const DPI_Transport *table)
{
	memset(f, 0, sizeof *f);
	memcpy(f, table, table->size < sizeof *f ? table->size : sizeof *f);
#define FILL(slot) \
	if (!f->slot) f->slot = no_##slot
	FILL(probe);
	FILL(open);
	FILL(close);
	FILL(query);
	FILL(address);
	FILL(connect);
	FILL(disconnect);
	FILL(expose);
	FILL(withdraw);
	FILL(attach);
	FILL(detach);
	FILL(put);
	FILL(get);
	FILL(fetch_add);
	FILL(compare_swap);
	FILL(send);
	FILL(flush);
	FILL(cancel);
	FILL(progress);
	FILL(get_fd);
	FILL(arm);
	FILL(put_many);
#undef FILL
}

/* SPDX-License-Identifier: Apache-2.0
 * key.c: the cluster's key, and what listens without one. */
#include <dirent.h>
#include <sys/stat.h>

#include "memory_kit.h"

static const char *key_file(const char *name, const char *key, mode_t mode)
{
	static char path[4096];
	snprintf(path, sizeof path, "%s/%s", getenv("TMPDIR"), name);
	FILE *f = fopen(path, "w");
	CHECK(f);
	fputs(key, f);
	CHECK(!fclose(f));
	CHECK(!chmod(path, mode));
	return path;
}

#define GOOD "0123456789abcdef0123456789abcdef\n"
#define OTHER "fedcba9876543210fedcba9876543210\n"

static DPI_Context join_with_key(const char *path)
{
	DPI_Context ctx;
	if (path) setenv("DPI_KEY_FILE", path, 1);
	else unsetenv("DPI_KEY_FILE");
	int error = DPI_Init(&ctx);
	if (error == DPI_ERR_UNSUPPORTED) SKIP("keys are not supported here: %s", detail());
	CHECK_DPI(error);
	return ctx;
}

/* Rank 0's cluster has a key; the others try with another, with none, and at last with the right one. */
static void try_keys(int rank)
{
	DPI_Context ctx;
	_Atomic int *joined = harness_shared();
	const char *path;
	if (rank == 0) {
		ctx = join_with_key(key_file("good", GOOD, 0600));
		harness_barrier();
		DPI_Buffer q = CREATE("q", 0, ctx, DPI_USE_QUEUE);
		TAKE(q, "secret", 6);
		AWAIT(*joined);
		DPI_Node_Info info = DPI_NODE_INFO_INIT;
		CHECK_DPI(DPI_Get_Node_Info(1, ctx, &info));
	} else {
		harness_barrier();
		path = key_file("other", OTHER, 0600);
		setenv("DPI_KEY_FILE", path, 1);
		CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_AUTH, "key");
		unlink(path);
		unsetenv("DPI_KEY_FILE");
		CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_AUTH, "key");
		path = key_file("good1", GOOD, 0600);
		ctx = join_with_key(path);
		unlink(path);
		DPI_Buffer q = open_buffer("q", ctx);
		CHECK_DPI(DPI_Append("secret", 6, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		*joined = 1;
	}
	if (rank == 0) unlink(getenv("DPI_KEY_FILE"));
	leave(ctx);
}

TEST(keys, "E-40", 2, .once = true, .expect_stderr = true) { try_keys(rank); }
TEST(keys_inet, "E-40", 2, .once = true, .expect_stderr = true, .inet = true) { try_keys(rank); }

static void try_key_without(int rank)
{
	DPI_Context ctx;
	if (rank == 0) ctx = join();
	harness_barrier();
	if (rank == 1) {
		setenv("DPI_KEY_FILE", key_file("key", GOOD, 0600), 1);
		int error = DPI_Init(&ctx);
		if (error == DPI_ERR_UNSUPPORTED) SKIP("keys are not supported here: %s", detail());
		CHECK_ERROR(error, DPI_ERR_AUTH, "key");
		unlink(getenv("DPI_KEY_FILE"));
		unsetenv("DPI_KEY_FILE");
		ctx = join();
	}
	leave(ctx);
}

TEST(key_to_a_cluster_without, "E-41", 2, .once = true, .expect_stderr = true) { try_key_without(rank); }
TEST(key_to_a_cluster_without_inet, "E-41", 2, .once = true, .expect_stderr = true, .inet = true) { try_key_without(rank); }

TEST(key_file_mode, "E-42", 1, .once = true)
{
	static const mode_t bad[] = {0640, 0604, 0660, 0606, 0620, 0602, 0644, 0666};
	DPI_Context ctx;
	const char *path = NULL;
	for (int i = 0; i < 8; i++) {
		path = key_file("key", GOOD, bad[i]);
		setenv("DPI_KEY_FILE", path, 1);
		CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_CONFIG, path);
	}
	CHECK(!chmod(path, 0400));
	ctx = join_with_key(path);
	CHECK_DPI(DPI_Finalize(ctx));
	unlink(path);
}

/* Every line of a table of sockets that is this process's and accepts connections must have a loopback address. */
static int check_listeners(const char *table)
{
	char line[512], path[300], link[128], socket[64];
	int found = 0;
	FILE *f = fopen(table, "r");
	if (!f) return 0;
	while (fgets(line, sizeof line, f)) {
		char address[40];
		unsigned state, port;
		unsigned long inode;
		if (sscanf(line, " %*d: %32[0-9A-F]:%x %*s %x %*s %*s %*s %*s %*s %lu", address, &port, &state, &inode) != 4) continue;
		if (state != 10) continue; /* LISTEN */
		bool mine = false;
		snprintf(socket, sizeof socket, "socket:[%lu]", inode);
		DIR *d = opendir("/proc/self/fd");
		for (struct dirent *e; d && (e = readdir(d));) {
			snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
			ssize_t n = readlink(path, link, sizeof link - 1);
			link[n > 0 ? n : 0] = 0;
			mine |= !strcmp(link, socket);
		}
		closedir(d);
		if (!mine) continue;
		found++;
		bool loopback = strlen(address) == 8 ? !strcmp(address + 6, "7F") : !strcmp(address, "00000000000000000000000001000000");
		if (!loopback) FAIL("port %u listens at %s", port, address);
	}
	fclose(f);
	return found;
}

TEST(loopback_without_a_key, "E-43", 2, .inet = true)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
	CHECK_DPI(DPI_Append("x", 1, q));
	CHECK_DPI(DPI_Flush_Buffer(q));
	int found = check_listeners("/proc/net/tcp") + check_listeners("/proc/net/tcp6");
	/* the registry is reached by TCP here, so there is one at least */
	if (rank == 0) CHECK_INT(found, >=, 1);
	leave(ctx);
}

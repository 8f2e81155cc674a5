/* SPDX-License-Identifier: Apache-2.0
 * log_shipping.c: primaries ship their logs to backups, as section 6.3 of the DPI paper describes it.
 *
 *	dpirun -n 6 build/examples/log_shipping
 *
 * Nodes 0 and 1 are primaries, the others backups. One flow is all there is between them: primaries are its sources, backups
 * its targets. dist sends a record by its content: those of a partition to three backups, other partitions to others. A
 * backup writes what comes to its disk, syncs, and confirms with DPI_Ack. A record is acknowledged when two of its three
 * backups have confirmed it; only then does a primary tell its client that it is safe. Keys are log sequence numbers, which
 * rise, so one acknowledgement speaks of all records up to it, and a primary goes on meanwhile: it waits only when too many
 * records are under way.
 *
 * With --kill a backup and a primary die by SIGKILL amid their work, and the rest goes on (run it by dpirun --keep-going). The
 * flow is retained: primaries keep what the backup has not confirmed. The last node, a spare then, binds the dead backup's
 * target to itself and goes on where its file ends. At the end node 0 reads the files: of every record that was acknowledged
 * there must be two, and of all that the primary which lives has shipped three.
 *
 * --records N   of each primary (default 5,000)
 * --kill        as above */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

enum { PRIMARIES = 2, COPIES = 3, QUORUM = 2, UNDER_WAY = 500 };

struct record { /* a row of the flow "log" */
	int64_t lsn, primary, partition, change;
};
static const DPI_Column columns[] = {
	{ .name = "lsn", .type = DPI_TYPE_INT64 },
	{ .name = "primary", .type = DPI_TYPE_INT64 },
	{ .name = "partition", .type = DPI_TYPE_INT64 },
	{ .name = "change", .type = DPI_TYPE_INT64 },
};

static DPI_Context ctx;
static int node, nodes, backups;
static int64_t records = 5000;
static bool deaths;
static char directory[64];

/* dist: the backups of a partition. */
static int replicas(const void *row, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	const struct record *r = row;

	(void)size, (void)key, (void)arg;
	for (*count = 0; *count < COPIES; ++*count)
		to[*count] = (uint32_t)((uint64_t)r->partition + *count) % targets;
	return DPI_SUCCESS;
}

static DPI_Flow open_log(void)
{
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Flow flow;

	CHECK(DPI_Register_Dist("replicas", 1, replicas, NULL));
	CHECK(DPI_Create_Schema(columns, 4, &attr.schema));
	attr.create = DPI_CREATE_OR_OPEN;
	attr.sources = PRIMARIES;
	attr.targets = (uint32_t)backups;
	attr.dist = DPI_DIST_FUNCTION;
	attr.dist_function = "replicas";
	attr.dist_version = 1;
	attr.ack = DPI_ACK_CONFIRMED; /* by DPI_Ack */
	attr.retain = DPI_ACK_CONFIRMED;
	attr.ack_of = DPI_ACK_QUORUM;
	attr.ack_quorum = QUORUM;
	attr.ack_column = "lsn";
	attr.ack_up_to = 1;
	attr.on_death = DPI_DEATH_GOES_ON;
	CHECK(DPI_Create_Flow("log", &attr, ctx, &flow));
	CHECK(DPI_Free_Schema(attr.schema));
	return flow;
}

/* ------------------------------------------------------------------------------------------------------------- files */

static int open_file(const char *kind, int number, int flags)
{
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s/%s-%d", directory, kind, number);
	fd = open(path, flags, 0600);
	if (fd < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(errno)), exit(1);
	return fd;
}

static void write_all(int fd, const void *data, size_t size, off_t at)
{
	if (pwrite(fd, data, size, at) != (ssize_t)size)
		fprintf(stderr, "node %d cannot write its file: %s\n", node, strerror(errno)), exit(1);
}

/* ----------------------------------------------------------------------------------------------------------- primary */

/* What its client was told: all up to this record is safe. */
static int64_t told;
static int told_fd;

static void tell_client(const DPI_Acked *acks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (acks[i].error)
			fprintf(stderr, "record %" PRIu64 " has %u copies, and no more can come\n", acks[i].key, acks[i].acknowledged), exit(1);
		told = (int64_t)acks[i].key;
	}
	write_all(told_fd, &told, sizeof told, 0);
}

static void primary(DPI_Flow flow)
{
	DPI_Source source;
	DPI_Acked acks[16];
	size_t count;

	told_fd = open_file("primary", node, O_RDWR | O_CREAT | O_TRUNC);
	if (node == 1) /* so that primary n is source n */
		CHECK(DPI_Barrier("primaries", PRIMARIES, 0, ctx));
	CHECK(DPI_Open_Source(flow, NULL, &source));
	if (node == 0)
		CHECK(DPI_Barrier("primaries", PRIMARIES, 0, ctx));
	for (int64_t lsn = 1; lsn <= records; lsn++) {
		struct record r = { lsn, node, lsn * 7 / 3 % 16, lsn * lsn };

		CHECK(DPI_Push(&r, sizeof r, source));
		if (lsn - told < UNDER_WAY)
			continue;
		CHECK(DPI_Next_Acks(acks, 16, source, &count));
		tell_client(acks, count);
		if (deaths && node == 1 && told > records / 2)
			raise(SIGKILL);
	}
	while (told < records) {
		CHECK(DPI_Next_Acks(acks, 16, source, &count));
		tell_client(acks, count);
	}
	CHECK(DPI_Close_Source(source));
	close(told_fd);
}

/* ------------------------------------------------------------------------------------------------------------ backup */

/* Write what comes behind the first at bytes of the file, until the flow ends. */
static void ship(int number, DPI_Target target, int fd, off_t at)
{
	bool dies = deaths && node == PRIMARIES;
	DPI_Batch run;
	int error;

	while ((error = DPI_Next_Batch(target, &run)) == DPI_SUCCESS) {
		write_all(fd, run.rows, run.count * run.stride, at);
		at += (off_t)(run.count * run.stride);
		if (dies && at > (off_t)(records / 2 * (int64_t)sizeof(struct record)))
			raise(SIGKILL); /* written, but neither synced nor confirmed */
		if (fdatasync(fd))
			fprintf(stderr, "backup %d cannot sync: %s\n", number, strerror(errno)), exit(1);
		CHECK(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, target));
		CHECK(DPI_Release_Batch(1, target));
	}
	if (error != DPI_ERR_END)
		CHECK(error);
	CHECK(DPI_Close_Target(target));
	close(fd);
}

static void backup(DPI_Flow flow)
{
	int number = node - PRIMARIES;
	DPI_Target target;

	CHECK(DPI_Open_Target((uint32_t)number, NULL, flow, &target));
	if (deaths && number == 0)
		CHECK(DPI_Barrier("watched", 2, 0, ctx));
	ship(number, target, open_file("backup", number, O_WRONLY | O_CREAT | O_TRUNC), 0);
}

/* Fail-over: when the first backup has died, take its place. Its file says how much of each primary's records it had. */
static void spare(DPI_Flow flow)
{
	DPI_Node_Info info = DPI_NODE_INFO_INIT;
	DPI_Target_Attr attr = DPI_TARGET_ATTR_INIT;
	DPI_Position position[PRIMARIES] = { { 0, 0 }, { 1, 0 } };
	DPI_Target target;
	struct record r;
	off_t at = 0;
	int fd;

	CHECK(DPI_Barrier("watched", 2, 0, ctx));
	do {
		usleep(1000);
		CHECK(DPI_Get_Node_Info(PRIMARIES, ctx, &info));
	} while (info.alive);
	fd = open_file("backup", 0, O_RDWR);
	for (; read(fd, &r, sizeof r) == sizeof r; at += (off_t)sizeof r) /* the last may be half a record */
		position[r.primary].rows++;
	attr.rebind = 1;
	attr.position = position;
	attr.positions = PRIMARIES;
	CHECK(DPI_Open_Target(0, &attr, flow, &target));
	ship(0, target, fd, at);
}

/* ------------------------------------------------------------------------------------------------------------- check */

/* How many copies of each record of each primary the backups' files hold. */
static void count_copies(uint8_t *copies[PRIMARIES])
{
	for (int b = 0; b < backups; b++) {
		int fd = open_file("backup", b, O_RDONLY);
		int64_t last[PRIMARIES] = { 0 };
		struct record r;

		while (read(fd, &r, sizeof r) == sizeof r) {
			if (r.primary < 0 || r.primary >= PRIMARIES || r.lsn <= last[r.primary] || r.lsn > records || r.change != r.lsn * r.lsn)
				fprintf(stderr, "backup %d has a record that it should not have there\n", b), exit(1);
			last[r.primary] = r.lsn;
			copies[r.primary][r.lsn]++;
		}
		close(fd);
	}
}

static void check_files(void)
{
	uint8_t *copies[PRIMARIES];
	int64_t safe[PRIMARIES];

	for (int p = 0; p < PRIMARIES; p++)
		copies[p] = need(calloc((size_t)records + 1, 1));
	count_copies(copies);
	for (int p = 0; p < PRIMARIES; p++) {
		int fd = open_file("primary", p, O_RDONLY);

		if (read(fd, &safe[p], sizeof safe[p]) != sizeof safe[p] || safe[p] > records || (p == 0 && safe[p] != records))
			fprintf(stderr, "primary %d has told its client nothing\n", p), exit(1);
		for (int64_t lsn = 1; lsn <= safe[p]; lsn++)
			if (copies[p][lsn] < (p == 0 ? COPIES : QUORUM))
				fprintf(stderr, "record %" PRId64 " of primary %d was acknowledged, and %u copies are left\n", lsn, p, copies[p][lsn]), exit(1);
		printf("primary %d: %" PRId64 " of %" PRId64 " records acknowledged, none lost\n", p, safe[p], records);
		close(fd);
		free(copies[p]);
	}
	printf("answer checked: ok\n");
}

static void remove_files(void)
{
	char path[128];

	for (int n = 0; n < nodes; n++) {
		snprintf(path, sizeof path, "%s/%s-%d", directory, n < PRIMARIES ? "primary" : "backup", n < PRIMARIES ? n : n - PRIMARIES);
		unlink(path);
	}
	rmdir(directory);
}

int main(int argc, char **argv)
{
	DPI_Flow flow;

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--kill"))
			deaths = true;
		else if (!strcmp(argv[i], "--records") && i + 1 < argc)
			records = atoll(argv[++i]);
		else
			return fprintf(stderr, "usage: log_shipping [--records N] [--kill]\n"), 2;
	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	backups = nodes - PRIMARIES - deaths;
	if (backups < COPIES || records < 1000)
		return fprintf(stderr, "log_shipping takes %d processes and 1,000 records at least\n", PRIMARIES + COPIES + deaths), 1;
	/* one directory for the processes that one dpirun has started */
	snprintf(directory, sizeof directory, "/tmp/log_shipping-%ld", (long)getppid());
	if (mkdir(directory, 0700) && errno != EEXIST)
		return fprintf(stderr, "%s: %s\n", directory, strerror(errno)), 1;
	flow = open_log();
	if (node < PRIMARIES)
		primary(flow);
	else if (node < PRIMARIES + backups)
		backup(flow);
	else
		spare(flow);
	CHECK(DPI_Close_Flow(flow));
	CHECK(DPI_Barrier("written", (uint32_t)(nodes - 2 * deaths), 0, ctx)); /* those who live */
	if (node == 0) {
		check_files();
		remove_files();
	}
	CHECK(DPI_Finalize(ctx));
	return 0;
}

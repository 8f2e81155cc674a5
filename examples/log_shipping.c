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
 * With --kill a backup and a primary die by SIGKILL amid their work, and the last two nodes take their places (run it by
 * dpirun --keep-going). The flow is retained: primaries keep what a backup has not confirmed. The spare binds the dead
 * backup's target to itself, and goes on where its file ends. The standby resumes the dead primary's source by its id, behind
 * the last record that was acknowledged and that all its backups have: what some have of what comes then they pass over. At
 * the end node 0 reads the files: all records of both primaries were acknowledged, and each backup has each of its records
 * once, in order.
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

enum { PRIMARIES = 2, COPIES = 3, QUORUM = 2, UNDER_WAY = 500, BACKUPS = 64 };

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
static int node, nodes, backups, spare_node, standby_node;
static int64_t records = 5000;
static bool deaths;
static char directory[64];

/* A record of a primary's log, which its standby has, too. */
static struct record log_record(int number, int64_t lsn)
{
	return (struct record){ lsn, number, lsn * 7 / 3 % 16, lsn * lsn };
}

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
	attr.resume_us = 10000000; /* a dead primary is waited for so long */
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
		if ((int64_t)acks[i].key > told) /* a successor's first ones are of records that its client knows to be safe */
			told = (int64_t)acks[i].key;
	}
	write_all(told_fd, &told, sizeof told, 0);
}

/* The first record of a primary that was not acknowledged, or that its backups do not all have; and how many before it went to each of them. */
static int64_t go_on_from(int number, uint64_t *rows)
{
	uint64_t have[BACKUPS] = { 0 };
	struct record r;
	int64_t lsn;

	for (int b = 0; b < backups; b++) {
		int fd = open_file("backup", b, O_RDONLY);

		while (read(fd, &r, sizeof r) == sizeof r)
			have[b] += r.primary == number;
		close(fd);
	}
	for (lsn = 1; lsn <= told; lsn++) {
		uint32_t to[COPIES], count;

		r = log_record(number, lsn);
		replicas(&r, sizeof r, 0, (uint32_t)backups, NULL, to, &count);
		for (uint32_t i = 0; i < count; i++)
			if (rows[to[i]] == have[to[i]])
				return lsn;
		for (uint32_t i = 0; i < count; i++)
			rows[to[i]]++;
	}
	return lsn;
}

/* Ship the records from this one on. */
static void primary(int number, int64_t lsn, DPI_Source source)
{
	DPI_Acked acks[16];
	size_t count;

	for (; lsn <= records; lsn++) {
		struct record r = log_record(number, lsn);

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

static void first_primary(DPI_Flow flow)
{
	DPI_Source_Attr attr = DPI_SOURCE_ATTR_INIT;
	DPI_Source source;

	told_fd = open_file("primary", node, O_RDWR | O_CREAT | O_TRUNC);
	attr.id = 1 + (uint64_t)node;
	if (node == 1) /* so that primary n is source n */
		CHECK(DPI_Barrier("primaries", PRIMARIES, 0, ctx));
	CHECK(DPI_Open_Source(flow, &attr, &source));
	if (node == 0)
		CHECK(DPI_Barrier("primaries", PRIMARIES, 0, ctx));
	if (deaths && node == 1)
		CHECK(DPI_Barrier("primary watched", 2, 0, ctx));
	primary(node, 1, source);
}

static void wait_for_death(int of)
{
	DPI_Node_Info info = DPI_NODE_INFO_INIT;

	do {
		usleep(1000);
		CHECK(DPI_Get_Node_Info(of, ctx, &info));
	} while (info.alive);
}

/* Fail-over: when the second primary has died, be its successor. What its client was told stands. */
static void standby(DPI_Flow flow)
{
	DPI_Source_Attr attr = DPI_SOURCE_ATTR_INIT;
	DPI_Source source;
	uint64_t rows[BACKUPS] = { 0 };
	int64_t lsn;

	CHECK(DPI_Barrier("primary watched", 2, 0, ctx));
	wait_for_death(1);
	told_fd = open_file("primary", 1, O_RDWR);
	if (pread(told_fd, &told, sizeof told, 0) != sizeof told)
		fprintf(stderr, "primary 1 has told its client nothing\n"), exit(1);
	lsn = go_on_from(1, rows);
	attr.id = 2;
	attr.rows = rows;
	attr.takeover = 1; /* not everybody may know yet that it is dead */
	CHECK(DPI_Open_Source(flow, &attr, &source));
	printf("primary 1 died; its client was told of %" PRId64 " records, and its successor goes on with record %" PRId64 "\n", told, lsn);
	primary(1, lsn, source);
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
		CHECK(DPI_Barrier("backup watched", 2, 0, ctx));
	ship(number, target, open_file("backup", number, O_WRONLY | O_CREAT | O_TRUNC), 0);
}

/* Fail-over: when the first backup has died, take its place. Its file says how much of each primary's records it had. */
static void spare(DPI_Flow flow)
{
	DPI_Target_Attr attr = DPI_TARGET_ATTR_INIT;
	DPI_Position position[PRIMARIES] = { { 0, 0 }, { 1, 0 } };
	DPI_Target target;
	struct record r;
	off_t at = 0;
	int fd;

	CHECK(DPI_Barrier("backup watched", 2, 0, ctx));
	wait_for_death(PRIMARIES);
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

		if (read(fd, &safe[p], sizeof safe[p]) != sizeof safe[p] || safe[p] != records)
			fprintf(stderr, "primary %d has not told its client of all records\n", p), exit(1);
		for (int64_t lsn = 1; lsn <= safe[p]; lsn++)
			if (copies[p][lsn] != COPIES)
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
	backups = nodes - PRIMARIES - 2 * deaths;
	spare_node = deaths ? nodes - 2 : -1;
	standby_node = deaths ? nodes - 1 : -1;
	if (backups < COPIES || backups > BACKUPS || records < 1000)
		return fprintf(stderr, "log_shipping takes %d processes at least, %d backups at most, and 1,000 records at least\n", PRIMARIES + COPIES + 2 * deaths, BACKUPS), 1;
	/* one directory for the processes that one dpirun has started */
	snprintf(directory, sizeof directory, "/tmp/log_shipping-%ld", (long)getppid());
	if (mkdir(directory, 0700) && errno != EEXIST)
		return fprintf(stderr, "%s: %s\n", directory, strerror(errno)), 1;
	flow = open_log();
	if (node < PRIMARIES)
		first_primary(flow);
	else if (node == spare_node)
		spare(flow);
	else if (node == standby_node)
		standby(flow);
	else
		backup(flow);
	CHECK(DPI_Close_Flow(flow));
	CHECK(DPI_Barrier("written", (uint32_t)(nodes - 2 * deaths), 0, ctx)); /* those who live */
	if (node == 0) {
		check_files();
		remove_files();
	}
	CHECK(DPI_Finalize(ctx));
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 * harness_test.c: the harness itself, and an example of how cases are written. The cases fails_… do fail: the last
 * case runs this program again for them, and looks at what is said of each. */
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct shared {
	_Atomic int count, done;
};

TEST(unit_case_has_no_cluster, "", 0)
{
	CHECK(!getenv("DPI_CLUSTER"));
	CHECK_INT(rank, ==, 0);
	CHECK_INT(ranks, ==, 1);
	CHECK_STR(harness_transport(), "");
}

TEST(a_fresh_case_has_a_seed_of_its_own, "", 0, .fresh = true)
{
	const char *text = getenv("TEST_SEED"); /* the command line names the case */
	if (text) CHECK_INT(harness_seed(), ==, strtoull(text, NULL, 0));
	else CHECK_INT(harness_seed(), !=, 1); /* as CI has it */
}

TEST(ranks_share_memory_and_barrier, "", 4)
{
	struct shared *s = harness_shared();
	for (int i = 1; i <= 50; i++) {
		s->count++;
		harness_barrier();
		CHECK_INT(s->count, ==, 4 * i);
		harness_barrier();
	}
}

TEST(ranks_have_the_launchers_environment, "", 2, .env = "DPI_LINGER=7ms")
{
	CHECK_HAS(getenv("DPI_CLUSTER"), "unix:dpi-test-");
	CHECK_STR(getenv("DPI_NODE"), rank ? "1" : "0");
	CHECK_STR(getenv("DPI_NODES"), "2");
	CHECK_STR(getenv("DPI_LINGER"), "7ms");
	CHECK(getenv("DPI_JOB") && getenv("DPI_TIMEOUT"));
	CHECK(!!getenv("DPI_LISTEN_FD") == (rank == 0));
	if (rank == 0) CHECK_INT(fcntl(atoi(getenv("DPI_LISTEN_FD")), F_GETFD), ==, 0);
}

TEST(a_tcp_cluster_address, "", 2, .inet = true)
{
	char at[64];
	snprintf(at, sizeof at, "%s:", getenv("DPI_LISTEN"));
	CHECK_HAS(at, "127.");
	CHECK_HAS(getenv("DPI_CLUSTER"), at);
}

TEST(a_rank_can_be_killed_and_started_again, "", 2)
{
	struct shared *s = harness_shared();
	s->count++;
	if (rank == 2) return;
	if (rank == 1 && harness_spawns(1) == 1) AWAIT(false);
	if (rank == 1) s->done = 1;
	if (rank == 1) return;
	AWAIT(s->count == 2);
	harness_kill(1, SIGKILL);
	AWAIT(!harness_alive(1));
	harness_spawn_rank(1);
	AWAIT(s->done);
	harness_spawn_rank(2);
	AWAIT(s->count == 4);
}

TEST(standard_error_can_be_expected, "", 0, .expect_stderr = true)
{
	char text[64];
	fprintf(stderr, "warning: so be it\n");
	CHECK_INT(harness_stderr(text, sizeof text), ==, 18);
	CHECK_HAS(text, "so be it");
}

TEST(fails_not_but_skips, "", 2, .only_named = true)
{
	if (rank == 1) SKIP("no such %s", "device");
	AWAIT(false);
}

/* ----------------------------------------------------------------------------------------------- cases that fail */

TEST(fails_a_check, "", 2, .only_named = true)
{
	if (rank == 1) CHECK_INT(2 + 2, ==, 5);
	AWAIT(false);
}

TEST(fails_by_status, "", 0, .only_named = true)
{
	exit(3);
}

TEST(fails_by_signal, "", 0, .only_named = true)
{
	raise(SIGTERM);
}

TEST(fails_by_stray_stderr, "", 0, .only_named = true)
{
	fprintf(stderr, "stray\n");
}

TEST(fails_by_child, "", 0, .only_named = true)
{
	if (!fork()) {
		setsid();
		pause();
	}
}

TEST(fails_by_shm_file, "", 0, .only_named = true)
{
	close(open("/dev/shm/dpi-left", O_CREAT | O_RDWR, 0600));
}

TEST(fails_by_temp_file, "", 0, .only_named = true)
{
	char path[128];
	snprintf(path, sizeof path, "%s/left", getenv("TMPDIR"));
	close(open(path, O_CREAT | O_RDWR, 0600));
}

TEST(fails_by_deadline, "", 0, .only_named = true, .deadline_s = 1)
{
	pause();
}

TEST(the_harness_finds_failures, "", 0, .deadline_s = 100)
{
	static char text[1 << 20];
	char command[4200];
	snprintf(command, sizeof command, "TEST_SLOW=1 '%s/test/unit/harness_test' --jobs 2 fails_ 2>&1", harness_build());
	FILE *f = popen(command, "r");
	CHECK(f);
	text[fread(text, 1, sizeof text - 1, f)] = 0;
	CHECK_INT(pclose(f), ==, 256);
	unlink("/dev/shm/dpi-left"); /* where cases have no /dev/shm of their own */
	static const char *const said[] = {
		"2 + 2 == 5: left is 4, right is 5", "harness_test.c:", "rank 1 ended with status 1",
		"rank 0 ended with status 3", "died by signal 15", "written to standard error", "err 0: stray",
		"was left running", "left in /dev/shm:", "left in $TMPDIR:", "the deadline of 1 s passed",
		"stacks of process", "skip fails_not_but_skips: no such device", "0 passed, 8 failed, 1 skipped"};
	for (size_t i = 0; i < sizeof said / sizeof *said; i++) CHECK_HAS(text, said[i]);
}

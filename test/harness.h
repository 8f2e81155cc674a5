/* SPDX-License-Identifier: Apache-2.0
 * harness.h: the one harness of all C tests. It brings main(): a test program is cases and nothing else.
 *
 *	TEST(ring_wraps, "", 0)				// a unit case: one process, no cluster
 *	{
 *		CHECK_INT(ring_next(&ring), ==, 7);
 *	}
 *	TEST(append_keeps_order, "M-3 M-4", 4, .deadline_s = 120)	// four nodes; statements of spec/ it checks
 *	{
 *		DPI_Context ctx;
 *		CHECK_DPI(DPI_Init(&ctx));		// rank: 0 … ranks-1, this process; DPI_CLUSTER and the rest are set
 *		CHECK_ERROR(DPI_Destroy_Buffer("none", ctx), DPI_ERR_NAME, "none");
 *		harness_barrier();			// over shared memory, not over DPI
 *		CHECK_DPI(DPI_Finalize(ctx));
 *	}
 *	ENROL(tcp, "DPI_TRANSPORT=tcp", NULL);		// every case with nodes runs once for each transport enrolled
 *
 * Each case runs in processes of its own with a deadline. It fails when a CHECK fails, a rank ends with another status than
 * 0, anything is written to standard error, a child process or a file in /dev/shm or $TMPDIR is left behind, or the deadline
 * passes: then the stacks of all its processes are printed and they are killed. Standard output is shown on failure only.
 *
 * Command line: PROGRAM [--list] [--cites] [--jobs N] [--repeat N] [--transport NAME] [--verbose] [FILTER…]
 * Cases that the file TEST_EXCLUDE names, a line 'NAME[@TRANSPORT] REASON' each, and transports, '@TRANSPORT REASON', are skipped aloud.
 * FILTER: part of a case's name ("append"), its end if it says a transport ("@shm"). Environment: TEST_SLOW=10 makes every
 * deadline ten times longer (sanitizers, valgrind); TEST_SEED=N fixes harness_seed(), as CI does: what it tries is the same
 * each time, and whoever looks for more lets the seed be drawn; TEST_STAGGER=MS holds all ranks but one back by so much at the
 * start and after each barrier, a different one each time: what a case left to the order in which its ranks run shows then. */
#ifndef HARNESS_H
#define HARNESS_H

#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define HARNESS_RANKS 64	 /* most processes of a case */
#define HARNESS_SHARED (1 << 20) /* bytes of harness_shared() */
#define HARNESS_SKIPPED 77	 /* exit status of a skipped rank */

struct harness_case {
	const char *name, *cites;
	void (*run)(int rank, int ranks);
	int processes;	    /* started at first; 0: one process without a cluster */
	int nodes;	    /* DPI_NODES; 0: processes; -1: not said */
	int deadline_s;	    /* 0: 60 */
	bool expect_stderr; /* the case may write to standard error */
	bool leaves_files;  /* and leave files in /dev/shm and $TMPDIR */
	bool once;	    /* what it checks has nothing to do with transports: run for the first one only */
	bool only_named;    /* run only when the command line's FILTER names it */
	bool fresh;	    /* TEST_SEED is for it only when the command line names it: each run tries something else */
	bool one_transport; /* it looks at one transport: not for enrolments of several in one cluster */
	bool inet;	    /* the cluster is a TCP address (DPI_CLUSTER=$DPI_LISTEN:port), not a Unix socket */
	const char *env;    /* set in each rank: "DPI_LINGER=1s DPI_SPIN=0" */
	struct harness_case *next;
};

struct harness_transport {
	const char *name, *env;		       /* env: "DPI_TRANSPORT=hook:shm DPI_HOOK=delay=50" */
	void (*prepare)(int rank, int ranks); /* may be NULL; runs in each rank before the case: setenv by rank, SKIP */
	bool (*present)(void);		       /* may be NULL: always; false: this machine cannot, the cases do not run over it */
	void (*before)(void);		       /* may be NULL; runs in the harness, before each case over it */
	bool kit_only;			       /* only for the cases of transports, tp_…; the others run over one like it */
	struct harness_transport *next;
};

/* TEST(name, "statements it cites", processes[, .field = value…]) { body, which sees rank and ranks } */
#define TEST(id, citations, ...)                                                                       \
	static void id(int rank, int ranks);                                                           \
	static struct harness_case id##_case = {                                                       \
		.name = #id, .cites = citations, .run = id, .processes = __VA_ARGS__};                 \
	__attribute__((constructor)) static void id##_enter(void) { harness_add_case(&id##_case); }    \
	static void id(int rank __attribute__((unused)), int ranks __attribute__((unused)))

/* ENROL(name, environment, prepare): one line a transport. ENROL_IF: where present() says that the machine has what it needs. */
#define ENROL(id, environment, function) ENROL_IF(id, environment, function, NULL)
#define ENROL_IF(id, environment, function, condition) ENROL_ALSO(id, environment, function, .present = condition)
/* ENROL_ALSO(name, environment, prepare, .field = value…) */
#define ENROL_ALSO(id, environment, function, ...)                                                     \
	static struct harness_transport id##_transport = {                                             \
		.name = #id, .env = environment, .prepare = function, __VA_ARGS__};                    \
	__attribute__((constructor)) static void id##_enrol(void) { harness_add_transport(&id##_transport); } \
	struct harness_transport

void harness_add_case(struct harness_case *c);
void harness_add_transport(struct harness_transport *t);

/* ------------------------------------------------------------------------------- checks: from any thread of a rank */

void harness_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4), noreturn));
void harness_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#define FAIL(...) harness_fail(__FILE__, __LINE__, __VA_ARGS__)
#define SKIP(...) harness_skip(__VA_ARGS__) /* the reason is printed and the skip counted */
/* It sees one process and one way to order things: a case that rests on another has races for it. */
#if defined(__SANITIZE_THREAD__)
#define SKIP_UNDER_TSAN(why) SKIP("under the thread sanitizer: %s", why)
#else
#define SKIP_UNDER_TSAN(why) ((void)0)
#endif

#define CHECK(condition)                                                                               \
	do {                                                                                           \
		if (!(condition)) FAIL("CHECK(%s)", #condition);                                       \
	} while (0)

/* Integers: CHECK_INT(count, >=, 3). */
#define CHECK_INT(a, op, b)                                                                            \
	do {                                                                                           \
		int64_t harness_a = (int64_t)(a), harness_b = (int64_t)(b);                            \
		if (!(harness_a op harness_b))                                                         \
			FAIL("%s %s %s: left is %" PRId64 ", right is %" PRId64, #a, #op, #b, harness_a, harness_b); \
	} while (0)

#define CHECK_STR(a, b)                                                                                \
	do {                                                                                           \
		const char *harness_a = (a), *harness_b = (b);                                         \
		if (strcmp(harness_a, harness_b)) FAIL("%s is \"%s\", not \"%s\"", #a, harness_a, harness_b); \
	} while (0)

#define CHECK_HAS(text, part)                                                                          \
	do {                                                                                           \
		const char *harness_a = (text), *harness_b = (part);                                   \
		if (!strstr(harness_a, harness_b)) FAIL("%s is \"%s\", without \"%s\"", #text, harness_a, harness_b); \
	} while (0)

/* The next three need dpi.h. A call that must succeed. */
#define CHECK_DPI(call)                                                                                \
	do {                                                                                           \
		int harness_e = (call);                                                                \
		const char *harness_n = "?", *harness_t = "";                                          \
		if (harness_e != DPI_SUCCESS) {                                                        \
			DPI_Get_Error_Detail(&harness_t);                                              \
			DPI_Get_Error_Name(harness_e, &harness_n);                                     \
			FAIL("%s: %s: %s", #call, harness_n, harness_t);                               \
		}                                                                                      \
	} while (0)

/* The same of a call that may fail at first of what it then does otherwise: the thread's sentence stays as it is. */
#define CHECK_QUIET(call)                                                                              \
	do {                                                                                           \
		const char *harness_said = "";                                                         \
		char harness_before[1024];                                                             \
		DPI_Get_Error_Detail(&harness_said);                                                   \
		strcpy(harness_before, harness_said);                                                  \
		CHECK_DPI(call);                                                                       \
		DPI_Get_Error_Detail(&harness_said);                                                   \
		if (strcmp(harness_said, harness_before)) FAIL("%s succeeds, and says \"%s\"", #call, harness_said); \
	} while (0)

/* A call that must fail with this class and a sentence that contains part. */
#define CHECK_ERROR(call, class, part)                                                                 \
	do {                                                                                           \
		int harness_e = (call);                                                                \
		const char *harness_n = "?", *harness_t = "";                                          \
		DPI_Get_Error_Detail(&harness_t);                                                      \
		if (harness_e != (class)) {                                                            \
			DPI_Get_Error_Name(harness_e, &harness_n);                                     \
			FAIL("%s: %s, not %s: %s", #call, harness_n, #class, harness_t);               \
		}                                                                                      \
		const char *harness_p = (part);                                                        \
		if (!strstr(harness_t, harness_p))                                                     \
			FAIL("%s: the sentence is \"%s\", without \"%s\"", #call, harness_t, harness_p); \
	} while (0)

/* Wait until a condition over shared memory is true; the case's deadline bounds it. */
#define AWAIT(condition)                                                                               \
	do {                                                                                           \
		while (!(condition)) harness_pause();                                                  \
	} while (0)

/* ---------------------------------------------------------------------------------- the ranks of a case, together */

void *harness_shared(void);	   /* HARNESS_SHARED bytes, zero at first, shared by all ranks of the case */
void harness_barrier(void);	   /* among the processes started at first */
void harness_pause(void);	   /* 100 µs */
int64_t harness_pid(int rank);	   /* 0: not started */
bool harness_alive(int rank);
void harness_spawn_rank(int rank); /* start one more (rank >= processes), or a dead one again; it runs the same function */
int harness_spawns(int rank);	   /* how often it was started */
void harness_kill(int rank, int signal); /* SIGKILL and SIGTERM say that its death is expected; so that it may be itself; SIGSTOP: it stands */
void harness_expect_death(int rank);	 /* it will die by a signal or end with any status */
const char *harness_transport(void);	 /* the enrolled transport of this run; "" without */
uint64_t harness_seed(void);		 /* for random choices; printed when the case fails */
size_t harness_stderr(char *text, size_t room); /* what this rank has written to standard error so far */
const char *harness_build(void);		/* the build directory, such as /…/build */
bool harness_carries(const char *transport);	/* does one that needs a device work here? If not, it is said why, once */
int harness_slow(void);				/* TEST_SLOW, at least 1: for a test's own time bounds */

#endif

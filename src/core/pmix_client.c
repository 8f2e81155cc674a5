/* SPDX-License-Identifier: Apache-2.0
 * pmix_client.c: PMIx of the launcher, its library loaded when a job needs it. Most of its calls wait for others, and none has a
 * deadline that holds, so each conversation has a thread of its own, which is left to itself when the time is over. */
#include "pmix_client.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "context.h"
#include "dpi_build.h"

#if DPI_BUILD_PMIX
#include <pmix.h>

#define LIBRARY "libpmix.so.2"
#define LEAVE_NS 1000000000 /* for PMIx_Finalize */

/* The process stays in the job until its end, whatever contexts come and go: where one leaves, the launcher takes it out of the
 * fences that others wait in, which then end without all having come; and MPI may begin after DPI has ended. */
static struct dpi_pmix_job joined;
static pid_t joined_by;

/* Its functions by their names, without linking it. Set once; the library stays loaded, as MPI may have it too. */
static struct {
	__typeof__(PMIx_Init) *init;
	__typeof__(PMIx_Finalize) *finalize;
	__typeof__(PMIx_Put) *put;
	__typeof__(PMIx_Commit) *commit;
	__typeof__(PMIx_Fence) *fence;
	__typeof__(PMIx_Get) *get;
	__typeof__(PMIx_Error_string) *error_string;
} px;

static _Atomic bool stuck;    /* a conversation was given up */
static unsigned rounds;	      /* texts told so far: each has a key of its own, lest an old one be taken for it */
static char space[PMIX_MAX_NSLEN + 1];

static int load(void)
{
	void *module = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!module)
		return dpi_fail(DPI_ERR_UNSUPPORTED,
				"the launcher of this job speaks PMIx (PMIX_NAMESPACE is set), but " LIBRARY " cannot be loaded (%s): "
				"install the package libpmix2, say in LD_LIBRARY_PATH where the launcher has its own, or start the program with "
				"dpirun", dlerror());
	*(void **)&px.init = dlsym(module, "PMIx_Init");
	*(void **)&px.finalize = dlsym(module, "PMIx_Finalize");
	*(void **)&px.put = dlsym(module, "PMIx_Put");
	*(void **)&px.commit = dlsym(module, "PMIx_Commit");
	*(void **)&px.fence = dlsym(module, "PMIx_Fence");
	*(void **)&px.get = dlsym(module, "PMIx_Get");
	*(void **)&px.error_string = dlsym(module, "PMIx_Error_string");
	if (px.init && px.finalize && px.put && px.commit && px.fence && px.get && px.error_string) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_UNSUPPORTED, "the " LIBRARY " that was loaded is not the library of PMIx: it lacks calls");
}

/* ------------------------------------------------------------------------------------------------- conversations */

/* Belongs to caller and thread; who is last frees it. */
struct talk {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool done, given_up;
	void (*body)(struct talk *t);
	pmix_status_t status;
	const char *call; /* that ended with status */
	char space[PMIX_MAX_NSLEN + 1], key[32];
	uint32_t rank, size, local;
	char *text;
};

static void talk_free(struct talk *t)
{
	if (t->text) explicit_bzero(t->text, strlen(t->text)); /* it may hold the cluster's key */
	free(t->text);
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->ended);
	free(t);
}

static struct talk *talk_new(void (*body)(struct talk *t))
{
	pthread_condattr_t monotonic;
	struct talk *t = calloc(1, sizeof *t);
	if (!t) return NULL;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	t->body = body;
	memcpy(t->space, space, sizeof t->space);
	snprintf(t->key, sizeof t->key, "dpi.cluster.%u", rounds);
	return t;
}

static void *talk_main(void *arg)
{
	struct talk *t = arg;
	t->body(t);
	pthread_mutex_lock(&t->lock);
	t->done = true;
	bool given_up = t->given_up;
	pthread_cond_signal(&t->ended);
	pthread_mutex_unlock(&t->lock);
	if (given_up) talk_free(t);
	return NULL;
}

/* Run body on a thread of its own. TIMEOUT without a sentence: t is not the caller's any more. */
static int talk_run(struct talk *t, int64_t deadline)
{
	struct timespec until = { deadline / 1000000000, deadline % 1000000000 };
	sigset_t all, before;
	pthread_t thread;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's: not for this thread, nor for those PMIx makes */
	int error = pthread_create(&thread, NULL, talk_main, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error) {
		talk_free(t);
		errno = error;
		return dpi_fail_errno(DPI_ERR_LIMIT, "no thread to talk to the launcher");
	}
	pthread_mutex_lock(&t->lock);
	while (!t->done && !error) error = pthread_cond_timedwait(&t->ended, &t->lock, &until);
	bool done = t->done;
	t->given_up = !done;
	pthread_mutex_unlock(&t->lock);
	if (done) {
		pthread_join(thread, NULL);
		return DPI_SUCCESS;
	}
	pthread_detach(thread);
	atomic_store(&stuck, true);
	dlopen(dpi_library_path(), RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE); /* its code must stay */
	return DPI_ERR_TIMEOUT;
}

static bool good(struct talk *t, pmix_status_t status, const char *call)
{
	t->status = status;
	t->call = call;
	return status == PMIX_SUCCESS;
}

static pmix_proc_t process(const struct talk *t, pmix_rank_t rank)
{
	pmix_proc_t p = { .rank = rank };
	memcpy(p.nspace, t->space, sizeof t->space);
	return p;
}

static bool get_number(struct talk *t, const char *key, uint32_t *number)
{
	pmix_proc_t all = process(t, PMIX_RANK_WILDCARD);
	pmix_value_t *v = NULL;
	if (!good(t, px.get(&all, key, NULL, 0, &v), "PMIx_Get")) return false;
	bool fits = v->type == PMIX_UINT32;
	*number = fits ? v->data.uint32 : 0;
	if (fits) free(v); /* of another type it may own more: left alone */
	return good(t, fits ? PMIX_SUCCESS : PMIX_ERR_BAD_PARAM, "PMIx_Get");
}

static void meet(struct talk *t)
{
	pmix_proc_t self;
	memset(&self, 0, sizeof self);
	if (!good(t, px.init(&self, NULL, 0), "PMIx_Init")) return;
	snprintf(t->space, sizeof t->space, "%s", self.nspace);
	t->rank = self.rank;
	if (!get_number(t, PMIX_LOCAL_SIZE, &t->local)) t->local = 0; /* then it counts as several hosts */
	if (!get_number(t, PMIX_JOB_SIZE, &t->size)) px.finalize(NULL, 0);
}

/* All of the job take part. */
static bool fence(struct talk *t)
{
	pmix_proc_t all = process(t, PMIX_RANK_WILDCARD);
	pmix_info_t collect;
	memset(&collect, 0, sizeof collect);
	strcpy(collect.key, PMIX_COLLECT_DATA);
	collect.value.type = PMIX_BOOL;
	collect.value.data.flag = true;
	return good(t, px.commit(), "PMIx_Commit") && good(t, px.fence(&all, 1, &collect, 1), "PMIx_Fence");
}

static void tell(struct talk *t)
{
	pmix_value_t v;
	memset(&v, 0, sizeof v);
	v.type = PMIX_STRING;
	v.data.string = t->text;
	if (good(t, px.put(PMIX_GLOBAL, t->key, &v), "PMIx_Put")) fence(t);
}

static void hear(struct talk *t)
{
	pmix_proc_t zero = process(t, 0);
	pmix_value_t *v = NULL;
	if (!fence(t) || !good(t, px.get(&zero, t->key, NULL, 0, &v), "PMIx_Get")) return;
	if (v->type != PMIX_STRING || !v->data.string) {
		good(t, PMIX_ERR_BAD_PARAM, "PMIx_Get");
		return;
	}
	t->text = v->data.string;
	free(v);
}

static void finalize(struct talk *t)
{
	good(t, px.finalize(NULL, 0), "PMIx_Finalize");
}

static void leave(void)
{
	struct talk *t = joined_by == getpid() && !atomic_load(&stuck) ? talk_new(finalize) : NULL;
	if (t && !talk_run(t, dpi_now() + LEAVE_NS)) talk_free(t);
}

static int no_memory(void)
{
	return dpi_fail(DPI_ERR_MEMORY, "no memory to talk to the launcher");
}

/* ------------------------------------------------------------------------------------------------------ the calls */

int dpi_pmix_open(struct dpi_pmix_job *job, int64_t deadline)
{
	int64_t start = dpi_now();
	if (joined_by && joined_by != getpid())
		return dpi_fail(DPI_ERR_FORK, "this process was forked from one that its launcher (PMIx) knows, and is not known to it: "
					      "set DPI_CLUSTER, empty for a cluster of its own");
	if (joined_by && !atomic_load(&stuck)) {
		*job = joined;
		return DPI_SUCCESS;
	}
	if (atomic_load(&stuck))
		return dpi_fail(DPI_ERR_STATE, "the launcher (PMIx) has left an earlier DPI_Init of this process without an answer: "
					       "end the process");
	int error = load();
	if (error) return error;
	struct talk *t = talk_new(meet);
	if (!t) return no_memory();
	error = talk_run(t, deadline);
	if (error == DPI_ERR_TIMEOUT)
		return dpi_fail(error, "the launcher (PMIx) has not answered within %lld ms: is mpirun, or its daemon on this host, "
				       "stopped?", (long long)((dpi_now() - start) / 1000000));
	if (error) return error;
	if (t->status != PMIX_SUCCESS)
		error = dpi_fail(DPI_ERR_CONFIG,
				 "PMIX_NAMESPACE is set, but no launcher answers (%s: %s): does it still run? Start the program with "
				 "mpirun, srun --mpi=pmix or dpirun; an empty DPI_CLUSTER makes it a cluster of its own",
				 t->call, px.error_string(t->status));
	else {
		memcpy(space, t->space, sizeof space);
		*job = joined = (struct dpi_pmix_job){ t->rank, t->size, t->local == t->size };
		joined_by = getpid();
		atexit(leave);
	}
	talk_free(t);
	return error;
}

/* The text has been told and heard, or why not. */
static int result(struct talk *t, const struct dpi_pmix_job *job)
{
	if (t->status == PMIX_SUCCESS) return DPI_SUCCESS;
	if (!strcmp(t->call, "PMIx_Get"))
		return dpi_fail(DPI_ERR_REGISTRY, "node 0 of the job has not told where it is (%s): every process of the job has to "
						  "call DPI_Init, and all call it and MPI_Init in the same order",
				px.error_string(t->status));
	return dpi_fail(DPI_ERR_PEER, "the %u processes of the job did not all come to DPI_Init (%s: %s): has one of them died?",
			job->size, t->call, px.error_string(t->status));
}

static int late(const struct dpi_pmix_job *job, int64_t start)
{
	return dpi_fail(DPI_ERR_TIMEOUT, "not all %u processes of the job have called DPI_Init within %lld ms (DPI_TIMEOUT): each has "
					 "to, and in the same order as MPI_Init",
			job->size, (long long)((dpi_now() - start) / 1000000));
}

int dpi_pmix_tell(const struct dpi_pmix_job *job, const char *text, int64_t deadline)
{
	int64_t start = dpi_now();
	struct talk *t = talk_new(tell);
	if (!t) return no_memory();
	rounds++;
	t->text = strdup(text);
	if (!t->text) {
		talk_free(t);
		return no_memory();
	}
	int error = talk_run(t, deadline);
	if (error) return error == DPI_ERR_TIMEOUT ? late(job, start) : error;
	error = result(t, job);
	talk_free(t);
	return error;
}

int dpi_pmix_hear(const struct dpi_pmix_job *job, char *text, size_t room, int64_t deadline)
{
	int64_t start = dpi_now();
	struct talk *t = talk_new(hear);
	if (!t) return no_memory();
	rounds++;
	int error = talk_run(t, deadline);
	if (error) return error == DPI_ERR_TIMEOUT ? late(job, start) : error;
	error = result(t, job);
	if (!error) snprintf(text, room, "%s", t->text); /* what is cut is found to be wrong */
	talk_free(t);
	return error;
}

#else

static int not_built(void)
{
	return dpi_fail(DPI_ERR_UNSUPPORTED, "the launcher of this job speaks PMIx (PMIX_NAMESPACE is set), which %s was built without: "
					     "install the package libpmix-dev and build it anew, or start the program with dpirun",
			dpi_library_path());
}

int dpi_pmix_open(struct dpi_pmix_job *job, int64_t deadline)
{
	(void)job, (void)deadline;
	return not_built();
}

int dpi_pmix_tell(const struct dpi_pmix_job *job, const char *text, int64_t deadline)
{
	(void)job, (void)text, (void)deadline;
	return not_built();
}

int dpi_pmix_hear(const struct dpi_pmix_job *job, char *text, size_t room, int64_t deadline)
{
	(void)job, (void)text, (void)room, (void)deadline;
	return not_built();
}

#endif

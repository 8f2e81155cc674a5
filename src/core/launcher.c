/* SPDX-License-Identifier: Apache-2.0
 * launcher.c: what node 0 of an MPI job tells the others, and what the launcher says of each; pmix.c does the talking. */
#include "launcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "control_state.h"
#include "pmix_client.h"

#define FORM "dpi-1" /* the first word of the text */

struct dpi_launcher {
	struct dpi_pmix_job job;
	struct dpi_launcher_word word;
};

/* ------------------------------------------------------------------------------------------------------- the text */

void dpi_launcher_print(const struct dpi_launcher_word *w, char text[DPI_LAUNCHER_TEXT])
{
	size_t at = (size_t)snprintf(text, DPI_LAUNCHER_TEXT, FORM " %s ", w->job);
	for (int i = 0; w->secure && i < DPI_LAUNCHER_KEY; i++) at += (size_t)sprintf(text + at, "%02x", w->key[i]);
	if (!w->secure) at += (size_t)sprintf(text + at, "-");
	for (int i = 0; i < w->addresses; i++) at += (size_t)sprintf(text + at, " %s", w->address[i]);
}

/* The next word, of less than room bytes; false at the end, or if it is longer. */
static bool next_word(const char **at, char *word, size_t room)
{
	size_t n = strcspn(*at, " ");
	if (!n || n >= room) return false;
	memcpy(word, *at, n);
	word[n] = 0;
	*at += n;
	if (**at) ++*at;
	return true;
}

static bool parse_key(const char *word, struct dpi_launcher_word *w)
{
	static const char digits[] = "0123456789abcdef";
	if (!strcmp(word, "-")) return true;
	if (strlen(word) != 2 * DPI_LAUNCHER_KEY || strspn(word, digits) != 2 * DPI_LAUNCHER_KEY) return false;
	for (int i = 0; i < 2 * DPI_LAUNCHER_KEY; i++)
		w->key[i / 2] = (uint8_t)(w->key[i / 2] << 4 | (strchr(digits, word[i]) - digits));
	return w->secure = true;
}

int dpi_launcher_parse(const char *text, struct dpi_launcher_word *w)
{
	char form[16], key[2 * DPI_LAUNCHER_KEY + 1];
	const char *at = text;
	memset(w, 0, sizeof *w);
	if (!next_word(&at, form, sizeof form)) form[0] = 0;
	if (strncmp(form, "dpi-", 4)) goto bad;
	if (strcmp(form, FORM))
		return dpi_fail(DPI_ERR_VERSION, "node 0 tells of the cluster in the form %s, this library (%s) knows " FORM
						 ": use one version everywhere", form, dpi_library_path());
	if (!next_word(&at, w->job, sizeof w->job) || !next_word(&at, key, sizeof key) || !parse_key(key, w)) goto bad;
	for (; *at; w->addresses++)
		if (w->addresses == DPI_NODE_ADDRESSES || !next_word(&at, w->address[w->addresses], DPI_ADDRESS_TEXT) ||
		    dpi_address_check(w->address[w->addresses]))
			goto bad;
	if (w->addresses) return DPI_SUCCESS;
bad:
	return dpi_fail(DPI_ERR_CORRUPT, "what node 0 told through PMIx is not where a cluster is");
}

/* --------------------------------------------------------------------------------------------------------- the job */

bool dpi_launcher_meant(struct dpi_context *ctx)
{
	const char *name = getenv("PMIX_NAMESPACE"), *rank = getenv("PMIX_RANK");
	return name && *name && rank && *rank && !strcmp(ctx->settings.origin[DPI_SETTING_CLUSTER], "default");
}

/* Launchers that say how many processes they have started, and who the others are only by other means than PMIx. */
static const struct {
	const char *name, *job, *rank, *size, *remedy;
} alone[] = {
	{ "srun", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "start them with srun --mpi=pmix" },
	{ "a launcher that speaks PMI, not PMIx,", "PMI_FD", "PMI_RANK", "PMI_SIZE", "start them with dpirun, Open MPI's mpirun or srun --mpi=pmix" },
	{ "a launcher that speaks PMI, not PMIx,", "PMI_PORT", "PMI_RANK", "PMI_SIZE", "start them with dpirun, Open MPI's mpirun or srun --mpi=pmix" },
};

int dpi_launcher_alone(struct dpi_context *ctx)
{
	if (strcmp(ctx->settings.origin[DPI_SETTING_CLUSTER], "default")) return DPI_SUCCESS;
	for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) {
		const char *size = getenv(alone[i].size);
		if (!getenv(alone[i].job) || !getenv(alone[i].rank) || !size || atoi(size) < 2) continue;
		return dpi_fail(DPI_ERR_CONFIG, "%s started %d processes and tells none of the others: %s; or set DPI_CLUSTER to nothing, if each is "
						"to be a cluster of its own", alone[i].name, atoi(size), alone[i].remedy);
	}
	return DPI_SUCCESS;
}

static int set(struct dpi_context *ctx, enum dpi_setting which, const char *value)
{
	return dpi_settings_set(&ctx->settings, which, value, "pmix");
}

/* What the environment or the call says of this process must be what the launcher says. */
static int set_number(struct dpi_context *ctx, enum dpi_setting which, int said, int number)
{
	char text[16];
	if (said >= 0 && said != number)
		return dpi_fail(DPI_ERR_CONFIG, "DPI_%s is %d, the launcher (PMIx) says %d: leave DPI_%s away, or say in "
						"DPI_CLUSTER where another cluster is",
				dpi_setting_defs[which].name, said, number, dpi_setting_defs[which].name);
	snprintf(text, sizeof text, "%d", number);
	return said < 0 ? set(ctx, which, text) : DPI_SUCCESS;
}

/* Node 0: a name of the job, and a key if it runs on several hosts and was given none. */
static int begin(struct dpi_context *ctx, struct dpi_launcher *l)
{
	struct dpi_launcher_word *w = &l->word;
	const char *job = ctx->settings.value[DPI_SETTING_JOB];
	uint64_t id;
	int error = dpi_auth_random(&id, sizeof id);
	if (error) return error;
	if (strlen(job) < sizeof w->job) snprintf(w->job, sizeof w->job, "%s", job); /* one that is longer is refused later */
	if (!*job) snprintf(w->job, sizeof w->job, "%016llx", (unsigned long long)id);
	w->secure = !l->job.one_host && !*ctx->settings.value[DPI_SETTING_KEY_FILE];
	return w->secure ? dpi_auth_random(w->key, sizeof w->key) : DPI_SUCCESS;
}

/* Where the cluster is: of several hosts by an address that all of them may reach, from which transports tell its network. */
static int set_cluster(struct dpi_context *ctx, const struct dpi_launcher *l, char (*address)[DPI_ADDRESS_TEXT], int addresses)
{
	int i = 0;
	while (!l->job.one_host && i < addresses - 1 && !strncmp(address[i], "unix:", 5)) i++;
	return set(ctx, DPI_SETTING_CLUSTER, address[i]);
}

/* The others: what node 0 says. */
static int hear(struct dpi_context *ctx, struct dpi_launcher *l, int64_t deadline)
{
	struct dpi_cluster *c = ctx->cluster;
	struct dpi_launcher_word *w = &l->word;
	char text[DPI_LAUNCHER_TEXT];
	int error = dpi_pmix_hear(&l->job, text, sizeof text, deadline);
	if (!error) error = dpi_launcher_parse(text, w);
	explicit_bzero(text, sizeof text);
	if (error) return error;
	c->registries = w->addresses;
	memcpy(c->registry, w->address, sizeof c->registry);
	return set_cluster(ctx, l, w->address, w->addresses);
}

int dpi_launcher_open(struct dpi_context *ctx)
{
	struct dpi_cluster *c = ctx->cluster;
	int64_t deadline = dpi_deadline(0, ctx->timeout_us);
	struct dpi_launcher *l = calloc(1, sizeof *l);
	if (!l) return dpi_fail(DPI_ERR_MEMORY, "no memory for what the launcher says");
	int error = dpi_pmix_open(&l->job, deadline);
	if (error) {
		free(l);
		return error;
	}
	c->launcher = l;
	if (l->job.size > DPI_NODES_MAX || l->job.rank >= l->job.size)
		return dpi_fail(DPI_ERR_CONFIG, "the launcher (PMIx) says this is process %u of %u: a cluster has 1 to %d nodes",
				l->job.rank, l->job.size, DPI_NODES_MAX);
	error = set_number(ctx, DPI_SETTING_NODE, ctx->node, (int)l->job.rank);
	if (!error) error = set_number(ctx, DPI_SETTING_NODES, ctx->expected_nodes ? ctx->expected_nodes : -1, (int)l->job.size);
	ctx->node = (int)l->job.rank;
	ctx->expected_nodes = (int)l->job.size;
	if (!error) error = ctx->node == DPI_REGISTRY_NODE ? begin(ctx, l) : hear(ctx, l, deadline);
	if (!error && !*ctx->settings.value[DPI_SETTING_JOB]) error = set(ctx, DPI_SETTING_JOB, l->word.job);
	if (!error && l->word.secure && !*ctx->settings.value[DPI_SETTING_KEY_FILE])
		error = dpi_auth_take(l->word.key, sizeof l->word.key, &c->auth);
	return error;
}

int dpi_launcher_publish(struct dpi_context *ctx)
{
	struct dpi_control *k = ctx->control;
	struct dpi_launcher *l = ctx->cluster->launcher;
	char text[DPI_LAUNCHER_TEXT];
	if (!l || ctx->node != DPI_REGISTRY_NODE) return DPI_SUCCESS;
	l->word.addresses = k->addresses;
	memcpy(l->word.address, k->address, sizeof k->address);
	dpi_launcher_print(&l->word, text);
	int error = dpi_pmix_tell(&l->job, text, dpi_deadline(0, ctx->timeout_us));
	explicit_bzero(text, sizeof text);
	return error ? error : set_cluster(ctx, l, k->address, k->addresses);
}

void dpi_launcher_close(struct dpi_launcher *l)
{
	if (!l) return;
	explicit_bzero(l, sizeof *l);
	free(l);
}

/* SPDX-License-Identifier: Apache-2.0
 * tables.c: settings, error classes, the nodes of the cluster. */
#include <stdio.h>
#include <string.h>

#include "cluster.h"
#include "peer.h"
#include "print.h"
#include "registry.h"
#include "sections.h"

static const char *const kinds[] = { "text", "integer", "size", "time" };

/* ------------------------------------------------------------------------------------------------------- settings */

void show_settings(const struct info *info)
{
	print_list("settings", "Settings");
	if (!info->settings_good && !print_json) {
		fputs("  ", stdout);
		print_wrapped(2, 2, info->settings_error);
	}
	for (int i = 0; i < DPI_SETTING_COUNT; i++) {
		const struct dpi_setting_def *d = &dpi_setting_defs[i];
		char name[64];
		snprintf(name, sizeof name, "DPI_%s", d->name);
		if (print_json) {
			print_item();
			print_fact("name", "", "%s", name);
			print_fact("value", "", "%s", info->settings.value[i]);
			print_fact("origin", "", "%s", info->settings.origin[i]);
			print_fact("default", "", "%s", d->value);
			print_fact("kind", "", "%s", kinds[d->kind]);
			print_fact("meaning", "", "%s", d->text);
			print_close();
			continue;
		}
		const char *value = *info->settings.value[i] ? info->settings.value[i] : "-",
			   *origin = info->settings.origin[i];
		fputs("  ", stdout);
		int used = 2 + print_cell(17, name);
		if (strlen(value) < 10) used += print_cell(10, value) + print_cell(12, origin);
		else {
			/* it has the line for itself */
			print_wrapped(used, used, value);
			used = print_cell(29, "");
			used += print_cell(12, origin);
		}
		print_wrapped(41, used, d->text);
	}
	print_close();
}

/* A sentence on lines that mandoc does not find too long. */
static void man_sentence(const char *text)
{
	char upper = (char)(*text >= 'a' && *text <= 'z' ? *text - 32 : *text);
	for (size_t used = 0, n; *text; text += n, text += strspn(text, " ")) {
		n = strcspn(text, " ");
		if (used) putchar(used + n < 78 ? ' ' : '\n');
		printf("%c%.*s", used ? *text : upper, (int)n - 1, text + 1);
		used = used && used + n < 78 ? used + n + 1 : n;
	}
	puts(".");
}

void man_settings(void)
{
	puts(".Bl -tag -width Ds");
	for (int i = 0; i < DPI_SETTING_COUNT; i++) {
		const struct dpi_setting_def *d = &dpi_setting_defs[i];
		printf(".It Ev DPI_%s Pq %s\n", d->name, kinds[d->kind]);
		man_sentence(d->text);
		if (*d->value) printf("The default is\n.Ql %s .\n", d->value);
	}
	puts(".El");
}

/* --------------------------------------------------------------------------------------------------------- errors */

void show_errors(void)
{
	const char *name, *text;
	print_list("errors", "Errors");
	for (int e = 0; !DPI_Get_Error_Name(e, &name) && !DPI_Get_Error_Text(e, &text); e++) {
		if (print_json) {
			print_item();
			print_fact("name", "", "%s", name);
			print_count("number", "", (uint64_t)e, NULL);
			print_fact("meaning", "", "%s", text);
			print_close();
			continue;
		}
		printf("  %2d  ", e);
		int used = 6 + print_cell(22, name);
		print_wrapped(used, used, text);
	}
	print_close();
}

/* -------------------------------------------------------------------------------------------------------- cluster */

#define NODE_WAIT_US 2000000 /* for a node to join, and to be connected */
#define PART_WAIT_US 500000  /* for others that ask the same, so that none of us leaves before it was seen */

static void show_node(struct info *info, int node, int self)
{
	DPI_Node_Info n = DPI_NODE_INFO_INIT;
	struct dpi_peer *peer;
	char why[DPI_DETAIL_MAX] = "";
	int64_t deadline = dpi_deadline(NODE_WAIT_US, 0);
	/* the transport is chosen at the first contact, so make it */
	if (node != self && (dpi_node_await(info->ctx, node, deadline) || dpi_peer_get(info->ctx, node, deadline, &peer)))
		snprintf(why, sizeof why, "%s", dpi_detail());
	bool known = !DPI_Get_Node_Info(node, info->handle, &n);
	if (print_json) {
		print_item();
		print_count("node", "", (uint64_t)node, NULL);
		print_flag("self", "", node == self, "", "");
		print_flag("alive", "", known && n.alive, "", "");
		if (known) {
			print_count("pid", "", (uint64_t)n.pid, NULL);
			print_fact("host", "", "%s", n.host);
			print_fact("transport", "", "%s", n.transport);
			print_fact("reason", "", "%s", n.reason);
		}
		if (*why) print_fact("error", "", "%s", why);
		print_close();
		return;
	}
	const char *state = node == self ? "this one" : !known ? "not there" : n.alive ? "joined" : "gone";
	char number[16], pid[32] = "-";
	snprintf(number, sizeof number, "%d", node);
	if (known) snprintf(pid, sizeof pid, "%lld", (long long)n.pid);
	fputs("  ", stdout);
	int used = 2 + print_cell(6, number);
	used += print_cell(10, state);
	used += print_cell(9, pid);
	used += print_cell(21, known ? n.host : "-");
	used += print_cell(9, known && *n.transport ? n.transport : "-");
	print_wrapped(57, used, *why ? why : n.reason);
}

/* Who said where the cluster is. */
static const char *source_of(const char *origin)
{
	static const char *const known[][2] = { { "pmix", "the launcher: mpirun, prterun or srun, by PMIx" },
						{ "environment", "DPI_CLUSTER in the environment" } };
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(origin, known[i][0])) return known[i][1];
	return "nobody: neither DPI_CLUSTER nor an MPI launcher";
}

void show_cluster(struct info *info)
{
	const char *where = info->settings.value[DPI_SETTING_CLUSTER];
	int count = 0, self = 0;
	if (!info->ctx) return;
	DPI_Get_Node_Count(info->handle, &count);
	DPI_Get_Node_Id(info->handle, &self);
	print_section("cluster", "Cluster");
	print_fact("address", "registry", "%s", *where ? where : "none: this process alone");
	print_fact("source", "known from", "%s", source_of(info->settings.origin[DPI_SETTING_CLUSTER]));
	print_fact("job", "job", "%s", *info->ctx->cluster->job ? info->ctx->cluster->job : "-");
	print_flag("secure", "cluster key", info->ctx->secure, "yes", "none: this host only");
	print_count("this_node", "this node", (uint64_t)self, NULL);
	print_count("count", "nodes", (uint64_t)count, NULL);
	print_list("nodes", NULL);
	if (!print_json) printf("\n  node  state     process  host                 by       why\n");
	for (int i = 0; i < count; i++) show_node(info, i, self);
	print_close();
	print_close();
	if (info->ctx->expected_nodes > 1)
		DPI_Barrier("dpi-info", (uint32_t)info->ctx->expected_nodes, PART_WAIT_US, info->handle);
}

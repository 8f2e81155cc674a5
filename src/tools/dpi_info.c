/* SPDX-License-Identifier: Apache-2.0
 * dpi_info.c: dpi-info: what is loaded, what works here, what is set and where from. See dpi-info(1). */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "cluster.h"
#include "dpi_info/print.h"
#include "dpi_info/sections.h"
#include "handle.h"

enum { LIBRARY = 1, TRANSPORTS = 2, LIMITS = 4, TOPOLOGY = 8, SETTINGS = 16, ERRORS = 32, CLUSTER = 64 };
enum { JSON = 128, MAN = 256, HELP = 512 };
#define EVERYTHING (LIBRARY | TRANSPORTS | LIMITS | TOPOLOGY | SETTINGS)

static const char help[] = "usage: dpi-info [--json] [section ...]\n"
			   "What the DPI library is, what works on this machine, and what is set.\n"
			   "\n"
			   "  --version     the library: version, file, build, what it finds\n"
			   "  --transports  each transport: does it work here, why not, what is true of it\n"
			   "  --limits      limits of the system\n"
			   "  --topology    processors, caches, NUMA nodes\n"
			   "  --settings    each setting: value in force, where it came from, meaning\n"
			   "  --errors      the error classes\n"
			   "  --cluster     join the cluster of the environment and list its nodes\n"
			   "  --json        as JSON\n"
			   "Without a section all but --errors and --cluster; as JSON with --errors.\n";

/* The key that the cluster file of the environment names, unless the environment names one itself; "": none. */
static void find_file_key(struct info *info)
{
	const char *where = getenv("DPI_CLUSTER"), *key = getenv("DPI_KEY_FILE");
	struct dpi_cluster_file f;
	if (!where || !*where || (key && *key) || dpi_address_likely(where) || dpi_cluster_file_read(where, &f)) return;
	snprintf(info->file_key, sizeof info->file_key, "%s", f.key);
	dpi_cluster_file_free(&f);
}

/* The settings as they are, whether or not a context can be opened with them. */
static void read_settings(struct info *info)
{
	info->settings_good = !dpi_settings_read(&info->settings, NULL, 0);
	if (info->settings_good && *info->file_key) dpi_settings_set(&info->settings, DPI_SETTING_KEY_FILE, info->file_key, "file");
	if (info->settings_good) return;
	snprintf(info->settings_error, sizeof info->settings_error, "%s", dpi_detail());
	memset(&info->settings, 0, sizeof info->settings);
	for (int i = 0; i < DPI_SETTING_COUNT; i++) {
		char name[64];
		snprintf(name, sizeof name, "DPI_%s", dpi_setting_defs[i].name);
		const char *value = getenv(name);
		dpi_settings_set(&info->settings, (enum dpi_setting)i, dpi_setting_defs[i].value, "default");
		/* a wrong one is not set */
		if (value) dpi_settings_set(&info->settings, (enum dpi_setting)i, value, "environment");
	}
}

/* Where the cluster is not asked for, this process is one alone, and nobody is disturbed. */
static void open_context(struct info *info, bool join)
{
	char key[sizeof info->file_key + 16];
	const char *const alone[] = { "cluster=", "node=", "nodes=0", "job=", "listen_fd=-1", key };
	DPI_Init_Attr attr = DPI_INIT_ATTR_INIT;
	int error;
	snprintf(key, sizeof key, "key_file=%s", info->file_key);
	attr.settings = alone;
	attr.settings_count = join ? 0 : sizeof alone / sizeof *alone - !*info->file_key;
	if (DPI_Init_With(&attr, &info->handle)) snprintf(info->error, sizeof info->error, "%s", dpi_detail());
	else info->ctx = dpi_context_get(info->handle, &error);
	dpi_log_set(DPI_LOG_ERROR, -1); /* it has complained of unknown variables, nobody else need to */
}

/* What the cluster file or the launcher set is in the context alone. */
static void take_settings(struct info *info)
{
	for (int i = 0; i < DPI_SETTING_COUNT; i++) {
		const char *origin = info->ctx->settings.origin[i];
		if (!strcmp(origin, "file") || !strcmp(origin, "pmix"))
			dpi_settings_set(&info->settings, (enum dpi_setting)i, info->ctx->settings.value[i], origin);
	}
}

static int complain(const char *word)
{
	fprintf(stderr, "dpi-info: there is no section '%s'; see dpi-info --help\n", word);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "version", 0, 0, LIBRARY },
		{ "transports", 0, 0, TRANSPORTS },
		{ "limits", 0, 0, LIMITS },
		{ "topology", 0, 0, TOPOLOGY },
		{ "settings", 0, 0, SETTINGS },
		{ "errors", 0, 0, ERRORS },
		{ "cluster", 0, 0, CLUSTER },
		{ "json", 0, 0, JSON },
		{ "man-settings", 0, 0, MAN },
		{ "help", 0, 0, HELP },
		{ 0, 0, 0, 0 },
	};
	static struct info info;
	int what = 0, c;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?') return complain(argv[optind - 1]);
		what |= c;
	}
	if (optind < argc) return complain(argv[optind]);
	if (what & HELP) fputs(help, stdout);
	if (what & MAN) man_settings();
	if (what & (HELP | MAN)) return fflush(stdout) ? 1 : 0;
	print_json = what & JSON;
	if (what == JSON) what |= EVERYTHING | ERRORS;
	if (!what) what = EVERYTHING;
	if (what & (TRANSPORTS | TOPOLOGY | SETTINGS)) find_file_key(&info);
	if (what & (TRANSPORTS | TOPOLOGY | CLUSTER)) open_context(&info, what & CLUSTER);
	if (what & (TRANSPORTS | SETTINGS | CLUSTER)) read_settings(&info);
	if (info.ctx) take_settings(&info);
	print_begin();
	if (what & LIBRARY) show_library();
	if (what & TRANSPORTS) show_transports(&info);
	if (what & LIMITS) show_limits();
	if (what & TOPOLOGY) show_topology(&info);
	if (what & SETTINGS) show_settings(&info);
	if (what & ERRORS) show_errors();
	if (what & CLUSTER) show_cluster(&info);
	bool failed = *info.error || ((what & SETTINGS) && !info.settings_good);
	if (failed && print_json) print_fact("error", "", "%s", *info.error ? info.error : info.settings_error);
	bool written = print_end();
	if (failed) fprintf(stderr, "dpi-info: %s\n", *info.error ? info.error : info.settings_error);
	if (!written) fputs("dpi-info: standard output cannot be written\n", stderr);
	if (info.ctx && DPI_Finalize(info.handle)) {
		fprintf(stderr, "dpi-info: %s\n", dpi_detail());
		failed = true;
	}
	dpi_settings_free(&info.settings);
	return failed || !written;
}

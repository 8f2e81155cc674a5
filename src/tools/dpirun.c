/* SPDX-License-Identifier: Apache-2.0
 * dpirun.c: start the processes of a cluster on this machine, or over ssh on several.
 *
 * Of dpirun/: options.c and hosts.c read what is wanted; setup.c makes the key and node 0's socket; keeper.c holds the
 * processes of a host, with spawn.c and guard.c; run.c decides what follows from what; lines.c merges the output; remote.c
 * and helper.c are the two ends of ssh. */
#include <stdlib.h>
#include <string.h>

#include "dpirun/job.h"
#include "dpirun/setup.h"
#include "dpirun/spawn.h"

static struct options options;
static struct job job;

static void apply_options(void)
{
	job.label = options.label == LABEL_ON || (options.label == LABEL_DEFAULT && job.nodes > 1);
	for (int i = 0; i < job.nodes; i++)
		for (int which = 0; which < 2; which++)
			job.node[i].out[which].label = job.label ? print_text("[%d] ", i) : copy_text("");
	for (int i = 0; i < options.set_at_node.count; i++) {
		const char *text = options.set_at_node.list[i];
		long node = strtol(text, NULL, 10);
		if (node >= job.nodes)
			quit(EXIT_USAGE, "--env %s: there is no node %ld, the job has %d, from 0", text, node, job.nodes);
		strings_set(&job.node[node].set, strchr(text, ':') + 1);
	}
}

int main(int argc, char **argv)
{
	spawn_prepare();
	if (argc == 2 && !strcmp(argv[1], "--remote")) return run_helper();
	read_options(&options, argc, argv);
	job.options = &options;
	read_hosts(&job);
	apply_options();
	setup_key(&job);
	make_id(job.id);
	return run_job(&job);
}

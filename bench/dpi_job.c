/* SPDX-License-Identifier: Apache-2.0 */
#include "dpi_job.h"

#include <stdlib.h>
#include <unistd.h>

static char cluster[64], job[48], transport_setting[32], nodes_setting[32], spin_setting[32], provider_setting[48];

void fail(int error, const char *call)
{
	const char *detail, *name;

	DPI_Get_Error_Detail(&detail);
	if (DPI_Get_Error_Name(error, &name))
		name = "?";
	die(1, "%s: %s: %s", call, name, detail);
}

void job_define(unsigned nodes, const char *transport, const char *spin)
{
	int pid = (int)getpid();

	if (!strcmp(transport, "sysv"))
		die(2, "--transport sysv is UCX's");
	snprintf(cluster, sizeof cluster, "cluster=unix:dpi-bench-%d", pid);
	snprintf(job, sizeof job, "job=bench-%d", pid);
	snprintf(nodes_setting, sizeof nodes_setting, "nodes=%u", nodes);
	snprintf(transport_setting, sizeof transport_setting, "transport=%s", transport);
	if (spin)
		snprintf(spin_setting, sizeof spin_setting, "spin=%s", spin);
}

void job_provider(const char *name)
{
	snprintf(provider_setting, sizeof provider_setting, "fabric=%s", name);
}

/* Nodes listen at the devices' addresses in turn, where RDMA_HOSTS names these: what they say crosses the wire. Only with a key,
 * RDMA_KEY_FILE, does a cluster listen at other addresses than loopback. */
static int choose_host(unsigned node, const char *settings[2])
{
	static char listen[80], key_file[256];
	const char *hosts = getenv("RDMA_HOSTS"), *key = getenv("RDMA_KEY_FILE");
	unsigned count = 0;
	char host[64];
	int used;

	for (const char *at = hosts; at && sscanf(at, "%63s%n", host, &used) == 1; at += used)
		count++;
	if (!count || !key || strcmp(transport_setting, "transport=verbs"))
		return 0;
	for (node %= count; sscanf(hosts, "%63s%n", host, &used) == 1 && node; node--)
		hosts += used;
	snprintf(listen, sizeof listen, "listen=%s", host);
	snprintf(key_file, sizeof key_file, "key_file=%s", key);
	settings[0] = listen;
	settings[1] = key_file;
	return 2;
}

DPI_Context job_join(unsigned node)
{
	char number[32];
	const char *settings[5 + 2 + 2] = { cluster, job, nodes_setting, transport_setting, number };
	DPI_Init_Attr attr = DPI_INIT_ATTR_INIT;
	DPI_Context ctx;
	int count = 5;

	snprintf(number, sizeof number, "node=%u", node);
	if (*spin_setting)
		settings[count++] = spin_setting;
	if (*provider_setting)
		settings[count++] = provider_setting;
	count += choose_host(node, &settings[count]);
	attr.settings = settings;
	attr.settings_count = count;
	need(DPI_Init_With(&attr, &ctx));
	return ctx;
}

DPI_Buffer queue_create(DPI_Context ctx, const char *name, const struct options *o)
{
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	DPI_Buffer queue;

	/* the ring stays as large as the peers' */
	attr.capacity = o->ring;
	attr.growth = DPI_GROWTH_NONE;
	attr.max_record = o->size < 64 ? 64 : o->size;
	attr.max_capacity = o->ring * 128;
	attr.timeout_us = 20 * 1000000;
	need(DPI_Create_Buffer(name, DPI_NODE_SELF, &attr, ctx, &queue));
	return queue;
}

DPI_Buffer buffer_open(DPI_Context ctx, const char *name)
{
	DPI_Open_Attr attr = DPI_OPEN_ATTR_INIT;
	DPI_Buffer queue;

	attr.wait_us = attr.timeout_us = 20 * 1000000;
	need(DPI_Open_Buffer(name, &attr, ctx, &queue));
	return queue;
}

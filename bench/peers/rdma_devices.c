/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma_devices.h"
#include "../common.h"

#include <dirent.h>
#include <stdlib.h>

/* A line of a file of port 1; empty: there is none. */
static void port_says(const struct rdma_device *d, const char *what, char *line, size_t size)
{
	char path[512];

	*line = 0;
	snprintf(path, sizeof path, "/sys/class/infiniband/%s/ports/1/%s", d->name, what);
	FILE *f = fopen(path, "re");
	if (f && !fgets(line, (int)size, f))
		*line = 0;
	if (f)
		fclose(f);
}

/* That of an IPv4 address; of RoCE version 2, which is routed, if there is one. */
static void choose_gid(struct rdma_device *d)
{
	char what[64], gid[64], type[64];

	for (int i = 0; i < 256; i++) {
		snprintf(what, sizeof what, "gids/%d", i);
		port_says(d, what, gid, sizeof gid);
		if (!*gid)
			return;
		if (strncmp(gid, "0000:0000:0000:0000:0000:ffff:", 30))
			continue;
		snprintf(what, sizeof what, "gid_attrs/types/%d", i);
		port_says(d, what, type, sizeof type);
		if (!*d->gid || strstr(type, "v2"))
			snprintf(d->gid, sizeof d->gid, "%d", i);
		if (strstr(type, "v2"))
			return;
	}
}

/* Of those whose port is up the first and the last; both ends on the first where ours are on one, too (dpi_job.c). */
void rdma_devices_choose(struct rdma_device devices[2], const char *path)
{
	DIR *list = opendir("/sys/class/infiniband");
	struct dirent *entry;
	char state[64];

	while (list && (entry = readdir(list))) {
		struct rdma_device d = { 0 };
		snprintf(d.name, sizeof d.name, "%.60s", entry->d_name);
		port_says(&d, "state", state, sizeof state);
		if (*d.name == '.' || strncmp(state, "4:", 2))
			continue;
		if (!*devices[0].name || strcmp(d.name, devices[0].name) < 0)
			devices[0] = d;
		if (strcmp(d.name, devices[1].name) > 0)
			devices[1] = d;
	}
	if (list)
		closedir(list);
	if (!*devices[0].name)
		die(EXIT_SKIPPED, "there is no RDMA device here whose first port is up");
	if (!strcmp(path, "loop") || !getenv("RDMA_HOSTS") || !getenv("RDMA_KEY_FILE"))
		devices[1] = devices[0];
	choose_gid(&devices[0]);
	choose_gid(&devices[1]);
}

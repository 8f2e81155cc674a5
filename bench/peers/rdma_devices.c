/* SPDX-License-Identifier: Apache-2.0 */
#include "rdma_devices.h"
#include "../common.h"

#include <dirent.h>

static void choose_gid(struct rdma_device *d)
{
	char path[512], gid[64];
	FILE *f;

	for (int i = 0; i < 256 && !*d->gid; i++) {
		snprintf(path, sizeof path, "/sys/class/infiniband/%s/ports/1/gids/%d", d->name, i);
		f = fopen(path, "re");
		if (!f)
			return;
		if (fgets(gid, sizeof gid, f) && !strncmp(gid, "0000:0000:0000:0000:0000:ffff:", 30))
			snprintf(d->gid, sizeof d->gid, "%d", i);
		fclose(f);
	}
}

void rdma_devices_choose(struct rdma_device devices[2], const char *path)
{
	DIR *list = opendir("/sys/class/infiniband");
	struct dirent *entry;

	while (list && (entry = readdir(list))) {
		if (*entry->d_name == '.')
			continue;
		if (!*devices[0].name || strcmp(entry->d_name, devices[0].name) < 0)
			snprintf(devices[0].name, sizeof devices[0].name, "%.60s", entry->d_name);
		if (strcmp(entry->d_name, devices[1].name) > 0)
			snprintf(devices[1].name, sizeof devices[1].name, "%.60s", entry->d_name);
	}
	if (list)
		closedir(list);
	if (!*devices[0].name)
		die(EXIT_SKIPPED, "there is no RDMA device here");
	if (!strcmp(path, "loop"))
		devices[1] = devices[0];
	choose_gid(&devices[0]);
	choose_gid(&devices[1]);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a process holds once it has an empty context. */
#include "dpi_job.h"

#include <stdlib.h>

static struct options o;

struct held {
	double dirty, resident;
};

static double field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	if (!at)
		die(EXIT_SKIPPED, "/proc/self/smaps_rollup says nothing of %s", name);
	return 1024 * strtod(at + strlen(name), NULL);
}

static struct held held_now(void)
{
	char text[4096];
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	size_t n;

	if (!f)
		die(EXIT_SKIPPED, "there is no /proc/self/smaps_rollup");
	n = fread(text, 1, sizeof text - 1, f);
	text[n] = 0;
	fclose(f);
	return (struct held){ field(text, "Private_Dirty:"), field(text, "\nRss:") };
}

int main(int argc, char **argv)
{
	struct held before, after;
	DPI_Context ctx;

	options_parse(&o, "", argc, argv);
	before = held_now();
	need(DPI_Init(&ctx));
	after = held_now();
	need(DPI_Finalize(ctx));
	result_print("memory", "dpi", &o,
		     (struct metric[]){ { "private_dirty_bytes", after.dirty },
					{ "resident_bytes", after.resident },
					{ "before_private_dirty_bytes", before.dirty },
					{ "before_resident_bytes", before.resident },
					{ NULL, 0 } });
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* memcpy between one small buffer and a large footprint, walked over offset by offset: what a remote write or read of a
 * region costs at the least. */
#include "../common.h"
#include "../process.h"

#include <sys/mman.h>

static struct options o;

static unsigned char *footprint(void)
{
	unsigned char *memory;

	if (!strcmp(o.memory, "shared"))
		memory = shared_memory(o.footprint);
	else
		memory = mmap(NULL, o.footprint, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die(1, "no memory of %llu bytes", (unsigned long long)o.footprint);
	memset(memory, 1, o.footprint); /* page faults are not what is measured */
	return memory;
}

int main(int argc, char **argv)
{
	unsigned char *far, *near;
	uint64_t records = 0, start, end;
	bool write;

	options_parse(&o, "size footprint direction memory seconds", argc, argv);
	if (o.footprint < o.size)
		die(2, "the footprint is smaller than a record");
	write = !strcmp(o.direction, "write");
	if (!write && strcmp(o.direction, "read"))
		die(2, "--direction takes read or write here");
	far = footprint();
	near = record_new(o.size);
	pin_consumer();
	timer_start(o.seconds);
	start = now_ns();
	while (!time_is_up)
		for (uint64_t at = 0; at + o.size <= o.footprint && !time_is_up; at += o.size, records++) {
			memcpy(write ? far + at : near, write ? near : far + at, o.size);
			__asm__ volatile("" ::: "memory"); /* each copy happens */
		}
	end = now_ns();
	double rate = (double)records / ((double)(end - start) * 1e-9);
	result_print("region", "raw_copy", &o,
		     (struct metric[]){ { "records_per_s", rate }, { "bytes_per_s", rate * (double)o.size }, { NULL, 0 } });
	return 0;
}

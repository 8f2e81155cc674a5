/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of 16 bytes (or others) dealt out to parts by the data-movement engine, or copied by memcpy, which is what it is
 * compared with. With two columns the key is two int32, else one int64. Mode one: the room of each part is known; two: it is counted first, so that rows are read twice. */
#include "dpi_job.h"

static struct options o;
static const char *const methods[] = { "hash", "crc32c", "xxh64", "radix", "range", "memcpy" };

int main(int argc, char **argv)
{
	static int64_t bound[DPI_PARTS_MAX];
	static uint64_t counts[DPI_PARTS_MAX], filled[DPI_PARTS_MAX];
	static void *to[DPI_PARTS_MAX];
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	uint64_t state = 88172645463325252u, rows = 0, start, end;
	size_t count, room, width;
	unsigned char *from, *out;
	uint16_t *part = NULL;

	options_parse(&o, "size footprint parts columns method mode seconds", argc, argv);
	width = o.size, count = o.footprint / width;
	if (width < 8 || count < o.parts)
		die(2, "a row has at least 8 bytes, and there is one for each part");
	while (strcmp(methods[a.method], o.method))
		a.method++;
	room = count / o.parts + count / o.parts / 8 + 4096; /* rows; keys are drawn at random */
	from = memory_touched(count * width);
	out = memory_touched(room * o.parts * width);
	for (size_t i = 0; i < count; i++) {
		state ^= state << 13, state ^= state >> 7, state ^= state << 17;
		memcpy(from + i * width, &state, sizeof state);
	}
	for (uint64_t i = 0; i + 1 < o.parts; i++)
		bound[i] = (int64_t)((uint64_t)INT64_MIN + UINT64_MAX / o.parts * (i + 1));
	DPI_Values key[2] = { { .type = DPI_TYPE_INT64, .data = from, .stride = width } };
	DPI_Values bounds = { .type = DPI_TYPE_INT64, .data = bound };
	if (o.columns == 2) {
		if (!strcmp(o.method, "range"))
			die(2, "bounds are of one column here");
		key[0].type = DPI_TYPE_INT32;
		key[1] = key[0];
		key[1].data = from + 4;
	}
	a.keys = key, a.key_count = o.columns, a.parts = (uint32_t)o.parts, a.shift = 20, a.bounds = &bounds;
	if (!strcmp(o.mode, "two"))
		part = (uint16_t *)(void *)memory_touched(count * sizeof *part);
	pin_consumer();
	timer_start(o.seconds);
	start = now_ns();
	for (; !time_is_up; rows += count) {
		if (!strcmp(o.method, "memcpy")) {
			memcpy(out, from, count * width);
			__asm__ volatile("" ::: "memory"); /* each copy happens */
			continue;
		}
		if (part)
			need(DPI_Partition(&a, count, part, counts));
		memset(filled, 0, sizeof filled);
		for (uint64_t p = 0, at = 0; p < o.parts; at += part ? counts[p] : room, p++)
			to[p] = out + at * width;
		need(DPI_Partition_Rows(&a, from, width, width, count, part, to, filled));
	}
	end = now_ns();
	double rate = (double)rows / ((double)(end - start) * 1e-9);
	result_print("partition", "dpi", &o,
		     (struct metric[]){ { "rows_per_s", rate }, { "bytes_per_s", rate * (double)width }, { NULL, 0 } });
	return 0;
}

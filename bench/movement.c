/* SPDX-License-Identifier: Apache-2.0 */
/* The data-movement engine beside memcpy of as many bytes: rows of two columns of half a row each are gathered by a bit vector of
 * which every other bit is set, at random; turned into columns, and back; and columns are dealt out to parts that are known; the same with
 * columns of which the values are of any length, though all are half a row here. */
#include "dpi_job.h"

static struct options o;

/* Rows of parts are back to back: what each has fits, as each gets as many in turn. */
static unsigned char *rows, *column[2], *out[2], *bits;
static uint16_t *part;
static void *place[2 * DPI_PARTS_MAX];
static uint64_t filled[DPI_PARTS_MAX];
static int32_t *offset, *out_offset[2];
static DPI_Bytes_Column texts[2 * DPI_PARTS_MAX];

/* Each part has the room of as many rows as it gets. */
static void place_texts(size_t each, size_t half)
{
	for (size_t p = 0; p < o.parts; p++)
		for (size_t c = 0; c < 2; c++) {
			DPI_Bytes_Column *t = texts + c * o.parts + p;
			*t = (DPI_Bytes_Column){ out_offset[c] + p * (each + 1), out[c] + p * each * half, each * half };
			place[c * o.parts + p] = t;
		}
}

static void move(size_t count, size_t width)
{
	size_t half = width / 2, each = count / o.parts;
	DPI_Field field[2] = { { 0, half, column[0] }, { half, half, column[1] } };
	DPI_Values values[2], texts_of[2];
	uint64_t gathered;

	for (int c = 0; c < 2; c++) {
		values[c] = (DPI_Values){ .type = DPI_TYPE_FIXED, .width = (uint32_t)half, .stride = half, .data = column[c] };
		texts_of[c] = (DPI_Values){ .type = DPI_TYPE_BINARY, .data = column[c], .offset = offset };
	}
	if (!strcmp(o.move, "memcpy")) {
		memcpy(column[0], rows, count * half);
		memcpy(column[1], rows + count * half, count * half);
		__asm__ volatile("" ::: "memory"); /* each copy happens */
	} else if (!strcmp(o.move, "gather")) {
		need(DPI_Gather_Rows(rows, width, width, count, bits, column[0], &gathered));
	} else if (!strcmp(o.move, "gather_columns")) {
		need(DPI_Gather_Columns(values, 2, count, bits, (void *[]){ out[0], out[1] }, NULL, &gathered));
	} else if (!strcmp(o.move, "gather_texts")) {
		DPI_Bytes_Column to[2];
		for (int c = 0; c < 2; c++)
			to[c] = (DPI_Bytes_Column){ out_offset[c], out[c], count * half };
		need(DPI_Gather_Columns(texts_of, 2, count, bits, (void *[]){ to, to + 1 }, NULL, &gathered));
	} else if (!strcmp(o.move, "partition_texts")) {
		place_texts(each, half);
		memset(filled, 0, sizeof filled);
		need(DPI_Partition_Columns(texts_of, 2, each * o.parts, part, (uint32_t)o.parts, place, NULL, filled));
	} else if (!strcmp(o.move, "to_columns")) {
		need(DPI_Rows_To_Columns(rows, width, count, field, 2));
	} else if (!strcmp(o.move, "to_rows")) {
		need(DPI_Columns_To_Rows(field, 2, count, rows, width));
	} else {
		for (size_t p = 0; p < o.parts; p++)
			for (size_t c = 0; c < 2; c++)
				place[c * o.parts + p] = out[c] + p * each * half;
		memset(filled, 0, sizeof filled);
		need(DPI_Partition_Columns(values, 2, each * o.parts, part, (uint32_t)o.parts, place, NULL, filled));
	}
}

int main(int argc, char **argv)
{
	uint64_t state = 88172645463325252u, moved = 0, start, end;
	size_t count, width;

	options_parse(&o, "size footprint parts move seconds", argc, argv);
	width = o.size, count = o.footprint / width;
	if (width < 2 || width % 2 || count < o.parts)
		die(2, "a row has an even number of bytes, and there is one for each part");
	if (o.footprint >> 31)
		die(2, "offsets reach to 2 GiB");
	rows = memory_touched(count * width);
	for (int c = 0; c < 2; c++) /* gathered rows go to the first, all of a row in one */
		column[c] = memory_touched(count * width), out[c] = memory_touched(count * width / 2);
	for (int c = 0; c < 2; c++)
		out_offset[c] = (int32_t *)(void *)memory_touched((count + o.parts) * sizeof *out_offset[c]);
	offset = (int32_t *)(void *)memory_touched((count + 1) * sizeof *offset);
	for (size_t i = 0; i <= count; i++)
		offset[i] = (int32_t)(i * width / 2);
	bits = memory_touched(count / 8 + 8);
	part = (uint16_t *)(void *)memory_touched(count * sizeof *part);
	for (size_t i = 0; i < count / 8; i++) {
		state ^= state << 13, state ^= state >> 7, state ^= state << 17;
		bits[i] = (unsigned char)(state >> 24);
	}
	for (size_t i = 0; i < count; i += o.parts) { /* every part gets one row of each stretch */
		state ^= state << 13, state ^= state >> 7, state ^= state << 17;
		for (size_t p = 0; p < o.parts && i + p < count; p++)
			part[i + p] = (uint16_t)((p + (state >> 8)) % o.parts);
	}
	pin_consumer();
	timer_start(o.seconds);
	start = now_ns();
	for (; !time_is_up; moved += count)
		move(count, width);
	end = now_ns();
	double rate = (double)moved / ((double)(end - start) * 1e-9);
	result_print("movement", "dpi", &o,
		     (struct metric[]){ { "rows_per_s", rate }, { "bytes_per_s", rate * (double)width }, { NULL, 0 } });
	return 0;
}

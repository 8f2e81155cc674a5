/* SPDX-License-Identifier: Apache-2.0
 * arrow.c: record batches through a flow, by the Arrow C data interface. Every process builds batches of readings by hand, as a
 * library of Arrow would hand them over, and pushes them; those that nobody wants are filtered out, column by column, before they travel; each
 * sensor's readings come together at one process, where they are read in the memory in which they arrived.
 *
 *	dpirun -n 3 build/examples/arrow
 */
#include "check.h"

#include <string.h>

enum { SENSORS = 100, BATCHES = 20, ROWS = 1000 };

static DPI_Flow flow;
static int node, nodes;

/* ---------------------------------------------------------------------------------------------------------- pushing */

/* A batch of two columns, sensor INT64 and text UTF8 that may be NULL, in the form that Arrow has for it. */
struct readings {
	int64_t sensor[ROWS];
	uint8_t valid[ROWS / 8]; /* a bit for each row; 1: the text is not NULL */
	int32_t offset[ROWS + 1];
	char text[ROWS * 8];
	const void *of_batch[1], *of_sensor[2], *of_text[3]; /* buffers: validity, values; validity, offsets, bytes */
	struct ArrowArray column[2], *columns[2];
};

/* It is ours, in static memory: releasing frees nothing. */
static void released(struct ArrowArray *array)
{
	array->release = NULL;
}

static void fill(struct readings *r, int batch, struct ArrowArray *array)
{
	memset(r->valid, 0, sizeof r->valid);
	r->offset[0] = 0;
	for (int i = 0; i < ROWS; i++) {
		r->sensor[i] = (i * 7 + batch) % SENSORS;
		r->offset[i + 1] = r->offset[i];
		if (r->sensor[i] % 10 == 0)
			continue; /* these sensors say nothing */
		r->valid[i / 8] |= (uint8_t)(1 << i % 8);
		r->offset[i + 1] += sprintf(r->text + r->offset[i], "s%d", (int)r->sensor[i]);
	}
	r->of_sensor[1] = r->sensor;
	r->of_text[0] = r->valid, r->of_text[1] = r->offset, r->of_text[2] = r->text;
	r->column[0] = (struct ArrowArray){ .length = ROWS, .n_buffers = 2, .buffers = r->of_sensor, .release = released };
	r->column[1] = (struct ArrowArray){ .length = ROWS, .null_count = -1, .n_buffers = 3, .buffers = r->of_text, .release = released };
	r->columns[0] = &r->column[0], r->columns[1] = &r->column[1];
	*array = (struct ArrowArray){ .length = ROWS, .n_buffers = 1, .buffers = r->of_batch, .n_children = 2, .children = r->columns,
				      .release = released };
}

static void *push(void *arg)
{
	static struct readings readings;
	struct ArrowArray array;
	DPI_Source source;

	(void)arg;
	CHECK(DPI_Open_Source(flow, NULL, &source));
	for (int batch = 0; batch < BATCHES; batch++) {
		fill(&readings, batch, &array);
		CHECK(DPI_Push_Arrow(&array, NULL, source, NULL));
		array.release(&array); /* its memory is ours again */
	}
	CHECK(DPI_Close_Source(source));
	return NULL;
}

/* ----------------------------------------------------------------------------------------------------------- taking */

static bool take(const struct ArrowArray *array, long count[SENSORS])
{
	const struct ArrowArray *sensors = array->children[0], *texts = array->children[1];
	const int64_t *sensor = sensors->buffers[1]; /* where it arrived: nothing was copied */
	const uint8_t *valid = texts->buffers[0];
	const int32_t *offset = texts->buffers[1];
	const char *text = texts->buffers[2];

	if ((uintptr_t)sensor % 64)
		return false;
	for (int64_t i = 0; i < array->length; i++) {
		char expected[16];
		bool some = !valid || valid[i / 8] >> i % 8 & 1;

		if (sensor[i] < 0 || sensor[i] >= SENSORS || some == (sensor[i] % 10 == 0))
			return false;
		int size = sprintf(expected, "s%d", (int)sensor[i]);
		if (some && (offset[i + 1] - offset[i] != size || memcmp(text + offset[i], expected, (size_t)size)))
			return false;
		count[sensor[i]]++;
	}
	return true;
}

int main(void)
{
	static const char *const key[] = { "sensor" };
	static const DPI_Column columns[] = { { "sensor", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 1, 0, 0, 0 } };
	static const DPI_Stage wanted = { .kind = DPI_STAGE_FILTER, .text = "sensor % 10 <> 3" }; /* at the source */
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	struct ArrowArray array;
	long count[SENSORS] = { 0 }, rows = 0;
	DPI_Context ctx;
	DPI_Target target;
	DPI_Batch batch;
	pthread_t thread;
	int error;
	bool right = true;

	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	CHECK(DPI_Create_Schema(columns, 2, &attr.schema));
	attr.create = DPI_CREATE_OR_OPEN;
	attr.layout = DPI_LAYOUT_COLUMNS;
	attr.targets = attr.sources = (uint32_t)nodes;
	attr.key = key;
	attr.key_count = 1;
	attr.stages = &wanted;
	attr.stage_count = 1;
	CHECK(DPI_Create_Flow("readings", &attr, ctx, &flow));
	CHECK(DPI_Free_Schema(attr.schema));
	CHECK(DPI_Open_Target((uint32_t)node, NULL, flow, &target));
	if (pthread_create(&thread, NULL, push, NULL))
		return 1;

	while (!(error = DPI_Next_Arrow(target, &batch, &array, NULL))) {
		right &= take(&array, count);
		rows += (long)array.length;
		array.release(&array); /* the segment goes back to its source */
	}
	if (error != DPI_ERR_END)
		CHECK(error);
	for (int sensor = 0; sensor < SENSORS; sensor++) /* all of a sensor's readings, or none */
		right &= !count[sensor] || (sensor % 10 != 3 && count[sensor] == (long)nodes * BATCHES * ROWS / SENSORS);
	printf("node %d took %ld readings; answer checked: %s\n", node, rows, right ? "ok" : "WRONG");

	pthread_join(thread, NULL);
	CHECK(DPI_Close_Target(target));
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	return !right;
}

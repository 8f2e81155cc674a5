/* SPDX-License-Identifier: Apache-2.0
 * arrow.c: schemas by the Arrow C data interface. */
#include "memory_kit.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void never(struct ArrowSchema *a)
{
	FAIL("%s was released", a->name);
}

static const struct {
	const char *format;
	DPI_Column c;
} formats[] = {
	{ "b", { "b", DPI_TYPE_BOOL, 0, 0, 0, 0 } }, { "c", { "c", DPI_TYPE_INT8, 0, 0, 0, 0 } },
	{ "s", { "s", DPI_TYPE_INT16, 0, 0, 0, 0 } }, { "i", { "i", DPI_TYPE_INT32, 0, 0, 0, 0 } },
	{ "l", { "l", DPI_TYPE_INT64, 0, 0, 0, 0 } }, { "C", { "C", DPI_TYPE_UINT8, 0, 0, 0, 0 } },
	{ "S", { "S", DPI_TYPE_UINT16, 0, 0, 0, 0 } }, { "I", { "I", DPI_TYPE_UINT32, 0, 0, 0, 0 } },
	{ "L", { "L", DPI_TYPE_UINT64, 0, 0, 0, 0 } }, { "f", { "f", DPI_TYPE_FLOAT, 0, 0, 0, 0 } },
	{ "g", { "g", DPI_TYPE_DOUBLE, 0, 0, 0, 0 } }, { "tdD", { "t", DPI_TYPE_DATE32, 0, 0, 0, 0 } },
	{ "d:12,2,64", { "d", DPI_TYPE_DECIMAL64, 0, 0, 12, 2 } }, { "d:38,10", { "e", DPI_TYPE_DECIMAL128, 0, 0, 38, 10 } },
	{ "w:42", { "w", DPI_TYPE_FIXED, 0, 42, 0, 0 } }, { "z", { "z", DPI_TYPE_BINARY, 0, 0, 0, 0 } },
	{ "u", { "u", DPI_TYPE_UTF8, 0, 0, 0, 0 } },
};
#define N COUNT(formats)

static struct ArrowSchema child[N], *pointer[N], root;

static void make(void)
{
	for (size_t i = 0; i < N; i++) {
		child[i] = (struct ArrowSchema){ .format = formats[i].format, .name = formats[i].c.name, .release = never,
						 .flags = i % 2 ? ARROW_FLAG_NULLABLE : 0 };
		pointer[i] = child + i;
	}
	root = (struct ArrowSchema){ .format = "+s", .name = "root", .n_children = N, .children = pointer,
				     .release = never };
}

TEST(every_type_comes_from_arrow_and_goes_back, "S-21 S-23", 0)
{
	struct ArrowSchema out;
	DPI_Schema s, again;
	int equal = 0;
	make();
	struct ArrowSchema before[N], root_before = root;
	memcpy(before, child, sizeof child);
	CHECK_DPI(DPI_Import_Arrow_Schema(&root, &s));
	CHECK(!memcmp(before, child, sizeof child) && !memcmp(&root_before, &root, sizeof root));
	for (size_t i = 0; i < N; i++) {
		DPI_Column c;
		CHECK_DPI(DPI_Get_Column(i, s, &c, NULL));
		CHECK_STR(c.name, formats[i].c.name);
		CHECK_INT(c.type, ==, formats[i].c.type);
		CHECK_INT(c.nullable, ==, i % 2);
		CHECK_INT(c.width, ==, formats[i].c.width);
		CHECK_INT(c.precision, ==, formats[i].c.precision);
		CHECK_INT(c.scale, ==, formats[i].c.scale);
	}
	CHECK_DPI(DPI_Export_Arrow_Schema(s, &out));
	CHECK_DPI(DPI_Import_Arrow_Schema(&out, &again));
	CHECK_DPI(DPI_Compare_Schemas(s, again, &equal, NULL, 0));
	CHECK_INT(equal, ==, 1);
	CHECK_DPI(DPI_Free_Schema(s));
	CHECK_DPI(DPI_Free_Schema(again));
	CHECK_STR(out.format, "+s");
	CHECK_INT(out.n_children, ==, N);
	for (size_t i = 0; i < N; i++) {
		CHECK_STR(out.children[i]->format, formats[i].format);
		CHECK_STR(out.children[i]->name, formats[i].c.name);
		CHECK_INT(out.children[i]->flags, ==, i % 2 ? ARROW_FLAG_NULLABLE : 0);
		CHECK(!out.children[i]->dictionary && !out.children[i]->n_children && out.children[i]->release);
	}
	out.release(&out);
	CHECK(!out.release);
	child[13].format = "d:38,10,128";
	CHECK_DPI(DPI_Import_Arrow_Schema(&root, &s));
	CHECK_DPI(DPI_Free_Schema(s));
}

TEST(other_arrow_types_are_refused_by_name, "S-22", 0)
{
	static const struct {
		const char *format, *part;
	} bad[] = {
		{ "n", "null" }, { "e", "float32" }, { "Z", "cast it to binary" }, { "U", "cast it to utf8" },
		{ "vu", "utf8 view" }, { "vz", "binary view" },
		{ "tdm", "date64" }, { "tss:UTC", "timestamp" }, { "ttm", "time" }, { "tDs", "duration" },
		{ "tiM", "interval" }, { "+l", "nested" },
		{ "+s", "struct" }, { "d:12,2,32", "d:12,2,32" }, { "d:12,2,256", "format" }, { "d:12,-2", "format" },
		{ "d:12", "format" },
		{ "d:12,2,", "format" }, { "d:12,2x", "format" }, { "w:", "format" }, { "w:4x", "format" },
		{ "", "format" }, { "ll", "format" },
	};
	DPI_Schema s = NULL;
	for (size_t i = 0; i < COUNT(bad); i++) {
		make();
		child[4].format = bad[i].format;
		CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_UNSUPPORTED, bad[i].part);
		CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_UNSUPPORTED, "column 4 \"l\"");
	}
	make();
	child[4].dictionary = child;
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_UNSUPPORTED, "dictionary");
	CHECK(!s);
}

TEST(what_is_no_arrow_schema_is_refused, "S-2 S-22", 0)
{
	DPI_Schema s = NULL;
	static const char *const bad[] = { "d:19,2,64", "d:39,2", "d:5,6", "w:0", "w:1048577", "w:-1" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		make();
		child[3].format = bad[i];
		CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "column 3");
	}
	make(), root.release = NULL;
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "released");
	make(), root.format = "i";
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "struct");
	make(), root.format = NULL;
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "struct");
	make(), root.n_children = 0;
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "0 columns");
	make(), root.n_children = INT64_MIN;
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "columns");
	make(), root.children = NULL;
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "columns");
	make(), pointer[2] = NULL;
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "column 2");
	make(), child[2].release = NULL;
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "column 2");
	make(), child[2].format = NULL;
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "column 2");
	make(), child[2].name = NULL;
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "column 2");
	make(), child[2].name = "b";
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, &s), DPI_ERR_ARGUMENT, "columns 0 and 2");
	make();
	CHECK_ERROR(DPI_Import_Arrow_Schema(NULL, &s), DPI_ERR_ARGUMENT, "arrow");
	CHECK_ERROR(DPI_Import_Arrow_Schema(&root, NULL), DPI_ERR_ARGUMENT, "schema");
	CHECK_DPI(DPI_Import_Arrow_Schema(&root, &s));
	CHECK_ERROR(DPI_Export_Arrow_Schema(s, NULL), DPI_ERR_ARGUMENT, "arrow");
	CHECK_DPI(DPI_Free_Schema(s));
}

TEST(children_of_an_arrow_schema_can_be_moved_out, "S-23 S-24", 0)
{
	struct ArrowSchema out, moved, *second;
	DPI_Schema s;
	make();
	CHECK_DPI(DPI_Import_Arrow_Schema(&root, &s));
	CHECK_DPI(DPI_Export_Arrow_Schema(s, &out));
	CHECK_DPI(DPI_Free_Schema(s));
	moved = *out.children[3];
	out.children[3]->release = NULL;
	second = out.children[5];
	second->release(second); /* released before its parent */
	CHECK(!second->release);
	out.release(&out);
	CHECK_STR(moved.format, "i");
	CHECK_STR(moved.name, "i");
	moved.release(&moved);
	CHECK(!moved.release);
}

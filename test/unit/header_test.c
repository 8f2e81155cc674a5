/* SPDX-License-Identifier: Apache-2.0
 * header_test.c: the tables, constants and initialisers of the public headers, against the library. */
#include <dpi.h>
#include <dpi_transport.h>

#include "harness.h"

TEST(every_error_class_has_its_name_and_text, "", 0)
{
	const char *text;
#define CLASS(name, number, meaning)                                                                   \
	CHECK_INT(DPI_##name, ==, number);                                                             \
	CHECK_DPI(DPI_Get_Error_Name(number, &text));                                                  \
	CHECK_STR(text, "DPI_" #name);                                                                 \
	CHECK_DPI(DPI_Get_Error_Text(number, &text));                                                  \
	CHECK_STR(text, meaning);
	DPI_ERRORS(CLASS)
#undef CLASS
#define COUNT(name, number, meaning) +1
	CHECK_ERROR(DPI_Get_Error_Name(DPI_ERRORS(COUNT), &text), DPI_ERR_ARGUMENT, "is not an error class");
#undef COUNT
}

TEST(every_column_type_has_the_width_of_the_table, "", 0)
{
	DPI_Schema s;
	DPI_Schema_Info info = DPI_SCHEMA_INFO_INIT;
#define TYPE(name, number, bytes, meaning)                                                             \
	CHECK_INT(DPI_TYPE_##name, ==, number);                                                        \
	CHECK_DPI(DPI_Create_Schema(&(DPI_Column){ "c", number, 0, number == DPI_TYPE_FIXED ? 3 : 0, 0, 0 }, 1, &s)); \
	CHECK_DPI(DPI_Get_Schema_Info(s, &info));                                                      \
	CHECK_INT(info.row_size, ==, (bytes) ? (bytes) : number == DPI_TYPE_FIXED ? 3 : 8);            \
	CHECK_INT(info.varies, ==, number > DPI_TYPE_FIXED);                                           \
	CHECK_DPI(DPI_Free_Schema(s));
	DPI_TYPES(TYPE)
#undef TYPE
#define COUNT(name, number, bytes, meaning) +1
	CHECK_ERROR(DPI_Create_Schema(&(DPI_Column){ "c", 1 DPI_TYPES(COUNT), 0, 0, 0, 0 }, 1, &s), DPI_ERR_ARGUMENT, "type 18");
#undef COUNT
}

TEST(the_library_has_the_headers_version, "", 0)
{
	uint32_t version;
	CHECK_DPI(DPI_Get_Version(&version, NULL));
	CHECK_INT(version, ==, DPI_VERSION);
	CHECK_INT(version >> 16, ==, DPI_VERSION_MAJOR);
	CHECK_INT(version >> 8 & 255, ==, DPI_VERSION_MINOR);
	CHECK_INT(version & 255, ==, DPI_VERSION_PATCH);
}

TEST(statistics_hold_their_tables_and_no_more, "", 0)
{
#define COUNT(name, unit, text) +1
	CHECK_INT(sizeof(DPI_Buffer_Stats), ==, sizeof(size_t) + (0 DPI_BUFFER_STATS(COUNT)) * sizeof(uint64_t));
	CHECK_INT(sizeof(DPI_Peer_Stats), ==, sizeof(size_t) + (0 DPI_PEER_STATS(COUNT)) * sizeof(uint64_t));
#undef COUNT
}

/* A struct of which nothing but the size is set. */
#define CHECK_FRESH(type, init)                                                                        \
	do {                                                                                           \
		static const char zero[sizeof(type)];                                                  \
		type fresh = init;                                                                     \
		CHECK_INT(fresh.size, ==, sizeof(type));                                               \
		CHECK(!memcmp((char *)&fresh + sizeof(size_t), zero, sizeof(type) - sizeof(size_t)));  \
	} while (0)

TEST(initialisers_set_the_size_and_defaults_are_zero, "", 0)
{
	CHECK_FRESH(DPI_Init_Attr, DPI_INIT_ATTR_INIT);
	CHECK_FRESH(DPI_Node_Info, DPI_NODE_INFO_INIT);
	CHECK_FRESH(DPI_Buffer_Attr, DPI_BUFFER_ATTR_INIT);
	CHECK_FRESH(DPI_Open_Attr, DPI_OPEN_ATTR_INIT);
	CHECK_FRESH(DPI_Buffer_Info, DPI_BUFFER_INFO_INIT);
	CHECK_FRESH(DPI_Schema_Info, DPI_SCHEMA_INFO_INIT);
	CHECK_INT(DPI_NUMA_ANY, ==, 0);
	CHECK_INT(DPI_NUMA_NODE(0), >, DPI_NUMA_ANY);
	CHECK_INT(DPI_NO_WAIT, <, 0);
	CHECK_INT(DPI_NODE_SELF, <, 0);
	CHECK(DPI_REQUEST_NULL == NULL);
}

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

TEST(the_entry_symbol_carries_the_abi, "", 0)
{
	CHECK_STR(TEXT(DPI_TP_ENTRY), "dpi_transport_" TEXT(DPI_TP_ABI));
}

/* SPDX-License-Identifier: Apache-2.0
 * shape.c: a buffer's attributes, checked, with the defaults filled in. */
#include "home.h"

#define KIB ((uint64_t)1024)
#define LARGEST ((uint64_t)1 << 40)
#define LARGEST_RECORD ((uint64_t)1 << 30)

static uint64_t up(uint64_t n)
{
	uint64_t p = DPI_RING_LEAST;
	while (p < n) p *= 2;
	return p;
}

static int enumerated(const char *name, int value, int last)
{
	if (value >= 0 && value <= last) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT, "attr->%s is %d: see dpi.h for its values", name, value);
}

int dpi_shape_from(const DPI_Buffer_Attr *a, struct dpi_buffer_shape *s)
{
	int error = enumerated("use", a->use, DPI_USE_REGION);
	if (!error) error = enumerated("create", a->create, DPI_CREATE_OR_OPEN);
	if (!error) error = enumerated("full", a->full, DPI_FULL_ERROR);
	if (!error) error = enumerated("growth", a->growth, DPI_GROWTH_NONE);
	if (!error) error = enumerated("huge_pages", a->huge_pages, DPI_HUGE_REQUIRE);
	if (!error) error = enumerated("numa", a->numa, 1024);
	if (error) return error;
	*s = (struct dpi_buffer_shape){ .use = a->use ? (uint32_t)a->use : DPI_USE_QUEUE, .growth = (uint32_t)a->growth, .full = (uint32_t)a->full,
					.huge_pages = (uint32_t)a->huge_pages, .numa = (uint32_t)a->numa, .capacity = a->capacity,
					.max_capacity = a->max_capacity, .max_record = a->max_record };
	if (s->use == DPI_USE_REGION) {
		if (a->max_record || a->max_capacity) return dpi_fail(DPI_ERR_ARGUMENT, "a region has neither max_record nor max_capacity: set capacity only");
		if (!s->capacity) return dpi_fail(DPI_ERR_ARGUMENT, "attr->capacity is 0: a region needs its size in bytes");
		if ((uintptr_t)a->memory % 8) return dpi_fail(DPI_ERR_ARGUMENT, "attr->memory is not at a multiple of 8: its words could be torn");
		s->max_capacity = s->capacity;
		return dpi_shape_check(s);
	}
	if (a->memory) return dpi_fail(DPI_ERR_ARGUMENT, "attr->memory is set, but only a region lies over the caller's memory");
	if (!s->max_record) s->max_record = 64 * KIB;
	if (s->max_record > LARGEST_RECORD)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->max_record is %llu: at most %llu; move larger things through a region", (unsigned long long)s->max_record,
				(unsigned long long)LARGEST_RECORD);
	if (s->capacity > LARGEST || s->max_capacity > LARGEST)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->%s is above %llu", s->capacity > LARGEST ? "capacity" : "max_capacity", (unsigned long long)LARGEST);
	s->capacity = up(s->capacity ? s->capacity : 256 * KIB);
	if (s->capacity < dpi_ring_least(s->max_record)) s->capacity = dpi_ring_least(s->max_record);
	if (!s->max_capacity) s->max_capacity = s->capacity < 8 * KIB * KIB ? 256 * KIB * KIB : 32 * s->capacity;
	if (s->max_capacity < s->capacity)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->max_capacity is %llu: below the %llu that one appender takes (two records of max_record, rounded up to a power of two)",
				(unsigned long long)s->max_capacity, (unsigned long long)s->capacity);
	return dpi_shape_check(s);
}

int dpi_shape_check(const struct dpi_buffer_shape *s)
{
	bool ok = s->use >= DPI_USE_QUEUE && s->use <= DPI_USE_REGION && s->growth <= DPI_GROWTH_NONE && s->full <= DPI_FULL_ERROR &&
		  s->huge_pages <= DPI_HUGE_REQUIRE && s->numa <= 1024 && s->capacity;
	if (ok && s->use != DPI_USE_REGION)
		ok = s->max_record <= LARGEST_RECORD && s->capacity <= LARGEST && s->max_capacity <= 32 * LARGEST && !(s->capacity & (s->capacity - 1)) && s->capacity >= dpi_ring_least(s->max_record) &&
		     s->max_capacity >= s->capacity;
	return ok ? DPI_SUCCESS : dpi_fail(DPI_ERR_ARGUMENT, "the buffer's attributes are outside their ranges (capacity %llu, max_record %llu)",
					   (unsigned long long)s->capacity, (unsigned long long)s->max_record);
}

void dpi_shape_pack(struct dpi_pack *p, const struct dpi_buffer_shape *s)
{
	dpi_pack_u32(p, s->use);
	dpi_pack_u32(p, s->growth);
	dpi_pack_u32(p, s->full);
	dpi_pack_u32(p, s->huge_pages);
	dpi_pack_u32(p, s->numa);
	dpi_pack_u64(p, s->capacity);
	dpi_pack_u64(p, s->max_capacity);
	dpi_pack_u64(p, s->max_record);
}

void dpi_shape_unpack(struct dpi_unpack *u, struct dpi_buffer_shape *s)
{
	s->use = dpi_unpack_u32(u);
	s->growth = dpi_unpack_u32(u);
	s->full = dpi_unpack_u32(u);
	s->huge_pages = dpi_unpack_u32(u);
	s->numa = dpi_unpack_u32(u);
	s->capacity = dpi_unpack_u64(u);
	s->max_capacity = dpi_unpack_u64(u);
	s->max_record = dpi_unpack_u64(u);
}

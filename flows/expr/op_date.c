/* SPDX-License-Identifier: Apache-2.0
 * op_date.c: parts of dates, months added, dates cut to a unit. */
#include "ast.h"
#include "civil.h"
#include "run.h"

static int64_t part_of(int64_t days, uint32_t part)
{
	struct dpi_civil c = dpi_civil_from_days(days);
	switch (part) {
	case DPI_YEAR: return c.year;
	case DPI_QUARTER: return (c.month + 2) / 3;
	case DPI_MONTH: return c.month;
	case DPI_DAY: return c.day;
	case DPI_DOW: return dpi_weekday(days);
	default: return days - dpi_days_from_civil(c.year, 1, 1) + 1;
	}
}

static void part(struct dpi_run *r, const struct dpi_step *s)
{
	const int32_t *a = s->a->data;
	int64_t *out = s->out->data;
	for (size_t i = 0; i < r->rows; i++) out[i] = part_of(a[i], s->imm);
	dpi_step_valid(s);
}

static int64_t cut(int64_t days, uint32_t unit)
{
	struct dpi_civil c = dpi_civil_from_days(days);
	switch (unit) {
	case DPI_YEAR: return dpi_days_from_civil(c.year, 1, 1);
	case DPI_QUARTER: return dpi_days_from_civil(c.year, (c.month - 1) / 3 * 3 + 1, 1);
	case DPI_MONTH: return dpi_days_from_civil(c.year, c.month, 1);
	case DPI_WEEK: return days - (dpi_weekday(days) + 6) % 7; /* to Monday */
	default: return days;
	}
}

/* A day of a month that has fewer becomes its last. INT64_MAX: no such date. */
static int64_t months_later(int64_t days, int64_t months, uint32_t each)
{
	struct dpi_civil c = dpi_civil_from_days(days);
	int64_t m;
	if (months > 1000000000 || months < -1000000000) return INT64_MAX;
	m = c.year * 12 + c.month - 1 + months * (int64_t)each;
	int64_t year = m >= 0 ? m / 12 : -((11 - m) / 12);
	int month = (int)(m - year * 12) + 1, last = dpi_month_days(year, month);
	return dpi_days_from_civil(year, month, c.day < last ? c.day : last);
}

static void new_date(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], bad[WORDS] = { 0 };
	const int32_t *a = s->a->data;
	int32_t *out = s->out->data;
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows) {
		int64_t d =
			s->op == OP_TRUNC ? cut(a[ROW], s->imm) : months_later(a[ROW], VALUES(int64_t, s->b)[ROW], s->imm);
		if (d >= INT32_MIN && d <= INT32_MAX) out[ROW] = (int32_t)d;
		else MARK(bad);
	}
	for (size_t w = 0; w < WORDS; w++) rows[w] &= ~bad[w];
	dpi_run_bad(r, s, bad, ROW_OVERFLOW);
	dpi_step_done(r, s, rows);
}

dpi_step_function *dpi_step_date(const struct dpi_step *s)
{
	return s->op == OP_PART ? part : s->op == OP_TRUNC || s->op == OP_MONTHS ? new_date : NULL;
}

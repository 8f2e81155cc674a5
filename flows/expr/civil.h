/* SPDX-License-Identifier: Apache-2.0
 * civil.h: days since 1970-01-01 and the proleptic Gregorian calendar. Years: 0 is the one before 1. */
#ifndef DPI_EXPR_CIVIL_H
#define DPI_EXPR_CIVIL_H

#include <stdbool.h>
#include <stdint.h>

struct dpi_civil {
	int64_t year;
	int month, day; /* from 1 */
};

/* An era is 400 years, which is 146097 days; its years begin in March, so that the leap day is the last. */
static inline struct dpi_civil dpi_civil_from_days(int64_t days)
{
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned doe = (unsigned)(z - era * 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), m = (5 * doy + 2) / 153;
	struct dpi_civil c = { era * 400 + yoe, m < 10 ? (int)m + 3 : (int)m - 9, (int)(doy - (153 * m + 2) / 5) + 1 };
	c.year += c.month <= 2;
	return c;
}

static inline int64_t dpi_days_from_civil(int64_t year, int month, int day)
{
	year -= month <= 2;
	int64_t era = (year >= 0 ? year : year - 399) / 400;
	unsigned yoe = (unsigned)(year - era * 400), m = (unsigned)(month > 2 ? month - 3 : month + 9);
	unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * m + 2) / 5 + (unsigned)day - 1;
	return era * 146097 + doe - 719468;
}

static inline int dpi_month_days(int64_t year, int month)
{
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	return month == 2 ? 28 + leap : month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/* 0: Sunday. */
static inline int dpi_weekday(int64_t days)
{
	return (int)(((days + 4) % 7 + 7) % 7);
}

#endif

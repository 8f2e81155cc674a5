/* SPDX-License-Identifier: Apache-2.0
 * convert.c: values from text and to text. */
#include "convert.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "civil.h"

static bool digit(int c)
{
	return c >= '0' && c <= '9';
}

static struct dpi_text trim(struct dpi_text t)
{
	while (t.size && memchr(" \t\n\r", t.at[0], 4)) t.at++, t.size--;
	while (t.size && memchr(" \t\n\r", t.at[t.size - 1], 4)) t.size--;
	return t;
}

bool dpi_parse_bool(struct dpi_text t, bool *out)
{
	static const char *const word[] = { "false", "true", "f", "t", "0", "1" };
	t = trim(t);
	for (int i = 0; i < 6; i++) {
		size_t n = strlen(word[i]), j = 0;
		if (n != t.size) continue;
		while (j < n && (t.at[j] | (t.at[j] >= 'A' ? 0x20 : 0)) == word[i][j]) j++;
		if (j == n) return *out = i % 2, true;
	}
	return false;
}

/* A number in digits, an optional point and an optional exponent. */
struct written {
	bool negative;
	const uint8_t *whole, *part; /* digits before and behind the point */
	size_t wholes, parts;
	int exponent;
};

static bool read_number(struct dpi_text t, struct written *w)
{
	t = trim(t);
	const uint8_t *p = t.at, *end = t.at + t.size;
	*w = (struct written){ 0 };
	if (p < end && (*p == '-' || *p == '+')) w->negative = *p++ == '-';
	for (w->whole = p; p < end && digit(*p);) p++;
	w->wholes = (size_t)(p - w->whole);
	if (p < end && *p == '.') p++;
	for (w->part = p; p < end && digit(*p);) p++;
	w->parts = (size_t)(p - w->part);
	if (!w->wholes && !w->parts) return false;
	if (p < end && (*p == 'e' || *p == 'E')) {
		bool negative = false;
		if (++p < end && (*p == '-' || *p == '+')) negative = *p++ == '-';
		if (p == end) return false;
		for (; p < end && digit(*p); p++)
			if (w->exponent < 100000000) w->exponent = w->exponent * 10 + (*p - '0');
		if (negative) w->exponent = -w->exponent;
	}
	return p == end;
}

bool dpi_parse_integer(struct dpi_text t, bool is_signed, int64_t *out)
{
	struct written w;
	uint64_t n = 0;
	if (!read_number(t, &w) || w.exponent || w.part != w.whole + w.wholes) return false; /* a point is no integer */
	if (memchr("eE", t.at[t.size - 1], 2)) return false;
	for (size_t i = 0; i < w.wholes; i++)
		if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (uint64_t)(w.whole[i] - '0'), &n))
			return false;
	if (is_signed && n > (uint64_t)INT64_MAX + w.negative) return false;
	if (!is_signed && w.negative && n) return false;
	*out = (int64_t)(w.negative ? 0 - n : n);
	return true;
}

bool dpi_parse_decimal(struct dpi_text t, int precision, int scale, dpi_i128 *out)
{
	struct written w;
	if (!read_number(t, &w)) return false;
	/* digit i of wholes + parts stands at the place 10^(wholes - 1 - i + exponent); the last kept one at 10^-scale */
	int64_t keep = (int64_t)w.wholes + w.exponent + scale, all = (int64_t)(w.wholes + w.parts);
	dpi_i128 n = 0, most = dpi_pow10((unsigned)precision);
	for (int64_t i = 0; i < keep; i++) {
		if (i >= all && !n) break;
		int d = i >= all ? 0 : (i < (int64_t)w.wholes ? w.whole[i] : w.part[i - (int64_t)w.wholes]) - '0';
		if (n > (most - 1 - d) / 10) return false;
		n = n * 10 + d;
	}
	if (keep >= 0 && keep < all)
		n += (keep < (int64_t)w.wholes ? w.whole[keep] : w.part[keep - (int64_t)w.wholes]) >= '5';
	*out = w.negative ? -n : n;
	return n < most;
}

bool dpi_parse_real(struct dpi_text t, double *out)
{
	static const struct {
		const char *word;
		double value;
	} special[] = { { "inf", HUGE_VAL }, { "infinity", HUGE_VAL }, { "nan", NAN } };
	char text[400], *end;
	struct written w;
	t = trim(t);
	if (t.size >= sizeof text || !t.size) return false;
	memcpy(text, t.at, t.size);
	text[t.size] = 0;
	bool sign = *text == '-' || *text == '+';
	for (size_t i = 0; i < sizeof special / sizeof *special; i++)
		if (!strcasecmp(text + sign, special[i].word))
			return *out = *text == '-' ? -special[i].value : special[i].value, true;
	if (!read_number(t, &w)) return false;
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	if (!c) return false;
	*out = strtod_l(text, &end, c);
	freelocale(c);
	return !*end && *out - *out == 0;
}

bool dpi_parse_date(struct dpi_text t, int32_t *days)
{
	t = trim(t);
	const uint8_t *p = t.at, *end = t.at + t.size;
	bool negative = p < end && *p == '-';
	int64_t year = 0;
	const uint8_t *first = p += negative;
	for (; p < end && p < first + 7 && digit(*p); p++) year = year * 10 + (*p - '0');
	if (p - first < 4 || end - p != 6 || p[0] != '-' || p[3] != '-') return false;
	if (!digit(p[1]) || !digit(p[2]) || !digit(p[4]) || !digit(p[5])) return false;
	int month = (p[1] - '0') * 10 + (p[2] - '0'), day = (p[4] - '0') * 10 + (p[5] - '0');
	if (negative) year = -year;
	if (month < 1 || month > 12 || day < 1 || day > dpi_month_days(year, month)) return false;
	int64_t n = dpi_days_from_civil(year, month, day);
	*days = (int32_t)n;
	return n >= INT32_MIN && n <= INT32_MAX;
}

size_t dpi_print_decimal(dpi_i128 value, int scale, char *text)
{
	char digits[44];
	int n = 0;
	size_t size = 0;
	for (dpi_u128 v = dpi_abs128(value); v || n <= scale; v /= 10) digits[n++] = (char)('0' + (int)(v % 10));
	if (value < 0) text[size++] = '-';
	while (n) {
		text[size++] = digits[--n];
		if (n == scale && n) text[size++] = '.';
	}
	return size;
}

size_t dpi_print_real(double value, bool is_float, char *text)
{
	if (value != value) return memcpy(text, "nan", 3), 3;
	if (value - value != 0) return memcpy(text, value < 0 ? "-inf" : "inf", 4), value < 0 ? 4 : 3;
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), old = c ? uselocale(c) : c;
	int n = 0;
	for (int digits = is_float ? 6 : 15; digits <= (is_float ? 9 : 17); digits++) {
		n = snprintf(text, DPI_PRINT_MAX, "%.*g", digits, value);
		if (is_float ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value) break;
	}
	if (old) uselocale(old);
	if (c) freelocale(c);
	return (size_t)n;
}

size_t dpi_print_date(int32_t days, char *text)
{
	struct dpi_civil c = dpi_civil_from_days(days);
	long long year = c.year < 0 ? -c.year : c.year;
	return (size_t)snprintf(text, DPI_PRINT_MAX, "%s%04lld-%02d-%02d", c.year < 0 ? "-" : "", year, c.month, c.day);
}

size_t dpi_utf8_valid(const uint8_t *p, size_t n)
{
	size_t i = 0;
	while (i < n) {
		unsigned c = p[i], more = c < 0x80 ? 0 : c < 0xc2 ? 9 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : 9;
		if (more > 3 || more >= n - i) return i;
		for (unsigned k = 1; k <= more; k++)
			if (dpi_utf8_starts(p[i + k])) return i;
		unsigned second = more > 1 ? p[i + 1] : 0; /* too long a form, a surrogate, beyond U+10FFFF */
		if (more == 2 && ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f))) return i;
		if (more == 3 && ((c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f))) return i;
		i += 1 + more;
	}
	return i;
}

/* SPDX-License-Identifier: Apache-2.0
 * op_text.c: functions of text. A character is a byte that is no continuation byte of UTF-8, and those that follow it. */
#include "convert.h"
#include "run.h"

static size_t character(const uint8_t *p, const uint8_t *end)
{
	size_t n = 1;
	while (p + n < end && !dpi_utf8_starts(p[n])) n++;
	return n;
}

static void finish(struct dpi_run *r, const struct dpi_step *s, uint64_t *rows, const uint64_t *bad, int why)
{
	for (size_t w = 0; w < WORDS; w++) rows[w] = r->error ? 0 : rows[w] & ~bad[w];
	dpi_run_bad(r, s, bad, why);
	dpi_step_done(r, s, rows);
}

/* ------------------------------------------------------------------------------------------------------ lengths */

static void length(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS];
	const struct dpi_text *a = s->a->data;
	int64_t *out = s->out->data;
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows) out[ROW] = (int64_t)(s->op == OP_LENGTH ? dpi_utf8_count(a[ROW]) : a[ROW].size);
	dpi_step_done(r, s, rows);
}

/* Bytes before character number n, from 1; all where there are fewer. */
static size_t bytes_before(struct dpi_text t, int64_t n)
{
	size_t i = 0;
	if (n > (int64_t)t.size) return t.size;
	for (int64_t c = 0; i < t.size; i++)
		if (dpi_utf8_starts(t.at[i]) && ++c == n) break;
	return i;
}

static void substring(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], bad[WORDS] = { 0 };
	const struct dpi_text *a = s->a->data;
	const int64_t *start = s->b->data, *count = s->c->data;
	struct dpi_text *out = s->out->data;
	bool to_end = s->imm & 2;
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows) {
		size_t i = ROW, from, to;
		int64_t first = start[i], end;
		if (count[i] < 0 && !to_end) {
			MARK(bad);
			continue;
		}
		if (to_end || __builtin_add_overflow(first, count[i], &end)) end = INT64_MAX;
		if (first < 1) first = 1;
		if (end <= first) from = to = 0;
		else if (s->imm & 1) {
			from = (uint64_t)first - 1 < a[i].size ? (size_t)first - 1 : a[i].size;
			to = (uint64_t)end - 1 < a[i].size ? (size_t)end - 1 : a[i].size;
		} else {
			from = bytes_before(a[i], first);
			struct dpi_text rest = { a[i].at + from, a[i].size - from };
			to = from + bytes_before(rest, end - first + 1);
		}
		out[i] = (struct dpi_text){ a[i].at + from, to - from };
	}
	finish(r, s, rows, bad, ROW_DOMAIN);
}

/* --------------------------------------------------------------------------------------------------------- trim */

static bool in_set(const uint8_t *c, size_t size, struct dpi_text set)
{
	for (const uint8_t *p = set.at, *end = set.at + set.size; p < end;) {
		size_t n = character(p, end);
		if (n == size && !memcmp(p, c, n)) return true;
		p += n;
	}
	return false;
}

static void trim(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS];
	const struct dpi_text *a = s->a->data, *set = s->b->data;
	struct dpi_text *out = s->out->data;
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows) {
		size_t i = ROW;
		const uint8_t *p = a[i].at, *end = p + a[i].size;
		while (s->imm & 1 && p < end) {
			size_t n = character(p, end);
			if (!in_set(p, n, set[i])) break;
			p += n;
		}
		while (s->imm & 2 && p < end) {
			const uint8_t *last = end - 1;
			while (last > p && !dpi_utf8_starts(*last)) last--;
			if (!in_set(last, (size_t)(end - last), set[i])) break;
			end = last;
		}
		out[i] = (struct dpi_text){ p, (size_t)(end - p) };
	}
	dpi_step_done(r, s, rows);
}

/* ----------------------------------------------------------------------------------------------------- new text */

static void concat(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], bad[WORDS] = { 0 };
	const struct dpi_text *a = s->a->data, *b = s->b->data;
	struct dpi_text *out = s->out->data;
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows) {
		size_t i = ROW;
		if (a[i].size > INT32_MAX - b[i].size) {
			MARK(bad);
			continue;
		}
		uint8_t *to = dpi_run_text(r, a[i].size + b[i].size);
		if (!to) break;
		if (a[i].size) memcpy(to, a[i].at, a[i].size);
		if (b[i].size) memcpy(to + a[i].size, b[i].at, b[i].size);
		out[i] = (struct dpi_text){ to, a[i].size + b[i].size };
	}
	finish(r, s, rows, bad, ROW_LONG);
}

static void change_case(struct dpi_run *r, const struct dpi_step *s)
{
	static const uint64_t none[WORDS];
	uint64_t rows[WORDS];
	const struct dpi_text *a = s->a->data;
	struct dpi_text *out = s->out->data;
	uint8_t first = s->op == OP_LOWER ? 'A' : 'a';
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows) {
		struct dpi_text t = a[ROW];
		uint8_t *to = dpi_run_text(r, t.size);
		if (!to) break;
		for (size_t k = 0; k < t.size; k++) to[k] = (uint8_t)(t.at[k] - first) < 26 ? t.at[k] ^ 0x20 : t.at[k];
		out[ROW] = (struct dpi_text){ to, t.size };
	}
	finish(r, s, rows, none, ROW_LONG);
}

static void checked(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], bad[WORDS] = { 0 };
	const struct dpi_text *a = s->a->data;
	struct dpi_text *out = s->out->data;
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows) {
		out[ROW] = a[ROW];
		if (s->op == OP_WIDTH ? a[ROW].size != s->imm : dpi_utf8_valid(a[ROW].at, a[ROW].size) != a[ROW].size)
			MARK(bad);
	}
	finish(r, s, rows, bad, ROW_CAST);
}

/* ------------------------------------------------------------------------------------------------------- search */

static bool starts(struct dpi_text t, struct dpi_text with)
{
	return t.size >= with.size && dpi_text_equal((struct dpi_text){ t.at, with.size }, with);
}

static bool ends(struct dpi_text t, struct dpi_text with)
{
	return t.size >= with.size && dpi_text_equal((struct dpi_text){ t.at + t.size - with.size, with.size }, with);
}

static void starts_with(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], *out = s->out->data;
	const struct dpi_text *a = s->a->data, *b = s->b->data;
	dpi_step_rows(r, s, rows);
	memset(out, 0, WORDS * sizeof *out);
	EACH_ROW (rows) MARK_IF(out, starts(a[ROW], b[ROW]));
	dpi_step_done(r, s, rows);
}

static void position(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS];
	const struct dpi_text *a = s->a->data, *b = s->b->data;
	int64_t *out = s->out->data;
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows) {
		const uint8_t *p = memmem(b[ROW].at, b[ROW].size, a[ROW].at, a[ROW].size);
		size_t before = p ? (size_t)(p - b[ROW].at) : 0;
		if (p && !s->imm) before = dpi_utf8_count((struct dpi_text){ b[ROW].at, before });
		out[ROW] = p ? (int64_t)before + 1 : 0;
	}
	dpi_step_done(r, s, rows);
}

/* --------------------------------------------------------------------------------------------------------- LIKE */

#define PATTERN_MAX 4096 /* bytes; the time of a match is at most this times the text's */

/* An escape character ends no pattern. */
static bool good_pattern(struct dpi_text p, struct dpi_text escape)
{
	if (p.size > PATTERN_MAX) return false;
	for (size_t i = 0; escape.size && i < p.size;) {
		struct dpi_text rest = { p.at + i, p.size - i };
		if (!starts(rest, escape)) i += character(rest.at, p.at + p.size);
		else if (rest.size == escape.size) return false;
		else i += escape.size + character(rest.at + escape.size, p.at + p.size);
	}
	return true;
}

/* What follows the last % is tried at each place, from the left; an earlier % need not be tried again. */
static bool like(struct dpi_text t, struct dpi_text p, struct dpi_text escape)
{
	size_t i = 0, j = 0, again_i = 0, again_j = SIZE_MAX;
	for (;;) {
		struct dpi_text rest = { p.at + j, p.size - j };
		bool escaped = escape.size && starts(rest, escape);
		size_t k = j + (escaped ? escape.size : 0);
		if (!escaped && j < p.size && p.at[j] == '%') {
			again_i = i, again_j = ++j;
			continue;
		}
		if (j == p.size && i == t.size) return true;
		if (j < p.size && i < t.size) {
			size_t n = character(t.at + i, t.at + t.size),
			       m = k < p.size ? character(p.at + k, p.at + p.size) : 0;
			if (!escaped && p.at[j] == '_') {
				i += n, j++;
				continue;
			}
			if (n == m && !memcmp(t.at + i, p.at + k, n)) {
				i += n, j = k + m;
				continue;
			}
		}
		if (again_j == SIZE_MAX || again_i >= t.size) return false;
		again_i += character(t.at + again_i, t.at + t.size);
		i = again_i, j = again_j;
	}
}

enum { SHAPE_ANY, SHAPE_EQUAL, SHAPE_PREFIX, SHAPE_SUFFIX, SHAPE_WITHIN };

/* A pattern with % at its ends alone; *core is what stands between. */
static int shape(struct dpi_text p, struct dpi_text escape, struct dpi_text *core)
{
	bool before = p.size && p.at[0] == '%', after = p.size > before && p.at[p.size - 1] == '%';
	*core = (struct dpi_text){ p.at + before, p.size - before - after };
	if (escape.size) return SHAPE_ANY;
	for (size_t i = 0; i < core->size; i++)
		if (core->at[i] == '%' || core->at[i] == '_') return SHAPE_ANY;
	return before && after ? SHAPE_WITHIN : before ? SHAPE_SUFFIX : after ? SHAPE_PREFIX : SHAPE_EQUAL;
}

static void like_rows(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], bad[WORDS] = { 0 }, *out = s->out->data;
	const struct dpi_text *a = s->a->data, *b = s->b->data;
	uint8_t bytes[4] = { (uint8_t)s->imm, (uint8_t)(s->imm >> 8), (uint8_t)(s->imm >> 16), (uint8_t)(s->imm >> 24) };
	struct dpi_text escape = { bytes, 0 }, core = escape;
	while (escape.size < 4 && bytes[escape.size]) escape.size++;
	dpi_step_rows(r, s, rows);
	memset(out, 0, WORDS * sizeof *out);
	int how = SHAPE_ANY;
	bool good = true, same = s->b->uniform && !(s->b->valid && !(s->b->valid[0] & 1));
	if (same) good = good_pattern(b[0], escape), how = shape(b[0], escape, &core);
	EACH_ROW (rows) {
		struct dpi_text t = a[ROW];
		bool yes;
		if (!(same ? good : good_pattern(b[ROW], escape))) {
			MARK(bad);
			continue;
		}
		switch (how) {
		case SHAPE_EQUAL: yes = dpi_text_equal(t, core); break;
		case SHAPE_PREFIX: yes = starts(t, core); break;
		case SHAPE_SUFFIX: yes = ends(t, core); break;
		case SHAPE_WITHIN: yes = memmem(t.at, t.size, core.at, core.size); break;
		default: yes = like(t, b[ROW], escape); break;
		}
		MARK_IF(out, yes);
	}
	finish(r, s, rows, bad, ROW_PATTERN);
}

dpi_step_function *dpi_step_text(const struct dpi_step *s)
{
	switch (s->op) {
	case OP_LENGTH:
	case OP_OCTETS: return length;
	case OP_LOWER:
	case OP_UPPER: return change_case;
	case OP_SUBSTRING: return substring;
	case OP_TRIM: return trim;
	case OP_CONCAT: return concat;
	case OP_STARTS: return starts_with;
	case OP_POSITION: return position;
	case OP_LIKE: return like_rows;
	case OP_WIDTH:
	case OP_UTF8: return checked;
	default: return NULL;
	}
}

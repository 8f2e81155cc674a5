/* SPDX-License-Identifier: Apache-2.0
 * lex.c: an expression's text as tokens. */
#include "lex.h"

#include <string.h>

#include "convert.h"
#include "error.h"

static bool digit(int c)
{
	return c >= '0' && c <= '9';
}
static bool letter(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static int wrong(struct dpi_lexer *l, const char *what)
{
	l->kind = TOKEN_WRONG;
	return dpi_fail(DPI_ERR_ARGUMENT, "character %u: %s", (unsigned)l->at, what);
}

/* The last byte of the token is before p. */
static void token(struct dpi_lexer *l, int kind, const uint8_t *p)
{
	l->kind = kind;
	l->token = (struct dpi_text){ l->next, (size_t)(p - l->next) };
	for (; l->next < p; l->next++) l->next_at += (*l->next & 0xc0) != 0x80;
}

static void quoted(struct dpi_lexer *l, int kind)
{
	const uint8_t *p = l->next + 1;
	for (; p < l->end; p++) {
		if (*p != *l->next) continue;
		if (p + 1 < l->end && p[1] == *p) p++;
		else {
			token(l, kind, p + 1);
			return;
		}
	}
	wrong(l, kind == TOKEN_STRING ? "the string has no end: close it with '" : "the name has no end: close it with \"");
}

static void number(struct dpi_lexer *l)
{
	const uint8_t *p = l->next;
	int kind = TOKEN_INTEGER;
	while (p < l->end && digit(*p)) p++;
	if (p < l->end && *p == '.') {
		kind = TOKEN_DECIMAL;
		for (p++; p < l->end && digit(*p);) p++;
	}
	if (p < l->end && (*p == 'e' || *p == 'E')) {
		const uint8_t *q = p + 1;
		if (q < l->end && (*q == '+' || *q == '-')) q++;
		if (q < l->end && digit(*q)) {
			kind = TOKEN_REAL;
			for (p = q; p < l->end && digit(*p);) p++;
		}
	}
	if (p < l->end && letter(*p)) wrong(l, "letters follow a number: put a space or an operator between");
	else token(l, kind, p);
}

void dpi_lex_next(struct dpi_lexer *l)
{
	static const char two[][3] = { "<>", "!=", "<=", ">=", "||" };
	while (l->next < l->end && strchr(" \t\n\r", *l->next) && *l->next) l->next++, l->next_at++;
	l->at = l->next_at;
	l->token = (struct dpi_text){ l->next, 0 };
	if (l->next == l->end) {
		l->kind = TOKEN_END;
		return;
	}
	const uint8_t *p = l->next;
	if (letter(*p)) {
		while (p < l->end && (letter(*p) || digit(*p))) p++;
		token(l, TOKEN_NAME, p);
	} else if (digit(*p) || (*p == '.' && p + 1 < l->end && digit(p[1]))) number(l);
	else if (*p == '\'' || *p == '"') quoted(l, *p == '"' ? TOKEN_QUOTED : TOKEN_STRING);
	else {
		for (size_t i = 0; i < sizeof two / sizeof *two; i++)
			if (p + 1 < l->end && !memcmp(p, two[i], 2)) {
				token(l, TOKEN_SYMBOL, p + 2);
				return;
			}
		if (*p == '-' && p + 1 < l->end && p[1] == '-')
			wrong(l, "-- begins a comment in SQL, and there are none here: put a blank between");
		else if (*p && strchr("+-*/%=<>(),", *p)) token(l, TOKEN_SYMBOL, p + 1);
		else wrong(l, "this character begins nothing that an expression has");
	}
}

int dpi_lex_open(struct dpi_lexer *l, const char *text, size_t size)
{
	*l = (struct dpi_lexer){ .text = (const uint8_t *)text, .next = (const uint8_t *)text, .next_at = 1, .at = 1 };
	l->end = l->text + size;
	size_t good = dpi_utf8_valid(l->text, size);
	if (good < size) {
		for (size_t i = 0; i < good; i++) l->at += (l->text[i] & 0xc0) != 0x80;
		return wrong(l, "the text is not UTF-8: use its characters, or put the value into a column");
	}
	dpi_lex_next(l);
	return DPI_SUCCESS;
}

bool dpi_lex_is(const struct dpi_lexer *l, const char *what)
{
	if (l->kind != TOKEN_NAME && l->kind != TOKEN_SYMBOL) return false;
	if (strlen(what) != l->token.size) return false;
	for (size_t i = 0; i < l->token.size; i++) {
		int c = l->token.at[i];
		if ((c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c) != what[i]) return false;
	}
	return true;
}

size_t dpi_lex_unquote(const struct dpi_lexer *l, uint8_t *out)
{
	size_t n = 0;
	for (size_t i = 1; i + 1 < l->token.size; i++) {
		out[n++] = l->token.at[i];
		if (l->token.at[i] == *l->token.at) i++;
	}
	return n;
}

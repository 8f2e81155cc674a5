/* SPDX-License-Identifier: Apache-2.0
 * tpch.h: what the joins need of the TPC-H tables orders and lineitem: generated, or read from .tbl files. Everything is
 * exact: money in cents, discounts in hundredths, dates in days since 1970. */
#ifndef TPCH_H
#define TPCH_H

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct order {
	uint64_t key;
	int64_t total;
	int64_t date;
};

struct item { /* a row of lineitem */
	uint64_t key; /* of its order */
	int64_t price;
	int32_t discount, ship_date;
};

/* Where the rows come from: a directory of .tbl files, or, where it is NULL, the generator with so many orders. answers: a
 * directory of what a database said about the tables, or NULL. */
struct tpch {
	const char *tables, *answers;
	uint64_t orders;
};

static void tpch_options(struct tpch *t, int argc, char **argv)
{
	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		double scale = strtod(value, NULL);

		if (!strcmp(argv[i], "--scale") && scale > 0 && scale <= 10000)
			t->orders = (uint64_t)(scale * 1500000);
		else if (!strcmp(argv[i], "--tables") && *value)
			t->tables = value;
		else if (!strcmp(argv[i], "--answers") && *value)
			t->answers = value;
		else {
			fprintf(stderr, "usage: %s [--scale S | --tables DIR] [--answers DIR]\n", argv[0]);
			exit(2);
		}
	}
}

static int days(int year, int month, int day)
{
	year -= month <= 2; /* years begin in March, so that the leap day is their last */
	month += month > 2 ? -3 : 9;
	return 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719469;
}

static inline uint64_t mix(uint64_t x) /* the finaliser of SplitMix64 */
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* --------------------------------------------------------------------------------------------------- the generator */

/* Takes a number from 0 to below - 1 out of a random one. */
static inline uint64_t draw(uint64_t *random, uint64_t below)
{
	uint64_t drawn = *random % below;

	*random /= below;
	return drawn;
}

/* Order r and its lines, functions of r alone, so that any process can make any. As in TPC-H, a quarter of the keys is used,
 * an order has 1 to 7 lines, and they are shipped 1 to 121 days after it. Returns the number of lines. */
static int generate(uint64_t r, struct order *order, struct item lines[7])
{
	uint64_t random = mix(2 * r + 1);
	int count;

	order->key = r / 8 * 32 + r % 8 + 1;
	order->date = days(1992, 1, 1) + (int64_t)draw(&random, 2406);
	order->total = 0;
	count = 1 + (int)draw(&random, 7);
	for (int l = 0; l < count; l++) {
		int64_t part, quantity, tax;

		random = mix((r * 8 + (uint64_t)l) * 2);
		part = 1 + (int64_t)draw(&random, 200000);
		quantity = 1 + (int64_t)draw(&random, 50);
		tax = (int64_t)draw(&random, 9);
		lines[l].key = order->key;
		lines[l].price = quantity * (90000 + part / 10 % 20001 + 100 * (part % 1000));
		lines[l].discount = (int32_t)draw(&random, 11);
		lines[l].ship_date = (int32_t)(order->date + 1 + (int64_t)draw(&random, 121));
		order->total += lines[l].price * (100 - lines[l].discount) * (100 + tax) / 10000;
	}
	return count;
}

/* ------------------------------------------------------------------------------------------------------ .tbl files */

static _Noreturn void bad_line(const char *path, long at, const char *what)
{
	fprintf(stderr, "%s: the line at byte %ld %s\n", path, at, what);
	exit(1);
}

/* "123.45" in hundredths. */
static int64_t decimal(const char *text, const char *path, long at)
{
	int sign = *text == '-' ? -1 : 1;
	int64_t whole;
	char *end;

	text += *text == '-';
	errno = 0;
	whole = strtoll(text, &end, 10);
	if (errno || end == text || whole > INT64_MAX / 100 - 1 || *end != '.' || strspn(++end, "0123456789") != 2 || end[2])
		bad_line(path, at, "has no decimal with two digits where one belongs");
	return sign * (whole * 100 + (end[0] - '0') * 10 + (end[1] - '0'));
}

static int date(const char *text, const char *path, long at)
{
	int year, month, day;

	if (sscanf(text, "%4d-%2d-%2d", &year, &month, &day) != 3 || month < 1 || month > 12)
		bad_line(path, at, "has no date where one belongs");
	return days(year, month, day);
}

enum { FIELDS = 16 };

/* Calls take with the fields of every line that begins in the part-th of parts equal parts of the file. */
static void scan_file(const struct tpch *t, const char *table, int part, int parts,
		      void (*take)(char **field, const char *path, long at, void *arg), void *arg)
{
	char path[4096], *line = NULL, *field[FIELDS];
	size_t room = 0;
	ssize_t length;
	long size, at, end;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s.tbl", t->tables, table);
	f = fopen(path, "r");
	if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	at = size / parts * part;
	end = part == parts - 1 ? size : size / parts * (part + 1);
	if (at) /* a line that began before belongs to the part before */
		at--;
	fseek(f, at, SEEK_SET);
	if (at && (length = getline(&line, &room, f)) > 0)
		at += length;
	while (at < end && (length = getline(&line, &room, f)) > 0) {
		int n = 0;

		for (char *p = line, *bar; n < FIELDS && (bar = strchr(p, '|')); p = bar + 1) {
			field[n++] = p;
			*bar = 0;
		}
		if (n < 9)
			bad_line(path, at, "has fewer fields than it should");
		for (; n < FIELDS; n++)
			field[n] = line + length;
		take(field, path, at, arg);
		at += length;
	}
	free(line);
	fclose(f);
}

static void order_of(char **field, struct order *o, const char *path, long at)
{
	*o = (struct order){ strtoull(field[0], NULL, 10), decimal(field[3], path, at), date(field[4], path, at) };
}

static void item_of(char **field, struct item *i, const char *path, long at)
{
	*i = (struct item){ strtoull(field[0], NULL, 10), decimal(field[5], path, at), (int32_t)decimal(field[6], path, at),
			    date(field[10], path, at) };
}

/* ---------------------------------------------------------------------------------------------------------- scans */

struct scan {
	void (*take)(const void *row, void *arg);
	void *arg;
};

static void take_order(char **field, const char *path, long at, void *arg)
{
	struct scan *s = arg;
	struct order o;

	order_of(field, &o, path, at);
	s->take(&o, s->arg);
}

static void take_item(char **field, const char *path, long at, void *arg)
{
	struct scan *s = arg;
	struct item i;

	item_of(field, &i, path, at);
	s->take(&i, s->arg);
}

/* Calls take with every row of the part-th of parts shares of orders, or of lineitem. */
static void scan_table(const struct tpch *t, int of_items, int part, int parts, struct scan s)
{
	struct order order;
	struct item lines[7];

	if (t->tables) {
		scan_file(t, of_items ? "lineitem" : "orders", part, parts, of_items ? take_item : take_order, &s);
		return;
	}
	uint64_t end = t->orders * (uint64_t)(part + 1) / (uint64_t)parts;
	for (uint64_t r = t->orders * (uint64_t)part / (uint64_t)parts; r < end; r++) {
		int count = generate(r, &order, lines);

		if (!of_items)
			s.take(&order, s.arg);
		for (int l = 0; of_items && l < count; l++)
			s.take(&lines[l], s.arg);
	}
}

/* --------------------------------------------------------------------------------------------------------- answers */

__extension__ typedef __int128 int128; /* sums are exact at any scale */

/* join_count:    count(*), sum(l_extendedprice), sum(o_totalprice) of orders join lineitem on o_orderkey = l_orderkey
 * join_filtered: count(*), sum(l_extendedprice * (1 - l_discount)) where o_orderdate < 1995-03-15 < l_shipdate */
struct answer {
	uint64_t rows, filtered_rows;
	int128 price, total; /* cents */
	int128 revenue;	     /* hundredths of a cent */
};

/* One more row of the join. Returns whether the second query has it. */
static inline bool answer_match(struct answer *a, const struct order *o, const struct item *i)
{
	int the_ides = days(1995, 3, 15);

	a->rows++;
	a->price += i->price;
	a->total += o->total;
	if (o->date >= the_ides || the_ides >= i->ship_date)
		return false;
	a->filtered_rows++;
	a->revenue += i->price * (100 - i->discount);
	return true;
}

static void answer_add(struct answer *sum, const struct answer *a)
{
	sum->rows += a->rows;
	sum->price += a->price;
	sum->total += a->total;
	sum->filtered_rows += a->filtered_rows;
	sum->revenue += a->revenue;
}

static const char *decimal_text(int128 value, int digits, char text[64])
{
	int128 unit = digits == 2 ? 100 : 10000, magnitude = value < 0 ? -value : value;

	snprintf(text, 64, "%s%llu.%0*llu", value < 0 ? "-" : "", (unsigned long long)(magnitude / unit), digits,
		 (unsigned long long)(magnitude % unit));
	return text;
}

/* The two queries' answers as a database prints them. */
static void answer_texts(const struct answer *a, char count[256], char filtered[256])
{
	char text[2][64];

	snprintf(count, 256, "%" PRIu64 "|%s|%s", a->rows, decimal_text(a->price, 2, text[0]),
		 decimal_text(a->total, 2, text[1]));
	snprintf(filtered, 256, "%" PRIu64 "|%s", a->filtered_rows, decimal_text(a->revenue, 4, text[0]));
}

static void answer_print(const struct answer *a)
{
	char count[256], filtered[256];

	answer_texts(a, count, filtered);
	printf("join_count     n|sum_price|sum_total  %s\njoin_filtered  n|revenue              %s\n", count, filtered);
}

/* Is got what DIR/QUERY.txt says? It has a line of names, then one of values. */
static bool in_file(const char *got, const char *directory, const char *query)
{
	char path[4096], wanted[256] = "";
	FILE *f;

	snprintf(path, sizeof path, "%s/%s.txt", directory, query);
	f = fopen(path, "r");
	if (!f || !fgets(wanted, sizeof wanted, f) || !fgets(wanted, sizeof wanted, f)) {
		fprintf(stderr, "%s: no answer in it: %s\n", path, f ? "it has no second line" : strerror(errno));
		exit(1);
	}
	fclose(f);
	wanted[strcspn(wanted, "\r\n")] = 0;
	if (strcmp(wanted, got))
		printf("%s: %s is wrong: %s says %s\n", query, got, path, wanted);
	return !strcmp(wanted, got);
}

static bool answer_in_files(const struct answer *a, const char *directory)
{
	char count[256], filtered[256];

	answer_texts(a, count, filtered);
	return in_file(count, directory, "join_count") && in_file(filtered, directory, "join_filtered");
}

/* The generator gives an order with its lines, so one process can add them up with neither a network nor a hash table. */
static bool answer_generated(const struct answer *a, const struct tpch *t)
{
	struct answer alone = { 0 };
	struct order order;
	struct item line[7];

	for (uint64_t r = 0; r < t->orders; r++)
		for (int l = generate(r, &order, line); l--;)
			answer_match(&alone, &order, &line[l]);
	return alone.rows == a->rows && alone.price == a->price && alone.total == a->total &&
	       alone.filtered_rows == a->filtered_rows && alone.revenue == a->revenue;
}

/* Prints the answer and says whether it is right. */
static bool answer_check(const struct answer *a, const struct tpch *t)
{
	bool right;

	answer_print(a);
	if (t->tables && !t->answers) {
		printf("answer not checked: no --answers\n");
		return true;
	}
	right = t->answers ? answer_in_files(a, t->answers) : answer_generated(a, t);
	printf("answer checked: %s\n", right ? "ok" : "WRONG");
	return right;
}

#endif

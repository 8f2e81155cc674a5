/* SPDX-License-Identifier: Apache-2.0
 * word_count.c: how often each word stands in some text files, or in a text of its own making.
 *
 *	dpirun -n 4 build/examples/word_count
 *
 * All processes run this program. Each reads its share of every file and pushes its words into the flow "words". A row is
 * one column of text: rows vary in size, so DPI_Pack_Row lays them out and DPI_Get_Value reads them. Equal words go to the
 * same target, by their hash, which counts them in a hash table of its own.
 *
 * The counts travel through the flow "counts" to node 0, which prints the most frequent ones, and counts all the text again
 * by itself to see whether they are right.
 *
 * A word is a run of letters and of bytes beyond ASCII, so that text in UTF-8 stays whole; A … Z become a … z.
 *
 * FILE…   of UTF-8, which every process must see; without any, the text is generated */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "check.h"

enum { WORD_MAX = 255, SHOWN = 5 };

static char **files;
static DPI_Context ctx;
static int node, nodes;

/* ------------------------------------------------------------------------------------------------------------ the words */

typedef void take_word(const char *word, size_t size, void *arg);

/* Where a text comes from, byte by byte. */
struct text {
	FILE *file; /* NULL: generated */
	uint64_t random, left;
	char word[16];
	int at;
};

/* The next byte of a generated text: words of the few letters that number them, the low numbers by far the most frequent. */
static int next_generated(struct text *t)
{
	if (!t->word[t->at]) {
		if (!t->left--)
			return EOF;
		t->random = t->random * 6364136223846793005 + 1442695040888963407;
		uint64_t number = (t->random >> 40) >> ((t->random >> 32 & 15) + 8);
		int length = 0;

		do
			t->word[length++] = (char)("etaoinsh"[number % 8]);
		while (number /= 8);
		t->word[length++] = ' ';
		t->word[length] = 0;
		t->at = 0;
	}
	return t->word[t->at++];
}

static int next_byte(struct text *t)
{
	return t->file ? getc(t->file) : next_generated(t);
}

static bool is_letter(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* Calls take with every word that begins in the next size bytes. before: the byte before them. */
static void scan_text(struct text *t, int before, long size, take_word *take, void *arg)
{
	char word[WORD_MAX];
	size_t length = 0;
	bool skip = is_letter(before); /* a word that began in the share before is not ours */

	for (int c = next_byte(t);; c = next_byte(t), size--) {
		if (is_letter(c)) {
			if (!length && size <= 0)
				return;
			if (length > WORD_MAX - 4 && (c & 0xc0) != 0x80)
				skip = true; /* what is longer is cut, between characters */
			if (!skip && length < WORD_MAX)
				word[length++] = (char)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
			continue;
		}
		if (length)
			take(word, length, arg);
		length = 0;
		skip = false;
		if (c == EOF || size <= 0)
			return;
	}
}

/* Calls take with every word of the part-th of parts shares of all the text. */
static void scan_all(int part, int parts, take_word *take, void *arg)
{
	for (char **path = files; *path; path++) {
		struct text t = { .file = fopen(*path, "rb") };
		long size, from, to;

		if (!t.file || fseek(t.file, 0, SEEK_END) || (size = ftell(t.file)) < 0) {
			fprintf(stderr, "%s: %s\n", *path, strerror(errno));
			exit(1);
		}
		from = size / parts * part;
		to = part == parts - 1 ? size : size / parts * (part + 1);
		fseek(t.file, from ? from - 1 : 0, SEEK_SET);
		scan_text(&t, from ? getc(t.file) : ' ', to - from, take, arg);
		fclose(t.file);
	}
	for (int seed = part; !*files && seed < 64; seed += parts) {
		struct text t = { .random = (uint64_t)seed, .left = 5000 };
		scan_text(&t, ' ', LONG_MAX, take, arg);
	}
}

/* ------------------------------------------------------------------------------------------------------------ the flows */

static const DPI_Column words_columns[] = { { .name = "word", .type = DPI_TYPE_UTF8 } };
static const DPI_Column counts_columns[] = {
	{ .name = "word", .type = DPI_TYPE_UTF8 },
	{ .name = "count", .type = DPI_TYPE_INT64 },
};
static DPI_Schema words_schema, counts_schema;

/* The first column is the key. */
static DPI_Flow create_flow(const char *name, DPI_Schema schema, uint32_t targets)
{
	const char *key = "word";
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Flow flow;

	attr.create = DPI_CREATE_OR_OPEN; /* every process says the same */
	attr.schema = schema;
	attr.targets = targets;
	attr.sources = (uint32_t)nodes;
	attr.key = &key;
	attr.key_count = 1;
	CHECK(DPI_Create_Flow(name, &attr, ctx, &flow));
	return flow;
}

/* ------------------------------------------------------------------------------------------------------------ the count */

struct counter { /* open addressing, at most half full */
	char *word;
	size_t size;
	int64_t count;
};
struct table {
	struct counter *slot;
	uint64_t mask, used;
};

static struct counter *find(const struct table *t, const char *word, size_t size)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)word[i]) * 1099511628211u;
	for (uint64_t at = (hash ^ hash >> 32) & t->mask;; at = (at + 1) & t->mask) {
		struct counter *c = &t->slot[at];
		if (!c->word || (c->size == size && !memcmp(c->word, word, size)))
			return c;
	}
}

static struct counter *count_word(struct table *t, const char *word, size_t size, int64_t count)
{
	struct counter *c;

	if (2 * t->used >= t->mask) {
		struct table old = *t;

		t->mask = old.slot ? 2 * old.mask + 1 : 255;
		t->slot = need(calloc(t->mask + 1, sizeof *t->slot));
		for (uint64_t i = 0; old.slot && i <= old.mask; i++)
			if (old.slot[i].word)
				*find(t, old.slot[i].word, old.slot[i].size) = old.slot[i];
		free(old.slot);
	}
	c = find(t, word, size);
	if (!c->word) {
		c->word = memcpy(need(malloc(size)), word, size);
		c->size = size;
		t->used++;
	}
	c->count += count;
	return c;
}

static void free_table(struct table *t)
{
	for (uint64_t i = 0; t->slot && i <= t->mask; i++)
		free(t->slot[i].word);
	free(t->slot);
}

/* Take rows, of one column or two, until the flow has ended. */
static void take_words(DPI_Target target, DPI_Schema schema, bool counted, struct table *t)
{
	DPI_Tuple row;
	int error;

	while ((error = DPI_Next(target, &row)) != DPI_ERR_END) {
		DPI_Value word, count = { .i = 1 };

		CHECK(error);
		CHECK(DPI_Get_Value(row.data, row.size, 0, schema, &word)); /* points into the row */
		if (counted)
			CHECK(DPI_Get_Value(row.data, row.size, 1, schema, &count));
		count_word(t, word.data, word.size, count.i);
	}
	CHECK(DPI_Close_Target(target));
}

/* ------------------------------------------------------------------------------------- pushing, in a thread of its own */

struct work {
	DPI_Source words, counts;
	struct table table;
	int64_t pushed;
};

static void push_values(const DPI_Value *values, DPI_Schema schema, DPI_Source source)
{
	_Alignas(8) char row[WORD_MAX + 64];
	size_t size;

	CHECK(DPI_Pack_Row(values, schema, row, sizeof row, &size));
	CHECK(DPI_Push(row, size, source));
}

static void push_word(const char *word, size_t size, void *arg)
{
	struct work *w = arg;
	DPI_Value value = { .type = DPI_TYPE_UTF8, .size = (uint32_t)size, .data = word };

	push_values(&value, words_schema, w->words);
	w->pushed++;
}

static void *push_text(void *arg)
{
	struct work *w = arg;

	scan_all(node, nodes, push_word, w);
	CHECK(DPI_Close_Source(w->words)); /* this process has no more */
	return NULL;
}

static void *push_counts(void *arg)
{
	struct work *w = arg;

	for (uint64_t i = 0; w->table.slot && i <= w->table.mask; i++) {
		const struct counter *c = &w->table.slot[i];

		if (c->word)
			push_values((DPI_Value[]){ { .type = DPI_TYPE_UTF8, .size = (uint32_t)c->size, .data = c->word },
						   { .type = DPI_TYPE_INT64, .i = c->count } }, counts_schema, w->counts);
	}
	CHECK(DPI_Close_Source(w->counts));
	return NULL;
}

static pthread_t start_thread(void *(*body)(void *), struct work *w)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, body, w)) {
		fprintf(stderr, "cannot start a thread\n");
		exit(1);
	}
	return thread;
}

/* ----------------------------------------------------------------------------------------------------------- the answer */

static void count_alone(const char *word, size_t size, void *table)
{
	count_word(table, word, size, 1);
}

static int by_count(const void *a, const void *b)
{
	const struct counter *x = a, *y = b;

	return (x->count < y->count) - (x->count > y->count);
}

/* Prints the most frequent words; true if this process alone counts the same. Frees the table, which is sorted then. */
static bool print_answer(struct table *t)
{
	struct table alone = { 0 };
	bool right;

	scan_all(0, 1, count_alone, &alone);
	right = alone.used == t->used;
	for (uint64_t i = 0; t->slot && right && i <= t->mask; i++)
		if (t->slot[i].word)
			right = count_word(&alone, t->slot[i].word, t->slot[i].size, 0)->count == t->slot[i].count;
	if (t->slot)
		qsort(t->slot, t->mask + 1, sizeof *t->slot, by_count);
	for (uint64_t i = 0; i < SHOWN && i < t->used; i++)
		printf("%8" PRId64 "  %.*s\n", t->slot[i].count, (int)t->slot[i].size, t->slot[i].word);
	printf("%" PRIu64 " different words; answer checked: %s\n", t->used, right ? "ok" : "WRONG");
	free_table(&alone);
	return right;
}

int main(int argc, char **argv)
{
	struct work work = { .pushed = 0 };
	struct table all = { 0 };
	DPI_Flow words, counts;
	DPI_Target in, gathered = NULL;
	pthread_t thread;
	bool right = true;

	(void)argc;
	files = argv + 1;
	CHECK(DPI_Create_Schema(words_columns, 1, &words_schema));
	CHECK(DPI_Create_Schema(counts_columns, 2, &counts_schema));
	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	words = create_flow("words", words_schema, (uint32_t)nodes);
	counts = create_flow("counts", counts_schema, 1);
	CHECK(DPI_Open_Target((uint32_t)node, NULL, words, &in));
	if (node == 0)
		CHECK(DPI_Open_Target(0, NULL, counts, &gathered));
	CHECK(DPI_Open_Source(words, NULL, &work.words));
	CHECK(DPI_Open_Source(counts, NULL, &work.counts));

	thread = start_thread(push_text, &work);
	take_words(in, words_schema, false, &work.table);
	pthread_join(thread, NULL);
	printf("node %d read %" PRId64 " words and counted %" PRIu64 " different ones\n", node, work.pushed,
	       work.table.used);

	thread = start_thread(push_counts, &work);
	if (node == 0) {
		take_words(gathered, counts_schema, true, &all);
		right = print_answer(&all);
		free_table(&all);
	}
	pthread_join(thread, NULL);
	free_table(&work.table);
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	CHECK(DPI_Free_Schema(words_schema));
	CHECK(DPI_Free_Schema(counts_schema));
	return right ? 0 : 1;
}

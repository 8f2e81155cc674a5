/* SPDX-License-Identifier: Apache-2.0
 * coded_again_test.c: what a source of an encrypted, retained flow keeps in memory that others can write, and sends again: it is encrypted
 * anew; what was changed, swapped or put back meanwhile is refused, by the source or by the target. */
#include "flows/retain.h"
#include "flows/target.h"
#include "unit.h"

enum { ROWS = 600, SEGMENT = 512 };

struct kept_flow {
	DPI_Flow flow;
	DPI_Target target;
	DPI_Source source;
	struct dpi_source *s;
};

/* Nothing that could be compressed: segments are all of one size. */
static uint64_t noise(uint64_t n)
{
	n = (n + 1) * 0x9e3779b97f4a7c15;
	return (n ^ n >> 29) * 0xbf58476d1ce4e5b9;
}

static DPI_Target bind_target(DPI_Flow f, int rebind)
{
	DPI_Target t;
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	a.rebind = rebind;
	CHECK_DPI(DPI_Open_Target(0, &a, f, &t));
	return t;
}

static struct kept_flow begin(const char *name, DPI_Context ctx)
{
	static const DPI_Column columns[] = { { "number", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	static const DPI_Codec codecs[] = { { DPI_CODEC_LZ4, 0, NULL }, { DPI_CODEC_AES_256_GCM, 0, "k" } };
	static const uint8_t key[DPI_KEY_SIZE] = { 1, 2, 3 };
	struct kept_flow k = { 0 };
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	CHECK_DPI(DPI_Set_Key("k", key, sizeof key));
	CHECK_DPI(DPI_Create_Schema(columns, 1, &a.schema));
	a.dist = DPI_DIST_ROUND_ROBIN;
	a.segment = SEGMENT;
	a.retain = DPI_ACK_CONFIRMED;
	a.codecs = codecs;
	a.codec_count = 2;
	CHECK_DPI(DPI_Create_Flow(name, &a, ctx, &k.flow));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	int error = DPI_Open_Target(0, NULL, k.flow, &k.target);
	if (error == DPI_ERR_UNSUPPORTED) SKIP("%s", dpi_detail());
	CHECK_DPI(error);
	CHECK_DPI(DPI_Open_Source(k.flow, NULL, &k.source));
	k.s = dpi_source_get(k.source);
	for (uint64_t n = 0; n < ROWS; n++) CHECK_DPI(DPI_Push(&(uint64_t){ noise(n) }, 8, k.source));
	CHECK_DPI(DPI_Flush_Source(k.source));
	CHECK_INT(k.s->retain->lane[0].kept.count, >, 4);
	return k;
}

/* Whatever it is told: the flow may have failed. */
static void end(struct kept_flow *k)
{
	DPI_Close_Source(k->source);
	DPI_Close_Target(k->target);
	CHECK_DPI(DPI_Close_Flow(k->flow));
}

/* Segment n of those kept, where it lies. */
static uint8_t *segment(const struct kept_flow *k, uint32_t n, uint32_t *size)
{
	const struct dpi_ring_writer *w = &k->s->lane[0].b->appender.writer;
	const struct dpi_kept_queue *q = &k->s->retain->lane[0].kept;
	const struct dpi_kept *seg = &q->segment[(q->first + n) & (q->room - 1)];
	*size = seg->size;
	return w->data + ((seg->at + DPI_RING_WORD) & w->mask);
}

/* Another binding takes all rows, of which none was confirmed. */
static void all_again(struct kept_flow *k)
{
	DPI_Tuple u;
	for (uint64_t n = 0; n < ROWS; n++) {
		CHECK_DPI(DPI_Next(k->target, &u));
		CHECK(!memcmp(u.data, &(uint64_t){ noise(n) }, 8));
	}
	CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, k->target));
}

TEST(coded_again_with_nonces_of_its_own, "C-9 C-20", 1)
{
	DPI_Context ctx;
	uint32_t size, again_size;
	uint8_t first[SEGMENT + 64];
	CHECK_DPI(DPI_Init(&ctx));
	struct kept_flow k = begin("f", ctx);
	const uint8_t *was = segment(&k, 0, &size);
	CHECK_INT(size, <=, sizeof first);
	memcpy(first, was, size);
	CHECK_DPI(DPI_Close_Target(k.target));
	k.target = bind_target(k.flow, 1);
	CHECK_DPI(DPI_Flush_Source(k.source));
	const uint8_t *is = segment(&k, 1, &again_size); /* behind BEGIN */
	const size_t header = sizeof(struct dpi_flow_segment);
	CHECK_INT(again_size, ==, size);
	CHECK(memcmp(is + header + 8, first + header + 8, 8)); /* the counter: under one salt another nonce */
	CHECK(!memcmp(is + header + 16, first + header + 16, 32));
	CHECK(memcmp(is + header + 56, first + header + 56, size - header - 56));
	all_again(&k);
	end(&k);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ------------------------------------------------------------------------------------------- changed where it is kept */

enum change { A_BIT, A_HEADER_BIT, SWAPPED, FORMER, CUT, CHANGES };

static void change_kept(struct kept_flow *k, enum change how)
{
	uint32_t a, b;
	uint8_t *one = segment(k, 1, &a), *two = segment(k, 2, &b), other[SEGMENT + 64];
	if (how == A_BIT) one[a - 20] ^= 4;
	if (how == A_HEADER_BIT) one[3] ^= 4;
	if (how == CUT) memset(one + a / 2, 0, a - a / 2);
	if (how == FORMER) memcpy(two, one, a < b ? a : b);
	if (how != SWAPPED) return;
	CHECK_INT(a, ==, b);
	memcpy(other, one, a);
	memcpy(one, two, a);
	memcpy(two, other, a);
}

TEST(coded_again_only_what_was_kept, "C-20", 1)
{
	DPI_Context ctx;
	char name[8];
	CHECK_DPI(DPI_Init(&ctx));
	for (enum change how = A_BIT; how < CHANGES; how++) {
		snprintf(name, sizeof name, "f%d", (int)how);
		struct kept_flow k = begin(name, ctx);
		CHECK_DPI(DPI_Close_Target(k.target));
		change_kept(&k, how);
		k.target = bind_target(k.flow, 1);
		CHECK_ERROR(DPI_Flush_Source(k.source), DPI_ERR_CORRUPT, "was changed where it lay");
		CHECK_ERROR(DPI_Flush_Source(k.source), DPI_ERR_CORRUPT, "resume it with its rows");
		end(&k);
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ------------------------------------------------------------------------------------- put in place of what is sent again */

TEST(coded_again_refuses_what_came_before, "C-15 C-20", 1)
{
	DPI_Context ctx;
	char name[8];
	DPI_Tuple u;
	CHECK_DPI(DPI_Init(&ctx));
	for (uint32_t from = 0; from < 3; from++) { /* of the former binding's ring, in place of the one that has the same rows */
		uint8_t former[SEGMENT + 64];
		uint32_t size, again;
		snprintf(name, sizeof name, "f%u", from);
		struct kept_flow k = begin(name, ctx);
		memcpy(former, segment(&k, from, &size), sizeof former);
		CHECK_DPI(DPI_Close_Target(k.target));
		k.target = bind_target(k.flow, 1);
		CHECK_DPI(DPI_Flush_Source(k.source));
		uint8_t *at = segment(&k, from + 1, &again);
		CHECK_INT(again, ==, size);
		struct dpi_flow_segment now, was;
		memcpy(&now, at, sizeof now);
		memcpy(&was, former, sizeof was);
		CHECK(now.base.sequence == was.base.sequence && now.coded.epoch == 2 && was.coded.epoch == 1);
		was.coded.serial = now.coded.serial; /* what stands in clear may be made to fit */
		was.coded.epoch = 2;
		memcpy(former, &was, sizeof was);
		memcpy(at, former, size);
		int error;
		while (!(error = DPI_Next(k.target, &u))) continue;
		CHECK_ERROR(error, DPI_ERR_CORRUPT, "changed on its way");
		end(&k);
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(coded_again_refuses_other_turns, "C-15 C-20", 1)
{
	DPI_Context ctx;
	DPI_Tuple u;
	uint8_t other[SEGMENT + 64];
	uint32_t a, b;
	CHECK_DPI(DPI_Init(&ctx));
	struct kept_flow k = begin("f", ctx);
	CHECK_DPI(DPI_Close_Target(k.target));
	k.target = bind_target(k.flow, 1);
	CHECK_DPI(DPI_Flush_Source(k.source));
	uint8_t *one = segment(&k, 1, &a), *two = segment(&k, 2, &b);
	CHECK_INT(a, ==, b);
	memcpy(other, one, a);
	memcpy(one, two, a);
	memcpy(two, other, a);
	CHECK_ERROR(DPI_Next(k.target, &u), DPI_ERR_CORRUPT, "out of order");
	end(&k);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A second ring says that it is the first one's source, with the key, and in its turn. */
TEST(coded_retained_second_ring, "C-15", 1)
{
	DPI_Context ctx;
	DPI_Tuple u;
	DPI_Source other;
	int error;
	CHECK_DPI(DPI_Init(&ctx));
	struct kept_flow k = begin("f", ctx);
	for (int n = 0; n < ROWS; n++) CHECK_DPI(DPI_Next(k.target, &u));
	CHECK_DPI(DPI_Open_Source(k.flow, NULL, &other));
	struct dpi_source *s = dpi_source_get(other);
	uint32_t number = s->number;
	int64_t n = 0;
	s->number = k.s->number;
	CHECK_DPI(DPI_Push(&n, sizeof n, other));
	CHECK_DPI(DPI_Flush_Source(other));
	while (!(error = DPI_Next(k.target, &u))) continue;
	CHECK_ERROR(error, DPI_ERR_CORRUPT, "a second ring of one source");
	s->number = number;
	DPI_Close_Source(other);
	end(&k);
	CHECK_DPI(DPI_Finalize(ctx));
}

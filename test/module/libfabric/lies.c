/* SPDX-License-Identifier: Apache-2.0
 * lies.c: a peer that lies. */
#include "sides.h"

/* A peer that lies: bits of its messages change on their way, their numbers too, but not the tag, which it knows. Nothing but the link is harmed. */
static uint64_t lies;
static unsigned told;
static void tamper(uint8_t *bytes, size_t size)
{
	lies = lies * 6364136223846793005u + 1442695040888963407u;
	if ((lies >> 33) % 8 || size < 24) return;
	size_t words = size / 8 < 8 ? size / 8 : 8, word = (lies >> 40) % words;
	if (word == 1) bytes[WIRE_NUMBER_AT] ^= (uint8_t)(1 << (lies >> 60) % 8);
	else bytes[8 * word + (lies >> 50) % 8] ^= (uint8_t)(1 << (lies >> 60) % 8);
	told++;
}

TEST(a_peer_lies, "", 0)
{
	static struct op ops[12];
	static uint8_t back[40000];
	unsigned ended = 0;
	lies = 1;
	for (int round = 0; round < 300; round++) {
		memset(ops, 0, sizeof ops);
		mock_reset();
		mock.types = 1 + round % 2;
		start(round % 3 ? ALL : PLAIN);
		mock.tamper = tamper;
		int posted[12] = { 0 };
		for (int i = 0; i < 12; i++) {
			struct iovec v = { data, (size_t)(i % 2 ? 20000 : 300) }, w = { back, v.iov_len };
			DPI_Tp_Notify n = { .offset = 64, .value = 1, .bell = 3 };
			switch (i % 4) {
			case 0: posted[i] = table()->put(a.remote, &v, 1, 0, &n, 0, &ops[i]); break;
			case 1: posted[i] = table()->get(a.remote, &w, 1, 0, &ops[i]); break;
			case 2: posted[i] = table()->flush(a.to, &ops[i]); break;
			case 3: posted[i] = table()->fetch_add(a.remote, 8, 1, &ops[i].result, &ops[i]); break;
			}
			turn();
		}
		turns(30);
		CHECK(a.lost <= 1 && b.lost <= 1);
		ended += a.lost || b.lost;
		mock.tamper = NULL;
		table()->disconnect(a.to);
		table()->disconnect(b.to);
		for (int i = 0; i < 12; i++) CHECK_INT(ops[i].completions, ==, posted[i] == DPI_TP_PENDING);
		close_both();
	}
	CHECK(told && ended);
}

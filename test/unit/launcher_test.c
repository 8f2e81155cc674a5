/* SPDX-License-Identifier: Apache-2.0
 * launcher_test.c: src/core/launcher.h: what node 0 of an MPI job tells the others; and how addresses lie to this host. */
#include "unit.h"

#include "launcher.h"

static struct dpi_launcher_word full(void)
{
	struct dpi_launcher_word w = { .secure = true, .addresses = DPI_NODE_ADDRESSES };
	memset(w.job, 'j', sizeof w.job - 1);
	for (int i = 0; i < DPI_LAUNCHER_KEY; i++) w.key[i] = (uint8_t)(i * 37);
	for (int i = 0; i < w.addresses; i++)
		snprintf(w.address[i], DPI_ADDRESS_TEXT, i ? "%0*d:65535" : "unix:%0*d", i ? DPI_ADDRESS_TEXT - 7 : 100, i);
	return w;
}

TEST(launcher_text_and_back, "", 0)
{
	struct dpi_launcher_word w = full(), again;
	char text[DPI_LAUNCHER_TEXT];
	dpi_launcher_print(&w, text);
	CHECK_DPI(dpi_launcher_parse(text, &again));
	CHECK(!memcmp(&w, &again, sizeof w));
	w = (struct dpi_launcher_word){ .job = "a", .addresses = 1, .address = { "127.0.0.1:1" } };
	dpi_launcher_print(&w, text);
	CHECK(!strcmp(text, "dpi-1 a - 127.0.0.1:1"));
	CHECK_DPI(dpi_launcher_parse(text, &again));
	CHECK(!memcmp(&w, &again, sizeof w));
}

TEST(launcher_text_wrong, "", 0)
{
	static const char *const wrong[] = {
		"", " ", "dpi", "dpi-1", "dpi-1 ", "dpi-1 job", "dpi-1 job ", "dpi-1 job -", "dpi-1 job - ", "dpi-1  - 127.0.0.1:1",
		"dpi-1 job  127.0.0.1:1", "dpi-1 job - 127.0.0.1", "dpi-1 job - 127.0.0.1:1  127.0.0.1:2", "other job - 127.0.0.1:1",
		"dpi-1 job - 127.0.0.1:1\n", "dpi-1 job 00 127.0.0.1:1", "dpi-1 job -- 127.0.0.1:1",
		"dpi-1 job 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1 127.0.0.1:1",
		"dpi-1 job 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff0 127.0.0.1:1",
		"dpi-1 job 000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1eff 127.0.0.1:1",
	};
	struct dpi_launcher_word w = full();
	char text[DPI_LAUNCHER_TEXT + 64];
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		CHECK_ERROR(dpi_launcher_parse(wrong[i], &w), DPI_ERR_CORRUPT, "PMIx");
	CHECK_ERROR(dpi_launcher_parse("dpi-2 anything", &w), DPI_ERR_VERSION, "dpi-2");
	w = full();
	dpi_launcher_print(&w, text);
	strcat(text, " 127.0.0.1:1"); /* one address too many */
	CHECK_ERROR(dpi_launcher_parse(text, &w), DPI_ERR_CORRUPT, "PMIx");
	w = full();
	dpi_launcher_print(&w, text);
	memset(text + 6, 'j', DPI_JOB_MAX); /* the blank after the job's name is gone */
	CHECK_ERROR(dpi_launcher_parse(text, &w), DPI_ERR_CORRUPT, "PMIx");
}

/* Of 240.0.0.0/4 and 100::/64 no interface has an address. */
TEST(address_distances, "", 0)
{
	CHECK_INT(dpi_address_distance("unix:dpi-job"), ==, DPI_ADDRESS_UNIX);
	CHECK_INT(dpi_address_distance("127.0.0.1:5"), ==, DPI_ADDRESS_LOOPBACK);
	CHECK_INT(dpi_address_distance("[::1]:5"), ==, DPI_ADDRESS_LOOPBACK);
	CHECK_INT(dpi_address_distance("240.0.0.1:5"), ==, DPI_ADDRESS_FAR);
	CHECK_INT(dpi_address_distance("[100::1]:5"), ==, DPI_ADDRESS_FAR);
	CHECK_INT(dpi_address_distance("a.name.of.a.host:5"), ==, DPI_ADDRESS_FAR);
	CHECK_INT(dpi_address_distance("no address"), ==, DPI_ADDRESS_FAR);
}

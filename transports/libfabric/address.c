/* SPDX-License-Identifier: Apache-2.0
 * address.c: where to listen, and the address blob that peers get.
 *
 * The blob: version (8 bits), FI_EP_MSG (8), bytes of the provider's name (16), of the endpoint's address (16), of all (16); incarnation,
 * token (2 words), the name, the address. The token is handed out with the blob, over authenticated channels only. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>

#include "fabric.h"

enum { BLOB_VERSION = 1, BLOB_HEAD = 32 };

/* Family (4, 6) and bytes of an interface's address; false: of no use to peers. */
static bool bytes_of(const struct sockaddr *address, uint8_t *family, uint8_t bytes[16])
{
	memset(bytes, 0, 16);
	if (address && address->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, address, sizeof in);
		*family = 4;
		memcpy(bytes, &in.sin_addr, 4);
		return true;
	}
	if (address && address->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, address, sizeof in6);
		*family = 6;
		memcpy(bytes, &in6.sin6_addr, 16);
		return !IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr);
	}
	return false;
}

/* Setting LISTEN: family and address; any: no one in particular. */
int dpi_fabric_listen_address(const DPI_Tp_Core *core, uint8_t family[1], uint8_t bytes[16], bool *any)
{
	const char *text = core->setting(core->self, "LISTEN");
	struct ifaddrs *list, *i;
	uint8_t found[16], kind;
	memset(bytes, 0, 16);
	*family = 0;
	*any = !text || !*text;
	if (*any) return DPI_SUCCESS;
	if (inet_pton(AF_INET, text, bytes) == 1) {
		*family = 4;
	} else if (inet_pton(AF_INET6, text, bytes) == 1) {
		*family = 6;
	} else if (!getifaddrs(&list)) { /* an interface: its first IPv4 address, else its first IPv6 address */
		for (i = list; i; i = i->ifa_next)
			if (!strcmp(i->ifa_name, text) && bytes_of(i->ifa_addr, &kind, found) && (!*family || kind < *family)) {
				*family = kind;
				memcpy(bytes, found, 16);
			}
		freeifaddrs(list);
	}
	if (!*family)
		return core->fail_text(core->self, DPI_ERR_CONFIG,
				       "DPI_LISTEN is '%s', which is neither a numeric address nor an interface of this host that has one; "
				       "'ip address' lists them",
				       text);
	static const uint8_t zero[16];
	bool loopback = *family == 4 ? bytes[0] == 127 : !memcmp(bytes, zero, 15) && bytes[15] == 1;
	*any = !memcmp(bytes, zero, 16);
	if (!core->secure && !loopback)
		return core->fail_text(core->self, DPI_ERR_CONFIG,
				       "DPI_LISTEN is '%s', but without a cluster key only loopback may be listened on; set DPI_KEY_FILE, or "
				       "leave DPI_LISTEN out",
				       text);
	return DPI_SUCCESS;
}

int dpi_fabric_address(DPI_Tp *tp, void *bytes, uint32_t *size)
{
	uint8_t blob[DPI_TP_ADDRESS_MAX];
	size_t name = strlen(tp->choice.name), all = BLOB_HEAD + name + tp->address_size;
	if (*size < all)
		return fabric_fail(tp, DPI_ERR_SIZE, "libfabric's address takes %zu bytes, there is room for %u", all, *size);
	wire_store(blob, (uint64_t)BLOB_VERSION | (uint64_t)tp->choice.message << 8 | (uint64_t)name << 16 |
				 (uint64_t)tp->address_size << 32 | (uint64_t)all << 48);
	wire_store(blob + 8, tp->core->incarnation);
	wire_store(blob + 16, tp->token[0]);
	wire_store(blob + 24, tp->token[1]);
	memcpy(blob + BLOB_HEAD, tp->choice.name, name);
	memcpy(blob + BLOB_HEAD + name, tp->address, tp->address_size);
	memcpy(bytes, blob, all);
	*size = (uint32_t)all;
	return DPI_SUCCESS;
}

int dpi_fabric_address_parse(const uint8_t *bytes, size_t size, struct fabric_address *a)
{
	memset(a, 0, sizeof *a);
	if (size < BLOB_HEAD || size > DPI_TP_ADDRESS_MAX) return -1;
	uint64_t first = wire_load(bytes);
	size_t name = (uint16_t)(first >> 16), length = (uint16_t)(first >> 32);
	if ((uint8_t)first != BLOB_VERSION || (first >> 8 & 0xff) > 1 || first >> 48 != size) return -1;
	if (!name || name >= sizeof a->provider || !length || length > sizeof a->bytes || BLOB_HEAD + name + length != size) return -1;
	a->message = first >> 8 & 1;
	a->incarnation = wire_load(bytes + 8);
	a->token[0] = wire_load(bytes + 16);
	a->token[1] = wire_load(bytes + 24);
	for (size_t i = 0; i < name; i++) {
		char letter = (char)bytes[BLOB_HEAD + i];
		if (letter <= ' ' || letter > '~') return -1;
		a->provider[i] = letter;
	}
	a->size = (uint32_t)length;
	memcpy(a->bytes, bytes + BLOB_HEAD + name, length);
	return 0;
}

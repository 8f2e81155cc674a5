/* SPDX-License-Identifier: Apache-2.0
 * hello.c: what two nodes tell each other on a new channel, and the proof that both hold the cluster key. */
#include "hello.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control_state.h"

/* ------------------------------------------------------------------------------------------- packing, unpacking */

void dpi_hello_pack(struct dpi_pack *p, const struct dpi_hello *h)
{
	dpi_pack_u32(p, DPI_WIRE_MAGIC);
	dpi_pack_u32(p, h->wire);
	dpi_pack_u32(p, h->library);
	dpi_pack_u32(p, h->node);
	dpi_pack_u32(p, h->wanted);
	dpi_pack_u64(p, h->incarnation);
	dpi_pack_u8(p, h->secure);
	dpi_pack_bytes(p, h->challenge, sizeof h->challenge);
	dpi_pack_text(p, h->job);
	dpi_pack_text(p, h->local);
}

int dpi_hello_unpack(struct dpi_unpack *u, struct dpi_hello *h)
{
	uint32_t size;
	memset(h, 0, sizeof *h);
	if (dpi_unpack_u32(u) != DPI_WIRE_MAGIC || u->bad) return DPI_GREETING_STRANGE;
	h->wire = dpi_unpack_u32(u);
	h->library = dpi_unpack_u32(u);
	if (u->bad) return DPI_GREETING_BAD;
	if (h->wire != DPI_WIRE_VERSION) return DPI_GREETING_OK;
	h->node = dpi_unpack_u32(u);
	h->wanted = dpi_unpack_u32(u);
	h->incarnation = dpi_unpack_u64(u);
	uint8_t secure = dpi_unpack_u8(u);
	h->secure = secure;
	const void *challenge = dpi_unpack_bytes(u, &size);
	if (size == sizeof h->challenge) memcpy(h->challenge, challenge, size);
	dpi_unpack_text(u, h->job, sizeof h->job);
	dpi_unpack_text(u, h->local, sizeof h->local);
	bool node_fits = h->node < DPI_NODES_MAX || h->node == DPI_NO_NODE,
	     wanted_fits = h->wanted < DPI_NODES_MAX || h->wanted == DPI_NO_NODE;
	return u->bad || u->at != u->end || secure > 1 || size != sizeof h->challenge || !node_fits || !wanted_fits
		       ? DPI_GREETING_BAD
		       : DPI_GREETING_OK;
}

void dpi_introduction_pack(struct dpi_context *ctx, struct dpi_pack *p, uint32_t node, uint8_t aim)
{
	struct dpi_control *k = ctx->control;
	dpi_pack_u32(p, node);
	dpi_pack_u32(p, (uint32_t)ctx->expected_nodes);
	dpi_pack_u64(p, ctx->cluster->id);
	dpi_pack_u64(p, atomic_load(&ctx->cluster->term));
	dpi_pack_u8(p, aim);
	dpi_pack_u64(p, (uint64_t)getpid());
	dpi_pack_text(p, ctx->cluster->host);
	dpi_pack_u8(p, (uint8_t)k->addresses);
	for (int i = 0; i < k->addresses; i++) dpi_pack_text(p, k->address[i]);
	dpi_pack_u8(p, (uint8_t)ctx->carriers);
	for (int i = 0; i < ctx->carriers; i++) {
		struct dpi_carrier *c = ctx->carrier[i];
		uint8_t bytes[DPI_TP_ADDRESS_MAX];
		uint32_t size = sizeof bytes;
		/* a transport without an address is one that nobody can reach: the empty one */
		pthread_mutex_lock(&c->lock);
		if (c->table->address(c->tp, bytes, &size) || size > sizeof bytes) size = 0;
		pthread_mutex_unlock(&c->lock);
		dpi_pack_text(p, c->name);
		dpi_pack_bytes(p, bytes, size);
	}
	dpi_pack_fd(p, ctx->bells.page_fd);
	dpi_pack_fd(p, ctx->bells.event_fd);
}

void dpi_clean(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f) *text = '?';
}

int dpi_introduction_unpack(struct dpi_unpack *u, struct dpi_introduction *i)
{
	memset(i, 0, sizeof *i);
	i->node = dpi_unpack_u32(u);
	i->expected_nodes = dpi_unpack_u32(u);
	i->cluster = dpi_unpack_u64(u);
	i->term = dpi_unpack_u64(u);
	i->aim = dpi_unpack_u8(u);
	if (i->aim > DPI_AIM_RESIGNED) u->bad = true;
	i->pid = (int64_t)dpi_unpack_u64(u);
	dpi_unpack_text(u, i->host, sizeof i->host);
	dpi_clean(i->host);
	i->addresses = dpi_unpack_u8(u);
	if (i->addresses > DPI_NODE_ADDRESSES) u->bad = true;
	for (int a = 0; a < i->addresses && !u->bad; a++) {
		dpi_unpack_text(u, i->address[a], sizeof i->address[a]);
		if (!u->bad && dpi_address_check(i->address[a])) u->bad = true;
	}
	i->carriers = dpi_unpack_u8(u);
	if (i->carriers > DPI_TRANSPORTS_MAX) u->bad = true;
	for (int a = 0; a < i->carriers && !u->bad; a++) {
		struct dpi_peer_address *c = &i->carrier[a];
		dpi_unpack_text(u, c->transport, sizeof c->transport);
		dpi_clean(c->transport);
		const void *bytes = dpi_unpack_bytes(u, &c->size);
		if (c->size <= sizeof c->bytes) memcpy(c->bytes, bytes, c->size);
		else u->bad = true;
	}
	i->page_fd = dpi_unpack_fd(u);
	i->event_fd = dpi_unpack_fd(u);
	bool node_fits = i->node < DPI_NODES_MAX || i->node == DPI_NO_NODE;
	if (!u->bad && u->at == u->end && node_fits && i->expected_nodes <= DPI_NODES_MAX) return DPI_GREETING_OK;
	dpi_introduction_close(i);
	return DPI_GREETING_BAD;
}

void dpi_introduction_close(struct dpi_introduction *i)
{
	if (i->page_fd >= 0) close(i->page_fd);
	if (i->event_fd >= 0) close(i->event_fd);
	i->page_fd = i->event_fd = -1;
}

int dpi_refusal_unpack(struct dpi_unpack *u, char sentence[DPI_DETAIL_MAX])
{
	uint32_t error = dpi_unpack_u32(u);
	dpi_unpack_text(u, sentence, DPI_DETAIL_MAX);
	dpi_clean(sentence);
	if (u->bad) return DPI_ERR_CORRUPT;
	return error && error < DPI_ERROR_CLASSES ? (int)error : DPI_ERR_PEER;
}

/* --------------------------------------------------------------------------------------------- who, and do we fit */

int dpi_hello_fill(struct dpi_context *ctx, struct dpi_hello *h, uint32_t wanted)
{
	memset(h, 0, sizeof *h);
	h->wire = DPI_WIRE_VERSION;
	h->library = DPI_VERSION;
	h->node = ctx->node < 0 ? DPI_NO_NODE : (uint32_t)ctx->node;
	h->wanted = wanted;
	h->incarnation = ctx->incarnation;
	h->secure = ctx->secure;
	memcpy(h->job, ctx->cluster->job, sizeof h->job);
	memcpy(h->local, ctx->control->local_address, sizeof h->local);
	return ctx->secure ? dpi_auth_random(h->challenge, sizeof h->challenge) : DPI_SUCCESS;
}

static void name_of(uint32_t node, char text[24])
{
	if (node == DPI_NO_NODE) snprintf(text, 24, "the process that joins");
	else snprintf(text, 24, "node %u", node);
}

int dpi_hello_check(struct dpi_context *ctx, const struct dpi_hello *mine, const struct dpi_hello *theirs, bool accepting)
{
	char me[24], them[24];
	const struct dpi_hello *connector = accepting ? theirs : mine, *acceptor = accepting ? mine : theirs;
	name_of(mine->node, me);
	if (theirs->wire != mine->wire)
		return dpi_fail(DPI_ERR_VERSION,
				"%s speaks wire version %u (libdpi %u.%u.%u, %s), the process that %s speaks %u (libdpi "
				"%u.%u.%u): use one version everywhere",
				me, mine->wire, mine->library >> 16, mine->library >> 8 & 255, mine->library & 255,
				dpi_library_path(), accepting ? "connects" : "listens", theirs->wire, theirs->library >> 16,
				theirs->library >> 8 & 255, theirs->library & 255);
	name_of(theirs->node, them);
	if (mine->secure != theirs->secure)
		return dpi_fail(DPI_ERR_AUTH,
				"%s has a cluster key, %s has none: give all processes of the cluster the same DPI_KEY_FILE",
				mine->secure ? me : them, mine->secure ? them : me);
	/* a process without a job joins that of whom it connects to */
	if (*connector->job && strcmp(connector->job, acceptor->job))
		return dpi_fail(DPI_ERR_CONFIG,
				"%s belongs to job '%s', %s to job '%s': DPI_CLUSTER leads to another cluster, or DPI_JOB "
				"is wrong",
				me, mine->job, them, theirs->job);
	if (!accepting || theirs->wanted == DPI_NO_NODE || (int)theirs->wanted == ctx->node) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_PEER, "this is %s, not node %u", me, theirs->wanted);
}

int dpi_hello_user(struct dpi_context *ctx, int fd)
{
	if (ctx->secure) return DPI_SUCCESS;
	int64_t user = dpi_socket_user(fd);
	if (user == (int64_t)geteuid()) return DPI_SUCCESS;
	if (user < 0)
		return dpi_fail(DPI_ERR_AUTH, "which user is at the other end cannot be found out (is /proc mounted?): use "
					      "a cluster key, DPI_KEY_FILE");
	return dpi_fail(DPI_ERR_AUTH,
			"one end belongs to user %lld, the other to user %u: a cluster of several users needs a cluster "
			"key, DPI_KEY_FILE",
			(long long)user, (unsigned)geteuid());
}

/* What a proof is over. The role is in it, so that no proof can be sent back to whom it came from. */
static int said(const struct dpi_hello *connector, const struct dpi_hello *acceptor, bool of_acceptor, struct dpi_pack *p)
{
	dpi_pack_text(p, of_acceptor ? "DPI acceptor" : "DPI connector");
	dpi_hello_pack(p, connector);
	dpi_hello_pack(p, acceptor);
	return p->failed ? dpi_fail(DPI_ERR_MEMORY, "no memory for a proof") : DPI_SUCCESS;
}

static int compute(struct dpi_context *ctx, const struct dpi_hello *connector, const struct dpi_hello *acceptor,
		   bool of_acceptor, uint8_t proof[DPI_PROOF_SIZE])
{
	struct dpi_pack p = { 0 };
	int error = said(connector, acceptor, of_acceptor, &p);
	if (!error) error = dpi_auth_prove(ctx->cluster->auth, p.data, p.size, proof);
	dpi_pack_free(&p);
	return error;
}

int dpi_hello_prove(struct dpi_context *ctx, const struct dpi_hello *connector, const struct dpi_hello *acceptor,
		    bool of_acceptor, struct dpi_pack *p)
{
	uint8_t proof[DPI_PROOF_SIZE];
	int error = ctx->secure ? compute(ctx, connector, acceptor, of_acceptor, proof) : DPI_SUCCESS;
	if (!error) dpi_pack_bytes(p, proof, ctx->secure ? sizeof proof : 0);
	return error;
}

bool dpi_hello_proven(struct dpi_context *ctx, const struct dpi_hello *connector, const struct dpi_hello *acceptor,
		      bool of_acceptor, struct dpi_unpack *u)
{
	uint8_t proof[DPI_PROOF_SIZE];
	uint32_t size;
	const void *theirs = dpi_unpack_bytes(u, &size);
	if (!ctx->secure) return true;
	return !u->bad && size == sizeof proof && !compute(ctx, connector, acceptor, of_acceptor, proof) &&
	       dpi_auth_equal(proof, theirs);
}

int dpi_hello_peer(const struct dpi_hello *h, struct dpi_introduction *i, bool local, struct dpi_peer **peer)
{
	struct dpi_peer *p = calloc(1, sizeof *p);
	if (!p) return dpi_fail(DPI_ERR_MEMORY, "no memory for a peer");
	p->node = (int)i->node;
	p->incarnation = h->incarnation;
	if (local && i->page_fd >= 0 && i->event_fd >= 0) {
		int error = dpi_bells_map(&p->bells, i->page_fd, i->event_fd);
		i->page_fd = i->event_fd = -1;
		if (error) {
			free(p);
			return error;
		}
		p->same_host = true;
	} else if (local) {
		free(p);
		return dpi_fail(DPI_ERR_LIMIT,
				"no descriptors for the wake-ups of node %u came through (raise the limit with ulimit -n)",
				i->node);
	}
	p->addresses = i->carriers;
	memcpy(p->address, i->carrier, sizeof p->address);
	*peer = p;
	return DPI_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0
 * status.c: what each completion status and each asynchronous event means, one table each. */
#include "verbs.h"

/* status, class of the operation that has it, sentence. */
#define STATUSES(X)                                                                                              \
	X(SUCCESS, SUCCESS, "success")                                                                           \
	X(LOC_LEN_ERR, ERR_INTERNAL, "a message was longer than its receive buffer, or a piece than the port takes; the nodes run " \
				     "different libraries, or this one has a defect")                            \
	X(LOC_QP_OP_ERR, ERR_INTERNAL, "the device found a work request that it cannot do; a defect of the library or of the driver") \
	X(LOC_EEC_OP_ERR, ERR_TRANSPORT, "the device reports a fault of an end-to-end context, which is not in use; check the driver") \
	X(LOC_PROT_ERR, ERR_ARGUMENT, "memory given to an operation was unmapped, or was not readable or writable, while the operation was " \
				      "under way; keep it until the operation has completed")                    \
	X(WR_FLUSH_ERR, ERR_PEER, "the connection had ended already; its peer has probably died")                \
	X(MW_BIND_ERR, ERR_TRANSPORT, "the device reports a memory window's binding, which is not in use; check the driver") \
	X(BAD_RESP_ERR, ERR_TRANSPORT, "the peer's device answered with a packet that does not belong to the request; check cables, driver and " \
				       "firmware")                                                              \
	X(LOC_ACCESS_ERR, ERR_INTERNAL, "the peer wrote where its message was not expected; a defect, or the nodes run different libraries") \
	X(REM_INV_REQ_ERR, ERR_TRANSPORT, "the peer's device finds the request invalid: too long, or of a kind that it does not have") \
	X(REM_ACCESS_ERR, ERR_DESTROYED, "the peer's memory is not registered any more, or not for this; the peer has withdrawn it") \
	X(REM_OP_ERR, ERR_TRANSPORT, "the peer's device could not finish the request; see the peer's kernel log")  \
	X(RETRY_EXC_ERR, ERR_PEER, "the peer's device does not answer: its host has died, or the wire is cut; check the link") \
	X(RNR_RETRY_EXC_ERR, ERR_PEER, "the peer had no receive buffer for a message, which credits rule out; the nodes run different libraries, " \
				       "or this one has a defect")                                              \
	X(LOC_RDD_VIOL_ERR, ERR_TRANSPORT, "the device reports a reliable datagram domain, which is not in use; check the driver") \
	X(REM_INV_RD_REQ_ERR, ERR_TRANSPORT, "the peer's device reports a reliable datagram, which is not in use; check the driver") \
	X(REM_ABORT_ERR, ERR_PEER, "the peer's device aborted the operation; see the peer's kernel log")          \
	X(INV_EECN_ERR, ERR_TRANSPORT, "the device reports a wrong end-to-end context, which is not in use; check the driver") \
	X(INV_EEC_STATE_ERR, ERR_TRANSPORT, "the device reports the state of an end-to-end context, which is not in use; check the driver") \
	X(FATAL_ERR, ERR_TRANSPORT, "the device has failed; see the kernel log")                                 \
	X(RESP_TIMEOUT_ERR, ERR_PEER, "the peer's device did not answer in time; check the link and the peer's host") \
	X(GENERAL_ERR, ERR_TRANSPORT, "the device reports an error of no known kind; see the kernel log")        \
	X(TM_ERR, ERR_TRANSPORT, "the device reports tag matching, which is not in use; check the driver")        \
	X(TM_RNDV_INCOMPLETE, ERR_TRANSPORT, "the device reports tag matching, which is not in use; check the driver")

/* event, class (SUCCESS: nothing is lost), whom it concerns, sentence. */
#define EVENTS(X)                                                                                                \
	X(CQ_ERR, ERR_TRANSPORT, COMPLETIONS, "a completion queue overran or failed; a defect of the library, or the device has failed") \
	X(QP_FATAL, ERR_TRANSPORT, PAIR, "the device gave up the queue pair; see the kernel log")                   \
	X(QP_REQ_ERR, ERR_TRANSPORT, PAIR, "the peer's request was invalid; the nodes run different libraries")      \
	X(QP_ACCESS_ERR, ERR_PEER, PAIR, "the peer reached for memory that it may not, and was cut off")             \
	X(COMM_EST, SUCCESS, PAIR, "the first message came before the connection manager's last")                   \
	X(SQ_DRAINED, SUCCESS, PAIR, "a send queue is empty")                                                       \
	X(PATH_MIG, SUCCESS, PAIR, "a connection has moved to its other path")                                      \
	X(PATH_MIG_ERR, SUCCESS, PAIR, "a connection could not move to its other path")                             \
	X(DEVICE_FATAL, ERR_TRANSPORT, ALL, "the device has failed or was removed; see the kernel log")             \
	X(PORT_ACTIVE, SUCCESS, NOBODY, "the port is up")                                                             \
	X(PORT_ERR, SUCCESS, NOBODY, "the port is down; connections last until their retries are used up: check the cable and the switch") \
	X(LID_CHANGE, SUCCESS, NOBODY, "the port's LID has changed")                                                  \
	X(PKEY_CHANGE, SUCCESS, NOBODY, "the port's partition table has changed")                                     \
	X(SM_CHANGE, SUCCESS, NOBODY, "the fabric's subnet manager has changed")                                      \
	X(SRQ_ERR, ERR_TRANSPORT, RECEIVES, "a shared receive queue failed; see the kernel log")                        \
	X(SRQ_LIMIT_REACHED, SUCCESS, NOBODY, "a shared receive queue runs low")                                      \
	X(QP_LAST_WQE_REACHED, SUCCESS, PAIR, "a queue pair has taken its last receive buffer")                       \
	X(CLIENT_REREGISTER, SUCCESS, NOBODY, "the subnet manager asks for registration anew")                        \
	X(GID_CHANGE, SUCCESS, NOBODY, "an address of the port has changed; peers connect to the old one")             \
	X(WQ_FATAL, ERR_TRANSPORT, NOBODY, "the device gave up a work queue; see the kernel log")

const struct verbs_status *dpi_verbs_status(enum ibv_wc_status status)
{
	static const struct verbs_status table[] = {
#define STATUS(name, class, text) [IBV_WC_##name] = { DPI_##class, text },
		STATUSES(STATUS)
#undef STATUS
	}, unknown = { DPI_ERR_TRANSPORT, "the device reports a status that this library does not know; see the kernel log" };
	return (unsigned)status < sizeof table / sizeof *table && table[status].sentence ? &table[status] : &unknown;
}

const struct verbs_event *dpi_verbs_event(enum ibv_event_type type)
{
	static const struct verbs_event table[] = {
#define EVENT(name, class, whom, text) [IBV_EVENT_##name] = { DPI_##class, WHOM_##whom, #name, text },
		EVENTS(EVENT)
#undef EVENT
	}, unknown = { DPI_SUCCESS, WHOM_NOBODY, "unknown", "the device reports an event that this library does not know" };
	return (unsigned)type < sizeof table / sizeof *table && table[type].sentence ? &table[type] : &unknown;
}

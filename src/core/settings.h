/* SPDX-License-Identifier: Apache-2.0
 * settings.h: the one table of settings. The enum, the parser, dpi-info and dpi_environment(7) come from it. */
#ifndef DPI_CORE_SETTINGS_H
#define DPI_CORE_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

struct dpi_context;

/* name, kind, default, meaning. Kinds: text; integer; size (64k is 65536); time (µs; 5ms, 2s; a bare number is µs). */
#define DPI_SETTINGS(X)                                                                                              \
	X(CLUSTER, text, "", "where the cluster is: a cluster file's path, unix:NAME or HOST:PORT of its registry; not set: what mpirun or srun says, else this process alone; empty: this process alone") \
	X(NODE, text, "", "this process's node number; empty: the registry gives one")                               \
	X(NODES, integer, "0", "how many nodes the cluster has; 0: not said")                                        \
	X(RESTART, integer, "0", "1: this node 0 takes the place of one that died, and brings the registry back to the nodes that live") \
	X(JOB, text, "", "name of the cluster; processes of another job are refused")                                \
	X(KEY_FILE, text, "", "file with the cluster key, mode 0600; empty: no key, this host only")                 \
	X(LISTEN, text, "", "address or interface to listen on; empty: loopback without a key, every address with one") \
	X(LISTEN_FD, integer, "-1", "an already listening socket for the registry, set by dpirun")                   \
	X(TRANSPORT, text, "", "transports that may be used, in order, such as tcp or hook:shm,tcp; empty: the best for each peer") \
	X(MODULES, text, "", "folders of loadable transports, divided by ':', looked at before the library's own")   \
	X(FABRIC, text, "", "provider that the libfabric transport uses, such as tcp;ofi_rxm; empty: the best there is") \
	X(MULTICAST, text, "auto", "whether verbs sends bytes for several nodes once, by multicast: auto, on, off, or an IPv4 group to use, such as 239.1.2.3") \
	X(TIMEOUT, time, "30s", "default deadline of calls that wait")                                               \
	X(PEER_TIMEOUT, time, "5s", "a peer on another host that is silent for this long is dead")                   \
	X(LINGER, time, "1ms", "unflushed appends become visible after this at the latest")                          \
	X(SPIN, time, "20us", "how long a wait spins before it sleeps, at most; 0 never spins")                      \
	X(BIND, text, "", "processors of the progress thread: a list such as 0,2-3; empty: near the network device, unless somebody bound the process") \
	X(HOOK, text, "", "what the hook transport does, such as seed=7,delay=20,error=0.01,trace: dpi_hook(7) has them all") \
	X(LOG, text, "warning", "least level that is printed: error, warning, information, debug")

enum dpi_setting {
#define DPI_SETTING_ENUM(name, kind, value, text) DPI_SETTING_##name,
	DPI_SETTINGS(DPI_SETTING_ENUM)
#undef DPI_SETTING_ENUM
	DPI_SETTING_COUNT
};

enum dpi_setting_kind { DPI_KIND_text, DPI_KIND_integer, DPI_KIND_size, DPI_KIND_time };

struct dpi_setting_def {
	const char *name; /* without DPI_ */
	enum dpi_setting_kind kind;
	const char *value; /* default */
	const char *text;
};
extern const struct dpi_setting_def dpi_setting_defs[DPI_SETTING_COUNT];

struct dpi_settings {
	char *value[DPI_SETTING_COUNT];	       /* malloc'ed text */
	const char *origin[DPI_SETTING_COUNT]; /* "default", "environment", "call", "file", "launcher", "pmix" */
	int64_t number[DPI_SETTING_COUNT];     /* of kinds that are not text: bytes, µs or the number */
};

/* Read defaults, environment, then the call's "name=value" strings. Checks each; warns of unknown DPI_* variables with a
 * guess. DPI_ERR_CONFIG with a sentence. */
int dpi_settings_read(struct dpi_settings *s, const char *const *call, size_t call_count);
/* Set one later (cluster file, launcher). */
int dpi_settings_set(struct dpi_settings *s, enum dpi_setting which, const char *value, const char *origin);
void dpi_settings_free(struct dpi_settings *s);
/* Index by name ("linger", "DPI_LINGER", any case), -1 if none. */
int dpi_setting_find(const char *name);
/* Parse "64k", "5ms", "12"; DPI_ERR_CONFIG if the whole text is not one value of the kind. */
int dpi_setting_parse(enum dpi_setting_kind kind, const char *text, int64_t *number);

#endif

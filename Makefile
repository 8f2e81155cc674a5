# SPDX-License-Identifier: Apache-2.0
# Everything a person does with libdpi; `make help` lists it. GNU make, a C compiler and pkg-config are all it needs.
#
# Settings, on the command line: CC=clang-14  CFLAGS='-O3 -g'  WERROR= (warnings stay warnings)  BUILD=dir
# SAN=address|undefined|thread, or address,undefined (into build-$(SAN))  DELAYS=1 (threads are held up at random, for tests; into build-delays)
# V=1 (show commands)  PREFIX=/usr/local  DESTDIR=  JOBS=n (tests at once)
ifeq ($(origin CC),default)
CC = gcc
endif
SAN ?=
DELAYS ?=
comma := ,
BUILD ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(DELAYS),-delays)
CFLAGS ?= -O2 -g
WERROR ?= -Werror
PKG_CONFIG ?= pkg-config
CLANG ?= $(firstword $(foreach c,clang clang-14,$(shell command -v $(c))))
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

VERSION := $(shell awk '/define DPI_VERSION_(MAJOR|MINOR|PATCH)/ { v = v s $$3; s = "." } END { print v }' include/dpi.h)
SONAME := libdpi.so.$(firstword $(subst ., ,$(VERSION)))
LIB := $(BUILD)/libdpi.so
STATIC := $(BUILD)/libdpi.a

# --------------------------------------------------------------------------------------------------------- what there is

# A file with sources of its own folder beside it (NAME.c and NAME/*.c) is one program.
lib_dirs := src src/core src/memory src/offload flows flows/expr flows/move flows/codec flows/reduce transports/shm transports/tcp transports/hook
lib_src := $(wildcard $(addsuffix /*.c,$(lib_dirs)))
tool_src := $(wildcard src/tools/*.c)
# Examples that are MPI programs, too, are built where there is mpicc.
MPICC ?= mpicc
mpi_examples := mpi_flow
example_src := $(filter-out $(if $(shell command -v $(MPICC)),,$(mpi_examples:%=examples/%.c)),$(wildcard examples/*.c))
unit_src := $(wildcard test/unit/*_test.c)
system_src := $(wildcard test/system/*.c)
fuzz_src := $(wildcard test/fuzz/*.c)
conformance_src := $(wildcard test/conformance/*.c)
harness_src := $(wildcard test/harness*.c)

tools := $(foreach f,$(tool_src),$(BUILD)/bin/$(subst _,-,$(basename $(notdir $(f)))))
examples := $(example_src:%.c=$(BUILD)/%)
unit := $(unit_src:%.c=$(BUILD)/%)
system := $(system_src:%.c=$(BUILD)/%)
conformance := $(if $(conformance_src),$(BUILD)/test/conformance/conformance)
fuzz := $(if $(SAN),,$(if $(CLANG),$(fuzz_src:test/fuzz/%.c=$(BUILD)/fuzz/%)))
# Transports with libraries of their own behind them are modules, built where pkg-config knows these.
needs_verbs := libibverbs librdmacm
# librdmacm keeps the devices that it has opened, and forgets them when it is unloaded: each DPI_Init would leave some behind
stays_verbs := -Wl,-z,nodelete
needs_libfabric := libfabric
module_names := $(foreach m,verbs libfabric,$(if $(wildcard transports/$(m)/*.c),$(if $(shell $(PKG_CONFIG) --exists $(needs_$(m)) && echo 1),$(m))))
modules := $(module_names:%=$(BUILD)/dpi/libdpi-%.so)
# A module is tested without its device, too: test/module/NAME/*.c, with the libraries' calls played there, is one program.
mocked := $(foreach m,$(module_names),$(if $(wildcard test/module/$(m)/*.c),$(BUILD)/test/module/$(m)_test))
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1) $(wildcard $(addsuffix /*.c,$(basename $(1)))))

# ---------------------------------------------------------------------------------------------------------------- flags

san_flags := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
san_flags += $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=all)
# gcc: the thread sanitizer does not see fences; what they order here are atomics, which it sees
san_flags += $(if $(filter thread,$(SAN)),$(if $(findstring clang,$(CC)),,-Wno-tsan))
warn := -Wall -Wextra -Wpedantic $(WERROR)
base := -std=c11 -D_GNU_SOURCE $(warn) -fPIC -fvisibility=hidden -pthread -MMD -MP $(if $(DELAYS),-DDPI_DELAYS)
ALL_CFLAGS = $(base) $(includes) $(CFLAGS) $(san_flags)
ALL_LDFLAGS = -pthread $(CFLAGS) $(san_flags) $(LDFLAGS)
soflags := -shared -Wl,-soname,$(SONAME) -Wl,--version-script=src/libdpi.map $(if $(SAN),,-Wl,-z,defs)

# A layer finds only the headers it may include; test/gates/layers.sh looks at the rest.
$(BUILD)/obj/%: includes = -Iinclude
$(BUILD)/obj/src/%: includes = -Iinclude -Isrc/core -Isrc/memory -Isrc -I$(BUILD)
$(BUILD)/obj/src/core/%: includes = -Iinclude -Isrc/core -I$(BUILD)
# PMIx's headers alone: it is loaded at run time.
$(BUILD)/obj/src/core/pmix_client.o: includes = -Iinclude -Isrc/core -I$(BUILD) $(pmix_includes)
$(BUILD)/fuzz/obj/src/core/pmix_client.o: includes = -Iinclude -Isrc/core -I$(BUILD) $(pmix_includes)
pmix_includes := $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags-only-I pmix 2>/dev/null))
$(BUILD)/obj/src/memory/%: includes = -Iinclude -Isrc/core -Isrc/memory
$(BUILD)/obj/flows/%: includes = -Iinclude -Isrc/core -Isrc/memory -Iflows
$(BUILD)/obj/test/module/%: includes = -Iinclude -Itest -I.
$(BUILD)/obj/test/%: includes = -Iinclude -Itest -Isrc/core -Isrc/memory -Isrc -I. -I$(BUILD)

# ---------------------------------------------------------------------------------------------------------------- goals

.PHONY: all tests demo check soak conformance docs install uninstall deps clean help FORCE
all: $(LIB) $(STATIC) $(modules) $(tools) $(examples) $(BUILD)/dpi.pc ## the library, the programs and the examples, into build/

DEMO ?= --scale 2
demo: all ## four processes join two tables, through flows and through buffers, over shared memory and then over TCP
	@for e in hash_join memory_join; do for t in shm tcp; do echo; echo "== $$e, 4 processes, transport $$t"; \
		$(BUILD)/bin/dpirun -n 4 -x DPI_TRANSPORT=$$t $(BUILD)/examples/$$e $(DEMO) || exit; done; done

tests: all $(unit) $(mocked) $(system) $(conformance) $(fuzz) ## build every test; check runs them

check: tests ## run every test and gate; the last line says 'N passed, N failed, N skipped'
	@BUILD='$(BUILD)' PEERS='$(PEERS)' SAN='$(SAN)' CC='$(CC)' CLANG='$(CLANG)' MAKE='$(MAKE)' test/run $(JOBS:%=--jobs %) $(TESTS)

SOAK ?= 3600
soak: tests ## random flows, retained ones, and ones that reduce, each against a model for SOAK (3600) seconds over each transport
	@DPI_MODULES='$(abspath $(BUILD))/dpi' TEST_SOAK=$(SOAK) $(BUILD)/test/system/flow_model --jobs 1 --verbose flow_model_soak
	@DPI_MODULES='$(abspath $(BUILD))/dpi' TEST_SOAK=$(SOAK) $(BUILD)/test/system/flow_model_retained --jobs 1 --verbose flow_model_retained_soak
	@DPI_MODULES='$(abspath $(BUILD))/dpi' TEST_SOAK=$(SOAK) $(BUILD)/test/system/reduce_model --jobs 1 --verbose reduce_model_soak

-include bench/Makefile.inc
bench: ## measure against raw rings and sockets, Open MPI, ZeroMQ and DuckDB: a table, JSON and plots
bench-shuffle: ## measure shuffles of all sizes among 2 to 16 processes, with keys that are skewed and not: JSON and plots
peers: ## fetch DuckDB by npm, to check and measure against; check and bench try it once
$(if $(wildcard bench/Makefile.inc),bench bench-shuffle bench-build: all)
$(if $(wildcard bench/Makefile.inc),check: $(PEERS)/asked)
-include test/rdma-vm/Makefile.inc
check-rdma: ## the tests over verbs, in a virtual machine where there is no RDMA; ALL=1: every one
bench-rdma: ## measure verbs beside perftest, in the same place

docs: ## the manual and the specification as HTML, into build/docs
	$(Q)man/html.sh '$(BUILD)/docs'

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@sed -n '4,6s/^# //p' $(firstword $(MAKEFILE_LIST))

clean: ## remove what was built (here: build and build-*)
	rm -rf $(BUILD) build-address build-undefined build-address-undefined build-thread build-delays build-thread-delays build-clang

# --------------------------------------------------------------------------------------------------------------- objects

all_flags = $(CC) $(shell $(CC) -dumpfullversion -dumpversion 2>/dev/null) $(base) $(CFLAGS) $(san_flags) $(LDFLAGS)
# Written anew only when it changes, so that other flags, another compiler or a new list of sources rebuild what they must.
$(BUILD)/flags: FORCE | $(BUILD)/config.mk
	@echo '$(all_flags)' | cmp -s - $@ || echo '$(all_flags)' >$@
$(BUILD)/sources: FORCE | $(BUILD)/config.mk
	@echo '$(sort $(lib_src))' | cmp -s - $@ || echo '$(sort $(lib_src))' >$@

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/libdpi.so.$(VERSION): $(call obj,$(lib_src)) src/libdpi.map $(BUILD)/sources
	$(call say,LD,$@)
	$(Q)$(CC) $(soflags) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) -ldl
$(BUILD)/$(SONAME): $(BUILD)/libdpi.so.$(VERSION)
	@ln -sf $(<F) $@
$(LIB): $(BUILD)/$(SONAME)
	@ln -sf $(<F) $@
$(STATIC): $(call obj,$(lib_src)) $(BUILD)/sources
	$(call say,AR,$@)
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

define module_rules
$(BUILD)/obj/transports/$(1)/%: includes = -Iinclude $(shell $(PKG_CONFIG) --cflags $(needs_$(1)))
$(BUILD)/dpi/libdpi-$(1).so: $(call obj,$(wildcard transports/$(1)/*.c))
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) -shared $(if $(SAN),,-Wl,-z,defs) $$(ALL_LDFLAGS) -o $$@ $$^ $(stays_$(1)) $(shell $(PKG_CONFIG) --libs $(needs_$(1)))
$(BUILD)/test/module/$(1)_test: $(call obj,$(wildcard transports/$(1)/*.c) $(wildcard test/module/$(1)/*.c)) $(call obj,$(harness_src)) $(STATIC)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$(filter %.o,$$^) $(STATIC) -ldl
endef
$(foreach m,$(module_names),$(eval $(call module_rules,$(m))))

# Tools and tests hold the static library, so that they can use what it hides; examples use the shared one, as anybody does.
define static_program
$(1): $(call obj,$(2)) $(3) $(STATIC)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$(filter %.o,$$^) $(STATIC) -ldl
endef
define shared_program
$(1): $(call obj,$(2)) $(LIB)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$(filter %.o,$$^) -L$(BUILD) -ldpi $$(LDLIBS) -Wl,-rpath,'$$$$ORIGIN/..'
endef
$(BUILD)/examples/parameter_server: LDLIBS = -lm
# Lazily, so that nobody asks mpicc who does not build them. Its headers are not ours to warn of.
$(mpi_examples:%=$(BUILD)/obj/examples/%.o): includes = -Iinclude $(patsubst -I%,-isystem %,$(shell $(MPICC) --showme:compile))
$(mpi_examples:%=$(BUILD)/examples/%): LDLIBS = $(shell $(MPICC) --showme:link)
harness := $(call obj,$(harness_src))
$(foreach f,$(tool_src),$(eval $(call static_program,$(BUILD)/bin/$(subst _,-,$(basename $(notdir $(f)))),$(f),)))
$(foreach f,$(unit_src) $(system_src),$(eval $(call static_program,$(f:%.c=$(BUILD)/%),$(f),$(harness))))
$(if $(conformance_src),$(eval $(call static_program,$(conformance),$(conformance_src),$(harness))))
$(foreach f,$(example_src),$(eval $(call shared_program,$(f:%.c=$(BUILD)/%),$(f))))

# Fuzz targets: the library once more, instrumented, by clang.
fuzz_flags := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
fuzz_lib := $(lib_src:%.c=$(BUILD)/fuzz/obj/%.o)
$(BUILD)/fuzz/obj/%.o: includes = -Iinclude -Itest -Isrc/core -Isrc/memory -Isrc -I. -I$(BUILD)
$(BUILD)/fuzz/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,FUZZ,$<)
	$(Q)$(CLANG) $(base) $(includes) $(fuzz_flags) -fsanitize=fuzzer-no-link -c -o $@ $<
$(fuzz): $(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/test/fuzz/%.o $(fuzz_lib)
	$(call say,LD,$@)
	$(Q)$(CLANG) -pthread $(fuzz_flags) -fsanitize=fuzzer -o $@ $^ -ldl

dep_dirs := $(lib_dirs) $(module_names:%=transports/%) test/module/* src/tools src/tools/* examples examples/* test test/conformance test/unit test/system
-include $(wildcard $(foreach d,$(dep_dirs),$(BUILD)/obj/$(d)/*.d))
-include $(wildcard $(addprefix $(BUILD)/fuzz/obj/,$(lib_src:.c=.d) $(fuzz_src:.c=.d)))

# ------------------------------------------------------------------------------------------------- what the machine has

# Looked for once; `make deps` and a change of this list make it look again.
look := $(if $(MAKECMDGOALS),$(filter-out clean help deps uninstall,$(MAKECMDGOALS)),all)
ifneq ($(look),)
include $(BUILD)/config.mk
endif
$(BUILD)/config.mk: test/deps test/look
	@mkdir -p $(@D)
	@CC='$(CC)' CLANG='$(CLANG)' PKG_CONFIG='$(PKG_CONFIG)' test/look $@ $(BUILD)/dpi_build.h

deps: ## install what is missing, from Debian (root or sudo)
	@test/look --install
	@rm -f $(BUILD)/config.mk

# --------------------------------------------------------------------------------------------------------------- install

$(BUILD)/dpi.pc: dpi.pc.in FORCE
	@mkdir -p $(@D)
	@sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|; s|@INCLUDEDIR@|$(INCLUDEDIR:$(PREFIX)/%=$${prefix}/%)|' \
		-e 's|@VERSION@|$(VERSION)|' $< >$@

headers := dpi.h dpi_inline.h dpi_transport.h dpi_words.h
programs := $(filter %/dpirun %/dpi-info %/dpi-top,$(tools))
pages := $(wildcard man/man1/*.1 man/man3/*.3 man/man7/*.7)
libs := libdpi.so.$(VERSION) $(SONAME) libdpi.so libdpi.a
installed := $(headers:%=$(INCLUDEDIR)/%) $(libs:%=$(LIBDIR)/%) $(LIBDIR)/pkgconfig/dpi.pc \
	$(modules:$(BUILD)/%=$(LIBDIR)/%) $(programs:$(BUILD)/bin/%=$(BINDIR)/%) $(pages:man/%=$(MANDIR)/%)

install: all ## into PREFIX (/usr/local), below DESTDIR
	$(Q)install -d $(addprefix '$(DESTDIR)',$(BINDIR) $(LIBDIR)/pkgconfig $(INCLUDEDIR) $(addprefix $(MANDIR)/man,1 3 7))
	$(Q)install -m 644 $(headers:%=include/%) '$(DESTDIR)$(INCLUDEDIR)'
	$(Q)install -m 755 $(BUILD)/libdpi.so.$(VERSION) '$(DESTDIR)$(LIBDIR)'
	$(Q)ln -sf libdpi.so.$(VERSION) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	$(Q)ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libdpi.so'
	$(Q)install -m 644 $(STATIC) '$(DESTDIR)$(LIBDIR)'
	$(Q)$(if $(modules),install -d '$(DESTDIR)$(LIBDIR)/dpi' && install -m 755 $(modules) '$(DESTDIR)$(LIBDIR)/dpi')
	$(Q)install -m 644 $(BUILD)/dpi.pc '$(DESTDIR)$(LIBDIR)/pkgconfig'
	$(Q)$(if $(programs),install -m 755 $(programs) '$(DESTDIR)$(BINDIR)')
	$(Q)for p in $(pages); do install -m 644 $$p '$(DESTDIR)$(MANDIR)'/man$${p##*.} || exit; done
	$(Q)if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

uninstall: ## remove what install put there
	$(Q)rm -f $(addprefix '$(DESTDIR)',$(installed))
	$(Q)if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

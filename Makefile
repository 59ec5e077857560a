# vmscope. A newcomer needs two targets: `make run` and `make check`. `make help` lists the rest.
#
# Output goes to o/MODE (o/MODE-clang for CC=clang). guests/guests.mk builds the bundled guests and
# tests/tests.mk everything that is tested. Nothing here may fail while the file is read: on a
# fresh machine there is no compiler and no pkg-config yet, and `make deps` has to work.

MODE   ?= dbg
O      ?= o
PREFIX ?= /usr/local
Q      := $(if $(V),,@)
ifeq ($(origin CC),default)
CC := gcc
endif
B := $(O)/$(MODE)$(if $(findstring clang,$(CC)),-clang)

# ---- what Debian has to provide ---------------------------------------------------------------

# pkg-config name:Debian package
LIBS       := ncursesw:libncurses-dev readline:libreadline-dev capstone:libcapstone-dev \
	libelf:libelf-dev libdw:libdw-dev lua5.4:liblua5.4-dev libzstd:libzstd-dev \
	jansson:libjansson-dev
DEBS_BUILD := gcc libc6-dev binutils pkg-config $(foreach l,$(LIBS),$(lastword $(subst :, ,$l)))
DEBS_CHECK := gdb tmux netcat-openbsd mandoc python3 ncurses-bin ncurses-term procps xz-utils zstd lz4
DEBS_LINT  := clang-format cppcheck
DEBS_FUZZ  := clang libclang-rt-dev
DEBS_SLOW  := $(DEBS_FUZZ) $(DEBS_LINT) qemu-system-x86 grub-pc-bin grub-common xorriso mtools

# ---- flags ------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wundef -Wwrite-strings -Wpointer-arith -Wcast-align -Wformat=2 -Wvla -Wimplicit-fallthrough \
	-Wconversion -Wno-sign-conversion -Wdouble-promotion -Wredundant-decls -fno-common
ifneq ($(WERROR),0)
WARN += -Werror
endif
ifneq ($(findstring clang,$(CC)),)
# KVM's structures with a flexible tail are followed by their storage, as its interface asks for;
# rows of tables leave trailing members at zero, which gcc accepts after a designator.
WARN += -Wno-gnu-variable-sized-type-not-at-end -Wno-missing-field-initializers
else
WARN += -Wlogical-op -Wduplicated-cond
endif

SAN := -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_dbg  := -O1 -g
OPT_rel  := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
ifeq ($(findstring clang,$(CC)),)
# Records and registers are copied and cleared at each exit, in which `rep movs` and `rep stos` are slow.
OPT_rel += -mmemcpy-strategy=vector_loop:512:noalign,libcall:-1:noalign \
	-mmemset-strategy=vector_loop:512:noalign,libcall:-1:noalign
endif
OPT_asan := -O1 -g -fsanitize=address,undefined $(SAN)
OPT_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
OPT_cov  := -O0 -g --coverage
OPT_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined $(SAN)
ifeq ($(OPT_$(MODE)),)
$(error MODE=$(MODE) is unknown: it is one of dbg, rel, asan, tsan, cov and fuzz)
endif

PKGS         := $(foreach l,$(LIBS),$(firstword $(subst :, ,$l)))
PKG_CFLAGS   := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS     := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
# KVM's structures hold unsigned long long where ours hold uint64_t, an unsigned long: the same bits,
# but not the same type to an optimiser that believes in strict aliasing.
CFLAGS_ALL   := -std=gnu11 -fno-strict-aliasing -D_GNU_SOURCE -I. $(OPT_$(MODE)) $(WARN) $(PKG_CFLAGS) -pthread
LDLIBS_ALL    = $(PKG_LIBS) -pthread $(LDFLAGS)
COMPILE       = $(CC) $(CFLAGS_ALL) -MMD -MP $(CPPFLAGS) $(CFLAGS)
LINK          = $(CC) $(OPT_$(MODE)) $(CFLAGS) -o $@

# ---- sources ----------------------------------------------------------------------------------

SRC := $(sort $(wildcard vmm/*.c vmm/*/*.c debug/*.c debug/*/*.c disasm/*.c scripts/*.c \
	tui/*.c tui/*/*.c))
OBJ := $(SRC:%.c=$(B)/%.o)
LIB := $(filter-out $(B)/tui/main.o,$(OBJ))

.DEFAULT_GOAL := all
.PHONY: all help deps deps-check run check check-slow check-svm bench lint headers format docs fuzz \
	guests unit tags install uninstall clean distclean need-tools FORCE
.SECONDARY:
.DELETE_ON_ERROR:

all: vmscope guests ## build ./vmscope and the bundled guests

vmscope: $(B)/vmscope FORCE
	@cmp -s $< $@ || cp -f $< $@
$(B)/vmscope: $(B)/tui/main.o $(B)/libvmscope.a
	@echo "  LD   $@"
	$(Q)$(LINK) $^ $(LDLIBS_ALL)
$(B)/libvmscope.a: $(LIB) $(B)/.members
	@rm -f $@
	$(Q)ar rcs $@ $(LIB)
$(B)/%.o: %.c $(B)/.flags | need-tools
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(COMPILE) -c -o $@ $<

# Rewritten when its text changes: other flags rebuild everything, a source file that came or went
# rebuilds the archive.
$(B)/.flags: TEXT = $(COMPILE)
$(B)/.members: TEXT = $(LIB)
$(B)/.flags $(B)/.members $(O)/guests/.flags: FORCE | need-tools
	@mkdir -p $(@D)
	@echo '$(TEXT)' | cmp -s - $@ || echo '$(TEXT)' >$@

# Says what is missing in one sentence before the first compiler error could.
need-tools:
	@tests/tools/deps missing "$(CC)" $(LIBS)

# ---- set-up and use ---------------------------------------------------------------------------

deps: ## install the Debian packages that a build needs
	@tests/tools/deps install "building vmscope" $(DEBS_BUILD)
deps-check: ## install what building and the tests need
	@tests/tools/deps install "building and testing vmscope" $(DEBS_BUILD) $(DEBS_CHECK)

# Recursive, because what pkg-config says was read before `deps` could install it.
SUBMAKE = +@$(MAKE) --no-print-directory
JOBS    = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

GUEST ?= $(O)/guests/tinyos
run: deps ## build, then open the workbench on the bundled guest (GUEST=FILE ARGS=… for others)
	$(SUBMAKE) $(JOBS) all
	@./vmscope $(ARGS) $(GUEST)

check: deps-check ## build and run all tests
	$(SUBMAKE) $(JOBS) check-build
	@tests/run $(if $(V),-v) $(T)
check-slow: deps-check ## the tests of `check`, longer: fuzzing, soak, clang, svm-rig
	@tests/tools/deps install "the slow tests" $(DEBS_SLOW)
	$(SUBMAKE) $(JOBS) check-build
	@tests/run $(if $(V),-v) --slow $(T)
check-svm: deps-check ## the tests that need KVM, beside a genuine kvm_amd under QEMU's emulation
	$(SUBMAKE) $(JOBS) all unit
	@tests/run $(if $(V),-v) --svm $(T)
bench: deps ## measure what tracing and stepping cost
	$(SUBMAKE) $(JOBS) MODE=rel $(O)/rel/tests/bench/bench $(O)/rel/tests/bench/gdb_floor $(O)/rel/vmscope guests
	@$(O)/rel/tests/bench/bench
	@VMSCOPE=$(O)/rel/vmscope GDB_FLOOR=$(O)/rel/tests/bench/gdb_floor tests/bench/gdb.py

-include guests/guests.mk
include tests/tests.mk

# ---- care of the source -----------------------------------------------------------------------

ALL_C := $(sort $(wildcard $(foreach d,vmm debug disasm scripts tui guests tests,\
	$(d)/*.[ch] $(d)/*/*.[ch] $(d)/*/*/*.[ch])))

lint: headers ## format, arrows between folders, cppcheck
	@tests/tools/deps install "make lint" $(DEBS_LINT)
	@tests/tools/lint $(ALL_C)
headers: $(patsubst %,$(B)/headers/%.ok,$(filter-out guests/% tests/%,$(filter %.h,$(ALL_C)))) ## compile each header alone
$(B)/headers/%.ok: % $(B)/.flags
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -MF $@.d -MT $@ -Wno-unused-function -x c -fsyntax-only -include $< /dev/null
	@touch $@
format: ## rewrite all C files in the house style
	@tests/tools/deps install "make format" clang-format
	$(Q)clang-format -i $(ALL_C)
docs: vmscope ## rewrite what is printed from the program's tables: manual page, Lua reference
	$(Q)tests/tools/man ./vmscope docs/vmscope.1 >$(B)/vmscope.1 && cp $(B)/vmscope.1 docs/vmscope.1
	$(Q)tests/tools/reference ./vmscope docs/lua.md >$(B)/lua.md && cp $(B)/lua.md docs/lua.md
	$(Q)./vmscope --dump-lua types >scripts/types/vmscope.lua
tags: ## ctags of all C files
	@tests/tools/deps install "make tags" universal-ctags
	$(Q)ctags $(ALL_C)

# ---- installation -----------------------------------------------------------------------------

# A plain `make install` installs the optimised build; MODE=… on the command line another.
IMODE := $(if $(filter command environment,$(firstword $(origin MODE))),$(MODE),rel)
IBIN   = $(subst $(O)/$(MODE),$(O)/$(IMODE),$(B))/vmscope
BINDIR = $(DESTDIR)$(PREFIX)/bin
MANDIR = $(DESTDIR)$(PREFIX)/share/man/man1
LUADIR = $(DESTDIR)$(PREFIX)/share/vmscope
DOCDIR = $(DESTDIR)$(PREFIX)/share/doc/vmscope
install: ## into PREFIX (/usr/local), below DESTDIR if that is set
	$(SUBMAKE) MODE=$(IMODE) $(IBIN)
	install -d $(BINDIR) $(MANDIR) $(LUADIR) $(DOCDIR)
	install -m 755 $(IBIN) $(BINDIR)/vmscope
	install -m 644 docs/vmscope.1 $(MANDIR)/vmscope.1
	install -m 644 README.md LICENSE docs/*.md $(DOCDIR)/
	for d in lib types; do [ ! -d scripts/$$d ] || { install -d $(LUADIR)/$$d && \
		install -m 644 scripts/$$d/*.lua $(LUADIR)/$$d/; }; done
uninstall:
	rm -f $(BINDIR)/vmscope $(MANDIR)/vmscope.1
	rm -rf $(LUADIR) $(DOCDIR)

clean: ## remove what was built
	rm -rf $(O) vmscope tags

help: ## this list
	@echo "targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile tests/tests.mk guests/guests.mk | \
		while IFS='|' read -r t h; do printf '  %-12s %s\n' $$t "$$h"; done
	@echo "variables:"
	@echo "  MODE=dbg|rel|asan|tsan|cov|fuzz   CC=clang   WERROR=0   V=1 (show commands)"
	@echo "  T='unit gdb' (groups or programs for the test targets)   PREFIX= DESTDIR=   O=o"

-include $(OBJ:.o=.d)

# vmscope. `make run` and `make check` are all a newcomer needs; `make help` lists the rest.

MODE ?= dbg
O    ?= o
B    := $(O)/$(MODE)
Q    := $(if $(V),,@)
ifeq ($(origin CC),default)
CC := gcc
endif
PKGS := ncursesw readline capstone libelf libdw lua5.4

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wundef -Wwrite-strings -Wpointer-arith -Wcast-align -Wformat=2 -Wvla -Wimplicit-fallthrough \
	-Wconversion -Wno-sign-conversion -Wdouble-promotion -Wredundant-decls -fno-common
ifneq ($(WERROR),0)
WARN += -Werror
endif
ifneq ($(findstring gcc,$(shell $(CC) --version 2>/dev/null | head -1)),)
WARN += -Wlogical-op -Wduplicated-cond
endif

OPT_dbg  := -O1 -g
OPT_rel  := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
ifeq ($(OPT_$(MODE)),)
$(error MODE is dbg, rel, asan or tsan)
endif

CFLAGS_ALL := -std=gnu11 -D_GNU_SOURCE -I. $(OPT_$(MODE)) $(WARN) \
	$(shell pkg-config --cflags $(PKGS) 2>/dev/null) -pthread -MMD -MP $(CFLAGS)
LDLIBS_ALL := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -pthread $(LDFLAGS)

SRC  := $(sort $(wildcard vmm/*.c vmm/*/*.c debug/*.c debug/*/*.c disasm/*.c scripts/*.c tui/*.c tui/*/*.c))
OBJ  := $(SRC:%.c=$(B)/%.o)
LIB  := $(filter-out $(B)/tui/main.o,$(OBJ))
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(sort $(wildcard tests/unit/test_*.c)))

.DEFAULT_GOAL := all
.PHONY: all unit guests clean
all: vmscope guests

vmscope: $(B)/vmscope
	$(Q)cp -f $< $@
$(B)/vmscope: $(B)/tui/main.o $(B)/libvmscope.a
	@echo "  LD $@"
	$(Q)$(CC) $(OPT_$(MODE)) -o $@ $^ $(LDLIBS_ALL)
$(B)/libvmscope.a: $(LIB)
	@rm -f $@
	$(Q)ar rcs $@ $^
$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC $<"
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<

unit: $(UNIT)
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libvmscope.a
	@echo "  LD $@"
	$(Q)$(CC) $(OPT_$(MODE)) -o $@ $^ $(LDLIBS_ALL)

-include guests/guests.mk

clean:
	rm -rf $(O) vmscope

-include $(OBJ:.o=.d) $(UNIT:=.d)
.SECONDARY:

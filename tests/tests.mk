# What the tests need built. tests/run runs it; tests/test.h says what a test prints.

UNIT := $(patsubst tests/%.c,$(B)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
FUZZ := $(patsubst tests/%.c,$(B)/tests/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
# Under the thread sanitizer: the unit programs that start threads or a machine.
THREADS := $(patsubst tests/%.c,$(B)/tests/%,$(sort $(shell grep -lE \
	'pthread_create|session_open|guest_open|vm_new|vm_create|ring_' tests/unit/test_*.c 2>/dev/null)))

.PHONY: check-build unit unit-threads fuzz-build
TESTLINK = @echo "  LD   $@"; $(if $(V),set -x;) $(LINK) $(filter %.o %.a,$^) $(1) $(LDLIBS_ALL)

unit: $(UNIT) ## build the unit tests
unit-threads: $(THREADS)
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libvmscope.a
	$(call TESTLINK)

# A fuzz target is one function. libFuzzer drives it under clang (MODE=fuzz); elsewhere
# replay_main.c feeds it the files of its corpus.
fuzz-build: $(FUZZ)
ifeq ($(MODE),fuzz)
$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/libvmscope.a
	$(call TESTLINK,-fsanitize=fuzzer)
else
$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay_main.o $(B)/libvmscope.a
	$(call TESTLINK)
endif
fuzz: ## run each fuzz target for FUZZ_SECONDS (60) under libFuzzer
	@tests/tools/deps install "make fuzz" $(DEBS_BUILD) $(DEBS_FUZZ)
	$(SUBMAKE) $(JOBS) MODE=fuzz CC=clang fuzz-build
	@tests/fuzz/run.sh $(O)/fuzz-clang

# bench is of many files, gdb_floor of one.
BENCH := $(patsubst %.c,$(B)/%.o,$(filter-out tests/bench/gdb_floor.c,$(sort $(wildcard tests/bench/*.c))))
$(B)/tests/bench/bench: $(BENCH) $(B)/libvmscope.a
	$(call TESTLINK)
$(B)/tests/bench/gdb_floor: $(B)/tests/bench/gdb_floor.o $(B)/libvmscope.a
	$(call TESTLINK)

# Everything `make check` runs. The replay of fuzz corpora is of use only under a sanitizer.
check-build:
	$(SUBMAKE) all unit
	$(SUBMAKE) MODE=rel $(O)/rel/vmscope
	$(SUBMAKE) MODE=asan unit fuzz-build
	$(SUBMAKE) MODE=tsan unit-threads

-include $(patsubst %,%.d,$(UNIT) $(FUZZ) $(B)/tests/fuzz/replay_main) $(BENCH:.o=.d) \
	$(B)/tests/bench/gdb_floor.d

#!/bin/bash
# Each fuzz target under libFuzzer, a minute or FUZZ_SECONDS.
cd "$(dirname "$0")/../.." || exit 2
command -v clang >/dev/null || { echo "SKIP fuzz: there is no clang"; exit 0; }
make -s -j2 MODE=fuzz CC=clang fuzz-build >"$TEST_DIR/build.log" 2>&1 ||
    { echo "FAIL fuzz: does not build: $(grep -m1 error "$TEST_DIR/build.log")"; exit 1; }
exec tests/fuzz/run.sh "${O:-o}/fuzz-clang"

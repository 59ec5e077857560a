#!/bin/bash
# Random programs, freely and under every way of debugging, for DIFF_SECONDS (120).
cd "$(dirname "$0")/../.." || exit 2
make -s -j2 "${O:-o}/${MODE:-dbg}/tests/unit/test_diff" >"$TEST_DIR/build.log" 2>&1 ||
    { echo "FAIL diff: does not build"; exit 1; }
DIFF_SECONDS=${DIFF_SECONDS:-120} DIFF_SEED=${DIFF_SEED:-$(date +%s)} \
    exec "${O:-o}/${MODE:-dbg}/tests/unit/test_diff"

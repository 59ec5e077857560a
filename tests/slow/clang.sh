#!/bin/bash
# The whole tree under clang with its warnings as errors, and the unit tests of that build.
cd "$(dirname "$0")/../.." || exit 2
command -v clang >/dev/null || { echo "SKIP clang: there is no clang"; exit 0; }
if ! make -s -j2 CC=clang unit "${O:-o}/dbg-clang/vmscope" >"$TEST_DIR/build.log" 2>&1; then
    echo "FAIL clang_builds: $(grep -m1 -E 'error|undefined' "$TEST_DIR/build.log")"
    exit 1
fi
echo "ok clang_builds"
MODE=dbg-clang tests/run --raw unit

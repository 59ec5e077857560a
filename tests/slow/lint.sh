#!/bin/bash
# `make lint`.
cd "$(dirname "$0")/../.." || exit 2
for tool in clang-format cppcheck; do
    command -v $tool >/dev/null || { echo "SKIP lint: there is no $tool"; exit 0; }
done
if make -s lint >"$TEST_DIR/lint.log" 2>&1; then
    echo "ok lint"
else
    cat "$TEST_DIR/lint.log"
    echo "FAIL lint: $(head -n 1 "$TEST_DIR/lint.log")"
    exit 1
fi

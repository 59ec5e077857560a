#!/bin/bash
# run.sh FOLDER: runs every libFuzzer program in FOLDER/tests/fuzz for FUZZ_SECONDS (60) each,
# starting from its corpus. What crashes is kept in FOLDER/crashes; give it a name that says why and
# add it to tests/fuzz/corpus.
set -u
cd "$(dirname "$0")/../.." || exit 2
folder=$1
seconds=${FUZZ_SECONDS:-60}
status=0 n=0
mkdir -p "$folder/crashes"
for program in "$folder"/tests/fuzz/fuzz_*; do
    [[ -x $program && $program != *.[od] ]] || continue
    ((n++))
    name=${program##*/fuzz_}
    found=$folder/found/$name
    log=$folder/$name.log
    mkdir -p "$found" "tests/fuzz/corpus/$name"
    dictionary=()
    [[ -f tests/fuzz/$name.dict ]] && dictionary=(-dict="tests/fuzz/$name.dict")
    if "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="$folder/crashes/$name-" "${dictionary[@]}" \
        "$found" "tests/fuzz/corpus/$name" >"$log" 2>&1 </dev/null; then
        echo "ok fuzz_$name ($(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs)"
    else
        echo "FAIL fuzz_$name: $(grep -m1 -E 'ERROR|runtime error|SUMMARY' "$log")"
        echo "  again: $program $(sed -n 's/.*Test unit written to //p' "$log")"
        status=1
    fi
done
((n)) || echo "SKIP fuzz: no target is built in $folder"
exit $status

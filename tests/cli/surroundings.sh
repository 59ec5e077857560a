#!/bin/bash
# What may be around the program: hosts without a usable /dev/kvm, files that are none, terminals that are
# none, signals at any time, and where it was installed.
set -u
cd "$(dirname "$0")/../.." || exit 2
g=$PWD/${O:-o}/guests d=$TEST_DIR
status=0

fail() {
    echo "FAIL $1: $2"
    status=1
}
# said NAME STATUS REGEX COMMAND...: one sentence, and that exit status.
said() {
    local name=$1 want=$2 text=$3 got
    shift 3
    timeout -s KILL $((250 * TESTS_SCALE)) "$@" >"$d/out" 2>&1 </dev/null
    got=$?
    if [[ $got != "$want" ]]; then
        fail "$name" "status $got, want $want: $(tail -c 300 "$d/out" | tr '\n\000' '  ')"
    elif ! tr -d '\000' <"$d/out" | grep -qaE -e "$text"; then
        fail "$name" "\"$text\" is not in: $(tail -c 400 "$d/out" | tr '\n\000' '  ')"
    else
        echo "ok $name"
    fi
}
if [[ ! -r /dev/kvm || ! -w /dev/kvm ]]; then
    said no_kvm 2 '/dev/kvm' "$VMSCOPE" run "$g/hello16.bin"
    echo "SKIP surroundings: no usable /dev/kvm"
    exit $status
fi

# Without /dev/kvm, with something else in its place, and as somebody who may not open it: one paragraph
# that says which it is, for `run` and for `doctor`.
if unshare -m true 2>/dev/null; then
    kvmless() { # NAME REGEX SETUP
        local what
        for what in "run $g/hello16.bin" doctor; do
            said "$1_${what%% *}" 2 "$2" unshare -m bash -c "mount -t tmpfs none /dev; $3; $VMSCOPE $what"
            (($(wc -l <"$d/out") <= 4)) || fail "$1" "$(wc -l <"$d/out") lines"
        done
    }
    kvmless kvm_is_absent '/dev/kvm' true
    kvmless kvm_is_a_file 'does not answer as KVM does|not a (character )?device' 'touch /dev/kvm'
    kvmless kvm_is_null 'does not answer as KVM does' 'mknod /dev/kvm c 1 3'
else
    echo "SKIP kvm_is_absent: this user may not make a mount namespace"
fi
if ((EUID == 0)) && id nobody >/dev/null 2>&1 && [[ $(stat -c %a /dev/kvm) == *[0123] ]]; then
    pub=$(mktemp -d)
    cp "$VMSCOPE" "$g/hello16.bin" "$pub" && chmod -R a+rX "$pub"
    said kvm_not_for_me 2 'may not be opened|group kvm|permission' \
        setpriv --reuid nobody --regid nogroup --clear-groups "$pub/vmscope" run "$pub/hello16.bin"
    chmod 0 "$pub/hello16.bin"
    setpriv --reuid nobody --regid nogroup --clear-groups test -r /dev/kvm ||
        said image_not_for_me 2 'hello16|may not be opened' \
            setpriv --reuid nobody --regid nogroup --clear-groups "$pub/vmscope" run "$pub/hello16.bin"
    rm -rf "$pub"
else
    echo "SKIP kvm_not_for_me: needs root, and a /dev/kvm that not everybody may open"
fi

# Things that are no files.
: >"$d/empty"
mkfifo "$d/pipe"
truncate -s 20G "$d/huge" || : >"$d/huge"
for f in /dev/zero /dev/null /dev/full "$d/pipe"; do
    said "image_$(basename "$f")" 2 'not a regular file' "$VMSCOPE" run "$f"
    said "module_$(basename "$f")" 2 'not a regular file' "$VMSCOPE" run --module "$f" "$g/tinyos"
    said "symbols_$(basename "$f")" 2 'no regular file' "$VMSCOPE" run --symbols "$f" "$g/hello16.bin"
    said "report_$(basename "$f")" 2 'not a regular file' "$VMSCOPE" report "$f"
done
said image_empty 2 'empty' "$VMSCOPE" run "$d/empty"
said image_huge 2 'more than|empty' "$VMSCOPE" run "$d/huge"
said image_no_name 2 'guest is missing' "$VMSCOPE" run ''
said commands_of_a_pipe 2 'nobody writes' "$VMSCOPE" run -x "$d/pipe" "$g/hello16.bin"
said script_of_a_pipe 8 'nobody writes' "$VMSCOPE" run --script "$d/pipe" "$g/hello16.bin"
said source_of_a_pipe 8 'nobody writes' "$VMSCOPE" run -e "source $d/pipe" "$g/hello16.bin"
said script_of_zeros 8 'script' "$VMSCOPE" run --script /dev/zero "$g/hello16.bin"
said trace_to_a_device 2 'not a regular file' "$VMSCOPE" run --trace /dev/full "$g/hello16.bin"
said log_nowhere 2 'cannot write the log' "$VMSCOPE" run --log /nowhere/x "$g/hello16.bin"
said control_at_a_file 2 'cannot listen for control at .*there is a file already' \
    "$VMSCOPE" run --control "unix:$d/empty" "$g/hello16.bin"
[[ -f $d/empty && ! -s $d/empty ]] || fail control_at_a_file "the file there was touched"
# A pipe of the shell's is a file like others.
printf 'print 6*7\n' >"$d/cmds"
said commands_of_a_shell_pipe 0 '= 42' bash -c "$VMSCOPE run -x <(cat $d/cmds) $g/hello16.bin"
said script_of_a_shell_pipe 33 'from a pipe' \
    bash -c "$VMSCOPE run --script <(echo 'print(\"from a pipe\")') $g/hello16.bin"
said empty_shell_pipe 0 'before the first instruction' bash -c "$VMSCOPE run -e 'info stop' -x <(true) $g/hello16.bin"

# Names that would drive a terminal are shown, not sent.
odd=$'\e[31mX\a'
for a in "run --$odd x" "run $odd" "run $odd y" "run --boot $odd x" "run -x $odd $g/hello16.bin" \
    "run --script $odd $g/hello16.bin" "run --expect ($odd x" "run --check $odd $g/hello16.bin" \
    "run --symbols $odd $g/hello16.bin" "run --log /nowhere/$odd x" "run --junit /nowhere/$odd $g/hello16.bin" \
    "run --expect no --keep /nowhere/$odd $g/hello16.bin" "run --gdb unix:/nowhere/$odd $g/hello16.bin" \
    "run --control unix:/nowhere/$odd $g/hello16.bin" "run -e $odd $g/hello16.bin" "report $odd" "doctor $odd"; do
    # shellcheck disable=SC2086
    timeout -s KILL $((250 * TESTS_SCALE)) "$VMSCOPE" $a >"$d/out" 2>&1 </dev/null
    grep -qa $'\e' "$d/out" && fail odd_names "$(cat -v "$d/out" | head -n 1)"
    grep -q 'vmscope: ' "$d/out" || fail odd_names "nothing is said about: $(cat -v <<<"$a")"
done
echo "ok odd_names"

# Terminals and languages.
if command -v script >/dev/null; then
    for term in '' unknown dumb; do
        said "term_${term:-empty}" 2 'TERM=.*try TERM=xterm' \
            env TERM="$term" script -qec "$VMSCOPE $g/hello16.bin" /dev/null
    done
    said term_unset 2 'TERM=.*try TERM=xterm' env -u TERM script -qec "$VMSCOPE $g/hello16.bin" /dev/null
else
    echo "SKIP term: there is no script(1)"
fi
said no_terminal 2 'needs a terminal' "$VMSCOPE" "$g/hello16.bin"
said other_language 33 'by COM1' env LC_ALL=C "$VMSCOPE" run "$g/hello16.bin"

# Stopped, continued, interrupted twice; killed while it records.
"$VMSCOPE" run --serial "file:$d/serial" "$g/tinyos" >"$d/out" 2>&1 </dev/null &
pid=$!
until grep -qa 'tinyos>' "$d/serial" 2>/dev/null || ! kill -0 $pid 2>/dev/null; do sleep 0.05; done
kill -STOP $pid
kill -CONT $pid
kill -WINCH $pid
kill -TSTP $pid
kill -CONT $pid
kill -INT $pid
kill -INT $pid
wait $pid 2>/dev/null
got=$?
[[ $got == 130 ]] && grep -q 'ended by signal 2' "$d/out" && echo "ok stopped_and_interrupted" ||
    fail stopped_and_interrupted "status $got: $(tail -n 1 "$d/out")"
"$VMSCOPE" run --trace "$d/killed.trace" --append n=100000000 "$g/storm_pio" >/dev/null 2>&1 </dev/null &
pid=$!
until [[ -s $d/killed.trace && $(stat -c %s "$d/killed.trace") -gt 100000 ]] || ! kill -0 $pid 2>/dev/null; do
    sleep 0.05
done
kill -KILL $pid
wait $pid 2>/dev/null
said trace_of_a_killed_run 0 'exits in' "$VMSCOPE" report --top 3 "$d/killed.trace"

# Installed somewhere else, called through a link from another folder: it finds its scripts; and nothing
# but empty folders stays when it goes.
if make --no-print-directory install MODE="${MODE:-dbg}" DESTDIR="$d/dest" PREFIX=/opt/x >"$d/install" 2>&1; then
    ln -s "$d/dest/opt/x/bin/vmscope" "$d/link"
    said installed_finds_scripts 33 'multiboot: 0 problems' env -C / "$d/link" run --script multiboot "$g/stack"
    make --no-print-directory uninstall DESTDIR="$d/dest" PREFIX=/opt/x >>"$d/install" 2>&1
    left=$(find "$d/dest" ! -type d)
    [[ -z $left ]] && echo "ok uninstalled" || fail uninstalled "these stay: $left"
else
    fail install "$(tail -n 2 "$d/install")"
fi
exit $status

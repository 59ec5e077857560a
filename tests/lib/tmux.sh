# Sourced by tests that drive the workbench as a person would: in a terminal (tmux), by keys, looking
# at the screen. Nothing waits for a time; everything waits for what the screen shows. The caller has
# set $names, all its tests, and ends with $status.

skip_all() { for n in $names; do echo "SKIP $n: $1"; done; exit 0; }
command -v tmux >/dev/null || skip_all "tmux is not installed"
[[ -r /dev/kvm && -w /dev/kvm ]] || skip_all "no usable /dev/kvm"
export XDG_STATE_HOME=$TEST_DIR/state
unset NO_COLOR VMSCOPE_THEME
status=0 name=

sock=vms$$
tm() { tmux -L "$sock" -f /dev/null "$@"; }
# Hung up, a program may still write its history: it is over when all of the terminal's have ended.
close_terms() {
    local pid below=
    pid=$(pane pane_pid 2>/dev/null) && below=$(pgrep -P "$pid")
    tm kill-server 2>/dev/null
    for pid in $below; do
        while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
    done
}
trap close_terms EXIT

# open_term W H COMMAND...: runs a shell command in a new terminal. Around it the terminal's
# settings are noted, and its exit status is printed, so that what it leaves behind can be seen.
open_term() {
    local w=$1 h=$2
    shift 2
    close_terms
    while tm has-session 2>/dev/null; do sleep 0.02; done
    sock=vms$$-$((++terms))
    rm -f "$TEST_DIR/before" "$TEST_DIR/after"
    tm new-session -d -x "$w" -y "$h" \
        "stty -a >'$TEST_DIR/before'; $*; s=\$?; stty -a >'$TEST_DIR/after'; echo \"status \$s.\"; exec cat"
    tm set-option -g remain-on-exit on >/dev/null
}
terms=0

screen() { tm capture-pane -p; }
keys() { tm send-keys "$@"; }
pane() { tm display-message -p "#{$1}"; }

# How long a condition may take to come about: only what hangs takes longer.
patience=$((100 * TESTS_SCALE))

# see REGEX [SECONDS]: waits until the screen has it.
see() {
    local end=$((SECONDS + ${2:-$patience}))
    until screen | grep -qE -e "$1"; do
        ((SECONDS < end)) || return 1
        sleep 0.03
    done
}
# lose REGEX: waits until the screen has it no longer.
lose() {
    local end=$((SECONDS + patience))
    while screen | grep -qE -e "$1"; do
        ((SECONDS < end)) || return 1
        sleep 0.03
    done
}
# The process id of the program below the terminal's shell.
program() { pgrep -P "$(pane pane_pid)" | head -1; }

# Why the terminal is not as it was before, or nothing.
left_behind() {
    [[ $(pane alternate_on) == 0 ]] || echo "the alternate screen is on"
    [[ $(pane cursor_flag) == 1 ]] || echo "the cursor is hidden"
    [[ $(pane mouse_any_flag) == 0 ]] || echo "the mouse is still reported"
    [[ $(pane keypad_flag) == 0 ]] || echo "the keypad still sends escapes"
    cmp -s "$TEST_DIR/before" "$TEST_DIR/after" || echo "stty differs"
}

# test_ NAME: runs the function of that name.
test_() {
    name=$1
    "$1" && echo "ok $1"
    return 0
}
# What a failure says: the condition and the screen at that moment.
fail() {
    echo "FAIL $name: $*"
    screen | sed 's/^/    | /'
    status=1
    return 1
}
want() { see "$1" || fail "the screen never showed \"$1\""; }

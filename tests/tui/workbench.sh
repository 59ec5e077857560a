#!/bin/bash
# The workbench in a real terminal: what each key does, at every size, and how it leaves.
set -u
cd "$(dirname "$0")/../.." || exit 2
g=${O:-o}/guests

names="opens steps types_ahead breakpoint scrolls follows_an_exit shows_devices prompt completes goes help_shows
runs_to_the_end zoom_and_tabs console_input ctrl_c_stops running_is_live resize_storm
too_small_and_back big garbage_stays_outside quits_after_a_question quit_command_status term_restores
term_restores_under_gdb hup_restores segv_restores abort_restores suspends no_color plain_terminals idle_sleeps script_lines
bad_terminal commands_at_a_hit commands_on_a_wide_screen"
. tests/lib/tmux.sh

gone() { lose "$1" || fail "\"$1\" stayed on the screen"; }
bench() { open_term "$1" "$2" "$VMSCOPE" "${@:3}" && want 'stopped: entry'; }
restored() {
    local why
    want "$1" && see . && why=$(left_behind) && [[ -z $why ]] || fail "${why:-$1}"
}

opens() {
    bench 80 24 "$g/hello64" || return
    for part in '1 Code' '2 Registers' '3 Stack' '4 Memory' '5 Exits' '6 Console' '7 Points' \
        'rax 0000' '_start:' '→00100000' 's step' 'q quit' 'Nothing written' 'No exits yet'; do
        want "$part" || return
    done
}
steps() {
    keys s
    want 'stopped: step' && want '→00100001 ' && want 'Stepped to 0x100001' || return
    keys F8
    want '→00100002 ' || return
    keys F11
    want '→00100009 '
}
types_ahead() {
    bench 80 24 "$g/hello64" || return
    keys s s s s
    want '→0010000b '
}
breakpoint() {
    keys b
    want '●→0010000b ' && want 'Breakpoint 1 ' || return
    keys b
    gone '●' || return
    keys :
    want '^>( |$)' || return
    keys 'break guest_main' Enter
    want 'Breakpoint 2 ' || return
    keys Escape
    want 's step' || return
    keys c
    want 'stopped: breakpoint 2  guest_main' && want '●→.* push' || return
    keys 7
    want '●2 +break guest_main 1 hit' || return
    keys Space
    want '○2 ' || return
    keys d
    want 'No breakpoints: b at'
}
scrolls() {
    local rip
    rip=$(screen | grep -oE 'rip [0-9a-f]{16}')
    keys 1 NPage NPage
    gone '→0' || return
    want "$rip" || return
    keys PPage PPage Home
    want '→0' || return
    keys 2 NPage
    want 'efer' || return
    keys 3 Up Up
    want '^.*│-' || return
    keys 4 NPage
    want '0x[0-9a-f]+: 0x' || return
    keys .
    want '→0'
}
follows_an_exit() {
    open_term 80 24 "$VMSCOPE -e 'break guest_done' -e continue $g/hello64"
    want 'stopped: breakpoint 1' || return
    keys 5 Home
    want '^#0 ' || return
    keys Down Enter
    want '1 Code' && gone '→0' || return
    keys BSpace
    want '→0'
}
shows_devices() {
    bench 100 30 --append n=20 "$g/storm_hlt" || return
    keys c
    want 'ended: debug exit' || return
    keys 5 z Home PageDown PageDown
    want 'device +pic: end of interrupt 0x20 of line 0' && want 'device +pit: timer fired' || return
    keys Home
    want 'Exits.*End: newest'
}
prompt() {
    bench 80 24 "$g/hello64" || return
    keys :
    want '^>( |$)' || return
    keys 'print $rip + 2' Enter
    want '= 0x100002|= 1048578' || return
    keys 'nosuchcommand' Enter
    want 'nosuchcommand' || return
    keys 'half' C-c
    gone '^> half' || return
    keys Up Up
    want '^> print .rip' || return
    keys C-c 'stepi' Enter
    want '→00100001 ' || return
    keys Enter
    want '→00100002 ' || return
    keys 'help' Enter
    want 'PgDn: more' || return
    keys PPage NPage NPage NPage Escape
    gone 'Answers' && want 's step'
}
completes() {
    keys :
    want '^>( |$)' || return
    keys 'info regi' Tab
    want '^> info registers' || return
    keys C-c 'break guest_' Tab Tab
    want 'guest_main' || return
    keys C-c Escape
    want 's step' || return
    # History of the last test's prompt is in a file once the program has ended.
    keys q y
    want 'status 0' && grep -q 'stepi' "$XDG_STATE_HOME/vmscope/history" || fail "no history file"
}
goes() {
    bench 80 24 "$g/hello64" || return
    keys g
    want '^code at:' || return
    keys 'guest_main + 1' Enter
    want '1 Code  guest_main\+0x1' || return
    keys 4 g
    want '^memory at:' || return
    keys -l '0x100010'
    keys Enter
    want '4 Memory  0x100010' || return
    keys g 'nosuch' Enter
    want 'nosuch'
}
help_shows() {
    keys Escape
    want 's step' || return
    keys '?'
    want 'one instruction, calls' && want 'scroll  *any other key|any other key back' || return
    keys NPage NPage NPage NPage
    want 'Devices' || return
    keys x
    want '1 Code'
}
runs_to_the_end() {
    bench 80 24 "$g/hello64" || return
    keys c
    want 'ended: debug exit' && want 'hello64: debug console' && want 'exit status 33' || return
    keys s
    want 'reset|ended|end' || return
    keys : 'reset' Enter
    want 'stopped: entry' || return
    keys Escape
    want 's step'
}
zoom_and_tabs() {
    keys 5 z
    want '^ 5 Exits' && gone 'Registers' || return
    keys Tab
    want '^ 6 Console' || return
    keys BTab BTab
    want '^ 4 Memory' || return
    keys z
    want '2 Registers' || return
    keys 8
    want '^ 8 Devices' && want '^lapic pit' || return
    keys Right
    want '^counter|^channel|^ch' || return
    keys 9
    want '9 Log'
}
console_input() {
    bench 80 24 "$g/tinyos" || return
    keys c
    want 'tinyos>' || return
    keys 6 Enter
    want 'Ctrl-\]' || return
    keys 'peek 0x100000' Enter
    want '0x0*100000' || return
    keys 'C-]'
    want 'c stop' || return
}
ctrl_c_stops() {
    want ' running ' || return
    keys C-c
    want 'stopped: ' && gone 'running…' || return
    keys C-c
    want 'already' || return
    keys F5
    want ' running ' || return
    kill -INT "$(program)"
    want 'stopped: '
}
running_is_live() {
    local a
    keys c
    want ' running ' && want 'running…' || return
    a=$(screen | grep -oE '5 Exits +[^ ]+') && lose "$a( |\$)" || fail "exits stood still at $a"
}
resize_storm() {
    local i
    for ((i = 0; i < 60; i++)); do
        tm resize-window -x $((1 + RANDOM % 220)) -y $((1 + RANDOM % 70))
        ((i % 7)) || keys Tab
    done
    tm resize-window -x 80 -y 24
    want '1 Code' && want '2 Registers' && want 'q quit|c stop' && want ' running '
}
too_small_and_back() {
    tm resize-window -x 20 -y 5
    want 'needs 80x24' || return
    keys C-c
    tm resize-window -x 80 -y 24
    want 'stopped: ' && want '1 Code' || return
    tm resize-window -x 3 -y 2
    see . 2
    tm resize-window -x 100 -y 30
    want '7 Points' && want '1 Code'
}
big() {
    bench 132 43 "$g/hello64" || return
    for part in 'cr0 0' 'c/F5 run' '8 Devices' 'b/F9 break' 'e8[0-9a-f]{8} +call'; do
        want "$part" || return
    done
    tm resize-window -x 240 -y 70
    want '^ 1 Code.* 2 Registers.* 6 Console' && want 'xcr0'
}
garbage_stays_outside() {
    local title
    open_term 80 24 "$VMSCOPE $g/garbage"
    want 'stopped: entry' || return
    title=$(pane pane_title)
    keys c
    want 'ended|stopped: [^e]' || return
    keys 6 z
    want '\\x' || return
    [[ $(pane pane_title) == "$title" ]] || fail "the guest set the title to $(pane pane_title)" || return
    [[ $(pane alternate_on) == 1 ]] || fail "the guest switched the screen" || return
    screen | head -1 | grep -q garbage || fail "the first line is gone" || return
    screen | LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]' && fail "control characters on screen"
    keys z
    want '1 Code'
}
quits_after_a_question() {
    bench 80 24 "$g/hello64" || return
    keys q
    want 'Leave vmscope' || return
    keys n
    gone 'Leave vmscope' && want '1 Code' || return
    keys F10
    want 'Leave vmscope' || return
    keys y
    restored 'status 0\.'
}
quit_command_status() {
    bench 80 24 "$g/hello64" || return
    keys : 'quit 7' Enter
    restored 'status 7\.'
}
by_signal() {
    bench 80 24 "$g/hello64" || return
    keys c
    kill "-$1" "$(program)"
    restored "$2"
}
term_restores() { by_signal TERM 'status [1-9][0-9]*\.'; }
# A client of the stub waits for the guest meanwhile.
term_restores_under_gdb() {
    bench 80 24 --gdb "unix:$TEST_DIR/gdb" "$g/tinyos" || return
    python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b"$vCont;c#a8")
while s.recv(4096): pass' "$TEST_DIR/gdb" &
    want 'running' || return
    kill -TERM "$(program)"
    restored 'status [1-9][0-9]*\.' && wait $! || fail 'the client does not learn of the end'
    [[ ! -e $TEST_DIR/gdb ]] || fail 'the socket is left'
}
hup_restores() { by_signal HUP 'status [1-9][0-9]*\.'; }
segv_restores() { by_signal SEGV 'status 139\.'; }
abort_restores() { by_signal ABRT 'status 134\.'; }
suspends() {
    open_term 80 24 "env PS1='sh%% ' bash --norc -i"
    want 'sh%' || return
    keys "$VMSCOPE $g/hello64" Enter
    want 'stopped: entry' || return
    keys C-z
    want '^\[1\][+] +Stopped' && [[ $(pane alternate_on) == 0 ]] || fail "not back in the shell" || return
    keys 'fg' Enter
    want '1 Code' && [[ $(pane alternate_on) == 1 ]] || fail "not back on the screen" || return
    keys s
    want 'stopped: step' || return
    keys q y
    want 'sh%'
}
no_color() {
    open_term 80 24 "NO_COLOR=1 $VMSCOPE $g/hello64"
    want 'stopped: entry' || return
    tm capture-pane -pe | grep -qE $'\e\\[([0-9;]*;)?[34][0-7]m' && fail "colours though NO_COLOR" && return 1
    tm capture-pane -pe | grep -qE $'\e\\[[0-9;]*7m' || fail "nothing is reversed"
}
plain_terminals() {
    local t
    for t in vt100 screen xterm-256color linux; do
        open_term 80 24 "TERM=$t $VMSCOPE $g/hello64"
        want 'stopped: entry' && want '1 Code' || return
        keys s
        want 'stopped: step' || return
        keys q y
        restored 'status 0\.' || return
        screen | grep -q 'Leave vmscope' && fail "TERM=$t: half of the screen is left" && return 1
    done
    open_term 80 24 "LC_ALL=C $VMSCOPE $g/hello64"
    want '>00100000 cli' || return
    screen | LC_ALL=C grep -q $'[\x80-\xff]' && fail "more than ASCII in the C locale"
    return 0
}
idle_sleeps() {
    local pid a b
    bench 80 24 "$g/hello64" || return
    pid=$(program)
    keys s
    want 'stopped: step' || return
    for ((t = 0; t < 5; t++)); do # on a busy host the last of the step may still be coming
        a=$(grep ctxt "/proc/$pid/status")
        sleep 1
        b=$(grep ctxt "/proc/$pid/status")
        [[ $a == "$b" ]] && return
    done
    fail "it wakes while nothing happens: $a, then $b"
}
# The lines of `commands` are typed one by one, run at each hit, and leave the screen at the stop that
# has none.
at_a_hit() { # tmux would take the word `end` for the key
    bench "$1" "$2" "$g/hello64" || return
    keys :
    want '^>( |$)' || return
    keys 'break print_char' Enter
    want 'Breakpoint 1 at' || return
    keys commands Enter
    want 'just "end"' || return
    keys silent Enter 'print/c $rdi' Enter continue Enter en d Enter 'break guest_done' Enter
    want 'Breakpoint 2 at' || return
    keys 'info breakpoints 1' Enter
    want '^ +print/c .rdi' || return
    keys continue Enter
    want 'stopped: breakpoint 2' && want '^Breakpoint 2, ' || return
    keys PPage PPage
    want '^.[1-3][0-9] = [0-9]+ .' || return # what the hits printed
    keys 'commands 1' Enter en d Enter 'info breakpoints 1' Enter
    want '^1 +breakpoint .* 43 |43 hits' || return
    keys 'reset' Enter 'continue' Enter
    want 'stopped: breakpoint 1'
}
commands_at_a_hit() { at_a_hit 80 24; }
commands_on_a_wide_screen() { at_a_hit 132 43; }
script_lines() {
    open_term 80 24 "$VMSCOPE -e 'break guest_main' -e continue -e 'print 6*7' $g/hello64"
    want 'stopped: breakpoint 1' && want '42|0x2a' || return
    keys Escape
    want '1 Code'
}
bad_terminal() {
    open_term 80 24 "TERM=no-such-terminal $VMSCOPE $g/hello64"
    want 'no-such-terminal' && restored 'status 2\.' || return
    open_term 80 24 "TERM=dumb $VMSCOPE $g/hello64"
    want 'cannot move' && restored 'status 2\.' || return
}

for n in $names; do test_ "$n"; done
exit $status

#!/bin/bash
# Scripts in the workbench: panes beside the panels, their keys, exits and addresses in a script's
# words, commands with completion.
set -u
cd "$(dirname "$0")/../.." || exit 2
g=${O:-o}/guests

names="pane_is_shown pane_has_keys pane_follows_the_guest panes_take_turns pane_errors_stay_inside
formatter_and_resolver command_completes
ctrl_c_ends_a_loop autoload_asks autoload_remembers autoload_never"
. tests/lib/tmux.sh


cat >"$TEST_DIR/pane.lua" <<'LUA'
local presses = 0
tui.pane{name = "first", title = "First of two", every = 0.05,
  keys = {d = function() presses = presses + 1 end, Space = function() presses = presses + 100 end},
  draw = function(cols, rows)
    local lines = {{"exits: ", {vm.exits() > 0 and "some" or "none", "changed"}}, "presses: " .. presses,
                   "bell: \7 escape: \27[31m"}
    for i = 1, 60 do lines[#lines + 1] = "line " .. i end
    return lines
  end}
local fails = 0
tui.pane{name = "second", draw = function() fails = fails + 1 error("drawn badly") end}
vm.formatter("io", "port == 0x3f8 && write", function(e) return "the guest says " .. string.char(e.value) end)
vm.resolver{resolve = function(a) if a >= 0x7c00 and a < 0x7e00 then return "bootsector", 0x7c00, 512 end end}
vm.command{name = "greet", usage = "WHO", help = "Greet somebody.", run = function(_, words) return "hello, " .. words[1] end,
           complete = function(before) return before == "" and {"Margaret", "Grace"} or {} end}
LUA

pane_is_shown() {
    open_term 100 30 "$VMSCOPE" --script "${TEST_DIR#"$PWD"/}/pane.lua" "$g/hello16.bin"
    want 'stopped: entry' && want '0 Panes.*First of two, 1 of 2' && want 'exits: none' && want 'presses: 0' &&
        want 'bell: .x07 escape: .x1b\[31m'
}
pane_has_keys() {
    keys 0
    keys d d
    want 'presses: 2' || return
    keys Space
    want 'presses: 102' || return
    keys NPage
    want 'line 7' || return
    keys Home
    want 'presses: 102' || return
    keys : 'pane first key d' Enter
    want 'presses: 103' || return
    keys Escape
    want 's step'
}
panes_take_turns() {
    keys 0 Right
    want 'second, 2 of 2' && want 'drawn badly' || return
    keys Left
    want 'First of two, 1 of 2'
}
pane_errors_stay_inside() {
    keys 0 Right
    want 'drawn badly' || return
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do keys s; done
    want 'failed 10 times in a row' || return
    keys Left
    want 'presses: 103'
}
pane_follows_the_guest() {
    keys c
    want 'exits: some'
}
formatter_and_resolver() {
    open_term 160 50 "$VMSCOPE" --script "${TEST_DIR#"$PWD"/}/pane.lua" "$g/hello16.bin"
    want 'stopped: entry  bootsector' && want 'exits: none' || return
    keys c
    want 'debug exit' && keys 5 && keys Home && want 'the guest says h' && want 'bootsector\+0x'
}
command_completes() {
    open_term 80 24 "$VMSCOPE" --script "${TEST_DIR#"$PWD"/}/pane.lua" "$g/hello16.bin"
    want 'stopped: entry' || return
    keys : 'greet G' Tab
    want 'greet Grace' || return
    keys Enter
    want 'hello, Grace'
}

ctrl_c_ends_a_loop() {
    keys Escape
    want 's step' || return
    local t0=$SECONDS
    keys : 'lua while true do pcall(function() while true do end end) end' Enter
    # A key that comes too early is the line editor's.
    until see 'interrupted' 1; do
        ((SECONDS - t0 < patience)) || { fail 'Ctrl-C did not end the loop'; return; }
        keys C-c
    done
    keys Escape
    want 's step' && keys s && want 'stopped: step'
}
autoload_asks() {
    mkdir -p "$TEST_DIR/guest"
    cp "$g/hello16.bin" "$TEST_DIR/guest/k.bin"
    printf '%s\n' '-- Shows a pane about \27[31mnothing.' 'tui.pane{name = "mine", draw = function() return "drawn by k.lua" end}' \
        >"$TEST_DIR/guest/k.lua"
    open_term 100 30 "$VMSCOPE" "$TEST_DIR/guest/k.bin"
    want 'Beside the guest lies a script, .*k.lua \(2 lines' && want '-- Shows a pane' && want 'read and' &&
        want 'Run it\?' || return
    keys s Enter
    want 'tui.pane.name = "mine"' || return
    keys no Enter
    want 'stopped: entry' || return
    screen | grep -q 'drawn by k.lua' && fail 'it ran after a no' && return
    open_term 100 30 "$VMSCOPE" "$TEST_DIR/guest/k.bin"
    want 'Run it\?' || return
    keys y Enter
    want 'stopped: entry' && want 'drawn by k.lua'
}
autoload_remembers() {
    open_term 100 30 "$VMSCOPE" "$TEST_DIR/guest/k.bin"
    want 'Run it\?' || return
    keys always Enter
    want 'drawn by k.lua' || return
    open_term 100 30 "$VMSCOPE" "$TEST_DIR/guest/k.bin"
    want 'drawn by k.lua' || return
    echo 'vm.symbols.changed = 0x7c00' >>"$TEST_DIR/guest/k.lua"
    open_term 100 30 "$VMSCOPE" "$TEST_DIR/guest/k.bin"
    want 'Run it\?'
}
autoload_never() {
    keys never Enter
    want 'stopped: entry' || return
    open_term 100 30 "$VMSCOPE" "$TEST_DIR/guest/k.bin"
    want 'stopped: entry' || return
    screen | grep -q 'drawn by k.lua' && fail 'it ran after a never' && return
    open_term 100 30 "$VMSCOPE" --autoload yes "$TEST_DIR/guest/k.bin"
    want 'drawn by k.lua'
}

for t in pane_is_shown pane_has_keys panes_take_turns pane_errors_stay_inside pane_follows_the_guest \
    formatter_and_resolver command_completes ctrl_c_ends_a_loop autoload_asks autoload_remembers autoload_never; do
    test_ $t
done
exit $status

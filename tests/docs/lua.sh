#!/bin/bash
# The scripting interface in its three shapes: the program's table, the reference in docs/lua.md and
# the annotations for editors.
set -u
cd "$(dirname "$0")/../.." || exit 2
status=0
result() { # NAME TEXT: fails when there is text
    if [[ $2 ]]; then
        echo "FAIL $1: $(head -n 1 <<<"$2")"
        status=1
    else
        echo "ok $1"
    fi
}
result reference_is_the_programs "$(tests/tools/reference "$VMSCOPE" docs/lua.md | diff - docs/lua.md |
    head -n 5 | tr '\n' ' ')${PIPESTATUS[0]#0}"
result types_are_the_programs "$("$VMSCOPE" --dump-lua types | diff - scripts/types/vmscope.lua |
    head -n 5 | tr '\n' ' ')"
# Installed where editors can be pointed at.
result types_are_installed "$(make -s install MODE=dbg DESTDIR="$TEST_DIR/root" PREFIX=/usr >/dev/null 2>&1
    cmp "$TEST_DIR/root/usr/share/vmscope/types/vmscope.lua" scripts/types/vmscope.lua 2>&1
    test -e "$TEST_DIR/root/usr/share/vmscope/lib/storm.lua" || echo 'the scripts are not installed')"
# They are Lua, they name everything that a script finds in vm and tui, and nothing else.
cat >"$TEST_DIR/names.lua" <<'LUA'
local f = assert(io.open("scripts/types/vmscope.lua"))
local text = f:read("a")
f:close()
assert(load(text, "types", "t", {}))()
local named = {}
for t, k in text:gmatch("\nfunction (%a+)%.([%w_]+)%(") do named[t .. "." .. k] = true end
for k in text:match("%-%-%-@class vm\n(.-)\nvm = "):gmatch("@field ([%w_]+)") do named["vm." .. k] = true end
for name, t in pairs{vm = vm, tui = tui} do
  for k in pairs(t) do
    if k:sub(1, 1) ~= "_" then assert(named[name .. "." .. k], name .. "." .. k .. " is not annotated") end
  end
end
for k in pairs(named) do
  local t, field = k:match("(%a+)%.(.*)")
  assert((t == "vm" and vm or tui)[field] ~= nil, k .. " is annotated but does not exist")
end
print("all names are there")
vm.quit(0)
LUA
if [[ -r /dev/kvm && -w /dev/kvm ]]; then
    said=$("$VMSCOPE" run --script "$TEST_DIR/names.lua" "${O:-o}/guests/hello16.bin" 2>&1)
    result types_name_everything "$(grep -q 'all names are there' <<<"$said" || echo "$said")"
else
    echo "SKIP types_name_everything: no usable /dev/kvm"
fi
exit $status

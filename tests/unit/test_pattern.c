/*
 * Our find, match, gmatch and gsub give what Lua's own give, for patterns made by chance.
 */
#include "tests/test.h"

#include "scripts/lua_int.h"

static const char script[] =
    "local own = {}\n"
    "for _, name in ipairs{'find', 'match', 'gmatch', 'gsub'} do own[name] = ours[name] end\n"
    "local std, seed, tried, good_ones = lua, 1, 0, 0\n"
    "local function dice(n) seed = (seed * 6364136223846793005 + 1442695040888963407)\n"
    "  return (seed >> 33) % n + 1 end\n"
    "local function pick(t) return t[dice(#t)] end\n"
    "local singles = {'a', 'b', '.', '%a', '%d', '%s', '%W', '%%', '%.', '[ab]', '[^ab]', "
    "'[a-c1]', '[%a_]',\n"
    "  '[]]', '[^]a]', '[a-]', '[%-x]', '%z', 'x', '1', ' ', '-', '\\0', ']', '[%d%s]', '%g', "
    "'%x', '%U'}\n"
    "local suffixes = {'', '', '', '', '*', '+', '-', '?'}\n"
    "local odd = {'%b()', '%bxx', '%f[%w]', '%f[^a]', '()', '%1', '%2', '$', '^', '(', ')', '%', "
    "'[', '[a', '%b(', "
    "'%f', '%0', '%9', '[^', '[%'}\n"
    "local function pattern(depth)\n"
    "  local t = {}\n"
    "  for i = 1, dice(5) do\n"
    "    local what = dice(20)\n"
    "    if what <= 3 and depth < 3 then t[#t + 1] = '(' .. pattern(depth + 1) .. ')'\n"
    "    elseif what == 4 then t[#t + 1] = pick(odd)\n"
    "    else t[#t + 1] = pick(singles) .. pick(suffixes) end\n"
    "  end\n"
    "  return table.concat(t)\n"
    "end\n"
    "local function text()\n"
    "  local t = {}\n"
    "  for i = 1, dice(14) - 1 do t[#t + 1] = pick{'a', 'b', 'c', '1', '2', ' ', '(', ')', 'x', "
    "'.', '-', '\\0', ']', '%', "
    "'\\xff'} end\n"
    "  return table.concat(t)\n"
    "end\n"
    "local function all(fn, s, p, init)\n"
    "  local t = {}\n"
    "  for a, b, c in fn(s, p, init) do t[#t + 1] = tostring(a) .. '|' .. tostring(b) .. '|' .. "
    "tostring(c) end\n"
    "  return table.concat(t, '#')\n"
    "end\n"
    "local function same(what, s, p, f, g)\n"
    "  local a, b = table.pack(pcall(f)), table.pack(pcall(g))\n"
    "  tried = tried + 1\n"
    "  if a[1] then good_ones = good_ones + 1 end\n"
    "  local equal = a[1] == b[1] and (not a[1] or a.n == b.n)\n"
    "  for i = 2, a[1] and a.n or 0 do equal = equal and a[i] == b[i] and math.type(a[i]) == "
    "math.type(b[i]) end\n"
    "  if not equal then error(std.format('%s(%q, %q): Lua %s %s %s %s, ours %s %s %s %s', what, "
    "s, p,\n"
    "    tostring(a[1]), tostring(a[2]), tostring(a[3]), tostring(a[4]), tostring(b[1]), "
    "tostring(b[2]), "
    "tostring(b[3]), tostring(b[4]))) end\n"
    "end\n"
    "local repl = {'<%0>', '%1', '', '%%', '%2x', {a = 'A', b = false, ab = 7}, function(a, b) "
    "return b end,\n"
    "  function(a) if a ~= 'a' then return '[' .. a .. ']' end end, function() return {} end, "
    "'%q', 5}\n"
    "for i = 1, rounds do\n"
    "  local s, p = text(), (dice(6) == 1 and '^' or '') .. pattern(1) .. (dice(6) == 1 and '$' or "
    "'')\n"
    "  local init, r, max = dice(12) - 6, pick(repl), dice(5) - 1\n"
    "  same('find', s, p, function() return std.find(s, p, init) end, function() return "
    "own.find(s, p, init) end)\n"
    "  same('plain', s, p, function() return std.find(s, p, init, true) end, function() return "
    "own.find(s, p, init, true) "
    "end)\n"
    "  same('match', s, p, function() return std.match(s, p, init) end, function() return "
    "own.match(s, p, init) end)\n"
    "  same('gmatch', s, p, function() return all(std.gmatch, s, p, init) end, function() return "
    "all(own.gmatch, s, p, "
    "init) end)\n"
    "  same('gsub', s, p, function() return std.gsub(s, p, r) end, function() return own.gsub(s, "
    "p, r) end)\n"
    "  same('gsub', s, p, function() return std.gsub(s, p, r, max) end, function() return "
    "own.gsub(s, p, r, max) end)\n"
    "end\n"
    "assert(good_ones > tried // 2, good_ones .. ' of ' .. tried .. ' patterns were good')\n"
    "-- and what the wrapped functions still do\n"
    "assert(('ab'):rep(3, '-') == 'ab-ab-ab' and (''):rep(1 << 60) == '' and ('x'):rep(0) == '')\n"
    "assert(table.concat({1, 2}, ',') == '1,2' and select('#', table.unpack({1, nil, 3}, 1, 3)) == "
    "3)\n"
    "assert(#table.move({1, 2, 3}, 1, 3, 2) == 4)\n"
    "assert(not pcall(table.move, {}, 1, 1 << 62, 2))\n"
    "local liar = setmetatable({}, {__len = function() return 1 << 60 end})\n"
    "for _, name in ipairs{'insert', 'remove', 'sort', 'concat', 'unpack'} do assert(not "
    "pcall(table[name], liar, 1), name) "
    "end\n"
    "local t = {3, 1, 2} table.sort(t) table.insert(t, 4) assert(table.remove(t, 1) == 1 and #t == "
    "3)\n";

static void as_luas_own(void)
{
    lua_State *L = luaL_newstate();

    luaL_openlibs(L);
    /* `lua` keeps the library's functions, the global string gets ours. */
    CHECK_EQ(luaL_dostring(L, "lua = {} for k, v in pairs(string) do lua[k] = v end"), LUA_OK);
    lua_open_pattern(L);
    lua_getglobal(L, "string");
    lua_setglobal(L, "ours");
    lua_pushinteger(L, 30000);
    lua_setglobal(L, "rounds");
    if (luaL_dostring(L, script) != LUA_OK)
        test_fail(__FILE__, __LINE__, "%.400s", lua_tostring(L, -1));
    lua_close(L);
}

static const struct test tests[] = {
    {"as_luas_own", as_luas_own},
};
TEST_MAIN(tests)

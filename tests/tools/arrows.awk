# Which folder may include which, and what may be called where. One line for each violation.
# Usage: awk -f tests/tools/arrows.awk FILE...      (docs/architecture.md has the picture)

function top(path) { sub(/\/.*/, "", path); return path }
function bad(why) { printf "%s:%d: %s\n", FILENAME, FNR, why; failed = 1 }
BEGIN {
    allowed["vmm"] = " vmm "
    allowed["disasm"] = " disasm "
    allowed["debug"] = " debug vmm disasm "
    allowed["scripts"] = " scripts debug disasm "
    allowed["tui"] = " tui debug scripts disasm "
    allowed["guests"] = " guests "
    allowed["tests"] = " tests vmm debug disasm scripts tui guests "
    # Plain data and descriptor tables that every folder may know; they cannot touch a machine.
    shared = "^vmm/(base/.*|regs|exit|boot|walk|machine|dev|door|probe)[.](h|def)$"
}
{
    line = $0
    sub(/\/\/.*/, "", line)
    gsub(/\/\*[^*]*\*\//, "", line)
    if (line ~ /^[ \t]*\*/)
        next
    sub(/\/\*.*/, "", line)
}
FNR == 1 { dir = top(FILENAME); dev = FILENAME ~ /^vmm\/devices\// }
line ~ /^[ \t]*#[ \t]*include[ \t]*"/ {
    inc = line
    sub(/^[^"]*"/, "", inc)
    sub(/".*/, "", inc)
    if (inc !~ /\//) {
        if (dir != "guests" && dir != "tests")
            bad("include \"" inc "\" without its folder")
    } else if (FILENAME ~ /^vmm\/base\// && inc !~ /^vmm\/base\//)
        bad("vmm/base may not include " inc)
    else if (dir == "guests" && inc == "vmm/testdev_abi.h")
        ;
    else if (dir == "disasm" && inc ~ /^vmm\/base\//)
        ;
    else if ((dir == "scripts" || dir == "tui") && inc ~ shared)
        ;
    else if (index(allowed[dir], " " top(inc) " ") == 0)
        bad(dir " may not include " inc)
}
dir == "tests" || dir == "guests" { next }
line ~ /#[ \t]*include[ \t]*<(ncurses|curses|ncursesw\/)/ && FILENAME != "tui/screen.c" {
    bad("only tui/screen.c knows curses")
}
line ~ /#[ \t]*include[ \t]*<(lua|lauxlib|lualib)/ && dir != "scripts" { bad("only scripts/ knows Lua") }
line ~ /(^|[^a-z_])ioctl\(/ && FILENAME != "vmm/kvm.c" && line !~ /TIOC|PERF_EVENT_IOC/ {
    bad("KVM ioctls are in vmm/kvm.c")
}
dev && line ~ /(^|[^a-z_])(time|rand|random|clock_gettime|gettimeofday|getrandom|getentropy)\(/ {
    bad("a device gets time and chance through vmm/door.h")
}
dev && line ~ /(^|[^a-z_])read\(/ { bad("a device gets input through vmm/door.h") }
line ~ /(^|[^a-z_])(strcpy|strcat|sprintf|vsprintf|atoi|atol|gets|alloca)\(/ { bad("banned function") }
END { exit failed }

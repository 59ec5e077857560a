/*
 * The text of `vmscope gdbinit`. Touches no machine.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "debug/gdb/gdb.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

static bool is_elf(const char *path)
{
    char magic[4];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool yes = fd >= 0 && read(fd, magic, 4) == 4 && !memcmp(magic, "\177ELF", 4);

    if (fd >= 0)
        close(fd);
    return yes;
}

/* "FILE[@ADDRESS]" as a command that loads it. */
static void add_symbols(const char *spec, struct buf *out)
{
    char *file = xstrdup(spec), *at = strrchr(file, '@'), *full;

    if (at)
        *at++ = 0;
    full = realpath(file, NULL);
    if (full && strpbrk(full, " \t\"'\\\n"))
        buf_adds(out, "# The kernel's path has characters that gdb commands cannot hold.\n");
    else if (full && is_elf(full))
        buf_addf(out, at ? "symbol-file -o %s %s\n" : "file %s\n", at ? at : full, full);
    else
        buf_adds(out, "# No ELF file with symbols is known: add `file KERNEL.elf` here.\n");
    free(full);
    free(file);
}

/* gdb for x86 holds each register that it does not know for a general one, whatever group
 * target.xml puts it into. */
static const char registers[] =
    "\n# `info registers` without a word: the general ones. With names of registers or of the "
    "groups\n"
    "# control, segment, table, debug and msr: those. `info all-registers` is gdb's own still.\n"
    "python\n"
    "import re\n"
    "class Registers(gdb.Command):\n"
    "    'Registers of the frame: info registers [REGISTER|GROUP]...'\n"
    "    def __init__(self):\n"
    "        super().__init__('info registers', gdb.COMMAND_STATUS)\n"
    "    def known(self):\n"
    "        groups = {'general': []}\n"
    "        try:\n"
    "            xml = gdb.execute('maint print xml-tdesc', to_string=True)\n"
    "        except gdb.error:\n"
    "            xml = ''\n"
    "        for reg in re.findall(r'<reg [^>]*>', xml):\n"
    "            has = dict(re.findall(r'(\\w+)=\"([^\"]*)\"', reg))\n"
    "            plain = 'general' if int(has['bitsize']) <= 64 else ''\n"
    "            groups.setdefault(has.get('group', plain), []).append(has['name'])\n"
    "        return groups\n"
    "    def invoke(self, args, tty):\n"
    "        groups, names = self.known(), []\n"
    "        for word in args.split() or ['general']:\n"
    "            more = groups.get(word, []) if word not in ('float', 'vector') else []\n"
    "            names += [n for n in more or [word] if n != 'all']\n"
    "        try:\n"
    "            gdb.execute('info all-registers ' + ' '.join(names), tty)\n"
    "        except gdb.error as e:\n"
    "            raise gdb.GdbError(str(e))\n"
    "    def complete(self, text, word):\n"
    "        groups = self.known()\n"
    "        names = sum(groups.values(), list(groups))\n"
    "        return sorted(n for n in names if n and n.startswith(word))\n"
    "Registers()\n"
    "end\n";

/* gdb's own idea of a frame is 32 bits wide in 16-bit code as well. */
static const char unwinder[] =
    "\n# Callers in 16-bit code: frames made by `push %bp; mov %sp,%bp` and near calls.\n"
    "python\n"
    "import gdb.unwinder\n"
    "class Frames16(gdb.unwinder.Unwinder):\n"
    "    class Id:\n"
    "        def __init__(self, sp, pc):\n"
    "            self.sp, self.pc = sp, pc\n"
    "    def __call__(self, frame):\n"
    "        if frame.architecture().name() != 'i8086':\n"
    "            return None\n"
    "        kind = frame.read_register('eax').type\n"
    "        reg = lambda name: int(frame.read_register(name)) & 0xffffffff\n"
    "        value = lambda n: gdb.Value(n).cast(kind)\n"
    "        read = lambda at, n: bytes(gdb.selected_inferior().read_memory(at, n))\n"
    "        word = lambda at: int.from_bytes(read(at, 2), 'little')\n"
    "        pc, sp, bp = reg('eip'), reg('esp'), reg('ebp')\n"
    "        at, back = sp, 0\n"
    "        try:\n"
    "            code, fp = read(pc - 1, 3), reg('ss_base') + (bp & 0xffff)\n"
    "            if frame.level() == 0 and code[1] in (0x55, 0xc3):  # push %bp, ret\n"
    "                at = sp\n"
    "            elif frame.level() == 0 and code in (b'\\x55\\x89\\xe5', b'\\x55\\x8b\\xec'):\n"
    "                at, bp = sp + 2, word(sp)\n"
    "            else:\n"
    "                at, bp = fp + 2, word(fp)\n"
    "            if at >= sp:\n"
    "                back = reg('cs_base') + word(at)\n"
    "        except (gdb.error, OverflowError):\n"
    "            pass\n"
    "        at = at if back else sp\n"
    "        info = frame.create_unwind_info(Frames16.Id(value(at + 2), value(0)))\n"
    "        new = {'eip': back, 'esp': at + 2, 'ebp': bp}  # eip 0: the outermost\n"
    "        names = [r.name for r in frame.architecture().registers('general')]\n"
    "        for name in names + ['cs_base', 'ss_base']:\n"
    "            old = frame.read_register(name)\n"
    "            info.add_saved_register(name, value(new[name]) if name in new else old)\n"
    "        return info\n"
    "gdb.unwinder.register_unwinder(None, Frames16('vmscope-16'), True)\n"
    "gdb.invalidate_cached_frames()\n"
    "end\n";

void gdb_init_text(const char *image, const char *symbols, const char *where, struct buf *out)
{
    char name[200];
    const char *at = where ? where : "127.0.0.1:1234";
    bool local;

    esc_cut(name, sizeof name, image, strlen(image));
    buf_addf(
        out,
        "# gdb for %s under vmscope:  vmscope -S --gdb %s %s\n"
        "# Save as .gdbinit and start `gdb`, or start `gdb -x FILE`.\n"
        "set pagination off\n"
        "set confirm off\n"
        "set disassemble-next-line on\n"
        "# A busy machine answers late; gdb by itself gives an answer up after 2 seconds.\n"
        "set remotetimeout 60\n"
        "# While the processor is in 32-bit code: addresses of a kernel at the top stay whole.\n"
        "set remoteaddresssize 64\n"
        "# What is set here is seen by vmscope and its other clients at once.\n"
        "set breakpoint always-inserted on\n",
        name, where ? where : "1234", name);
    add_symbols(symbols ? symbols : image, out);
    local = !strncmp(at, "unix:", 5);
    if (local)
        at += 5;
    buf_addf(out,
             "target remote %s%s\n"
             "# A step moves one vCPU; the others stand meanwhile.\n"
             "set scheduler-locking step\n",
             local || strchr(at, ':') ? "" : ":", at);
    buf_adds(out, registers);
    buf_adds(out, unwinder);
}

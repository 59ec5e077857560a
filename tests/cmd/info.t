NAME: disassemble
RUN: %g/hello64
CMD: disassemble guest_main
CMD: disassemble 0x100000,+3 /r
CMD: disassemble
EXPECT: ^Dump of assembler code for function guest_main:
EXPECT: ^   0x0000000000100021 <\+0>:	push rbp
EXPECT: call printk
EXPECT: ^End of assembler dump\.
EXPECT: ^Dump of assembler code from 0x100000 to 0x100003:
EXPECT: ^=> 0x0*100000.*:	fa	cli
EXPECT: ^=> 0x0000000000100000 <\+0>|^=> 0x100000 <_start>

NAME: backtrace
RUN: %g/hello64
CMD: until printk
CMD: backtrace
CMD: bt 1
EXPECT: ^#0 +0x[0-9a-f]{16} in printk \(\) at .*guest.c:[0-9]+
EXPECT: ^#1 +0x[0-9a-f]{16} in guest_main \(\) at .*hello64.c:[0-9]+
EXPECT: ^#2 +0x[0-9a-f]{16} in _start \(\)
EXPECT: ^#0 
EXPECT: More stack frames

NAME: symbols
RUN: %g/hello64
CMD: info symbol 0x100022
CMD: info address guest_main
CMD: info line guest_main
CMD: info functions print
CMD: info symbol 0
CMD: symbol-file
CMD: info symbol 0x100022
CMD: symbol-file %g/hello64
CMD: info symbol 0x100021
CMD: add-symbol-file %g/hello64 0x1000000
CMD: info symbol 0x1100021
EXPECT: ^guest_main \+ 1$
EXPECT: ^Symbol "guest_main" is a function at address 0x100021
EXPECT: ^Line 14 of ".*hello64.c" is at address 0x100021 <guest_main>\.
EXPECT: printk$
EXPECT: ^No symbol matches 0
EXPECT: ^No symbols now
EXPECT: ^No symbol matches 0x100022
EXPECT: symbols read from
EXPECT: ^guest_main$
EXPECT: symbols read from
EXPECT: ^guest_main$

NAME: unknown_address
RUN: %g/hello64
CMD: info address gest_main
EXPECT: did you mean `guest_main`
STATUS: 8

NAME: symbol_file_that_is_none
RUN: %g/hello64
CMD: symbol-file tests/cmd/info.t
EXPECT: info.t
STATUS: 8

NAME: exits
RUN: %g/storm_pio --append n=500
CMD: continue
CMD: info exits
CMD: info exits last 3
CMD: info exits last 2 io
EXPECT: ^kind +count +per second +exits
EXPECT: ^io +[0-9]+ +[0-9]+ +[0-9.]+%
EXPECT: ^[0-9]+ exits in [0-9.]+ s of running
EXPECT: ^ *seq +at us +cpu +rip
EXPECT: out 0x
EXPECT: ^ *seq
EXPECT: io +out
STATUS: 33

NAME: exits_of_an_unknown_kind
RUN: %g/hello64
CMD: info exits last 5 nothing
EXPECT: neither a count
STATUS: 8

NAME: devices
RUN: %g/hello64
CMD: info devices
CMD: info device pit
CMD: info dev com1
EXPECT: ^device +what
EXPECT: ^pit +8254
EXPECT: ^channel 0: 
EXPECT: com1|lcr|ier

NAME: unknown_device
RUN: %g/hello64
CMD: info device pti
EXPECT: did you mean `pit`
STATUS: 8

NAME: cpus
RUN: -c 2 %g/hello64
CMD: info cpus
CMD: vcpu
CMD: vcpu 1
CMD: info threads
CMD: thread 0
EXPECT: ^\* +0 +long64 +0 +[a-z]+ +0x100000 <_start>
EXPECT: ^ +1 +real
EXPECT: Current vCPU is 0
EXPECT: Switching to vCPU 1
EXPECT: ^\* +1 
EXPECT: Switching to vCPU 0

NAME: no_such_vcpu
RUN: %g/hello64
CMD: vcpu 1
EXPECT: there is no vCPU 1
STATUS: 8

NAME: walk
RUN: %g/hello64
CMD: info walk 0x100021
CMD: info walk 0xffff800000000000
CMD: info walk 0x800000000000
EXPECT: ^4-level, CR3 0x[0-9a-f]+000
EXPECT: ^PML4 +0 +0x[0-9a-f]+ +0x[0-9a-f]+ +0x[0-9a-f]+ +present writable supervisor
EXPECT: ^PD +0 .*2M-page
EXPECT: ^0x100021 is physical 0x100021 in a page of 2 MiB: writable
EXPECT: NOT PRESENT
EXPECT: ^0xffff800000000000 is not mapped
EXPECT: ^0x800000000000 is not mapped: .*canonical

NAME: walk_without_paging
RUN: %g/hello16.bin
CMD: info walk 0x7c00
CMD: info tab
EXPECT: is physical 0x7c00: paging is off
EXPECT: ^Paging is off

NAME: tab
RUN: %g/hello64
CMD: info tab
EXPECT: ^4-level
EXPECT: ^0x0000000000000000-0x00000000ffffffff +0x0-0xffffffff +4294967296 +2 MiB +swx

NAME: gdt_idt_tss
RUN: %g/ring3
CMD: until guest_done
CMD: info gdt
CMD: info gdt 1
CMD: info idt
CMD: info idt 14
CMD: info tss
EXPECT: ^GDT at 0x[0-9a-f]+, limit 0x
EXPECT: 64-bit code.* <- CS
EXPECT: 64-bit TSS \(busy\) <- TR
EXPECT: ^ +0x8 
EXPECT: ^IDT at 0x
EXPECT: 64-bit interrupt gate
EXPECT: #PF page fault
EXPECT: ^TSS at 0x
EXPECT: ^rsp0 +4 +0x

NAME: interrupt_table_of_real_mode
RUN: %g/hello16.bin
CMD: set *(u32*)0x20 = 0x12345678
CMD: info idt 8
CMD: info tss
EXPECT: 1234:5678 +0x179b8
EXPECT: ^No task state segment

NAME: gdt_ends
RUN: %g/hello64
CMD: info gdt 100
EXPECT: the GDT ends before entry 100
STATUS: 8

NAME: memory_map_and_guest
RUN: -m 64M --append "a b" %g/storm_pio
CMD: info mem
CMD: info guest
EXPECT: ^0x0 +0x3ffffff +67108864 +RAM
EXPECT: loaded +[a-zA-Z]
EXPECT: device +local APIC
EXPECT: ^image .*storm_pio
EXPECT: ^entry +0x1
EXPECT: ^command line +a b
EXPECT: ^memory bytes +67108864

NAME: kvm
RUN: %g/hello64
CMD: info kvm
EXPECT: step

NAME: log
RUN: %g/hello64
CMD: info log 5

NAME: log_takes_a_number
RUN: %g/hello64
CMD: info log x
EXPECT: not `x`
STATUS: 8

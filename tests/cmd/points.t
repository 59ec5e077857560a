NAME: break_and_list
RUN: %g/hello64
CMD: break guest_main
CMD: tbreak *0x100002
CMD: continue
CMD: info breakpoints
CMD: c
CMD: info breakpoints
EXPECT: ^Breakpoint 1 at 0x100021 <guest_main>
EXPECT: ^Temporary breakpoint 2 at 0x100002 <_start\+0x2>
EXPECT: ^=> 0x100002 <_start
EXPECT: ^1 +breakpoint +keep +y +0x0000000000100021 +<guest_main> +0
REFUSE: ^2 +breakpoint
EXPECT: ^Breakpoint 1, 0x100021 <guest_main>
EXPECT: ^1 +breakpoint +keep +y +0x0000000000100021 +<guest_main> +1

NAME: condition_in_the_command
RUN: %g/storm_pio --append n=50
CMD: break *0x100000 if $rax == 1
CMD: break printk if $rdi != 0 thread 0
CMD: info breakpoints
CMD: continue
EXPECT: ^1 .*\$rax == 1 +all
EXPECT: ^2 .*\$rdi != 0 +vcpu 0
EXPECT: ^Breakpoint 2

NAME: condition_ignore_disable_enable_delete
RUN: %g/stack
CMD: break printk
CMD: condition 1 0
CMD: ignore 1 1
CMD: disable 1
CMD: info breakpoints
CMD: enable
CMD: condition 1
CMD: continue
CMD: delete 1
CMD: info breakpoints
CMD: continue
EXPECT: ^Will ignore next 1 crossings of breakpoint 1\.
EXPECT: ^1 +breakpoint +keep +n
EXPECT: ^Breakpoint 1 now unconditional
EXPECT: ^Breakpoint 1, 
EXPECT: ^No breakpoints
STATUS: 33

NAME: break_at_a_source_line
RUN: %g/hello64
CMD: break hello64.c:14
CMD: continue
CMD: info line
EXPECT: ^Breakpoint 1 at 0x100021 <guest_main>
EXPECT: hello64.c:14
EXPECT: ^Line 14 of "

NAME: break_at_a_segment_and_offset
RUN: %g/hello16.bin
CMD: break 0:0x7c05
CMD: break 0x7c0:6
EXPECT: ^Breakpoint 1 at 0x7c05
EXPECT: ^Breakpoint 2 at 0x7c06

NAME: break_at_a_physical_address
RUN: %g/hello64
CMD: break phys:0x100021
CMD: continue
EXPECT: ^Breakpoint 1 at phys:0x100021
EXPECT: ^=> 0x100021 <guest_main>

NAME: catch_an_exit
RUN: %g/hello64
CMD: catch io if port == 0x3f8 && write
CMD: continue
CMD: info breakpoints
EXPECT: ^Catchpoint 1 \(io\)
EXPECT: ^Catchpoint 1
EXPECT: ^1 +catchpoint +keep +y +io

NAME: unknown_symbol
RUN: %g/hello64
CMD: break guest_mian
EXPECT: no symbol
STATUS: 8

NAME: unknown_line
RUN: %g/hello64
CMD: break hello64.c:9999
EXPECT: no code is known for hello64.c:9999
STATUS: 8

NAME: no_such_vcpu
RUN: %g/hello64
CMD: break guest_main thread 7
EXPECT: there is no vCPU 7: this guest has 1
STATUS: 8

NAME: no_such_point
RUN: %g/hello64
CMD: delete 5
EXPECT: ^No breakpoint number 5\.
STATUS: 8

NAME: unknown_kind_of_exit
RUN: %g/hello64
CMD: catch mmoi
EXPECT: did you mean `mmio`
STATUS: 8

NAME: bad_condition
RUN: %g/hello64
CMD: break guest_main if $rax ==
EXPECT: column
STATUS: 8

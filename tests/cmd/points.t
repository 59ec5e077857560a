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
EXPECT: ^Catchpoint 1 \(io if port == 0x3f8 && write\)
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

NAME: catch_exceptions
RUN: %g/pagefault
CMD: catch exception pf
CMD: catch int3
CMD: info breakpoints
CMD: continue
CMD: continue
CMD: delete 1
CMD: continue
EXPECT: ^1 +catchpoint .*exception pf .*break at the guest's handler
EXPECT: ^Catchpoint 1 \(exception pf\).*vector 14 \(.*error code 0x2, address 0x50001238, raised at 0x
EXPECT: ^Catchpoint 1 .*error code 0x0, address 0x50002000
EXPECT: exit status 33
STATUS: 33

NAME: catch_exception_in_ring_3
RUN: %g/ring3
CMD: catch exception 14 if $cr2 == 0x100000
CMD: continue
CMD: continue
EXPECT: ^Catchpoint 1 .*error code 0x5, address 0x100000, raised at 0x40000
STATUS: 33

NAME: catch_mode_and_console
RUN: %g/modes.bin
CMD: catch mode
CMD: catch console "long mode"
CMD: continue
CMD: continue
CMD: delete 1
CMD: continue
EXPECT: ^Catchpoint 1 \(mode\).*from real.*to prot
EXPECT: ^Catchpoint 1 \(mode\).*from prot
EXPECT: ^Catchpoint 2 \(console "long mode"\)

NAME: catch_by_port_direction_and_vector
RUN: %g/timer_irq
CMD: catch io out 0x40-0x43 if value == 0x34
CMD: continue
CMD: delete
CMD: catch irq 0x20
CMD: continue
CMD: catch post 0x7
CMD: info breakpoints
EXPECT: ^Catchpoint 1 \(io out 0x40-0x43 if value == 0x34\)
EXPECT: ^Catchpoint 2 \(irq 0x20\)

NAME: catch_refuses_0
RUN: %g/hello64
CMD: catch
EXPECT: what to catch is missing
STATUS: 8

NAME: catch_refuses_1
RUN: %g/hello64
CMD: catch kernel
EXPECT: nothing can be caught at
STATUS: 8

NAME: catch_refuses_2
RUN: %g/hello64
CMD: catch exceptoin
EXPECT: did you mean `exception`
STATUS: 8

NAME: catch_refuses_3
RUN: %g/hello64
CMD: catch exception 77
EXPECT: 0 to 31, not 77
STATUS: 8

NAME: catch_refuses_4
RUN: %g/hello64
CMD: catch console ""
EXPECT: 1 to 200 characters
STATUS: 8

NAME: catch_refuses_5
RUN: %g/hello64
CMD: catch io 0x3f8 then
EXPECT: may stand `thread N`, `if EXPR` and `do ACTION`, not `then`
STATUS: 8

NAME: catch_refuses_6
RUN: %g/hello64
CMD: catch io 0x3f8 if (
EXPECT: column 2 of "\("
STATUS: 8

NAME: stepto_finds_its_mark
RUN: %g/modes.bin
CMD: stepto mode
CMD: stepto call
CMD: stepto ret
EXPECT: ^Stepped to
EXPECT: call
EXPECT: ret

NAME: a_point_is_not_lost_while_an_interrupt_waits
RUN: %g/tinyos
CMD: break shell_run
CMD: continue
EXPECT: ^Breakpoint 1, 0x[0-9a-f]+ <shell_run>

NAME: catch_irq_shows_the_handler
RUN: %g/timer_irq
CMD: tcatch irq 0x20
CMD: continue
CMD: info catchpoints
EXPECT: ^Temporary catchpoint 1 \(irq 0x20\)
EXPECT: ^Catchpoint 1 \(irq 0x20\), 0x[0-9a-f]+ <trap_stubs\+0x200>: interrupt 0x20
EXPECT: ^No catchpoints

NAME: catch_tells_the_exit
RUN: %g/hello64
CMD: catch debug-exit 0x11
CMD: catch debug-exit 0x10
CMD: catch io out 0x3f8 thread 0 if value == 'h'
CMD: continue
CMD: disable 3
CMD: continue
EXPECT: ^Catchpoint 3 \(io out 0x3f8 .*: out 0x3f8 \(COM1 THR\) 1 byte = 0x68 'h'
EXPECT: ^Catchpoint 2 \(debug-exit 0x10\), .*: out 0xf4

NAME: catch_filters_of_mode_cr3_and_triple
RUN: %g/modes.bin
CMD: tcatch mode to long64 ring 0
CMD: catch cr3 0x10000
CMD: catch cr3 0x10001-0x20000
CMD: continue
CMD: continue
CMD: info catchpoints
EXPECT: ^Catchpoint 2 \(cr3 0x10000\), .*: CR3 from 0x0 to 0x10000
EXPECT: ^Catchpoint 1 \(mode to long64 ring 0\), .* to long64, ring 0
EXPECT: ^3 +catchpoint +keep +y +cr3 +cr3 0x10001-0x20000 +0

NAME: catch_triple_by_vector
RUN: %g/triple
CMD: catch triple pf do count
CMD: catch triple ud do count
CMD: continue
CMD: info catchpoints
EXPECT: ^1 .*triple pf +0
EXPECT: ^2 .*triple ud +1
STATUS: 6

NAME: catch_refuses_what_cannot_be_0
RUN: %g/hello64
CMD: catch io 5-2
EXPECT: nothing lies between 0x5 and 0x2
STATUS: 8

NAME: catch_refuses_what_cannot_be_1
RUN: %g/hello64
CMD: catch irq 300
EXPECT: 0x12c can never be
STATUS: 8

NAME: catch_refuses_what_cannot_be_2
RUN: %g/hello64
CMD: catch hlt if
EXPECT: behind `if` must stand an expression
STATUS: 8

NAME: catch_refuses_what_cannot_be_3
RUN: %g/hello64
CMD: catch hlt if port == 1
EXPECT: `port` is nothing that hlt has
STATUS: 8

NAME: catch_refuses_what_cannot_be_4
RUN: %g/hello64
CMD: catch io thread 7
EXPECT: the number of a vCPU, 0 to 0
STATUS: 8

NAME: catch_says_what_will_not_come
RUN: %g/hello64 --irqchip kernel
CMD: catch xen
CMD: catch irq
EXPECT: ^Note: KVM makes this exit only for those who ask
EXPECT: ^Note: with --irqchip kernel KVM halts vCPUs

NAME: a_condition_may_use_words_of_exits
RUN: %g/hello64
CMD: break guest_main if rip != 0
CMD: continue
EXPECT: ^Breakpoint 1, 

NAME: catch_mode_names_the_modes
RUN: %g/hello64
CMD: catch mode to foo
EXPECT: `to` and one of real, .*long64, by `ring`
STATUS: 8

NAME: catch_io_in_one_direction
RUN: %g/hello64
CMD: catch io in 0x3f8 out
EXPECT: say `in` or `out` once
STATUS: 8

NAME: catch_nothing_of_other_processors
RUN: %g/hello64
CMD: catch dcr
EXPECT: `dcr` is no exit of x86 \(PowerPC only
STATUS: 8

NAME: catch_console_text_ends
RUN: %g/hello64
CMD: catch console "abc
EXPECT: a `"` is missing
STATUS: 8

NAME: do_script_says_what_is_missing
RUN: %g/hello64
CMD: break guest_main do script NOSUCH
EXPECT: ^no script has defined `NOSUCH`
REFUSE: traceback
STATUS: 8

NAME: show_tells_a_family_of_options
RUN: %g/hello64
CMD: show breakpoint
EXPECT: ^breakpoint-bytes +on
EXPECT: ^breakpoint-pending +off

NAME: an_end_that_was_caught_comes_when_the_guest_goes_on
RUN: %g/hello64
CMD: catch debug-exit
CMD: continue
CMD: continue
EXPECT: ^Catchpoint 1 \(debug-exit\), .*: out 0xf4
EXPECT: ^The guest wrote 16 to the debug-exit port
STATUS: 33

NAME: a_reset_that_was_caught_comes_when_the_guest_goes_on
RUN: --on-triple-fault reset --timeout 5 %g/triple
CMD: tcatch triple
CMD: catch triple ud do count
CMD: continue
CMD: tcatch triple
CMD: continue
CMD: info catchpoints
EXPECT: ^Triple fault at
EXPECT: The guest resets itself
EXPECT: ^2 .* 2 +exit +count
STATUS: 6

# What the debugger itself brings about is no exit of the guest's.
NAME: own_exits_are_not_caught
RUN: %g/ring3
CMD: set breakpoint registers off
CMD: break guest_main
CMD: catch internal
CMD: catch shutdown
CMD: continue
CMD: tcatch mode ring 3
CMD: continue
CMD: stepi 3
CMD: info breakpoints
EXPECT: ^Breakpoint 1, 0x[0-9a-f]+ <guest_main>$
EXPECT: ^Temporary catchpoint 4|^Catchpoint 4
EXPECT: ^Stepped to 0x40000006
EXPECT: ^2 .*internal +0
EXPECT: ^3 .*shutdown +0

NAME: what_can_never_be_is_refused
RUN: %g/hello64
CMD: break *0x8000000000000000
EXPECT: ^0x8000000000000000 is no address that a page can be mapped at
STATUS: 8

NAME: a_point_that_waits_says_so
RUN: %g/hello64
CMD: break 0x500000000
CMD: watch *(u32*)0x400000000
CMD: watch 0xfffffffffffffff8,8
CMD: ignore 1 -5
EXPECT: ^Breakpoint 1 at 0x500000000 \(pending: nothing is mapped there yet\)
EXPECT: ^Watchpoint 2: .* \(4 bytes at 0x400000000, pending: nothing is mapped there yet\)
EXPECT: ^Watchpoint 3: .*pending
EXPECT: ^Will stop next time breakpoint 1 is reached

NAME: ignore_without_a_count
RUN: %g/hello64
CMD: break guest_main
CMD: ignore 1
EXPECT: ^how often to pass breakpoint 1 is missing
STATUS: 8

NAME: enable_count_below_one
RUN: %g/hello64
CMD: break guest_main
CMD: enable count -1 1
EXPECT: ^`enable count` takes a count of 1 and up
STATUS: 8

NAME: finish_without_a_caller
RUN: %g/hello64
CMD: finish
EXPECT: ^cannot find the caller: the return address is 0
REFUSE: ^Run till exit
STATUS: 8

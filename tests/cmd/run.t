# Run control.
NAME: stepi
RUN: %g/hello64
CMD: stepi
CMD: si 2
CMD: s
EXPECT: ^=> 0x100001 <_start\+0x1>:
EXPECT: ^=> 0x100009 <_start\+0x9>:.*xor ebp, ebp
EXPECT: ^=> 0x10000b .*call console_init

NAME: stepi_takes_no_negative_count
RUN: %g/hello64
CMD: stepi -1
EXPECT: ^`-1` is no count: it must be 1 or more
STATUS: 8

NAME: nexti_steps_over_a_call
RUN: %g/hello64
CMD: until *0x10000b
CMD: nexti
EXPECT: ^=> 0x10000b .*call
EXPECT: ^=> 0x100010 <_start\+0x10>:

NAME: until_and_finish
RUN: %g/stack
CMD: until printk
CMD: finish
EXPECT: ^Arrived at 0x[0-9a-f]+ <printk>
EXPECT: ^Run till exit from 0x[0-9a-f]+ <printk>
EXPECT: ^=> 0x[0-9a-f]+ <bottom\+

NAME: continue_to_the_end
RUN: %g/hello64
CMD: continue
CMD: info stop
EXPECT: ^Continuing\.
EXPECT: hello64: long mode
EXPECT: debug-exit port
EXPECT: ^state +ended
EXPECT: ^reason +debug exit
STATUS: 33

NAME: continue_passes_a_breakpoint
RUN: %g/hello64
CMD: break print_char
CMD: continue
CMD: continue 3
CMD: info breakpoints
EXPECT: ^Will ignore next 2 crossings of breakpoint 1\.
EXPECT: ^1 +breakpoint +keep +y +0x[0-9a-f]{16} +<print_char> +4

NAME: continue_without_a_breakpoint_cannot_count
RUN: %g/hello64
CMD: continue 3
EXPECT: did not stop at a breakpoint
STATUS: 8

NAME: reset_and_run
RUN: %g/hello64
CMD: stepi 5
CMD: reset
CMD: print $rip
CMD: stepi
CMD: run
EXPECT: ^=> 0x100000 <_start>:
EXPECT: ^\$1 = 1048576 \(0x100000\) <_start>
EXPECT: ^Starting from the beginning
EXPECT: hello64: long mode
STATUS: 33

NAME: quit_gives_the_status
RUN: %g/hello64
CMD: quit 7
CMD: echo not reached
REFUSE: not reached
EXPECT: quit with status 7
STATUS: 7

NAME: kill_is_quit
RUN: %g/hello64
CMD: kill
STATUS: 0

NAME: stop_while_it_stands
RUN: %g/hello64
CMD: stop
EXPECT: stands already

NAME: the_whole_run_in_steps
RUN: %g/hello16.bin
CMD: stepi 1000000
EXPECT: hello16: by COM1 in real mode
STATUS: 33

NAME: a_count_must_be_positive
RUN: %g/hello64
CMD: stepi 0
EXPECT: is no count: it must be 1 or more
STATUS: 8

NAME: commands_from_standard_input
RUN: -S %g/hello64
STDIN: stepi
STDIN:
STDIN: # a comment
STDIN: print $rip
EXPECT: ^=> 0x100001
EXPECT: ^\$1 = 1048577

NAME: triple_fault_can_be_inspected
RUN: %g/triple
CMD: continue
CMD: info registers cr3
CMD: x/i $pc
EXPECT: Triple fault
EXPECT: ^cr3 +0x[0-9a-f]+
EXPECT: ^(=> |   )0x
STATUS: 6

NAME: triple_fault_can_reset
RUN: --on-triple-fault reset --timeout 2 %g/triple
STATUS: 4

NAME: halted_for_ever
RUN: %g/cli_hlt
CMD: continue
CMD: info cpus
EXPECT: good night
EXPECT: ^\* +0 +long64 +0 +halted
STATUS: 0

NAME: time_out
RUN: --timeout 1 %g/tinyos
CMD: continue
EXPECT: did not end within 1 s
STATUS: 4

NAME: a_boot_loop_is_told
RUN: --timeout 1 --on-triple-fault reset %g/triple
CMD: continue
EXPECT: The guest resets itself
EXPECT: has reset itself 10 times: a boot loop\?
EXPECT: exits in .* s, [0-9]+ resets\)
STATUS: 4

NAME: finish_returns_from_a_handler
RUN: %g/pagefault
CMD: tbreak guest_main
CMD: continue
CMD: catch exception pf
CMD: continue
CMD: finish
CMD: tbreak guest_done
EXPECT: ^Catchpoint 2 .*raised at 0x[0-9a-f]+
EXPECT: ^Arrived at 0x[0-9a-f]+ <guest_main\+0x[0-9a-f]+>
EXPECT: ^=> 0x[0-9a-f]+ <guest_main.*0x50001238
EXPECT: ^Temporary breakpoint 3 at

NAME: finish_returns_to_ring_3
RUN: %g/ring3
CMD: break user_main
CMD: continue
CMD: delete
CMD: stepto mode
CMD: finish
CMD: info registers cs
EXPECT: ^Entered the handler of vector 128 .*<trap_stubs
EXPECT: ^Arrived at 0x[0-9a-f]+ <user_main
EXPECT: ^cs +0x2b

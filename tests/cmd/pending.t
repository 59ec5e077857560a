# Breakpoints that wait, and what happens to them when modes, tables and code change.
NAME: every_mode_in_one_run
RUN: --symbols %g/modes.elf %g/modes.bin
CMD: break unreal_mode
CMD: break protected16
CMD: break protected32
CMD: break compatibility
CMD: break long_mode
CMD: break compatibility_again
CMD: break leave_protected
CMD: break real_again
CMD: continue
CMD: continue
CMD: continue
CMD: continue
CMD: continue
CMD: continue
CMD: continue
CMD: continue
CMD: info breakpoints
CMD: continue
EXPECT: ^Breakpoint 1, 0x[0-9a-f]+ <unreal_mode>
EXPECT: ^Breakpoint 2, 0x[0-9a-f]+ <protected16>
EXPECT: ^Breakpoint 3, 0x[0-9a-f]+ <protected32>
EXPECT: ^Breakpoint 4, 0x[0-9a-f]+ <compatibility>
EXPECT: ^Breakpoint 5, 0x[0-9a-f]+ <long_mode>
EXPECT: ^Breakpoint 6, 0x[0-9a-f]+ <compatibility_again>
EXPECT: ^Breakpoint 7, 0x[0-9a-f]+ <leave_protected>
EXPECT: ^Breakpoint 8, 0x[0-9a-f]+ <real_again>
EXPECT: ^8 .* 1 
STATUS: 33

NAME: seg_off_and_phys_survive_a_reset
RUN: %g/hello16.bin
CMD: break 0:0x7c05
CMD: break phys:0x7c06
CMD: continue
CMD: continue
CMD: reset
CMD: continue
CMD: continue
CMD: info breakpoints
EXPECT: ^Breakpoint 1, 0x7c05
EXPECT: ^Breakpoint 2, 0x7c06
EXPECT: ^Breakpoint 1, 0x7c05
EXPECT: ^Breakpoint 2, 0x7c06
EXPECT: ^1 .* 2 
EXPECT: ^2 .*phys:0x0000000000007c06 .* 2 

NAME: ring_3_code_that_is_mapped_and_entered_without_an_exit
RUN: %g/ring3
CMD: break user_main
CMD: break *user_main+1
CMD: continue
CMD: continue
CMD: info breakpoints
CMD: continue
EXPECT: ^Breakpoint 1, 0x40000000 <user_main>
EXPECT: ^Breakpoint 2, 0x40000001 <user_main\+0x1>
EXPECT: ^1 .* 1 
STATUS: 33

NAME: every_call_in_a_process_is_seen
RUN: %g/tinyos --append do=user,poweroff
CMD: break *0x400000 do count
CMD: break user_main do count
CMD: continue
CMD: info breakpoints
EXPECT: good bye
EXPECT: ^1 .*<print> +6 
EXPECT: ^2 .*<user_main> +1 

NAME: an_address_that_nothing_maps
RUN: %g/hello64
CMD: tbreak guest_main
CMD: continue
CMD: break *0x7f0000000000
CMD: continue
CMD: info breakpoints
EXPECT: ^Breakpoint 2 at 0x7f0000000000
EXPECT: ^2 .*0x7f0000000000 .* 0 
STATUS: 33

# Four others hold the debug registers, so these are planted bytes beside code that changes.
NAME: code_that_the_guest_overwrites
RUN: %g/selfmod
CMD: tbreak guest_main
CMD: continue
CMD: break *0x7f0000000000
CMD: break *0x7f0000000001
CMD: break *0x7f0000000002
CMD: break *0x7f0000000003
CMD: break *patched+5
CMD: ignore 6 50
CMD: continue
CMD: print $eax
CMD: x/2i patched
CMD: delete 6
CMD: continue
EXPECT: ^Breakpoint 6, 0x[0-9a-f]+ <patched\+0x5>
EXPECT: = 50 
EXPECT: patched>:.*mov eax, 0x32
EXPECT: patched\+0x5>:.*ret
EXPECT: immediate 100 times, sum 4950
STATUS: 33

# The guest keeps its debug registers and sees its own code: what is left is slower, and right.
NAME: without_registers_and_bytes
RUN: %g/selfmod
CMD: set breakpoint bytes off
CMD: set breakpoint registers off
CMD: show breakpoint-bytes
CMD: show breakpoint-registers
CMD: break *patched+5
CMD: ignore 1 50
CMD: info breakpoints
CMD: continue
CMD: print $eax
CMD: stepi
CMD: set breakpoint registers on
CMD: info breakpoints
CMD: set breakpoint registers off
CMD: set breakpoint bytes on
CMD: info breakpoints
CMD: ignore 1 10
CMD: continue
CMD: print $eax
CMD: delete 1
CMD: continue
EXPECT: ^breakpoint-bytes +off
EXPECT: ^breakpoint-registers +off
EXPECT: ^1 .*(page without memory|single steps)
EXPECT: ^Breakpoint 1, 0x[0-9a-f]+ <patched\+0x5>
EXPECT: = 50 
EXPECT: ^1 .*debug register
EXPECT: ^1 .*(int3|icebp)
EXPECT: ^Breakpoint 1, 
EXPECT: = 61 
EXPECT: immediate 100 times, sum 4950
STATUS: 33

NAME: no_code_where_no_memory_is
RUN: %g/hello64
CMD: break phys:0x7ffffff
CMD: break phys:0x8000000
EXPECT: ^Breakpoint 1 at phys:0x7ffffff
EXPECT: no code can run at physical 0x8000000: there is no memory there \(the guest has 128 MiB\)
STATUS: 8

NAME: no_code_where_a_device_answers
RUN: %g/hello64
CMD: break phys:0xfee00010
EXPECT: no code can run at physical 0xfee00010: a device answers there, not memory; `catch mmio 0xfee00010`
STATUS: 8

# Its stack is in the page of its code, whose bytes nothing guards: a point there has a debug register
# before others.
NAME: new_code_in_a_page_with_the_stack
RUN: %g/hello16.bin
CMD: break 0:0x500
CMD: break 0:0x501
CMD: break 0:0x502
CMD: break 0:0x503
CMD: tbreak 0:0x7c05
CMD: continue
CMD: break 0:0x7c06
CMD: break phys:0x7c08
CMD: info breakpoints
EXPECT: ^1 .*  (icebp|int3)$
EXPECT: ^2 .*debug register
EXPECT: ^6 .*debug register
EXPECT: ^7 .*; new code there is seen at exits

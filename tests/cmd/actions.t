# What points do at their hits: commands, do ACTION, enable once; and the grammar of catch and trace.
NAME: commands_run_at_the_hit
RUN: %g/hello64
CMD: break print_char
CMD: commands
CMD: silent
CMD: print/c $rdi
CMD: continue
CMD: echo never reached
CMD: end
CMD: continue
EXPECT: ^\$1 = 104 'h'
EXPECT: ^\$5 = 111 'o'
REFUSE: never reached
REFUSE: ^Breakpoint 1,
STATUS: 33

NAME: commands_of_several_points_and_nested
RUN: %g/hello64
CMD: break guest_main
CMD: tbreak guest_main
CMD: commands 1-2
CMD: commands 1
CMD: echo the second time
CMD: end
CMD: echo both
CMD: end
CMD: info breakpoints
CMD: continue
CMD: info breakpoints
EXPECT: ^        commands 1$
EXPECT: ^        end$
EXPECT: ^both
EXPECT: ^both
EXPECT: ^        echo the second time

NAME: commands_are_taken_away
RUN: %g/hello64
CMD: break guest_main
CMD: commands
CMD: echo here
CMD: end
CMD: commands 1
CMD: end
CMD: continue
EXPECT: ^Breakpoint 1,
REFUSE: ^here

NAME: commands_of_a_watchpoint_and_a_catchpoint
RUN: %g/hello64
CMD: catch io out 0x3f8 if value == 'l'
CMD: commands
CMD: silent
CMD: echo an l
CMD: continue
CMD: end
CMD: tbreak guest_main
CMD: continue
CMD: watch -w *(u64*)($rsp-8)
CMD: commands
CMD: echo the stack changed
CMD: delete 3
CMD: end
CMD: continue
CMD: continue
EXPECT: ^the stack changed
EXPECT: ^an l
EXPECT: ^an l
STATUS: 33

NAME: commands_without_a_breakpoint
RUN: %g/hello64
CMD: commands
EXPECT: no breakpoint was set
STATUS: 8

NAME: commands_of_no_such_point
RUN: %g/hello64
CMD: commands 7
EXPECT: ^No breakpoint number 7
STATUS: 8

NAME: commands_check_their_lines
RUN: %g/hello64
CMD: break guest_main
CMD: commands
CMD: prnt $rax
EXPECT: did you mean `print`
STATUS: 8

NAME: commands_without_end
RUN: %g/hello64
CMD: break guest_main
CMD: commands
CMD: print $rax
EXPECT: have no `end`
STATUS: 8

NAME: end_without_commands
RUN: %g/hello64
CMD: end
EXPECT: none were begun
STATUS: 8

NAME: a_failing_command_at_the_hit_ends_the_run
RUN: %g/hello64
CMD: break guest_main
CMD: commands
CMD: print nonsense
CMD: end
CMD: continue
EXPECT: ^Breakpoint 1,
EXPECT: ^commands:1: .*nonsense
STATUS: 8

NAME: enable_once_delete_count
RUN: %g/hello64
CMD: break print_char
CMD: enable once 1
CMD: continue
CMD: info breakpoints
CMD: enable count 2 1
CMD: info breakpoints
CMD: continue
CMD: continue
CMD: info breakpoints
CMD: enable delete 1
CMD: continue
CMD: info breakpoints
EXPECT: ^Breakpoint 1,
EXPECT: ^1 +breakpoint +dis +n
EXPECT: ^1 +breakpoint +dis +y
EXPECT: disable after 2 more stops
EXPECT: ^1 +breakpoint +dis +n .* 3 
EXPECT: ^(Temporary b|B)reakpoint 1,
EXPECT: ^No breakpoints

NAME: a_temporary_one_that_is_ignored_first_stays
RUN: %g/hello64
CMD: tbreak print_char
CMD: ignore 1 2
CMD: break guest_main
CMD: continue
CMD: info breakpoints
CMD: continue
CMD: info breakpoints 2
CMD: print/c $rdi
EXPECT: ^Breakpoint 2,
EXPECT: ^1 +breakpoint +del +y
EXPECT: ^Temporary breakpoint 1,
EXPECT: ^2 +breakpoint
EXPECT: = 108 'l'

NAME: enable_count_needs_a_count
RUN: %g/hello64
CMD: break guest_main
CMD: enable count
EXPECT: takes a count
STATUS: 8

NAME: dprintf_prints_and_goes_on
RUN: %g/hello64
CMD: dprintf print_char,"<%c %d %5x %#lx>\n",$rdi,-1,255,16
CMD: break print_char if $rdi == 'h' do log "%s|%%|%u", 0, 7
CMD: continue
CMD: info breakpoints
EXPECT: ^<h -1    ff 0x10>
EXPECT: ^<e -1
EXPECT: ^1 +dprintf .* log "<%c
EXPECT: ^2 +dprintf .* log .*== 'h'
STATUS: 33

NAME: dprintf_refuses_0
RUN: %g/hello64
CMD: dprintf guest_main
EXPECT: takes LOCATION
STATUS: 8

NAME: dprintf_refuses_1
RUN: %g/hello64
CMD: dprintf guest_main,"%d"
EXPECT: has 1 conversions, but 0 values
STATUS: 8

NAME: dprintf_refuses_2
RUN: %g/hello64
CMD: dprintf guest_main,"%n",1
EXPECT: is no conversion
STATUS: 8

NAME: dprintf_refuses_3
RUN: %g/hello64
CMD: dprintf guest_main,"%99999d",1
EXPECT: width or precision
STATUS: 8

NAME: dprintf_refuses_4
RUN: %g/hello64
CMD: dprintf guest_main,"x",1
EXPECT: more values than conversions
STATUS: 8

NAME: dprintf_refuses_5
RUN: %g/hello64
CMD: dprintf guest_main,"x
EXPECT: no closing quote
STATUS: 8

NAME: do_refuses_0
RUN: %g/hello64
CMD: break guest_main do dance
EXPECT: cannot do `dance`
STATUS: 8

NAME: do_refuses_1
RUN: %g/hello64
CMD: break guest_main do
EXPECT: behind `do` must stand
STATUS: 8

NAME: do_refuses_2
RUN: %g/hello64
CMD: catch io do count 5
EXPECT: nothing may stand behind `do count`
STATUS: 8

NAME: do_refuses_3
RUN: %g/hello64
CMD: catch io do script no_such_function
EXPECT: no script has defined `no_such_function`
STATUS: 8

NAME: do_refuses_4
RUN: %g/hello64
CMD: tbreak guest_main do log
EXPECT: deleted by its stop
STATUS: 8

NAME: exits_log_and_count
RUN: %g/hello64
CMD: trace io out 0x3f8 if value == 'l'
CMD: catch io do count
CMD: catch debugexit do log "the end"
CMD: catch console "long" do log
CMD: continue
CMD: info catch
EXPECT: ^Catchpoint 1, 0x[0-9a-f]+ <print_char\+0x[0-9a-f]+>: out 0x3f8 .* = 0x6c
EXPECT: ^the end
EXPECT: ^1 +catchpoint .* 4 +exit +log +value == 'l'
EXPECT: ^2 +catchpoint .* 117 +exit +count
EXPECT: ^3 +catchpoint +keep +y +debug-exit .* 1 +exit +log "the end"
EXPECT: ^4 +catchpoint +keep +y +console .* 1 
STATUS: 33

NAME: an_exit_asks_a_script
RUN: %g/hello64
CMD: catch io out 0x3f8 do script function(e) if e.value == 111 then return "stop", "an o" end end
CMD: continue
EXPECT: ^Catchpoint 1 .*: an o

NAME: a_breakpoint_asks_a_script
RUN: %g/hello64
CMD: lua seen = 0; function look(e) seen = seen + 1 end
CMD: break print_char do script look
CMD: continue
CMD: lua seen
EXPECT: ^[1-9][0-9]+ \(0x
STATUS: 33

NAME: exceptions_log_and_count
RUN: %g/pagefault
CMD: trace exception pf
CMD: catch exception pf if vector == 14 do count
CMD: catch exception pf do log "cr2 %x", $cr2
CMD: catch exception gp do count
CMD: continue
CMD: info breakpoints
EXPECT: vector 14 .*error code 0x2
EXPECT: ^cr2 50001238
EXPECT: ^1 .* 3 +break at
EXPECT: ^2 .* 3 +break at .*count
EXPECT: ^4 .* 0 +break at .*count
STATUS: 33

NAME: cpuid_is_caught_by_steps
RUN: %g/storm_cpuid --append n=3
CMD: catch cpuid do count
CMD: catch cpuid 0x7fffffff do count
CMD: tbreak guest_main
CMD: continue
CMD: catch cpuid
CMD: continue
CMD: delete 4
CMD: continue
CMD: info breakpoints
EXPECT: ^Catchpoint 4 \(cpuid\), .*CPUID leaf 0x[0-9a-f]+, subleaf 0x[0-9a-f]+ at 0x[0-9a-f]+ answered eax 0x
EXPECT: ^1 +catchpoint +keep +y +cpuid +cpuid +[3-9]
EXPECT: ^2 +catchpoint +keep +y +cpuid +cpuid 0x7fffffff +0
STATUS: 33

NAME: modes_and_cr3_log
RUN: %g/modes.bin
CMD: trace mode
CMD: trace cr3 do log "cr3 is %x", $cr3
CMD: continue
EXPECT: ^Catchpoint 1, .*from 16-bit.*, ring 0, to .*ring 0|^Catchpoint 1, .*from real.* to 
EXPECT: ^cr3 is [0-9a-f]+
STATUS: 33

NAME: a_triple_fault_is_counted
RUN: %g/triple
CMD: catch triple do count
CMD: continue
CMD: info breakpoints
EXPECT: ^Triple fault at
EXPECT: ^1 +catchpoint +keep +y +triple +triple +1 
STATUS: 6

NAME: trace_filter_takes_kinds
RUN: %g/hello64
CMD: trace filter io out 0x3f8 if value == 'l'
CMD: trace
CMD: continue
CMD: info exits
CMD: trace filter msr 0x10-0x20
CMD: trace
CMD: trace filter kind == io
CMD: trace
EXPECT: kind == io && write == 1 && port == 0x3f8 && \(value == 'l'\)
EXPECT: ^io +4 
EXPECT: \(kind == rdmsr \|\| kind == wrmsr\) && msr >= 0x10 && msr <= 0x20
EXPECT: written: kind == io$
STATUS: 33

NAME: trace_filter_refuses_what_leaves_no_record
RUN: %g/hello64
CMD: trace filter mode
EXPECT: leaves no record
STATUS: 8

NAME: a_breakpoint_waits_for_symbols
RUN: %g/hello64
CMD: symbol-file
CMD: set breakpoint pending on
CMD: break guest_main
CMD: info breakpoints
CMD: symbol-file %g/hello64
CMD: continue
EXPECT: ^Breakpoint 1 \(guest_main\) pending
EXPECT: ^1 .*<pending> +guest_main +0 +pending: no symbol
EXPECT: ^Breakpoint 1 \(guest_main\) is at 0x100021 now
EXPECT: ^Breakpoint 1, 0x100021 <guest_main>

NAME: a_breakpoint_waits_for_a_line
RUN: %g/hello64
CMD: symbol-file
CMD: set breakpoint pending on
CMD: break hello64.c:14
CMD: symbol-file %g/hello64
CMD: continue
EXPECT: ^Breakpoint 1 \(hello64.c:14\) pending
EXPECT: ^Breakpoint 1, 0x100021 <guest_main>

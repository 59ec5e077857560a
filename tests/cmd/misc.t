NAME: help
RUN: %g/hello64
CMD: help
CMD: help stepi
CMD: help breakpoints
CMD: help catch
CMD: apropos physical
EXPECT: ^Running$
EXPECT: ^continue \[N\]
EXPECT: ^Example: stepi 10
EXPECT: ^tbreak
EXPECT: ^mmio 
EXPECT: ^xp 

NAME: help_for_nothing
RUN: %g/hello64
CMD: help frobnicate
EXPECT: there is no command `frobnicate`
STATUS: 8

NAME: unknown_command
RUN: %g/hello64
CMD: contniue
CMD: echo not reached
EXPECT: did you mean `continue`
REFUSE: ^not reached
STATUS: 8

NAME: ambiguous
RUN: %g/hello64
CMD: dis
EXPECT: ambiguous: disable, display, disassemble
STATUS: 8

NAME: echo
RUN: %g/hello64
CMD: echo one\ttwo \x41
EXPECT: ^one	two A$

NAME: info_alone
RUN: %g/hello64
CMD: info
EXPECT: info registers
EXPECT: info walk

NAME: info_nothing
RUN: %g/hello64
CMD: info frobnicate
EXPECT: there is no `info frobnicate`
STATUS: 8

NAME: source
RUN: %g/hello64
CMD: dump binary memory %t/nothing 0x0 +1
CMD: source tests/cmd/steps.cmds
EXPECT: ^=> 0x100001
EXPECT: ^stepped once
EXPECT: ^=> 0x100021 <guest_main>
EXPECT: ^at guest_main

NAME: source_that_fails
RUN: %g/hello64
CMD: source tests/cmd/fails.cmds
EXPECT: ^before$
EXPECT: tests/cmd/fails.cmds:3: .*nosuch
REFUSE: ^behind
STATUS: 8

NAME: file_of_commands
RUN: -x tests/cmd/steps.cmds %g/hello64
EXPECT: ^stepped once
EXPECT: ^at guest_main

NAME: file_that_fails
RUN: -x tests/cmd/fails.cmds %g/hello64
EXPECT: tests/cmd/fails.cmds:3: .*nosuch
STATUS: 8

NAME: send_to_the_serial_line
RUN: --timeout 60 %g/tinyos
CMD: send exit 3\r
CMD: continue
EXPECT: tinyos> exit 3
STATUS: 7

NAME: standard_input_is_the_serial_line
RUN: --timeout 60 %g/tinyos
STDIN: exit 3
EXPECT: tinyos> exit 3
STATUS: 7
NOJSON

NAME: type_on_the_keyboard
RUN: %g/hello64
CMD: type ls\n

NAME: send_needs_text
RUN: %g/hello64
CMD: send
EXPECT: the text is missing
STATUS: 8

NAME: bad_escape
RUN: %g/hello64
CMD: send \q
EXPECT: backslash
STATUS: 8

NAME: serial_to_a_file_leaves_standard_output_to_commands
RUN: --serial file:%t/serial %g/hello64
CMD: continue
CMD: echo end
EXPECT: ^end$
REFUSE: long mode
STATUS: 33

NAME: a_pseudo_terminal
RUN: --serial pty %g/hello64
EXPECT: the serial line is /dev/pts/
STATUS: 33

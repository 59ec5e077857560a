NAME: info_registers
RUN: %g/hello64
CMD: info registers
EXPECT: ^rax            0x0                0$
EXPECT: ^rip            0x100000           0x100000 <_start>$
EXPECT: ^rflags +0x2 +\[ \]$
EXPECT: ^cs             0x10               16$
EXPECT: ^cr0 +0x[0-9a-f]+ +\[ PE .*PG \]$
EXPECT: ^efer +0x500 +\[ LME LMA \]$
REFUSE: ^xmm0

NAME: info_registers_chosen
RUN: %g/hello64
CMD: info registers rip debug eax
CMD: i r all
CMD: info all-registers
EXPECT: ^rip +0x100000
EXPECT: ^dr0 +0x0
EXPECT: ^eax +0x0 +0$
EXPECT: ^xmm0
EXPECT: ^msr_lstar
EXPECT: ^msr_lstar

NAME: unknown_register
RUN: %g/hello64
CMD: info registers rzx
EXPECT: no register or group `rzx`
STATUS: 8

NAME: print_formats
RUN: %g/hello64
CMD: print 42
CMD: print/x 42
CMD: p/t 42
CMD: p/o 42
CMD: p/c 65
CMD: p/d 0-1
CMD: p/z 42
CMD: p/a guest_main+4
CMD: p/u (u8)(0-1)
CMD: p $1 + $$ + $
EXPECT: ^\$1 = 42 \(0x2a\)$
EXPECT: ^\$2 = 0x2a$
EXPECT: ^\$3 = 101010$
EXPECT: ^\$4 = 052$
EXPECT: ^\$5 = 65 'A'$
EXPECT: ^\$6 = -1$
EXPECT: ^\$7 = 0x000000000000002a$
EXPECT: ^\$8 = 0x100025 <guest_main\+0x4>$
EXPECT: ^\$9 = 255$
EXPECT: ^\$10 = 1048910 

NAME: print_natural
RUN: %g/hello64
CMD: print $rip
CMD: print $eflags
CMD: print guest_main
CMD: print $xmm0
CMD: output/x $cr3
EXPECT: ^\$1 = 1048576 \(0x100000\) <_start>$
EXPECT: ^\$2 = 0x2 \[ \]$
EXPECT: ^\$3 = 1048609 \(0x100021\) <guest_main>$
EXPECT: ^\$xmm0 = 0x0{32}$
EXPECT: ^0x[0-9a-f]+000$

NAME: assignments
RUN: %g/hello64
CMD: set $rax = 5
CMD: print $rax
CMD: print $al = 0xff
CMD: p/x $rax
CMD: set *(u32*)0x1000 = 7
CMD: x/xw 0x1000
CMD: set var $x = guest_main
CMD: p $x + 1
CMD: set {u8}0x1000 = 0x80
CMD: x/2xb 0x1000
CMD: set $xmm1 = 0x112233445566778899aabbccddeeff00
CMD: p $xmm1
CMD: p/x $rip = 0x100001
CMD: x/i $pc
EXPECT: ^\$1 = 5$
EXPECT: ^\$2 = 255 \(0xff\)$
EXPECT: ^\$3 = 0xff$
EXPECT: ^0x1000:	0x00000007$
EXPECT: ^\$4 = 1048610 
EXPECT: ^0x1000:	0x80	0x00$
EXPECT: ^\$xmm1 = 0x112233445566778899aabbccddeeff00$
EXPECT: ^\$5 = 0x100001$
EXPECT: ^=> 0x100001 <_start\+0x1>:	cld

NAME: assignment_too_large
RUN: %g/hello64
CMD: set $al = 0x100
EXPECT: 0x100 does not fit \$al, which has 8 bits
STATUS: 8

NAME: assignment_to_nothing
RUN: %g/hello64
CMD: set 5 = 6
EXPECT: cannot be assigned to
STATUS: 8

NAME: assignment_to_unmapped_memory
RUN: %g/hello64
CMD: set *(u8*)0xffff800000000000 = 1
EXPECT: Cannot access memory at address 0xffff800000000000
STATUS: 8

NAME: control_register_with_reserved_bits
RUN: %g/hello64
CMD: set $cr0 = 0xffffffffffffffff
EXPECT: cr0
STATUS: 8

NAME: examine
RUN: %g/hello64
CMD: x/2i $pc
CMD: x
CMD: x/4xb guest_main
CMD: x/2xg guest_main
CMD: x/3dh guest_main
CMD: x/tb guest_main
CMD: x/2c guest_main
CMD: xp/xw 0x100021
CMD: x/i phys:0x100021
EXPECT: ^=> 0x100000 <_start>:	cli
EXPECT: ^   0x100001 <_start\+0x1>:	cld
EXPECT: ^   0x100002 <_start\+0x2>:	mov
EXPECT: ^0x100021 <guest_main>:	0x55	0x48	0x89	0xe5$
EXPECT: ^0x100021 <guest_main>:	0x[0-9a-f]{14}4855	|^0x100021 <guest_main>:	0x[0-9a-f]{12}4855
EXPECT: ^0x100021 <guest_main>:	18517	-6775	
EXPECT: ^0x100021 <guest_main>:	01010101$
EXPECT: ^0x100021 <guest_main>:	85 'U'	72 'H'$
EXPECT: ^0x100021:	0xe5894855$
EXPECT: ^   0x100021 <guest_main>:	push rbp

NAME: examine_strings
RUN: %g/hello64
CMD: find guest_main, +0x4000, "hello64: long"
CMD: x/s $_
CMD: p $numfound
EXPECT: ^1 pattern found\.
EXPECT: ^0x[0-9a-f]+.*:	"hello64: long mode, page tables at .*\\n"$
EXPECT: ^\$1 = 1$

NAME: examine_goes_on
RUN: %g/hello64
CMD: x/2xw 0x100000
CMD: x
CMD: x/i
EXPECT: ^0x100000 
EXPECT: ^0x100008 
EXPECT: ^   0x10000c 

NAME: examine_what_is_not_there
RUN: %g/hello64
CMD: x/4xw 0xffff800000000000
EXPECT: Cannot access memory at address 0xffff800000000000.*info walk
STATUS: 8

NAME: bad_format
RUN: %g/hello64
CMD: x/4q 0
EXPECT: no format letter `q`
STATUS: 8

NAME: display
RUN: %g/hello64
CMD: display/i $pc
CMD: display/x $rsp
CMD: info display
CMD: stepi
CMD: undisplay 1
CMD: stepi
CMD: undisplay
CMD: info display
EXPECT: ^1: x/i \$pc$
EXPECT: ^=> 0x100000
EXPECT: ^2: /x \$rsp = 0x[0-9a-f]+$
EXPECT: ^ +1 +y +/i +\$pc
EXPECT: ^1: x/i \$pc$
EXPECT: ^=> 0x100001
EXPECT: ^2: /x \$rsp
EXPECT: ^2: /x \$rsp
EXPECT: no auto-display

NAME: a_display_that_fails_is_no_failed_command
RUN: %g/hello64
CMD: display/x *(u32*)$rax
CMD: stepi
EXPECT: ^1: /x \*\(u32\*\)\$rax =
EXPECT: ^=> 0x100001

NAME: dump_and_restore
RUN: %g/hello64
CMD: dump binary memory %t/code.bin 0x100000 +16
CMD: restore %t/code.bin binary 0x2000
CMD: x/2i 0x2000
CMD: dump memory %t/vga.bin phys:0xb8000 phys:0xb8010
EXPECT: ^16 bytes written
EXPECT: ^Restored 16 bytes
EXPECT: ^   0x2000:	cli
EXPECT: ^   0x2001:	cld
EXPECT: ^16 bytes written

NAME: dump_needs_an_end
RUN: %g/hello64
CMD: dump binary memory %t/x 0x100
EXPECT: dump binary memory FILE START END
STATUS: 8

NAME: restore_needs_a_file
RUN: %g/hello64
CMD: restore /no/such/file binary 0
EXPECT: cannot read /no/such/file
STATUS: 8

NAME: find
RUN: %g/hello64
CMD: find/b 0x100000, +0x100, 0x55, 0x48
CMD: find /1w 0x100000, 0x1000ff, 0xe5894855
CMD: find 0x100000, +16, "no such text"
EXPECT: ^0x100021 <guest_main>$
EXPECT: patterns? found
EXPECT: ^0x100021 <guest_main>$
EXPECT: ^1 pattern found
EXPECT: ^Pattern not found

NAME: options
RUN: %g/hello64
CMD: show
CMD: set step irq on
CMD: show step-irq
CMD: set scheduler-locking step
CMD: set disassembly-flavor att
CMD: x/i _start+2
CMD: set disas intel
CMD: x/i _start+2
EXPECT: ^step-irq +off
EXPECT: ^step-irq +on
EXPECT: mov[q]? +\$0x107000, ?%rsp
EXPECT: mov rsp, 0x107000

NAME: unknown_option
RUN: %g/hello64
CMD: set stepirq on
EXPECT: did you mean `step-irq`
STATUS: 8

NAME: bad_option_value
RUN: %g/hello64
CMD: set disassembly-flavor masm
EXPECT: takes one of intel, att
STATUS: 8

NAME: an_expression_error_points_at_its_column
RUN: %g/hello64
CMD: print 1 + + * 2)
EXPECT: column
STATUS: 8

NAME: division_by_zero
RUN: %g/hello64
CMD: print 1/0
EXPECT: zero
STATUS: 8

NAME: unknown_variable
RUN: %g/hello64
CMD: print $nothing
EXPECT: neither a register nor a variable
STATUS: 8

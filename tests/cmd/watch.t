NAME: watch_tells_who_and_what
RUN: %g/heap
CMD: watch used
CMD: info watchpoints
CMD: continue
CMD: info stop
EXPECT: ^Watchpoint 1: used \(8 bytes at 0x107008, by 
EXPECT: ^1 +watchpoint +keep +y +0x0000000000107008 +used +0
EXPECT: ^ +(1 page by .*; the address is looked up|debug registers DR[0-3]: in every address space)
EXPECT: ^Old value = 0x0000000000000000
EXPECT: ^New value = 0x0000000000000010
EXPECT: ^Written at 0x107008 by 0x1000c6 <heap_alloc\+0x26>
EXPECT: ^by +0x1000c6

NAME: several_watchpoints_of_one_store
RUN: %g/heap
CMD: watch used
CMD: watch *(u8*)0x107008
CMD: watch phys:0x107007,3
CMD: watch -w 0x107009,1
CMD: watch *(u8*)0x107009
CMD: continue
CMD: info watchpoints
EXPECT: ^At once: .*watchpoint
EXPECT: ^1 .* 1 
EXPECT: ^2 .* 1 
EXPECT: ^3 .* 1 
EXPECT: ^4 .* 1 
EXPECT: ^5 .* 0 

NAME: watch_pages_by_different_methods
RUN: %g/heap
CMD: break guest_main
CMD: continue
CMD: awatch phys:0x106f00,9000
CMD: info watchpoints
CMD: continue
EXPECT: ^ +4 pages: 3 by .*, 1 by single steps, comparing \(in use as page table\); wherever they are mapped
EXPECT: ^Hardware access

NAME: watch_the_stack_and_the_running_code
RUN: %g/heap
CMD: break heap_free
CMD: continue
CMD: watch *(u64*)$rsp
CMD: awatch heap_free,16
CMD: watch phys:0x102000,4096
CMD: delete 1
CMD: continue
CMD: delete
CMD: continue
EXPECT: ^Written at 0x10bfd8 by 0x10013f <guest_main\+0x5e>
EXPECT: ^=> 0x1000e0 <heap_free>
STATUS: 33

NAME: watch_what_is_not_mapped_yet
RUN: %g/pagefault
CMD: watch *(u32*)0x50001238
CMD: info watchpoints
CMD: continue
CMD: info watchpoints
EXPECT: (pending: nothing is mapped there yet|by debug register)
EXPECT: ^ +(1 page not mapped yet; (noticed when a page table comes to map it; a new CR3 is looked for every 200 ms|the address is looked up every 2 ms)|debug registers)
EXPECT: ^pagefault: fault 1 at 0x50001238
EXPECT: ^New value = 0x55667788
EXPECT: ^ +(1 page by |debug registers)

NAME: delete_a_pending_watchpoint
RUN: %g/pagefault
CMD: watch *(u32*)0x50001238
CMD: watch 0xffff800000000000,9999
CMD: delete 1
CMD: info watchpoints
CMD: continue
EXPECT: ^2 +watchpoint +keep +y +<pending>
EXPECT: ^ +3 pages not mapped yet
REFUSE: ^1 +watchpoint
REFUSE: ^Hardware
STATUS: 33

NAME: watch_a_screen_a_rom_and_a_hole
RUN: %g/tinyos
CMD: watch phys:0xf0000,4
CMD: watch phys:0xb8000,160
CMD: continue
EXPECT: ^Hardware watchpoint 2
EXPECT: ^Written at 0xb80[0-9a-f]+ by 0x[0-9a-f]+ <

NAME: watch_a_device
RUN: %g/heap
CMD: watch phys:0xfee00020,4
EXPECT: a device answers there, not memory; `catch mmio 0xfee00020-0xfee00023`
STATUS: 8

NAME: watch_where_there_is_nothing
RUN: %g/heap
CMD: watch phys:0x100000000,4
EXPECT: there is no memory there \(the guest has 128 MiB\)
STATUS: 8

NAME: watch_nothing
RUN: %g/heap
CMD: watch used,0
EXPECT: ^cannot watch 0 bytes at 0x[0-9a-f]+: a length of 1 and up
STATUS: 8

NAME: watch_too_much
RUN: %g/heap
CMD: watch phys:0,1000000000
EXPECT: ^cannot watch 1000000000 bytes at 0x0: the guest has 128 MiB of memory
STATUS: 8

NAME: watch_a_register
RUN: %g/heap
CMD: watch $rax
EXPECT: is a register, and only memory can be watched
STATUS: 8

NAME: watch_ends_the_address_space
RUN: %g/heap
CMD: watch 0xfffffffffffffffe,4
EXPECT: does not reach beyond the last address
STATUS: 8

NAME: watch_conditions_and_actions
RUN: %g/heap
CMD: watch used if *(u64*)used > 0x40
CMD: watch given do log
CMD: rwatch given do count
CMD: continue
CMD: info watchpoints
EXPECT: ^Watchpoint 2.*written at 0x107000
EXPECT: ^Hardware watchpoint 1
EXPECT: ^New value = 0x00000000000000a0
EXPECT: ^1 .*\*\(u64\*\)used > 0x40 .*[23]$
EXPECT: ^3 .* count

# After a reset LDTR and IDTR span 64 KiB: no page is in use by them because of that.
NAME: a_reset_leaves_no_tables_everywhere
RUN: %g/hello64
CMD: rwatch 0x8000,4
CMD: rwatch 0x9000,400
CMD: info watchpoints
EXPECT: ^Read watchpoint 1: 0x8000,4
REFUSE: single steps

p $pc
break guest_main
x/4i $pc
stepi
continue
bt
p $xmm0
watch -l *(char*)$sp
monitor info cpus
stepi 3
x/16xb $pc
delete
stepi
set $rax = 5
info threads
break ap_main if $rsp != 0
continue
info threads
thread 1
detach

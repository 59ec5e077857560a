/* Calls that come back in unusual ways, for nexti; a flat image at 0x7000 in protected mode. */
.code32
.globl _start, pic, saves, deep, thunk, after, done
_start: mov $0x9000,%esp
pic: call 1f
1: pop %ebx
saves: call pushes /* comes back with two words more on the stack */
 add $8,%esp
 mov $3,%ecx
deep: call recurse
thunk: push $after
 jmp out
after: call leaves /* takes the argument along */
done: mov $0,%al
 out %al,$0xf4
pushes: xchg %eax,(%esp)
 push %eax
 push %eax
 mov 8(%esp),%eax
 mov %ecx,8(%esp)
 pop %edx
 mov %edx,(%esp)
 mov (%esp),%edx
 push %ecx
 jmp *%edx
recurse: dec %ecx
 jz 2f
 call recurse
 nop
2: ret
out: ret
leaves: ret

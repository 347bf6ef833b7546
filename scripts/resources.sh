#!/bin/sh
# resources.sh FILE... - assembler source that carries the files inside the program, with a table to find them by name.
echo '.section .rodata'
i=0
for f in "$@"; do
    printf 'ucb_res_%d: .incbin "%s"\nucb_res_end_%d: .byte 0\nucb_name_%d: .asciz "%s"\n' $i "$f" $i $i "$f"
    i=$((i + 1))
done
printf '.section .data.rel.ro,"aw"\n.balign 8\n.globl ucb_resource_table\nucb_resource_table:\n'
n=$i
i=0
while [ $i -lt $n ]; do
    printf '.quad ucb_name_%d, ucb_res_%d, ucb_res_end_%d - ucb_res_%d\n' $i $i $i $i
    i=$((i + 1))
done
printf '.quad 0, 0, 0\n.section .note.GNU-stack,"",@progbits\n'

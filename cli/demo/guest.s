# The demo's guest: two sectors, no operating system, a workload that can be checked byte for byte.
#
# guest.ts holds the machine code of this file as hex and patches the parameters; test/demo/guest.test.ts
# reassembles this file and compares. To build by hand:
#     as --32 guest.s -o guest.o
#     ld -m elf_i386 -Ttext=0x7c00 -o guest.elf guest.o
#     objcopy -O binary -j .text guest.elf guest.bin
#
# Physical memory
#     0x00007c00  this code: the BIOS loads the first sector, that one the other
#     0x00010000  the state page: the words below, the stack at its end
#     0x00100000  the filled area, `fill_pages` pages; its first `working_pages` are the working set
#
# The code and the state live on different pages: TCG takes a slow path for stores to a page with code.

        .set    STATE,          0x10000
        .set    counter,        STATE + 0       # ticks so far
        .set    dirtied,        STATE + 4       # pages dirtied by ticks so far, modulo 2^32
        .set    rewrite_seed,   STATE + 8       # seed of the last 'w' command
        .set    cursor,         STATE + 12      # next page of the working set to dirty
        .set    paused,         STATE + 16      # 1: ticks do not dirty
        .set    dot_in,         STATE + 20      # ticks until the next '.'
        .set    STACK_TOP,      STATE + 4096
        .set    SECTORS,        2
        .set    FILL_FIRST,     0x100           # page number of 1 MiB
        .set    COM1,           0x3f8
        .set    DIVISOR,        11932           # 1193182 Hz / 11932 = 100 ticks a second
        .set    TICKS_PER_DOT,  100

        .text
        .code16
        .globl  _start
_start:
        jmp     real_mode

        .org    8                               # parameters, patched by guest.ts
seed:           .long   0
fill_pages:     .long   0
working_pages:  .long   0
dirty_per_tick: .long   0
fresh_words:    .long   0                       # what of a page is not the same again: 4 to 1024 words, by fours
word_mask:      .long   0                       # bits of a word that may be set

real_mode:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        movw    $0x0200 + SECTORS - 1, %ax      # BIOS: read the other sectors, from the drive in %dl
        movw    $0x7e00, %bx
        movw    $0x0002, %cx
        movb    $0, %dh
        int     $0x13
        jc      .                               # no 'R' will come
        inb     $0x92, %al                      # A20 on; SeaBIOS has it on already
        orb     $2, %al
        outb    %al, $0x92
        lgdtl   gdt_pointer
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $protected_mode

        .code32
protected_mode:
        movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $STACK_TOP, %esp
        lidt    idt_pointer
        cld

        movl    $ports, %esi                    # PIC, PIT and UART, from the table
        movl    $(ports_end - ports) / 3, %ecx
1:      lodsw
        movl    %eax, %edx
        lodsb
        outb    %al, (%dx)
        loop    1b

        movl    $STATE, %edi                    # a reset keeps RAM: start from a zero state
        xorl    %eax, %eax
        movl    $6, %ecx
        rep stosl
        movl    $TICKS_PER_DOT, dot_in

        movl    $FILL_FIRST, %esi
        movl    fill_pages, %ecx
        movl    seed, %ebx
        call    fill
        movb    $'R', %al
        call    put_char

# One tick. The processor sleeps between ticks, so that an idle guest costs the host nothing; interrupts are
# on only while it sleeps, and only the PIT's line is open, so every wake-up is a tick.
tick:
        sti
        hlt
        cli
        incl    counter
        cmpl    $0, paused
        jne     3f
        movl    dirty_per_tick, %ecx
        jecxz   3f
        addl    %ecx, dirtied
        movl    cursor, %esi
1:      leal    FILL_FIRST(%esi), %edi
        shll    $12, %edi
        imull   $0x9e3779b1, counter, %eax      # a value that no earlier visit stored here
        addl    %esi, %eax
        movl    %eax, 0x010(%edi)               # four words, one in each quarter
        movl    %eax, 0x410(%edi)
        movl    %eax, 0x810(%edi)
        movl    %eax, 0xc10(%edi)
        incl    %esi
        cmpl    working_pages, %esi
        jb      2f
        xorl    %esi, %esi
2:      loop    1b
        movl    %esi, cursor
3:      decl    dot_in
        jnz     commands
        movl    $TICKS_PER_DOT, dot_in
        movb    $'.', %al
        call    put_char

# Commands that arrived since the last tick. A command is one byte; z f w i are followed by the number of the
# first page and the count of pages. The answer is the capital letter, after the work is done.
commands:
        movl    $COM1 + 5, %edx
        inb     (%dx), %al
        testb   $1, %al
        jz      tick
        pushl   $commands                       # every path below ends in put_char, which returns here
        call    get_char
        cmpb    $'?', %al                       # '?' asks for the 'R' that nobody may have been there to hear
        jne     1f
        movb    $'R', %al
        jmp     put_char
1:      xorl    %ecx, %ecx
        cmpb    $'g', %al
        je      2f
        cmpb    $'p', %al
        jne     3f
        incl    %ecx
2:      movl    %ecx, paused
        jmp     answer
3:      cmpb    $'z', %al
        je      4f
        cmpb    $'f', %al
        je      4f
        cmpb    $'w', %al
        je      4f
        cmpb    $'i', %al
        je      4f
        movb    $'!', %al                       # unknown
        jmp     put_char
4:      pushl   %eax
        call    get_word
        movl    %ebx, %esi
        call    get_word
        movl    %ebx, %ecx
        movl    (%esp), %eax
        pushl   $5f                             # return address of the four below
        movl    seed, %ebx
        cmpb    $'f', %al
        je      fill
        cmpb    $'w', %al
        je      rewrite
        movl    %esi, %edi
        shll    $12, %edi
        cmpb    $'i', %al
        je      increment
        shll    $10, %ecx                       # zero
        xorl    %eax, %eax
        rep stosl
        ret
5:      popl    %eax
answer:
        subb    $'a' - 'A', %al
        jmp     put_char

        .org    510
        .word   0xaa55                          # makes the first sector bootable

# put_char: sends %al. Clobbers %ah, %edx.
put_char:
        movl    $COM1 + 5, %edx
        movb    %al, %ah
1:      inb     (%dx), %al
        testb   $0x20, %al
        jz      1b
        movb    %ah, %al
        movl    $COM1, %edx
        outb    %al, (%dx)
        ret

# get_char: waits for one byte, in %al. Clobbers %edx.
get_char:
        movl    $COM1 + 5, %edx
1:      inb     (%dx), %al
        testb   $1, %al
        jz      1b
        movl    $COM1, %edx
        inb     (%dx), %al
        ret

# get_word: waits for four bytes, little-endian, in %ebx. Clobbers %al, %ecx, %edx.
get_word:
        movl    $4, %ecx
1:      call    get_char
        movb    %al, %bl
        rorl    $8, %ebx
        loop    1b
        ret

# increment: adds one to the word at 0x20 of %ecx pages from address %edi.
increment:
        jecxz   2f
1:      incl    0x20(%edi)
        addl    $4096, %edi
        loop    1b
2:      ret

# rewrite: new content for %ecx pages from page %esi, with a seed made of the counter; %ebx is the boot seed.
rewrite:
        imull   $0x85ebca6b, counter, %eax
        addl    %eax, %ebx
        movl    %ebx, rewrite_seed

# fill: content of %ecx pages from page %esi as a function of page number and seed %ebx. A linear
# congruential generator per page, started from a hash of both, makes the page's first words, masked; the rest
# is these again and again. Twin: fillPage in guest.ts. Clobbers all registers but %ebx, %esp.
fill:
        jecxz   2b                              # to the return above: the one below is too far
        movl    %esi, %edi
        shll    $12, %edi
1:      pushl   %ecx
        pushl   %esi
        imull   $0x9e3779b1, %esi, %eax
        xorl    %ebx, %eax
        movl    %eax, %edx
        shrl    $15, %edx
        xorl    %edx, %eax
        imull   $0x2c1b3c6d, %eax, %eax
        movl    %eax, %edx
        shrl    $12, %edx
        xorl    %edx, %eax
        movl    word_mask, %ebp
        movl    %edi, %esi
        movl    fresh_words, %ecx
2:      .set    word, 0
        .rept   4
        imull   $0x2c9277b5, %eax, %eax
        addl    $0xac564b05, %eax
        movl    %eax, %edx
        andl    %ebp, %edx
        movl    %edx, word(%edi)
        .set    word, word + 4
        .endr
        addl    $16, %edi
        subl    $4, %ecx
        jnz     2b
        movl    $1024, %ecx
        subl    fresh_words, %ecx
        rep movsl                               # forwards, over what it has just written
        popl    %esi
        popl    %ecx
        incl    %esi
        decl    %ecx
        jnz     1b
        ret

# The PIT's interrupt does nothing but end the sleep.
on_tick:
        pushl   %eax
        movb    $0x20, %al
        outb    %al, $0x20
        popl    %eax
        iret

        .macro  port_write port, value
        .word   \port
        .byte   \value
        .endm
ports:
        port_write 0x20, 0x11                   # PICs: vectors from 0x20 and 0x28, only line 0 open
        port_write 0xa0, 0x11
        port_write 0x21, 0x20
        port_write 0xa1, 0x28
        port_write 0x21, 0x04
        port_write 0xa1, 0x02
        port_write 0x21, 0x01
        port_write 0xa1, 0x01
        port_write 0x21, 0xfe
        port_write 0xa1, 0xff
        port_write 0x43, 0x34                   # PIT channel 0: rate generator
        port_write 0x40, DIVISOR & 0xff
        port_write 0x40, DIVISOR >> 8
        port_write COM1 + 3, 0x80               # UART: 115200 8N1, no interrupts. Its FIFO stays off:
        port_write COM1 + 0, 1                  # switching it on would drop a byte that waits already
        port_write COM1 + 1, 0
        port_write COM1 + 3, 3
        port_write COM1 + 1, 0
        port_write COM1 + 4, 3
ports_end:

gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt
idt_pointer:
        .word   0x21 * 8 - 1
        .long   tick_gate - 0x20 * 8            # only vector 0x20 exists
        .balign 8
tick_gate:
        .word   on_tick, 8, 0x8e00, 0
gdt:    .quad   0
        .quad   0x00cf9a000000ffff              # 8: code, flat
        .quad   0x00cf92000000ffff              # 16: data, flat
gdt_end:

        .balign 512, 0

# The guest of `holdfast ft selftest`: a BIOS of 64 KiB that writes memory hard, checks what it finds there, and counts.
# Each tick of 4 ms it takes the next 32 pages of a ring of 12 MiB; finds in each what it wrote there one round ago, or stops
# counting for ever; fills it anew; sends a frame by UDP with the number of the tick; and halts until the timer interrupts.
# A memory that went back by a page, or a device that went back by a frame, shows in what it sends.
#
# Built by dev/build-selftest-guest into image.ts. Linked at 0xf0000, where the BIOS lies.

        .set    STACK, 0x9000
        .set    TICK, 0x9100            # all zeros at reset
        .set    WORK, 0x9104            # number of the next page to fill, all rounds counted
        .set    PAGE, 0x9108            # where it is
        .set    TAIL, 0x910c            # of the NIC's ring
        .set    IDT, 0xa000
        .set    RING, 0x10000           # 8 descriptors of 16 bytes
        .set    FRAME, 0x11000
        .set    FIRST_PAGE, 0x200000
        .set    PAGES, 3072
        .set    END_PAGE, FIRST_PAGE + PAGES * 4096
        .set    AT_ONCE, 32
        .set    NIC, 0xfeb00000         # nobody has given it a place before
        .set    PAYLOAD, FRAME + 42     # "HFST", tick, 0 or what is wrong: page, expected, found
        .set    MULTIPLIER, 0x9e3779b1
        .set    STEP, 0x61c88647
        .set    TICK_COUNT, 4773        # of the timer, 1193182 a second: 4 ms

        .text
        .code16
start16:
        cli
        cld
        inb     $0x92, %al              # address line 20
        orb     $2, %al
        andb    $0xfe, %al
        outb    %al, $0x92
        lgdtl   %cs:(gdt_pointer - 0xf0000)
        movl    %cr0, %eax
        orl     $1, %eax
        andl    $0x9fffffff, %eax       # caches on
        movl    %eax, %cr0
        ljmpl   $0x08, $start32

        .code32
start32:
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $STACK, %esp
        movl    $FIRST_PAGE, PAGE
        movl    $frame, %esi
        movl    $FRAME, %edi
        movl    $(frame_end - frame), %ecx
        rep movsb
        call    find_nic
        call    start_timer

tick:
        movl    $AT_ONCE, %ebp
1:      call    one_page
        decl    %ebp
        jnz     1b
        movl    TICK, %eax
        movl    %eax, PAYLOAD + 4
        call    send
        incl    TICK
        call    wait
        jmp     tick

# Checks the next page and fills it anew.
one_page:
        movl    PAGE, %edi
        movl    WORK, %eax
        cmpl    $PAGES, %eax            # the first round finds nothing
        jb      3f
        subl    $PAGES, %eax
        imull   $MULTIPLIER, %eax, %eax
        movl    $1024, %ecx
        movl    %edi, %esi
2:      cmpl    %eax, (%esi)
        jne     bad
        addl    $STEP, %eax
        addl    $4, %esi
        loop    2b
3:      imull   $MULTIPLIER, WORK, %eax
        movl    $1024, %ecx
4:      movl    %eax, (%edi)
        addl    $STEP, %eax
        addl    $4, %edi
        loop    4b
        incl    WORK
        cmpl    $END_PAGE, %edi
        jb      5f
        movl    $FIRST_PAGE, %edi
5:      movl    %edi, PAGE
        ret

bad:
        movl    (%esi), %edx
        movl    %esi, PAYLOAD + 8
        movl    %eax, PAYLOAD + 12
        movl    %edx, PAYLOAD + 16
6:      call    send
        call    wait
        jmp     6b

# Until the next interrupt of the timer; at once where one has come meanwhile.
wait:
        sti
        hlt
        cli
        ret

# The timer interrupts every 4 ms, by the first interrupt controller and the local APIC that lets it through.
start_timer:
        movl    $interrupted, %eax
        movl    $(IDT + 0x20 * 8), %edi
        movl    $8, %ecx
1:      movw    %ax, (%edi)
        movw    $0x08, 2(%edi)
        movw    $0x8e00, 4(%edi)
        movl    %eax, %edx
        shrl    $16, %edx
        movw    %dx, 6(%edi)
        addl    $8, %edi
        loop    1b
        lidt    idt_pointer
        movl    $0x1ff, 0xfee000f0      # on
        movl    $0x8700, 0xfee00350     # what the interrupt controllers say
        movb    $0x11, %al              # both begin anew, at vectors 0x20 and 0x28
        outb    %al, $0x20
        outb    %al, $0xa0
        movb    $0x20, %al
        outb    %al, $0x21
        movb    $0x28, %al
        outb    %al, $0xa1
        movb    $4, %al
        outb    %al, $0x21
        movb    $2, %al
        outb    %al, $0xa1
        movb    $1, %al
        outb    %al, $0x21
        outb    %al, $0xa1
        movb    $0xfe, %al              # nobody but the timer
        outb    %al, $0x21
        movb    $0xff, %al
        outb    %al, $0xa1
        movb    $0x34, %al
        outb    %al, $0x43
        movb    $(TICK_COUNT & 0xff), %al
        outb    %al, $0x40
        movb    $(TICK_COUNT >> 8), %al
        outb    %al, $0x40
        ret

interrupted:
        pushl   %eax
        movb    $0x20, %al
        outb    %al, $0x20
        popl    %eax
        iretl

# The e1000 on bus 0: gives it a place, and a ring to send from.
find_nic:
        movl    $0x80000000, %ebx
1:      movl    %ebx, %eax
        movw    $0xcf8, %dx
        outl    %eax, %dx
        movw    $0xcfc, %dx
        inl     %dx, %eax
        cmpl    $0x100e8086, %eax
        je      2f
        addl    $0x800, %ebx
        cmpl    $0x80010000, %ebx
        jb      1b
3:      hlt
        jmp     3b
2:      leal    0x10(%ebx), %eax        # where its registers are
        movw    $0xcf8, %dx
        outl    %eax, %dx
        movl    $NIC, %eax
        movw    $0xcfc, %dx
        outl    %eax, %dx
        leal    0x04(%ebx), %eax        # memory, and its own access to memory
        movw    $0xcf8, %dx
        outl    %eax, %dx
        movl    $6, %eax
        movw    $0xcfc, %dx
        outw    %ax, %dx
        movl    $0x40, NIC + 0x0000     # link up
        movl    $RING, NIC + 0x3800
        movl    $0, NIC + 0x3804
        movl    $128, NIC + 0x3808
        movl    $0, NIC + 0x3810
        movl    $0, NIC + 0x3818
        movl    $0x000400fa, NIC + 0x0400
        ret

# Sends the frame, and waits until the NIC has taken it.
send:
        movl    TAIL, %eax
        movl    %eax, %ebx
        shll    $4, %ebx
        addl    $RING, %ebx
        movl    $FRAME, (%ebx)
        movl    $0, 4(%ebx)
        movl    $(0x0b000000 + frame_end - frame), 8(%ebx)
        movl    $0, 12(%ebx)
        incl    %eax
        andl    $7, %eax
        movl    %eax, TAIL
        movl    %eax, NIC + 0x3818
1:      testb   $1, 12(%ebx)
        jz      1b
        ret

frame:
        .byte   0x02, 0x00, 0x00, 0x88, 0x77, 0x01
        .byte   0x52, 0x54, 0x00, 0x88, 0x77, 0x50
        .byte   0x08, 0x00
        .byte   0x45, 0, 0, 52, 0, 0, 0, 0, 64, 17, 0xcb, 0xd6, 10, 88, 77, 50, 10, 88, 77, 1
        .byte   0x1b, 0x59, 0x1b, 0x59, 0, 32, 0, 0     # port 7001, no checksum
        .ascii  "HFST"
        .fill   20, 1, 0
frame_end:

        .balign 8
gdt:
        .quad   0
        .quad   0x00cf9b000000ffff      # 08 code, 32 bit
        .quad   0x00cf93000000ffff      # 10 data
gdt_end:
gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt
idt_pointer:
        .word   0x28 * 8 - 1
        .long   IDT

        .section .reset, "ax"
        .code16
reset:
        ljmp    $0xf000, $(start16 - 0xf0000)
        .fill   16 - (. - reset), 1, 0

# The guest that says whether an accelerator runs a real kernel: a BIOS of 64 KiB that goes from the reset vector to
# 64-bit mode with paging and tries what a Linux kernel cannot do without. Its verdict leaves by isa-debug-exit at port
# 0xf4: 42 when all is right, else the number of the step that went wrong, plus 64 when it was by an unexpected exception.
# No answer at all (a hang, a triple fault) is an answer too.
#
# Built by dev/build-kvm-probe into probe-image.ts. Linked at 0xf0000, where the BIOS lies.

        .set    VERDICT, 0xf4
        .set    PML4, 0x10000           # page tables, one page each, in RAM that is zero at reset
        .set    PDPT, 0x11000
        .set    PD_LOW, 0x12000         # 0-16 MiB in pages of 2 MiB, but for 4-6 MiB
        .set    PT_TEST, 0x13000        # 4-6 MiB in pages of 4 KiB, none there at first
        .set    PD_HIGH, 0x14000        # the local APIC at 0xfee00000
        .set    IDT, 0x15000
        .set    TSS, 0x16000
        .set    GDT, 0x17000
        .set    STEP, 0x18000           # number of the step under way
        .set    TICKS, 0x18008          # timer interrupts
        .set    SOFT, 0x18010           # software interrupts from user mode
        .set    FAULTS, 0x18018         # page faults that were as expected
        .set    KERNEL_STACK, 0x20000
        .set    USER_STACK, 0x30000
        .set    TEST, 0x400000

        .macro  step number
        movq    $\number, STEP
        .endm

        .text
        .code16
start16:
        cli
        cld
        lgdtl   %cs:(gdt_pointer - 0xf0000)
        movl    %cr0, %eax
        orl     $1, %eax
        movl    %eax, %cr0
        ljmpl   $0x08, $start32

        .code32
start32:
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $KERNEL_STACK, %esp

        movl    $1, STEP                # features without which no 64-bit Linux starts
        movl    $1, %eax
        cpuid
        andl    $0x07008179, %edx       # fpu pse tsc msr pae cx8 cmov fxsr sse sse2
        cmpl    $0x07008179, %edx
        jne     fail32
        movl    $0x80000001, %eax
        cpuid
        andl    $0x20100800, %edx       # lm nx syscall
        cmpl    $0x20100800, %edx
        jne     fail32

        movl    $2, STEP                # long mode with paging
        movl    $(PDPT + 7), PML4
        movl    $(PD_LOW + 7), PDPT
        movl    $(PD_HIGH + 7), PDPT + 3 * 8
        movl    $0x087, %eax            # present, writable, user, 2 MiB
        movl    $PD_LOW, %edi
1:      movl    %eax, (%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        cmpl    $(PD_LOW + 8 * 8), %edi
        jne     1b
        movl    $(PT_TEST + 7), PD_LOW + 2 * 8
        movl    $0xfee0009b, PD_HIGH + 0x1f7 * 8
        movl    %cr4, %eax
        orl     $0x6a0, %eax            # PAE PGE OSFXSR OSXMMEXCPT
        movl    %eax, %cr4
        movl    $PML4, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       # EFER: SCE LME NXE
        rdmsr
        orl     $0x901, %eax
        wrmsr
        movl    %cr0, %eax
        andl    $0x9ffffffb, %eax       # caches on, no FPU emulation
        orl     $0x80010002, %eax       # PG WP MP
        movl    %eax, %cr0
        ljmp    $0x18, $start64
fail32:
        movl    STEP, %eax
        outl    %eax, $VERDICT
1:      hlt
        jmp     1b

        .code64
start64:
        xorl    %eax, %eax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movq    $KERNEL_STACK, %rsp
        movl    $0xc0000080, %ecx       # EFER.LMA says that it is so
        rdmsr
        testl   $0x400, %eax
        jz      fail
        movabsq $0x123456789abcdef0, %rax
        rolq    $20, %rax
        movabsq $0x6789abcdef012345, %rbx
        cmpq    %rbx, %rax
        jne     fail
        call    make_tables

        step    3                       # a page fault, its address, and the way back
        movq    $0x0123456789, %rax
        movq    %rax, TEST
        cmpq    %rax, 0x600000
        jne     fail
        cmpq    $1, FAULTS
        jne     fail

        step    4                       # a write to a read-only page, from the kernel
        movq    $0x601001, PT_TEST + 8
        movq    $7, TEST + 0x1000
        cmpq    $7, 0x601000
        jne     fail
        cmpq    $2, FAULTS
        jne     fail

        step    5                       # SSE2
        movq    %rax, %xmm0
        paddq   %xmm0, %xmm0
        movq    %xmm0, %rbx
        leaq    (%rax, %rax), %rcx
        cmpq    %rcx, %rbx
        jne     fail

        step    6                       # bases of FS and GS, and their exchange
        movl    $0xc0000101, %ecx       # GS_BASE
        movl    $(TEST + 0x100), %eax
        xorl    %edx, %edx
        wrmsr
        movl    $0xc0000102, %ecx       # KERNEL_GS_BASE
        movl    $(TEST + 0x200), %eax
        wrmsr
        movq    $11, TEST + 0x100
        movq    $22, TEST + 0x200
        cmpq    $11, %gs:0
        jne     fail
        swapgs
        cmpq    $22, %gs:0
        jne     fail

        step    7                       # the local APIC's timer interrupts a halted processor
        call    start_timer
1:      sti
        hlt
        cli
        cmpq    $0, TICKS
        je      1b

        step    8                       # system calls
        movl    $0xc0000081, %ecx       # STAR
        xorl    %eax, %eax
        movl    $0x00200018, %edx       # kernel 0x18, user 0x20 + 16 | 3
        wrmsr
        movl    $0xc0000082, %ecx       # LSTAR
        movl    $system_call, %eax
        xorl    %edx, %edx
        wrmsr
        movl    $0xc0000084, %ecx       # SFMASK
        movl    $0x200, %eax
        wrmsr
        pushq   $0x2b                   # user data
        pushq   $USER_STACK
        pushq   $2
        pushq   $0x33                   # user code
        pushq   $user
        iretq

user:
        int     $0x80
        movabsq $0x5eed5eed5eed, %rdi
        syscall
after_call:
        hlt                             # privileged: must not be reached

system_call:
        cmpq    $after_call, %rcx
        jne     fail
        movabsq $0x5eed5eed5eed, %rax
        cmpq    %rax, %rdi
        jne     fail
        cmpq    $1, SOFT
        jne     fail
        movl    $42, %eax
        outl    %eax, $VERDICT
1:      hlt
        jmp     1b

fail:
        movl    STEP, %eax
        outl    %eax, $VERDICT
1:      hlt
        jmp     1b

start_timer:
        movl    $0xfee00000, %ebx
        movl    $0x1ff, 0xf0(%rbx)      # on, spurious vector 0xff
        movl    $0x0b, 0x3e0(%rbx)      # divide by 1
        movl    $0x20030, 0x320(%rbx)   # periodic, vector 0x30
        movl    $1000000, 0x380(%rbx)
        ret

page_fault:
        cmpq    $3, STEP
        jne     2f
        cmpq    $2, (%rsp)              # a write to a page that is not there
        jne     unexpected
        pushq   %rax
        movq    %cr2, %rax
        cmpq    $TEST, %rax
        jne     fail
        movq    $0x600003, PT_TEST
        jmp     3f
2:      cmpq    $4, STEP
        jne     unexpected
        cmpq    $3, (%rsp)              # a write to a page that may only be read
        jne     unexpected
        pushq   %rax
        movq    %cr2, %rax
        cmpq    $(TEST + 0x1000), %rax
        jne     fail
        movq    $0x601003, PT_TEST + 8
3:      invlpg  (%rax)
        incq    FAULTS
        popq    %rax
        addq    $8, %rsp
        iretq

timer:
        incq    TICKS
        pushq   %rbx
        movl    $0xfee00000, %ebx
        movl    $0x10000, 0x320(%rbx)
        movl    $0, 0xb0(%rbx)
        popq    %rbx
        iretq

soft:
        cmpq    $0x33, 8(%rsp)          # came from user code
        jne     fail
        incq    SOFT
        iretq

unexpected:
        movl    STEP, %eax
        orl     $64, %eax
        outl    %eax, $VERDICT
1:      hlt
        jmp     1b

# GDT with a TSS in RAM (ltr marks it busy), IDT with all exceptions.
make_tables:
        movl    $gdt, %esi
        movl    $GDT, %edi
        movl    $(gdt_end - gdt) / 8, %ecx
        rep movsq
        lgdt    gdt_ram_pointer
        movq    $KERNEL_STACK, TSS + 4
        movw    $0x40, %ax
        ltr     %ax
        movl    $IDT, %edi
        movl    $256, %ecx
        movl    $unexpected, %eax
1:      call    gate
        loop    1b
        movl    $page_fault, %eax
        movl    $(IDT + 14 * 16), %edi
        call    gate
        movl    $timer, %eax
        movl    $(IDT + 0x30 * 16), %edi
        call    gate
        movl    $soft, %eax
        movl    $(IDT + 0x80 * 16), %edi
        call    gate
        movb    $0xee, IDT + 0x80 * 16 + 5
        lidt    idt_pointer
        ret

# Writes an interrupt gate to %rdi and moves on.
gate:
        movl    %eax, %edx
        movw    %dx, (%rdi)
        movw    $0x18, 2(%rdi)
        movw    $0x8e00, 4(%rdi)
        shrl    $16, %edx
        movw    %dx, 6(%rdi)
        movq    $0, 8(%rdi)
        addq    $16, %rdi
        ret

        .balign 8
gdt:
        .quad   0
        .quad   0x00cf9b000000ffff      # 08 code, 32 bit
        .quad   0x00cf93000000ffff      # 10 data
        .quad   0x00af9b000000ffff      # 18 code, 64 bit
        .quad   0x00cf93000000ffff      # 20 data (what syscall loads)
        .quad   0x00cff3000000ffff      # 28 user data
        .quad   0x00affb000000ffff      # 30 user code, 64 bit
        .quad   0
        .quad   0x0000890160000067      # 40 TSS at 0x16000
        .quad   0
gdt_end:
gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt
gdt_ram_pointer:
        .word   gdt_end - gdt - 1
        .quad   GDT
idt_pointer:
        .word   256 * 16 - 1
        .quad   IDT

        .section .reset, "ax"
        .code16
reset:
        ljmp    $0xf000, $(start16 - 0xf0000)
        .fill   16 - (. - reset), 1, 0

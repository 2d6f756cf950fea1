/* SPDX-License-Identifier: MIT */
/*
 * tail.S - exported functions that must leave no frame behind.
 *
 * Owns:   dlopen dlmopen (see dl.c), syscall (see sandbox.c), vfork (see fork.c).
 * Layer:  preload.
 * Source: System V ABI for x86-64; AAPCS64.
 *
 * Each saves the argument registers, calls its C half, restores them and jumps
 * on: the real function sees our caller's return address and stack, and with
 * them every variable argument.
 *
 * vfork's child returns first and overwrites the stack below its caller, so the
 * parent's return address waits in a register, as in any libc.
 */
#if defined(__x86_64__)

	.macro	ENTRY name
	.globl	\name
	.type	\name, @function
	.p2align 4
\name:
	.cfi_startproc
	endbr64
	.endm

	.macro	END name
	.cfi_endproc
	.size	\name, . - \name
	.endm

	/* 64 bytes: six arguments, al (vector registers), alignment. */
	.macro	SAVE
	subq	$72, %rsp
	.cfi_adjust_cfa_offset 72
	movq	%rdi, 0(%rsp)
	movq	%rsi, 8(%rsp)
	movq	%rdx, 16(%rsp)
	movq	%rcx, 24(%rsp)
	movq	%r8, 32(%rsp)
	movq	%r9, 40(%rsp)
	.endm

	.macro	RESTORE_AND_JUMP
	movq	%rax, %r11
	movq	0(%rsp), %rdi
	movq	8(%rsp), %rsi
	movq	16(%rsp), %rdx
	movq	24(%rsp), %rcx
	movq	32(%rsp), %r8
	movq	40(%rsp), %r9
	addq	$72, %rsp
	.cfi_adjust_cfa_offset -72
	xorl	%eax, %eax
	jmp	*%r11
	.endm

	.text

/* void *dlopen(const char *file, int flags) */
ENTRY dlopen
	SAVE
	leaq	8(%rsp), %rdi
	call	bs_real_dlopen
	RESTORE_AND_JUMP
END dlopen

/* void *dlmopen(Lmid_t ns, const char *file, int flags) */
ENTRY dlmopen
	SAVE
	leaq	16(%rsp), %rdi
	call	bs_real_dlmopen
	RESTORE_AND_JUMP
END dlmopen

/* long syscall(long nr, ...) */
ENTRY syscall
	SAVE
	call	bs_real_syscall
	RESTORE_AND_JUMP
END syscall

/* pid_t vfork(void): clone(flags, 0, 0, 0, 0), which ignores r8 and r9 */
ENTRY vfork
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	call	bs_vfork_begin
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%r9
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %r9
	movl	%eax, %edi
	movl	%eax, %r8d
	xorl	%esi, %esi
	xorl	%edx, %edx
	xorl	%r10d, %r10d
	movl	$56, %eax
	syscall
	pushq	%r9
	.cfi_adjust_cfa_offset 8
	.cfi_offset %rip, -8
	testq	%rax, %rax
	jz	1f
	movq	%rax, %rdi
	movl	%r8d, %esi
	jmp	bs_vfork_end
1:	ret
END vfork
	.globl	__vfork
	.set	__vfork, vfork

#elif defined(__aarch64__)

	.macro	ENTRY name
	.globl	\name
	.type	\name, %function
	.p2align 4
\name:
	.cfi_startproc
	hint	34 /* bti c */
	.endm

	.macro	END name
	.cfi_endproc
	.size	\name, . - \name
	.endm

	.macro	SAVE
	stp	x29, x30, [sp, #-96]!
	.cfi_def_cfa_offset 96
	.cfi_offset 29, -96
	.cfi_offset 30, -88
	mov	x29, sp
	stp	x0, x1, [sp, #16]
	stp	x2, x3, [sp, #32]
	stp	x4, x5, [sp, #48]
	stp	x6, x7, [sp, #64]
	.endm

	.macro	RESTORE_AND_JUMP
	mov	x16, x0
	ldp	x0, x1, [sp, #16]
	ldp	x2, x3, [sp, #32]
	ldp	x4, x5, [sp, #48]
	ldp	x6, x7, [sp, #64]
	ldp	x29, x30, [sp], #96
	.cfi_restore 29
	.cfi_restore 30
	.cfi_def_cfa_offset 0
	br	x16
	.endm

	.text

ENTRY dlopen
	SAVE
	add	x0, sp, #24
	bl	bs_real_dlopen
	RESTORE_AND_JUMP
END dlopen

ENTRY dlmopen
	SAVE
	add	x0, sp, #32
	bl	bs_real_dlmopen
	RESTORE_AND_JUMP
END dlmopen

ENTRY syscall
	SAVE
	bl	bs_real_syscall
	RESTORE_AND_JUMP
END syscall

ENTRY vfork
	stp	x29, x30, [sp, #-16]!
	.cfi_def_cfa_offset 16
	.cfi_offset 29, -16
	.cfi_offset 30, -8
	bl	bs_vfork_begin
	ldp	x29, x30, [sp], #16
	.cfi_restore 29
	.cfi_restore 30
	.cfi_def_cfa_offset 0
	mov	x6, x0
	mov	x1, #0
	mov	x2, #0
	mov	x3, #0
	mov	x4, #0
	mov	x8, #220
	svc	#0
	cbz	x0, 1f
	mov	x1, x6
	b	bs_vfork_end
1:	ret
END vfork
	.globl	__vfork
	.set	__vfork, vfork

#else
#error "buddyscope: x86_64 and aarch64 only"
#endif

	.section .note.GNU-stack, "", %progbits

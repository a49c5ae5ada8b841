/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Differences between kernels, one getter each, so that callers need not know kernel versions. */
#ifndef KTRACE_COMPAT_H
#define KTRACE_COMPAT_H

#include "net.h"
#include "task.h"

/* Reads a field: by a plain load where the program type allows it (tp_btf), else by bpf_probe_read_kernel. typed must be
 * a constant, so that the compiler removes the other. Both read 0 through a bad pointer.
 */
#define FIELD(typed, p, f) ((typed) ? (p)->f : BPF_CORE_READ(p, f))

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs___x86_64 {
	unsigned long r9, r8, cx, dx, si, di;
	unsigned long orig_ax;
	unsigned long ip;
};

/* THREAD_SIZE of arch/x86 without KASAN */
#define X86_64_STACK 16384

struct pt_regs___arm64 {
	unsigned long regs[31];
	unsigned long pc;
	int syscallno;
};

#pragma clang attribute pop

enum bpf_func_id___some {
	BPF_FUNC_task_pt_regs___some = 1, /* CO-RE takes the kernel's value */
};

/* The cgroup2 that a full socket was made in, NULL if it has none. Before 5.15, commit 8520e224f547 ("bpf, cgroups:
 * Fix cgroup v2 fallback on v1/v2 mixed mode"), the word held either the pointer or class ids, with the lowest bit
 * set; the next bit said that no reference is held.
 */
static __always_inline struct cgroup *sock_cgroup(struct sock *sk)
{
	__u64 word = 0;

	bpf_core_read(&word, sizeof(word), &sk->sk_cgrp_data);
	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return (void *)word;
	return word & 1 ? 0 : (void *)(word & ~3ULL);
}

/* The current task's registers at its entry into the kernel, NULL if unknown. Before 5.15, commit dd6e10fbd9fb ("bpf:
 * Add bpf_task_pt_regs() helper"), they are read from the top of the kernel stack, on x86-64 only.
 */
static __always_inline struct pt_regs *current_regs(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (bpf_core_enum_value_exists(enum bpf_func_id___some, BPF_FUNC_task_pt_regs___some))
		return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	if (bpf_core_field_exists(struct pt_regs___x86_64, orig_ax))
		return BPF_CORE_READ(task, stack) + X86_64_STACK -
		       bpf_core_type_size(struct pt_regs___x86_64);
	return NULL;
}

/* The number of the current task's system call, -1 if none or unknown. */
static __always_inline int current_syscall(void)
{
	struct pt_regs *regs = current_regs();

	if (bpf_core_field_exists(struct pt_regs___x86_64, orig_ax))
		return BPF_CORE_READ((struct pt_regs___x86_64 *)regs, orig_ax);
	if (bpf_core_field_exists(struct pt_regs___arm64, syscallno))
		return BPF_CORE_READ((struct pt_regs___arm64 *)regs, syscallno);
	return -1;
}

/* The i-th argument of a function at its kprobe; i is a constant from 1 to 6. Read by helpers, because struct pt_regs
 * differs between architectures and one object serves both.
 */
static __always_inline unsigned long argument(void *ctx, const int i)
{
	struct pt_regs___x86_64 *x86 = ctx;
	unsigned long value = 0;

	if (bpf_core_field_exists(struct pt_regs___arm64, syscallno)) {
		bpf_probe_read_kernel(&value, sizeof(value),
				      ctx + bpf_core_field_offset(struct pt_regs___arm64, regs) +
					      (i - 1) * sizeof(value));
		return value;
	}
	switch (i) {
	case 1:
		return BPF_CORE_READ(x86, di);
	case 2:
		return BPF_CORE_READ(x86, si);
	case 3:
		return BPF_CORE_READ(x86, dx);
	case 4:
		return BPF_CORE_READ(x86, cx);
	case 5:
		return BPF_CORE_READ(x86, r8);
	}
	return BPF_CORE_READ(x86, r9);
}

/* The address of the kprobe. */
static __always_inline unsigned long place_of(void *ctx)
{
	if (bpf_core_field_exists(struct pt_regs___arm64, syscallno))
		return BPF_CORE_READ((struct pt_regs___arm64 *)ctx, pc);
	return BPF_CORE_READ((struct pt_regs___x86_64 *)ctx, ip);
}

/* Whether a system call can send packets: sendto, sendmsg, sendmmsg, write, writev, connect, io_uring_enter. The first
 * numbers are x86-64's, the second those of asm-generic/unistd.h (arm64).
 */
static __always_inline bool sends(int nr)
{
	if (bpf_core_field_exists(struct pt_regs___x86_64, orig_ax))
		return nr == 44 || nr == 46 || nr == 307 || nr == 1 || nr == 20 || nr == 42 || nr == 426;
	return nr == 206 || nr == 211 || nr == 269 || nr == 64 || nr == 66 || nr == 203 || nr == 426;
}

#endif

/* What differs between kernels: one getter a difference, so that callers know nothing of versions. */
#ifndef KTRACE_COMPAT_H
#define KTRACE_COMPAT_H

#include "net.h"
#include "task.h"

/* A field, by a plain load where the program type lets p be followed (tp_btf), else by a helper. typed must be a
 * constant, so that only one of them is left. Through wrong pointers both read zero.
 */
#define FIELD(typed, p, f) ((typed) ? (p)->f : BPF_CORE_READ(p, f))

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs___x86_64 {
	unsigned long r9, r8, cx, dx, si, di;
	unsigned long orig_ax;
	unsigned long ip;
};

/* THREAD_SIZE of arch/x86, but for kernels built with KASAN */
#define X86_64_STACK 16384

struct pt_regs___arm64 {
	unsigned long regs[31];
	unsigned long pc;
	int syscallno;
};

#pragma clang attribute pop

enum bpf_func_id___some {
	BPF_FUNC_task_pt_regs___some = 1, /* the number is the kernel's business */
};

/* The cgroup2 that a full socket was made in, NULL if it has none. Before 5.15, commit 8520e224f547 ("bpf, cgroups:
 * Fix cgroup v2 fallback on v1/v2 mixed mode"), the pointer shared its word with class ids, told apart by the lowest
 * bit; the next one said that no reference is held.
 */
static __always_inline struct cgroup *sock_cgroup(struct sock *sk)
{
	__u64 word = 0;

	bpf_core_read(&word, sizeof(word), &sk->sk_cgrp_data);
	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return (void *)word;
	return word & 1 ? 0 : (void *)(word & ~3ULL);
}

/* The registers that the current task entered the kernel with, NULL if not to be known. Before 5.15, commit
 * dd6e10fbd9fb ("bpf: Add bpf_task_pt_regs() helper"), they are where x86-64 leaves them: at the top of the stack.
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

/* The number of the system call that the current task is in, -1 if none or not to be known. */
static __always_inline int current_syscall(void)
{
	struct pt_regs *regs = current_regs();

	if (bpf_core_field_exists(struct pt_regs___x86_64, orig_ax))
		return BPF_CORE_READ((struct pt_regs___x86_64 *)regs, orig_ax);
	if (bpf_core_field_exists(struct pt_regs___arm64, syscallno))
		return BPF_CORE_READ((struct pt_regs___arm64 *)regs, syscallno);
	return -1;
}

/* The i-th argument of the function that a kprobe is at the beginning of; i is a constant from 1 to 6. By helpers,
 * since the registers have other places, and other names, on each architecture: so one object serves them all.
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

/* Where a kprobe is. */
static __always_inline unsigned long place_of(void *ctx)
{
	if (bpf_core_field_exists(struct pt_regs___arm64, syscallno))
		return BPF_CORE_READ((struct pt_regs___arm64 *)ctx, pc);
	return BPF_CORE_READ((struct pt_regs___x86_64 *)ctx, ip);
}

/* Whether a system call sends: sendto, sendmsg, sendmmsg, write, writev, connect, io_uring_enter. x86-64 and the
 * table that all newer architectures share number them apart from each other.
 */
static __always_inline bool sends(int nr)
{
	if (bpf_core_field_exists(struct pt_regs___x86_64, orig_ax))
		return nr == 44 || nr == 46 || nr == 307 || nr == 1 || nr == 20 || nr == 42 || nr == 426;
	return nr == 206 || nr == 211 || nr == 269 || nr == 64 || nr == 66 || nr == 203 || nr == 426;
}

#endif

/* Who runs: process, cgroup and network namespace of the current task. */
#ifndef KTRACE_TASK_H
#define KTRACE_TASK_H

#include "event.h"

#define PF_KTHREAD 0x00200000 /* linux/sched.h */

/* The version 1 hierarchy whose cgroups tell containers apart, as enum cgroup_subsys_id of this kernel
 * numbers it; -1 for the default hierarchy, cgroup2.
 */
const volatile int cgroup_subsys = -1;
const volatile int cgroup_hierarchy =
	0; /* id of that hierarchy, 0 for cgroup2; ids of cgroups mean something in one only */

static __always_inline __u64 cgroup_id_of(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *css;
	int i = cgroup_subsys;

	if (i < 0)
		return BPF_CORE_READ(set, dfl_cgrp, kn, id);
	if (bpf_core_read(&css, sizeof(css), &set->subsys[i & 15]))
		return 0;
	return BPF_CORE_READ(css, cgroup, kn, id);
}

static __always_inline __u32 netns_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
}

/* The process's name, not the thread's: a pool's threads call themselves what says nothing of whose they are. */
static __always_inline void read_comm(__u8 comm[16], struct task_struct *task)
{
	struct task_struct *process = BPF_CORE_READ(task, group_leader);

	bpf_core_read(comm, 16, &process->comm);
}

/* Fills in the current task. Only where the program runs on its behalf: in a softirq it is a bystander. */
static __always_inline void fill_task(struct hdr *h)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 id = bpf_get_current_pid_tgid();

	h->pid = id >> 32;
	h->tid = id;
	h->cgroup = cgroup_id_of(task);
	h->netns = netns_of(task);
	read_comm(h->comm, task);
}

#endif

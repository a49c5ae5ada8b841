/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Process, cgroup and network namespace of a task. */
#ifndef KTRACE_TASK_H
#define KTRACE_TASK_H

#include "event.h"

#define PF_KTHREAD 0x00200000 /* linux/sched.h */

/* The cgroup v1 controller whose hierarchy has a cgroup for each container, in this kernel's enum cgroup_subsys_id; -1
 * for the default hierarchy, cgroup2.
 */
const volatile int cgroup_subsys = -1;
/* The id of that hierarchy, 0 for cgroup2. A cgroup's id is unique only within its hierarchy. */
const volatile int cgroup_hierarchy = 0;

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

static __always_inline struct net *net_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, nsproxy, net_ns);
}

static __always_inline __u32 netns_of(struct task_struct *task)
{
	return BPF_CORE_READ(net_of(task), ns.inum);
}

/* The process's name, not the thread's: threads of a pool have names that do not identify the program. */
static __always_inline void read_comm(__u8 comm[16], struct task_struct *task)
{
	struct task_struct *process = BPF_CORE_READ(task, group_leader);

	bpf_core_read(comm, 16, &process->comm);
}

/* Fills in the current task. Not for programs in a softirq, where the current task is unrelated. */
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

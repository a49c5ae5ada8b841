/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel types and fields that ktrace reads; CO-RE finds them by name at load time. Declared here instead of in a
 * generated vmlinux.h, so that they can be reviewed, and one object serves all little-endian architectures.
 */
#ifndef KTRACE_KERNEL_H
#define KTRACE_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef _Bool bool;

enum { false, true };

#define offsetof(type, member) __builtin_offsetof(type, member)

/* From linux/bpf.h: ABI. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
};

enum {
	BPF_F_NO_PREALLOC = 1,
	BPF_F_MMAPABLE = 1024,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
};

enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_RING_SIZE = 1,
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
	__u32 hash_mix;
	__u64 net_cookie;
};

struct nsproxy {
	struct net *net_ns;
};

struct signal_struct {
	int group_exit_code;
};

struct sched_info {
	unsigned long pcount;	      /* times that it got a CPU */
	unsigned long long run_delay; /* time that it was runnable and waited for one, nanoseconds */
};

struct task_struct {
	unsigned int in_iowait : 1;
	struct sched_info sched_info;
	int pid;
	int tgid;
	unsigned int flags;
	void *stack;
	char comm[16];
	struct task_struct *group_leader;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct signal_struct *signal;
};

#pragma clang attribute pop

#endif

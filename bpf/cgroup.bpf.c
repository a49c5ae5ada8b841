// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

/* Creation and removal of cgroups, and tasks that enter them, so that a pod that starts later is known and selected
 * before its first packet. raw_tp cgroup_mkdir, cgroup_rmdir, cgroup_attach_task, sched_process_exec.
 */
enum kind {
	KIND_CGROUP = 5,
};

#include "select.h"
#include "task.h"

#define PATH_LEN 512 /* longest seen in the field: 250 for a nested systemd unit in a pod */

enum cgroup_op {
	CGROUP_MKDIR = 1,
	CGROUP_RMDIR = 2,
	CGROUP_ATTACH = 3,
	CGROUP_EXEC = 4,
};

struct event {
	struct hdr hdr; /* pid is the task that moves in (CGROUP_ATTACH), else the current process */
	enum cgroup_op op;
	__u16 hierarchy;     /* its id; 0 is the default hierarchy, cgroup2 */
	__u16 path_len;	     /* bytes of path, without the NUL; 0 for CGROUP_EXEC */
	__u8 path[PATH_LEN]; /* within its hierarchy, "/kubepods/..." */
};

DEFINE_RING(struct event);

#include "netns.h"

/* The network namespace in which a cgroup's tasks were last seen. A record is sent only when it changes. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);   /* cgroup id */
	__type(value, __u32); /* inode of the network namespace */
} cgroup_netns SEC(".maps");

static __always_inline int send(__u64 cgroup, __u32 netns, const char *path, struct task_struct *task,
				enum cgroup_op op)
{
	struct event *e;
	long n;

	announce_netns(net_of(task));
	e = RESERVE(struct event, KIND_CGROUP, sizeof(*e));
	if (!e)
		return 0;
	e->op = op;
	e->hdr.cgroup = cgroup;
	e->hierarchy = cgroup_hierarchy;
	e->hdr.pid = BPF_CORE_READ(task, tgid);
	e->hdr.tid = BPF_CORE_READ(task, pid);
	read_comm(e->hdr.comm, task);
	e->hdr.netns = netns;
	if (path) {
		n = bpf_probe_read_kernel_str(e->path, sizeof(e->path), path);
		e->path_len = n > 0 ? n - 1 : 0;
	}
	SUBMIT(e);
	return 0;
}

/* Whether the cgroup is of another hierarchy, where its id means another cgroup. */
static __always_inline bool other_hierarchy(struct cgroup *cgrp)
{
	return BPF_CORE_READ(cgrp, root, hierarchy_id) != cgroup_hierarchy;
}

/* A task of the cgroup runs in a network namespace. If the cgroup is selected, so is the namespace from now on: user
 * space would be too late for a container's first packet.
 */
static __always_inline int handle_enter(__u64 cgroup, const char *path, struct task_struct *task,
					enum cgroup_op op)
{
	__u32 netns = netns_of(task), *known = bpf_map_lookup_elem(&cgroup_netns, &cgroup);

	if (known && *known == netns)
		return 0;
	bpf_map_update_elem(&cgroup_netns, &cgroup, &netns, BPF_ANY);
	if (selecting && netns != host_netns && cgroup_selected(cgroup))
		select_netns(netns);
	return send(cgroup, netns, path, task, op);
}

SEC("raw_tp/cgroup_mkdir")
int BPF_PROG(mkdir_raw_tp, struct cgroup *cgrp, const char *path)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 id = BPF_CORE_READ(cgrp, kn, id);

	if (other_hierarchy(cgrp))
		return 0;
	if (selecting && cgroup_selected(BPF_CORE_READ(cgrp, self.parent, cgroup, kn, id)))
		select_cgroup(id);
	return send(id, netns_of(task), path, task, CGROUP_MKDIR);
}

/* rmdir, not release: sockets and page cache may hold a cgroup for minutes after its last task. */
SEC("raw_tp/cgroup_rmdir")
int BPF_PROG(rmdir_raw_tp, struct cgroup *cgrp, const char *path)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (other_hierarchy(cgrp))
		return 0;
	return send(BPF_CORE_READ(cgrp, kn, id), netns_of(task), path, task, CGROUP_RMDIR);
}

SEC("raw_tp/cgroup_attach_task")
int BPF_PROG(attach_raw_tp, struct cgroup *cgrp, const char *path, struct task_struct *task)
{
	if (other_hierarchy(cgrp))
		return 0;
	return handle_enter(BPF_CORE_READ(cgrp, kn, id), path, task, CGROUP_ATTACH);
}

/* A container runtime moves its child into the cgroup first and into the namespaces second. Both are done when it
 * executes the container's program.
 */
SEC("raw_tp/sched_process_exec")
int BPF_PROG(exec_raw_tp, struct task_struct *task)
{
	return handle_enter(cgroup_id_of(task), NULL, task, CGROUP_EXEC);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

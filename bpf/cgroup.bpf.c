//go:build ignore

/* Control groups as they come, go and are entered: how a pod that starts later is known from its
 * first moment. raw_tp cgroup_mkdir, cgroup_release, cgroup_attach_task.
 */
#include "event.h"

#define PATH_LEN 512 /* longest seen in the field: 250 for a nested systemd unit in a pod */

enum cgroup_op {
	CGROUP_MKDIR = 1,
	CGROUP_RELEASE = 2,
	CGROUP_ATTACH = 3,
};

struct event {
	struct hdr hdr; /* pid is the task that moves in (CGROUP_ATTACH), else who made or removed it */
	enum cgroup_op op;
	__u16 hierarchy;     /* its id; 1 is the default hierarchy, cgroup2 */
	__u16 path_len;	     /* bytes of path, without its end */
	__u8 path[PATH_LEN]; /* within its hierarchy, "/kubepods/..." */
};

DEFINE_RING(struct event);

static __always_inline int handle_cgroup(struct cgroup *cgrp, const char *path, struct task_struct *task,
					 enum cgroup_op op)
{
	struct event *e = RESERVE(struct event, KIND_CGROUP, sizeof(*e));
	long n;

	if (!e)
		return 0;
	e->op = op;
	e->hdr.cgroup = BPF_CORE_READ(cgrp, kn, id);
	e->hierarchy = BPF_CORE_READ(cgrp, root, hierarchy_id);
	e->hdr.pid = BPF_CORE_READ(task, tgid);
	e->hdr.tid = BPF_CORE_READ(task, pid);
	BPF_CORE_READ_INTO(&e->hdr.comm, task, comm);
	e->hdr.netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	n = bpf_probe_read_kernel_str(e->path, sizeof(e->path), path);
	e->path_len = n > 0 ? n - 1 : 0;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp/cgroup_mkdir")
int BPF_PROG(mkdir_raw_tp, struct cgroup *cgrp, const char *path)
{
	return handle_cgroup(cgrp, path, (void *)bpf_get_current_task(), CGROUP_MKDIR);
}

SEC("raw_tp/cgroup_release")
int BPF_PROG(release_raw_tp, struct cgroup *cgrp, const char *path)
{
	return handle_cgroup(cgrp, path, (void *)bpf_get_current_task(), CGROUP_RELEASE);
}

SEC("raw_tp/cgroup_attach_task")
int BPF_PROG(attach_raw_tp, struct cgroup *cgrp, const char *path, struct task_struct *task)
{
	return handle_cgroup(cgrp, path, task, CGROUP_ATTACH);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

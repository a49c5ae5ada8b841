// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)

//go:build ignore

/* Syncs of files below a path. A histogram counts the latency of each, without loss; slow ones are also sent. tp_btf or
 * raw_tp ext4_sync_file_enter and _exit; syscall tracepoints for other file systems; sched_switch for what a task waits
 * for within a sync.
 */
enum kind {
	KIND_FSYNC = 4,
};

#include "event.h"
#include "fs.h"
#include "select.h"
#include "share.h"
#include "task.h"

#define MAX_DEPTH 48	 /* parent directories that are read */
#define NAME_LEN  256	 /* NAME_MAX and NUL */
#define PATH_LEN  1020	 /* bytes of names in a record */
#define BUCKETS	  1856	 /* 29 groups of 64, as in fio */
#define NO_ROOT	  0xffff /* no path was given */

enum fsync_op {
	FSYNC_FSYNC = 1,
	FSYNC_FDATASYNC = 2,
	FSYNC_MSYNC = 3,
	FSYNC_SYNC_FILE_RANGE = 4,
	FSYNC_SYNCFS = 5,
	FSYNC_WRITE_DSYNC = 6, /* a write to a file opened with O_DSYNC */
	FSYNC_WRITE_SYNC = 7,  /* or O_SYNC */
	FSYNC_WRITE_RWF = 8,   /* pwritev2 with RWF_DSYNC or RWF_SYNC, or the file or mount is "sync" */
	FSYNC_IO_URING = 9,    /* by an io_uring worker thread */
	FSYNC_KERNEL = 10,     /* by a kernel thread: a loop device, an NFS server */
	FSYNC_OTHER = 11,      /* see syscall */
};

/* The use of the file, by its name. */
enum fsync_class {
	/* *.wal, and *.tmp in a directory "wal": etcd's segments before they are renamed */
	FSYNC_CLASS_WAL = 0,
	FSYNC_CLASS_DB = 1, /* snap/db */
	FSYNC_CLASS_DIR = 2,
	FSYNC_CLASS_OTHER = 3,
	FSYNC_CLASSES,
};

enum fsync_flags {
	FSYNC_DELETED = 1,   /* the file is unlinked */
	FSYNC_TRUNCATED = 2, /* the beginning of path is cut off */
	FSYNC_DATASYNC = 4,  /* data only, not all metadata */
	FSYNC_STAGES = 8,    /* waited is valid */
	FSYNC_QUEUED = 16,   /* only waited[FSYNC_WAIT_CPU] is valid */
};

/* What a task that syncs waits for. */
enum fsync_wait {
	FSYNC_WAIT_OTHER = 0,  /* asleep without in_iowait: for the journal's commit, or a lock */
	FSYNC_WAIT_DEVICE = 1, /* asleep with in_iowait */
	FSYNC_WAIT_CPU = 2,    /* runnable */
	FSYNC_WAITS,
};

struct event {
	struct hdr hdr; /* time is that of the sync's end */
	__u64 latency;	/* nanoseconds */
	__u64 ino;
	__u32 dev;     /* of the file system, as in the kernel: major << 20 | minor */
	__s32 error;   /* returned by the sync: 0 or -errno */
	__u32 syscall; /* its number, on this architecture; valid iff op is FSYNC_OTHER */
	enum fsync_op op;
	enum fsync_class class;
	enum fsync_flags flags;
	__u64 waited[FSYNC_WAITS]; /* nanoseconds; valid by flags */
	__u16 root; /* index of the root that path is relative to; NO_ROOT: the file system's root */
	__u16 path_len;
	__u8 path[PATH_LEN]; /* names from the file up to the root, each with NUL */
};

#define HEAD_SIZE __builtin_offsetof(struct event, path)

DEFINE_RING(struct event);

const volatile bool by_netns = false;	/* the selection names a network namespace, not just pods */
const volatile bool everything = false; /* no path was given: every file counts */
/* sync_file_range and syncfs count on ext4 too. They do not reach ext4_sync_file_enter. */
const volatile bool all_sync = false;
const volatile __u64 limit = 10000000; /* nanoseconds; slower syncs count as over */

const volatile bool switches = false; /* the sched_switch program is attached */

/* The hook that counts a file system's syncs: exactly one, else they count twice. */
enum hook {
	HOOK_EXT4 = 1,
	HOOK_SYSCALL = 2,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);   /* as event.dev */
	__type(value, __u32); /* enum hook */
} devices SEC(".maps");

struct file_id {
	__u64 ino;
	__u32 dev;
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct file_id); /* a directory or file that was given, or is mounted below one */
	__type(value, __u32);	     /* its index */
} roots SEC(".maps");

/* Settings that user space changes while programs run. */
struct control {
	__u64 floor;   /* nanoseconds; syncs that take at least this long are sent */
	__u64 ino_set; /* bit ino % 64 of every root, so that most directories need no map lookup */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} control SEC(".maps");

/* Syncs of a task can nest, with a file system in a file of another. Their inodes differ. */
struct inflight_key {
	__u64 inode; /* address of struct inode; 0 for a syscall, which cannot nest */
	__u32 tid;
	__u32 zero;
};

struct inflight {
	__u64 start; /* nanoseconds, CLOCK_BOOTTIME */
	__u64 dentry;
	__u64 root_dentry; /* 0 if root is NO_ROOT */
	__u64 ino;
	__u64 cgroup;
	__u32 dev;
	__u32 pid;
	__u32 syscall;
	enum fsync_op op;
	enum fsync_class class;
	__u16 root;
	__u16 datasync;
};

#define SHARE_SYNCS_ROOM 16384 /* tasks that sync at the same time; those of a cgroup have a share */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SHARE_SYNCS_ROOM);
	__type(key, struct inflight_key);
	__type(value, struct inflight);
} inflight SEC(".maps");

/* What a task has waited for within its sync. Of nested syncs only the inner one is known. */
struct waits {
	__u64 left;   /* when it was switched out, nanoseconds of CLOCK_BOOTTIME; 0 while it runs */
	__u64 queued; /* sched_info.run_delay when last read, nanoseconds */
	__u64 waited[FSYNC_WAITS]; /* nanoseconds */
	__u64 last;		   /* its wait when last switched out: FSYNC_WAIT_OTHER or _DEVICE */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32); /* tid */
	__type(value, struct waits);
} waits SEC(".maps");

/* The number of entries in waits: while it is 0, a task switch costs one lookup here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} waiting SEC(".maps");

/* User space reads it by mmap: during a bpf() lookup the kernel skips tracepoint programs on that CPU (bpf_prog_active). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, FSYNC_CLASSES *BUCKETS);
	__type(key, __u32); /* class * BUCKETS + bucket */
	__type(value, __u64);
} histogram SEC(".maps");

/* What the histogram has only approximately, per class and CPU. */
struct totals {
	__u64 n;
	__u64 sum;	 /* nanoseconds */
	__u64 square_lo; /* sum of squares = square_hi << 32 + square_lo */
	__u64 square_hi;
	__u64 min; /* valid iff n > 0 */
	__u64 max;
	__u64 over; /* how many took longer than limit */

	/* Of those over the limit whose waits are known. */
	__u64 known;
	__u64 known_sum;	   /* nanoseconds */
	__u64 waited[FSYNC_WAITS]; /* nanoseconds */
	__u64 starved;		   /* how many waited for a CPU more than half of their time */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FSYNC_CLASSES);
	__type(key, __u32);
	__type(value, struct totals);
} totals SEC(".maps");

static __always_inline __u32 log2_of(__u64 v)
{
	__u32 r = 0;

	if (v >> 32) {
		v >>= 32;
		r += 32;
	}
	if (v >> 16) {
		v >>= 16;
		r += 16;
	}
	if (v >> 8) {
		v >>= 8;
		r += 8;
	}
	if (v >> 4) {
		v >>= 4;
		r += 4;
	}
	if (v >> 2) {
		v >>= 2;
		r += 2;
	}
	return r + (v >> 1);
}

/* fio's bucket: exact below 128 ns, then 64 per power of two. */
static __always_inline __u32 bucket_of(__u64 v)
{
	__u32 shift, i;

	if (v < 128)
		return v;
	shift = log2_of(v) - 6;
	i = ((shift + 1) << 6) + ((v >> shift) & 63);
	return i < BUCKETS ? i : BUCKETS - 1;
}

static __always_inline void count_latency(__u32 class, __u64 v)
{
	struct totals *t = bpf_map_lookup_elem(&totals, &class);
	__u32 i = class * BUCKETS + bucket_of(v);
	__u64 *count = bpf_map_lookup_elem(&histogram, &i);
	__u64 hi = v >> 32, lo = v & 0xffffffff;

	if (!t || !count)
		return;
	__sync_fetch_and_add(count, 1);
	__sync_fetch_and_add(&t->sum, v);
	__sync_fetch_and_add(&t->square_lo, lo * lo & 0xffffffff);
	__sync_fetch_and_add(&t->square_hi, (lo * lo >> 32) + 2 * hi * lo + (hi * hi << 32));
	if (v > t->max)
		t->max = v;
	if (!t->n || v < t->min)
		t->min = v;
	if (v > limit)
		__sync_fetch_and_add(&t->over, 1);
	__sync_fetch_and_add(&t->n, 1);
}

/* Adds up what a sync over the limit waited for. */
static __always_inline void count_waits(__u32 class, __u64 latency, struct waits *w)
{
	struct totals *t = bpf_map_lookup_elem(&totals, &class);

	if (!t || latency <= limit)
		return;
	__sync_fetch_and_add(&t->known, 1);
	__sync_fetch_and_add(&t->known_sum, latency);
	for (int i = 0; i < FSYNC_WAITS; i++)
		__sync_fetch_and_add(&t->waited[i], w->waited[i]);
	if (w->waited[FSYNC_WAIT_CPU] > latency / 2)
		__sync_fetch_and_add(&t->starved, 1);
}

/* Finds the root that a file is below. */
static __always_inline bool below_root(struct dentry *d, struct inflight *s, struct control *c, bool typed)
{
	struct file_id at = {.dev = s->dev};
	struct dentry *parent;

	s->root = NO_ROOT;
	if (everything)
		return true;
	for (int i = 0; i < MAX_DEPTH; i++) {
		at.ino = FIELD(typed, FIELD(typed, d, d_inode), i_ino);
		if (c->ino_set >> (at.ino & 63) & 1) {
			__u32 *root = bpf_map_lookup_elem(&roots, &at);

			if (root) {
				s->root = *root;
				s->root_dentry = (__u64)d;
				return true;
			}
		}
		parent = FIELD(typed, d, d_parent);
		if (parent == d)
			return false;
		d = parent;
	}
	return false;
}

/* The last four bytes of a name, the last in the lowest; shorter names are padded with zeros. */
static __always_inline __u32 suffix_of(struct dentry *d, bool typed)
{
	__u32 len = FIELD(typed, d, d_name.len);
	const unsigned char *name = FIELD(typed, d, d_name.name);
	__u8 b[4] = {};

	if (len < 4)
		bpf_probe_read_kernel(b, len & 3, name);
	else
		bpf_probe_read_kernel(b, 4, name + len - 4);
	return b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
}

#define SUFFIX(a, b, c, d) ((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static __always_inline enum fsync_class class_of(struct dentry *d, bool typed)
{
	struct dentry *parent = FIELD(typed, d, d_parent);

	if ((FIELD(typed, FIELD(typed, d, d_inode), i_mode) & S_IFMT) == S_IFDIR)
		return FSYNC_CLASS_DIR;
	switch (suffix_of(d, typed)) {
	case SUFFIX('.', 'w', 'a', 'l'):
		return FSYNC_CLASS_WAL;
	case SUFFIX('.', 't', 'm', 'p'):
		return suffix_of(parent, typed) == SUFFIX('w', 'a', 'l', 0) ? FSYNC_CLASS_WAL
									    : FSYNC_CLASS_OTHER;
	case SUFFIX('d', 'b', 0, 0):
		return suffix_of(parent, typed) == SUFFIX('s', 'n', 'a', 'p') ? FSYNC_CLASS_DB
									      : FSYNC_CLASS_OTHER;
	}
	return FSYNC_CLASS_OTHER;
}

static __always_inline enum fsync_op write_op(__u32 flags)
{
	if (flags & __O_SYNC)
		return FSYNC_WRITE_SYNC;
	return flags & O_DSYNC ? FSYNC_WRITE_DSYNC : FSYNC_WRITE_RWF;
}

static __always_inline enum fsync_op op_amd64(__u32 syscall, __u32 file_flags)
{
	switch (syscall) {
	case 74:
		return FSYNC_FSYNC;
	case 75:
		return FSYNC_FDATASYNC;
	case 26:
		return FSYNC_MSYNC;
	case 426:
		return FSYNC_IO_URING;
	case 1:	  /* write */
	case 18:  /* pwrite64 */
	case 20:  /* writev */
	case 296: /* pwritev */
	case 328: /* pwritev2 */
	case 40:  /* sendfile */
	case 275: /* splice */
	case 326: /* copy_file_range */
	case 209: /* io_submit */
		return write_op(file_flags);
	}
	return FSYNC_OTHER;
}

static __always_inline enum fsync_op op_arm64(__u32 syscall, __u32 file_flags)
{
	switch (syscall) {
	case 82:
		return FSYNC_FSYNC;
	case 83:
		return FSYNC_FDATASYNC;
	case 227:
		return FSYNC_MSYNC;
	case 426:
		return FSYNC_IO_URING;
	case 64:  /* write */
	case 66:  /* writev */
	case 68:  /* pwrite64 */
	case 70:  /* pwritev */
	case 287: /* pwritev2 */
	case 71:  /* sendfile */
	case 76:  /* splice */
	case 285: /* copy_file_range */
	case 2:	  /* io_submit */
		return write_op(file_flags);
	}
	return FSYNC_OTHER;
}

/* Finds the operation from the task's registers, without syscall tracepoints. */
static __always_inline void fill_op(struct inflight *s, __u32 file_flags)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 flags = BPF_CORE_READ(task, flags);
	struct pt_regs___arm64 *arm64 = NULL;
	struct pt_regs___x86 *x86 = NULL;

	if (flags & (PF_IO_WORKER | PF_IO_WORKER_PRE_5_12)) {
		s->op = FSYNC_IO_URING;
		return;
	}
	if (flags & PF_KTHREAD) {
		s->op = FSYNC_KERNEL;
		return;
	}
	if (bpf_core_field_exists(x86->orig_ax)) {
		x86 = entry_regs();
		s->syscall = BPF_CORE_READ(x86, orig_ax);
		s->op = op_amd64(s->syscall, file_flags);
	} else if (bpf_core_field_exists(arm64->syscallno)) {
		arm64 = entry_regs();
		s->syscall = BPF_CORE_READ(arm64, syscallno);
		s->op = op_arm64(s->syscall, file_flags);
	} else {
		s->op = FSYNC_OTHER;
	}
}

static __always_inline bool selected(__u64 cgroup)
{
	if (cgroup_selected(cgroup))
		return true;
	return by_netns && netns_selected(netns_of((void *)bpf_get_current_task()));
}

/* Moves the time that the task was runnable, by the scheduler's run_delay, from its last wait to FSYNC_WAIT_CPU:
 * handle_switch counts all time off the CPU as asleep.
 */
static __always_inline void account_run_delay(struct waits *w, struct task_struct *task, bool typed)
{
	__u64 queued = FIELD(typed, task, sched_info.run_delay);
	__u64 more = queued - w->queued, *asleep = &w->waited[w->last & FSYNC_WAIT_DEVICE];

	w->queued = queued;
	w->waited[FSYNC_WAIT_CPU] += more;
	*asleep -= more < *asleep ? more : *asleep;
}

static __always_inline void begin_waits(__u32 tid)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct waits w = {};
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&waiting, &zero);

	/* Without CONFIG_SCHED_INFO, or with it off on this boot, pcount of a running task is 0. */
	if (!n || !bpf_core_field_exists(task->sched_info.run_delay) ||
	    !BPF_CORE_READ(task, sched_info.pcount))
		return;
	w.queued = BPF_CORE_READ(task, sched_info.run_delay);
	if (!bpf_map_update_elem(&waits, &tid, &w, BPF_NOEXIST))
		__sync_fetch_and_add(n, 1);
	else
		bpf_map_update_elem(&waits, &tid, &w, BPF_EXIST);
}

static __always_inline void forget_waits(__u32 tid)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&waiting, &zero);

	if (n && !bpf_map_delete_elem(&waits, &tid))
		__sync_fetch_and_add(n, -1);
}

/* What the current task has waited for since begin_waits; false if unknown. */
static __always_inline bool end_waits(__u32 tid, struct waits *into)
{
	struct waits *w = bpf_map_lookup_elem(&waits, &tid);

	if (!w)
		return false;
	account_run_delay(w, (void *)bpf_get_current_task(), false);
	*into = *w;
	forget_waits(tid);
	return true;
}

/* The CPU switches from prev to next. */
static __always_inline int handle_switch(struct task_struct *prev, struct task_struct *next, bool typed)
{
	__u32 zero = 0, tid;
	__u64 *n = bpf_map_lookup_elem(&waiting, &zero), now;
	struct waits *w;

	if (!n || !*n)
		return 0;
	now = bpf_ktime_get_boot_ns();
	tid = FIELD(typed, prev, pid);
	w = bpf_map_lookup_elem(&waits, &tid);
	if (w) {
		account_run_delay(w, prev, typed);
		w->last = BPF_CORE_READ_BITFIELD_PROBED(prev, in_iowait);
		w->left = now;
	}
	tid = FIELD(typed, next, pid);
	w = bpf_map_lookup_elem(&waits, &tid);
	if (w && w->left) {
		w->waited[w->last & FSYNC_WAIT_DEVICE] += now - w->left;
		w->left = 0;
	}
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switch_tp_btf, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return handle_switch(prev, next, true);
}

SEC("raw_tp/sched_switch")
int BPF_PROG(switch_raw_tp, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return handle_switch(prev, next, false);
}

/* A sync begins. op is 0 if it is to be found from the registers. inode is 0 for a syscall. */
static __always_inline int handle_enter(struct file *file, __u64 inode, enum fsync_op op, bool datasync,
					enum hook hook, bool typed)
{
	struct inflight_key key = {.inode = inode, .tid = bpf_get_current_pid_tgid()};
	struct dentry *dentry = FIELD(typed, file, f_path.dentry);
	struct inflight s = {.dentry = (__u64)dentry, .datasync = datasync, .op = op}, *missed;
	__u32 zero = 0, *device;
	struct control *c = bpf_map_lookup_elem(&control, &zero);

	s.dev = FIELD(typed, FIELD(typed, dentry, d_sb), s_dev);
	if (!everything || hook == HOOK_SYSCALL) {
		bool no_other = all_sync && (op == FSYNC_SYNC_FILE_RANGE || op == FSYNC_SYNCFS);

		device = bpf_map_lookup_elem(&devices, &s.dev);
		if (!device || (*device != hook && !no_other))
			return 0;
	}
	COUNT(KIND_FSYNC, seen);
	s.cgroup = cgroup_id_of((void *)bpf_get_current_task());
	if (!c || !selected(s.cgroup) || !below_root(dentry, &s, c, typed)) {
		COUNT(KIND_FSYNC, filtered);
		return 0;
	}
	s.ino = FIELD(typed, FIELD(typed, dentry, d_inode), i_ino);
	s.pid = bpf_get_current_pid_tgid() >> 32;
	s.class = class_of(dentry, typed);
	if (!op)
		fill_op(&s, FIELD(typed, file, f_flags));
	begin_waits(key.tid);
	s.start = bpf_ktime_get_boot_ns();
	missed = bpf_map_lookup_elem(&inflight, &key);
	if (missed) { /* the end of an earlier sync was */
		LOSE(KIND_FSYNC, lost_map);
		DELETE_SHARED(inflight, SHARE_SYNCS, missed->cgroup, &key);
	}
	if (PUT_SHARED(inflight, SHARE_SYNCS, s.cgroup, &key, &s)) {
		LOSE(KIND_FSYNC, lost_map);
		forget_waits(key.tid);
	}
	return 0;
}

/* The names from the file up to the root. */
static __always_inline void fill_path(struct event *e, struct inflight *s)
{
	struct dentry *d = (void *)s->dentry, *parent;
	__u32 used = 0;
	long n;

	if (!BPF_CORE_READ(d, d_hash.pprev))
		e->flags |= FSYNC_DELETED;
	for (int i = 0; i < MAX_DEPTH; i++) {
		parent = BPF_CORE_READ(d, d_parent);
		if ((__u64)d == s->root_dentry || parent == d)
			break;
		if (used > PATH_LEN - NAME_LEN) {
			e->flags |= FSYNC_TRUNCATED;
			break;
		}
		n = bpf_probe_read_kernel_str(e->path + used, NAME_LEN, BPF_CORE_READ(d, d_name.name));
		if (n <= 0)
			break;
		used += n & (2 * NAME_LEN - 1);
		d = parent;
	}
	e->path_len = used;
	e->hdr.size = HEAD_SIZE + used;
}

/* Waking the reader delays the syncing task by up to 50 us in a virtual machine. So it is woken only when the ring buffer
 * fills; else it polls ten times a second.
 */
static __always_inline __u64 wakeup_late(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >
			       bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 4
		       ? BPF_RB_FORCE_WAKEUP
		       : BPF_RB_NO_WAKEUP;
}

static __always_inline int handle_exit(__u64 inode, long ret)
{
	struct inflight_key key = {.inode = inode, .tid = bpf_get_current_pid_tgid()};
	__u64 now = bpf_ktime_get_boot_ns();
	struct inflight *s = bpf_map_lookup_elem(&inflight, &key);
	__u32 zero = 0;
	struct control *c = bpf_map_lookup_elem(&control, &zero);
	struct event *e;
	struct waits w = {};
	__u64 latency;
	bool known;

	if (!s || !c)
		return 0;
	latency = now - s->start;
	count_latency(s->class, latency);
	known = end_waits(key.tid, &w);
	if (known)
		count_waits(s->class, latency, &w);
	if ((latency >= c->floor || ret < 0) &&
	    (e = RESERVE_SEEN(struct event, KIND_FSYNC, sizeof(*e), HEAD_SIZE))) {
		fill_task(&e->hdr);
		e->hdr.time = now;
		e->latency = latency;
		e->ino = s->ino;
		e->dev = s->dev;
		e->error = ret < 0 ? ret : 0;
		e->syscall = s->syscall;
		e->op = s->op;
		e->class = s->class;
		e->flags = s->datasync ? FSYNC_DATASYNC : 0;
		if (known) {
			e->flags |= switches ? FSYNC_STAGES : FSYNC_QUEUED;
			__builtin_memcpy(e->waited, w.waited, sizeof(e->waited));
		}
		e->root = s->root;
		fill_path(e, s);
		bpf_ringbuf_submit(e, wakeup_late());
	}
	DELETE_SHARED(inflight, SHARE_SYNCS, s->cgroup, &key);
	return 0;
}

SEC("tp_btf/ext4_sync_file_enter")
int BPF_PROG(ext4_enter_tp_btf, struct file *file, int datasync)
{
	return handle_enter(file, (__u64)file->f_inode, 0, datasync, HOOK_EXT4, true);
}

SEC("tp_btf/ext4_sync_file_exit")
int BPF_PROG(ext4_exit_tp_btf, struct inode *inode, int ret)
{
	return handle_exit((__u64)inode, ret);
}

SEC("raw_tp/ext4_sync_file_enter")
int BPF_PROG(ext4_enter_raw_tp, struct file *file, int datasync)
{
	return handle_enter(file, (__u64)BPF_CORE_READ(file, f_inode), 0, datasync, HOOK_EXT4, false);
}

SEC("raw_tp/ext4_sync_file_exit")
int BPF_PROG(ext4_exit_raw_tp, struct inode *inode, int ret)
{
	return handle_exit((__u64)inode, ret);
}

/* The format of syscall events in tracefs: ABI. */
struct sys_enter {
	__u64 common;
	long syscall;
	unsigned long args[6];
};

struct sys_exit {
	__u64 common;
	long syscall;
	long ret;
};

static __always_inline int handle_fd(struct sys_enter *ctx, enum fsync_op op, bool datasync)
{
	struct file *file = file_of(ctx->args[0]);

	return file ? handle_enter(file, 0, op, datasync, HOOK_SYSCALL, false) : 0;
}

SEC("tracepoint/syscalls/sys_enter_fsync")
int enter_fsync(struct sys_enter *ctx)
{
	return handle_fd(ctx, FSYNC_FSYNC, false);
}

SEC("tracepoint/syscalls/sys_enter_fdatasync")
int enter_fdatasync(struct sys_enter *ctx)
{
	return handle_fd(ctx, FSYNC_FDATASYNC, true);
}

SEC("tracepoint/syscalls/sys_enter_sync_file_range")
int enter_sync_file_range(struct sys_enter *ctx)
{
	return handle_fd(ctx, FSYNC_SYNC_FILE_RANGE, true);
}

SEC("tracepoint/syscalls/sys_enter_syncfs")
int enter_syncfs(struct sys_enter *ctx)
{
	return handle_fd(ctx, FSYNC_SYNCFS, false);
}

struct found {
	struct file *file;
};

static long take_file(struct task_struct *task, struct vm_area_struct *vma, struct found *f)
{
	f->file = vma->vm_file;
	return 0;
}

/* Of the file that is mapped at the address. bpf_find_vma is there since 5.17. */
SEC("tracepoint/syscalls/sys_enter_msync")
int enter_msync(struct sys_enter *ctx)
{
	struct found f = {};

	if (!(ctx->args[2] & MS_SYNC))
		return 0;
	bpf_find_vma(bpf_get_current_task_btf(), ctx->args[0], take_file, &f, 0);
	return f.file ? handle_enter(f.file, 0, FSYNC_MSYNC, true, HOOK_SYSCALL, false) : 0;
}

SEC("tracepoint/syscalls/sys_exit_msync")
int exit_msync(struct sys_exit *ctx)
{
	return handle_exit(0, ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_fsync")
int exit_fsync(struct sys_exit *ctx)
{
	return handle_exit(0, ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_fdatasync")
int exit_fdatasync(struct sys_exit *ctx)
{
	return handle_exit(0, ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_sync_file_range")
int exit_sync_file_range(struct sys_exit *ctx)
{
	return handle_exit(0, ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_syncfs")
int exit_syncfs(struct sys_exit *ctx)
{
	return handle_exit(0, ctx->ret);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The types and fields of the VFS that ktrace reads, and how a task entered a sync: see kernel.h. */
#ifndef KTRACE_FS_H
#define KTRACE_FS_H

#include "kernel.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	__u16 i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

struct path {
	struct dentry *dentry;
};

struct file {
	unsigned int f_flags;
	struct path f_path;
	struct inode *f_inode;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct___files {
	struct files_struct *files;
};

struct vm_area_struct {
	struct file *vm_file;
};

struct pt_regs___x86 {
	unsigned long orig_ax;
};

struct pt_regs___arm64 {
	int syscallno;
};

struct pt_regs {
};

#pragma clang attribute pop

enum bpf_func_id___fs {
	BPF_FUNC_get_current_task_btf___fs,
	BPF_FUNC_task_pt_regs___fs,
};

/* Reads a field: by a plain load (2 ns) where the verifier knows the pointer's type, else by bpf_probe_read_kernel
 * (25 ns). typed must be a constant.
 */
#define FIELD(typed, p, field)                                  \
	({                                                      \
		__auto_type __p = p;                            \
		typed ? __p->field : BPF_CORE_READ(__p, field); \
	})

#define S_IFMT	0170000
#define S_IFDIR 0040000

#define O_DSYNC	 010000	  /* the same on amd64 and arm64 */
#define __O_SYNC 04000000 /* O_SYNC is both */

#define MS_SYNC 4

#define PF_IO_WORKER	      0x00000010 /* io_uring worker thread */
#define PF_IO_WORKER_PRE_5_12 0x20000000 /* was a kernel thread then */
#define PF_KTHREAD	      0x00200000

#define THREAD_SIZE 16384 /* amd64, and arm64 with pages of 4 or 16 KiB; used before 5.15 only */

/* The current task's registers at its entry into the kernel. */
static __always_inline void *entry_regs(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (bpf_core_enum_value_exists(enum bpf_func_id___fs, BPF_FUNC_task_pt_regs___fs)) /* 5.15 */
		return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	return BPF_CORE_READ(task, stack) + THREAD_SIZE - bpf_core_type_size(struct pt_regs);
}

/* The file of a descriptor of the current task, NULL if there is none. */
static __always_inline struct file *file_of(int fd)
{
	struct task_struct___files *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;

	if (fd < 0 || fd >= (int)BPF_CORE_READ(table, max_fds))
		return NULL;
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd))
		return NULL;
	return file;
}

#endif

// SPDX-License-Identifier: Apache-2.0

package probe

// Cgroup is the name of the probe that reports cgroups made and removed, and tasks that move between them.
const Cgroup = "cgroup"

// HookCgroups covers cgroup_mkdir, cgroup_rmdir, cgroup_attach_task and sched_process_exec.
const HookCgroups = "cgroup lifecycle"

func cgroupProbe() Probe {
	return Probe{
		Name: Cgroup,
		Hooks: []Hook{{
			Name:     HookCgroups,
			Optional: true,
			Without:  "pods that start while ktrace runs are found a second late",
		}},
	}
}

// Selection are the variables of select.h: whether programs look up packets and tasks in the selection maps.
type Selection struct {
	Selecting bool   // false: everything is selected
	HostNetns uint32 // inode of the node's own network namespace
}

func (s Selection) Values() map[string]any {
	return map[string]any{"selecting": s.Selecting, "host_netns": s.HostNetns}
}

// CgroupHierarchy are the variables of task.h: the hierarchy in which a task's cgroup is looked up. Without them it is
// cgroup2.
type CgroupHierarchy struct {
	Subsystem int32 // number of a cgroup v1 controller in this kernel; -1: cgroup2
	ID        int32 // of the cgroup v1 hierarchy; 0: cgroup2
}

func (h CgroupHierarchy) Values() map[string]any {
	return map[string]any{"cgroup_subsys": h.Subsystem, "cgroup_hierarchy": h.ID}
}

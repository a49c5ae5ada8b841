package tracer

import "ktrace/bpf"

// CgroupProbe is the name of the probe that watches cgroups come and go, and tasks enter them.
const CgroupProbe = "cgroup"

// HookCgroups is the hook of the cgroup object.
const HookCgroups = "cgroup lifecycle"

func cgroupProbe() Probe {
	return Probe{
		Name: CgroupProbe,
		Load: bpf.LoadCgroup,
		Hooks: []Hook{{
			Name:     HookCgroups,
			Variants: []Variant{{Name: "raw_tp", Programs: []string{"mkdir_raw_tp", "rmdir_raw_tp", "attach_raw_tp", "exec_raw_tp"}}},
			Optional: true,
			Without:  "pods that start while ktrace runs are found a second late",
		}},
	}
}

// Selection is what select.h declares: whether the maps of what the user selected are looked at.
type Selection struct {
	Selecting bool   // false: everything is selected
	HostNetns uint32 // inode of the node's own network namespace
}

func (s Selection) globals() map[string]any {
	return map[string]any{"selecting": s.Selecting, "host_netns": s.HostNetns}
}

// CgroupHierarchy is what task.h declares: which hierarchy a task's cgroup is of. An object that is not told takes the
// hierarchy of version 2.
type CgroupHierarchy struct {
	Subsystem int32 // of version 1, by its number in the kernel; -1: version 2
	ID        int32 // of a version 1 hierarchy
}

func (h CgroupHierarchy) globals() map[string]any {
	return map[string]any{"cgroup_subsys": h.Subsystem, "cgroup_hierarchy": h.ID}
}

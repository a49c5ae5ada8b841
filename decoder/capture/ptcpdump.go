// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"encoding/json"
	"hash/fnv"
	"path"
	"strconv"
	"strings"

	"ktrace/decoder/event"
	"ktrace/decoder/pod"
)

// said is what a tool other than ktrace wrote beside a packet.
type said struct {
	pid, tid            uint32
	cmd, thread         string
	container, name     string // id and name of the container
	namespace, pod, uid string
	labels              string // JSON

	place            *place // where the packet was, if the interface is none: a place in the kernel
	device           string // its name there
	way              event.Direction
	journey          uint64
	dropped          bool
	reason, function string // of the drop
}

// The comments of ptcpdump (internal/writer/pcapng.go, up to v0.37) have one fact a line, in this order. A line may be
// missing at the end, and values of the last one or two may hold anything, newlines too: a process chooses its
// arguments, and the owner of a pod chooses its labels. So only a value at its own place in the comment counts.
var ptcpdumpComments = [][]string{
	{"PID", "Cmd", "Args"},
	{"ThreadId", "ThreadName"},
	{"ContainerName", "ContainerId", "ContainerImage", "ContainerLabels"},
	{"PodName", "PodNamespace", "PodUID", "PodLabels", "PodAnnotations"},
}

// ptcpdump takes in a comment, if it is one of ptcpdump's.
func (s *said) ptcpdump(comment string) {
	for i, keys := range ptcpdumpComments {
		if !strings.HasPrefix(comment, keys[0]+": ") {
			continue
		}
		values := fieldLines(comment, keys)
		switch i {
		case 0:
			s.pid, s.cmd = number(values[0]), values[1]
		case 1:
			s.tid, s.thread = number(values[0]), values[1]
		case 2:
			s.name, s.container = values[0], values[1]
		case 3:
			s.pod, s.namespace, s.uid, s.labels = values[0], values[1], values[2], values[3]
		}
		return
	}
}

// fieldLines returns the values of lines "key: value" that come in the order of keys, "" for those from the first that
// does not.
func fieldLines(text string, keys []string) []string {
	values := make([]string, len(keys))
	for i, key := range keys {
		line, rest, _ := strings.Cut(text, "\n")
		value, ok := strings.CutPrefix(line, key+": ")
		if !ok {
			break
		}
		values[i], text = value, rest
	}
	return values
}

func number(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// comm is the process's name as the kernel has it: 15 bytes of the program's.
func (s *said) comm() string {
	name := s.thread
	if name == "" && s.cmd != "" {
		name = path.Base(s.cmd)
	}
	const longest = 15
	return name[:min(len(name), longest)]
}

// maxSaid bounds what is remembered of pods, devices, functions and reasons that a file of others names.
const maxSaid = 1 << 12

// maxWord is how long a name of a device, a function or a reason may be: longer than any of Linux.
const maxWord = 512

// emitPod emits the pod of the packet's process, and returns the number by which its record refers to that: it is no
// cgroup of any kernel, but belongs to the same container as one.
func (r *Reader) emitPod(s *said) (uint64, error) {
	if s.uid == "" || s.pod == "" {
		return 0, nil
	}
	h := fnv.New64a()
	for _, part := range []string{s.uid, s.namespace, s.pod, s.container, s.name} {
		_, _ = h.Write([]byte(part + "\x00")) // never fails
	}
	id := h.Sum64() | 1<<63
	if r.emitted[id] {
		return id, nil
	}
	if len(r.emitted) >= maxSaid {
		return 0, nil
	}
	r.emitted[id] = true
	f := event.PodFact{UID: s.uid, Namespace: s.namespace, Name: s.pod, Source: pod.SourcePtcpdump}
	var labels map[string]string
	if json.Unmarshal([]byte(s.labels), &labels) == nil {
		f.Labels = labels
	}
	if s.container == "" {
		f.Cgroups = []uint64{id}
	} else {
		f.Containers = []event.ContainerFact{{ID: s.container, Name: s.name, Cgroups: []uint64{id}}}
	}
	return id, r.emit(event.Fact{Pod: &f})
}

// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ktrace/decoder/event"
	"ktrace/tracer/procfs"
)

// IOLimits is the decoder.Enricher that looks, when a sync was slow, whether a control group of its process limits what
// it may write to the disk: blkio.throttle of version 1, io.max of version 2 (kernel 4.5).
type IOLimits struct {
	node   *procfs.FS
	slow   time.Duration
	asked  map[ioQuestion]time.Time
	limits map[ioQuestion]*ioLimit
}

type ioQuestion struct {
	pid    uint32
	device string // of the file system
}

// ioLimit is one that was found, and what had been written when it was.
type ioLimit struct {
	fact          event.IOLimit
	writes, bytes uint64
	since         time.Time
}

const (
	ioAskEvery = 5 * time.Second
	maxIOAsked = 1024
)

// NewIOLimits returns the witness. Syncs slower than slow are looked at.
func NewIOLimits(node *procfs.FS, slow time.Duration) *IOLimits {
	return &IOLimits{node: node, slow: slow, asked: map[ioQuestion]time.Time{}, limits: map[ioQuestion]*ioLimit{}}
}

// Enrich implements decoder.Enricher.
func (w *IOLimits) Enrich(e event.Event) []event.Fact {
	f, ok := e.Body.(event.Fsync)
	q := ioQuestion{e.PID, f.Device}
	if !ok || f.Latency < w.slow || w.limits[q] != nil || time.Since(w.asked[q]) < ioAskEvery {
		return nil
	}
	if len(w.asked) >= maxIOAsked {
		clear(w.asked)
		clear(w.limits)
	}
	w.asked[q] = time.Now()
	for _, group := range controlGroups(w.node, e.PID, "blkio") {
		for _, disk := range disksBelow(w.node.HostRoot(), f.Device) {
			if l, ok := readIOLimit(group, disk); ok {
				l.fact.PID, l.fact.Device = q.pid, q.device
				w.limits[q] = &l
				return []event.Fact{{IOLimit: &l.fact}}
			}
		}
	}
	return nil
}

// Poll reports how much was written since the limits were found.
func (w *IOLimits) Poll() []event.Fact {
	var facts []event.Fact
	for _, l := range w.limits {
		now, ok := readIOLimit(l.fact.Cgroup, l.fact.Disk)
		if !ok {
			continue // the group is gone, or the limit
		}
		fact := now.fact
		fact.PID, fact.Device = l.fact.PID, l.fact.Device
		fact.Writes, fact.Bytes, fact.Span = now.writes-min(l.writes, now.writes), now.bytes-min(l.bytes, now.bytes), now.since.Sub(l.since)
		facts = append(facts, event.Fact{IOLimit: &fact})
	}
	return facts
}

// readIOLimit reads what a control group may write to a disk, and what it has; ok is false if there is no limit.
func readIOLimit(group, disk string) (l ioLimit, ok bool) {
	l = ioLimit{fact: event.IOLimit{Cgroup: group, Disk: disk}, since: time.Now()}
	for _, f := range lineOf(filepath.Join(group, "io.max"), disk) { // "7:0 rbps=max wbps=1048576 riops=max wiops=40"
		l.set(f, "wiops=", &l.fact.IOPS)
		l.set(f, "wbps=", &l.fact.BPS)
	}
	for _, f := range lineOf(filepath.Join(group, "io.stat"), disk) {
		l.set(f, "wios=", &l.writes)
		l.set(f, "wbytes=", &l.bytes)
	}
	for name, to := range map[string]*uint64{"write_iops_device": &l.fact.IOPS, "write_bps_device": &l.fact.BPS,
		"io_serviced": &l.writes, "io_service_bytes": &l.bytes} { // "7:0 40", "7:0 Write 123"
		if fields := lineOf(filepath.Join(group, "blkio.throttle."+name), disk, "Write"); len(fields) == 1 {
			l.set(fields[0], "", to)
		}
	}
	return l, l.fact.IOPS > 0 || l.fact.BPS > 0
}

// set reads the number behind a prefix; what is no number, as max, is none.
func (l *ioLimit) set(field, prefix string, to *uint64) {
	if text, ok := strings.CutPrefix(field, prefix); ok {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			*to = n
		}
	}
}

// lineOf returns the fields behind a disk's number, and behind one of the words if the line has it.
func lineOf(file, disk string, words ...string) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil // another version, or a controller that is off
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) < 2 || fields[0] != disk:
		case len(fields) == 3 && slices.Contains(words, fields[1]):
			return fields[2:]
		case len(words) == 0 || len(fields) == 2:
			return fields[1:]
		}
	}
	return nil
}

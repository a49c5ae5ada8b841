// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/fio"
)

// Fsync reports syncs that failed, as they do (fsync-error), and at the end, or that of each window, those that are too slow as a whole, or hang
// (fsync-slow, or what made them so: fsync-throttled, fsync-cpu-starved, fsync-neighbour).
type Fsync struct {
	// Slowest returns the slowest sync of a class, as evidence; nil if it is not kept.
	Slowest func(event.FsyncClass) (event.FsyncSlow, bool)
	// Pod names the pod of a cgroup, for who is in no event: of syncs in flight, of neighbours; nil if none are known.
	Pod func(cgroup uint64) event.Pod
	// Window is the time whose syncs are judged by themselves, for who cannot wait for the end; 0: those of the whole run.
	Window time.Duration
	// Forget is called at the end of each window: the slowest are to be those of the next.
	Forget func()

	scope  event.FsyncScope
	limits map[ioKey]event.IOLimit // in the window, when most of it was used
	now    fsyncState
	base   fsyncState // when the window began
	begun  time.Time
}

// Observe implements stage.Rule.
func (r *Fsync) Observe(e event.Event) []event.Finding {
	switch body := e.Body.(type) {
	case event.Fact:
		r.learn(e.Time, body)
	case event.Fsync:
		return failed(e, body)
	}
	return nil
}

// failed reports an error that may have cost data. The others report a call that asked for the impossible or was
// interrupted, and of nothing that went wrong on a disk.
func failed(e event.Event, f event.Fsync) []event.Finding {
	if f.Error == "" || slices.Contains([]string{"EINVAL", "EINTR", "EBADF", "ERESTARTSYS"}, f.Error) {
		return nil
	}
	causes := map[string]struct {
		cause  string
		remedy event.Remedy
	}{
		"EIO":     {"The device failed to write the data.", kernelErrors()},
		"ENOSPC":  {"There was no space for the data when they were to be written.", run("df -h %v", f.Path)},
		"EDQUOT":  {"The quota was used up when the data were to be written.", run("df -h %v", f.Path)},
		"EROFS":   {"The file system has gone read-only, as it does after an error.", kernelErrors()},
		"EUCLEAN": {"The file system's own structures are damaged.", kernelErrors()},
	}
	c, ok := causes[f.Error]
	if !ok {
		c.cause, c.remedy = "The file system could not write the data.", kernelErrors()
	}
	return []event.Finding{{
		Time:    e.Time,
		ID:      "fsync-error",
		Title:   fmt.Sprintf("%s of %s returned %s: what was written to it may be lost.", f.Op, f.Path, f.Error),
		Cause:   c.cause + " The kernel reports it once to each open file and then forgets: a later sync that succeeds proves nothing.",
		Pod:     e.Pod,
		Subject: f.Path,
		About:   event.About{Process: e.Process()},
		Evidence: []string{fmt.Sprintf("%s by %s on device %s, inode %d returned %s after %s",
			f.Op, e.Process().Long(), f.Device, f.Inode, f.Error, event.Brief(f.Latency))},
		Remedy:     []event.Remedy{c.remedy, do("restart the process and let it recover from its log or from a replica")},
		First:      e.Time,
		Last:       e.Time,
		Confidence: event.Certain,
	}}
}

// kernelErrors shows what the kernel logged last.
func kernelErrors() event.Remedy { return pipe(run("dmesg --level=err,warn"), run("tail -50")) }

// Flush implements stage.Rule.
func (r *Fsync) Flush(now time.Time, final bool) []event.Finding {
	ripe := r.Window > 0 && !r.begun.IsZero() && now.Sub(r.begun) >= r.Window
	if !final && !ripe {
		return nil
	}
	found := r.judge(now)
	if !final {
		r.next(now)
	}
	return found
}

// judge reports what is wrong with the syncs since the window began.
func (r *Fsync) judge(now time.Time) []event.Finding {
	var found []event.Finding
	for _, class := range event.FsyncClasses() {
		h := r.now.counts.Histograms[class].Since(r.base.counts.Histograms[class])
		if v := r.scope.Judge(class, h); v != nil && v.Result == fio.Fail {
			found = append(found, r.slow(now, class, h, *v))
		}
	}
	for _, f := range r.now.counts.InFlight {
		if r.scope.Judges(f.Class) && f.Age >= max(hangs, r.scope.Limit) {
			found = append(found, r.hanging(now, f))
		}
	}
	return found
}

func (r *Fsync) pod(cgroup uint64) event.Pod {
	if r.Pod == nil {
		return event.Pod{}
	}
	return r.Pod(cgroup)
}

// hangs is how long a sync may take before it is called hanging: from then on etcd warns of it.
const hangs = time.Second

// hanging reports a sync that had not ended when the run did.
func (r *Fsync) hanging(now time.Time, f event.FsyncInFlight) event.Finding {
	what, by := f.Path, event.Process{PID: f.PID, TID: f.TID, Comm: f.Comm}
	if what == "" {
		what = fmt.Sprintf("a %s file", f.Class)
	}
	return event.Finding{
		Time:       now,
		ID:         "fsync-slow",
		Pod:        r.pod(f.Cgroup),
		Title:      fmt.Sprintf("%s of %s has not ended for %s.", f.Op, what, event.Brief(f.Age)),
		Cause:      "The disk, or what is below it, does not answer. The process cannot go on before it does.",
		Subject:    what,
		About:      event.About{Process: by},
		Evidence:   []string{fmt.Sprintf("%s of %s by %s, in flight for %s", f.Op, what, by.Long(), event.Brief(f.Age))},
		Remedy:     []event.Remedy{run("cat /proc/%v/stack", f.TID).Noting("where the kernel waits"), kernelErrors(), run("iostat -x 1 5")},
		First:      now.Add(-f.Age),
		Last:       now,
		Count:      1,
		Confidence: event.Certain,
	}
}

func (r *Fsync) slow(now time.Time, class event.FsyncClass, h fio.Histogram, v fio.Verdict) event.Finding {
	slowest, known := r.slowest(class)
	over := r.now.counts.Over[class].Since(r.base.counts.Over[class])
	where := strings.Join(r.scope.Paths, ", ")
	switch {
	case where == "" && known:
		where = path.Dir(slowest.Path)
	case where == "":
		where = "/"
	}
	p := h.Percentiles([]float64{50, 99})
	brief := func(ns uint64) string { return event.Brief(time.Duration(ns)) }
	f := event.Finding{
		Time:    now,
		ID:      "fsync-slow",
		Title:   fmt.Sprintf("Syncs of %s files below %s are too slow: P99 is %s, the limit %v.", class, where, brief(p[1]), v.Limit),
		Cause:   "More than one sync in a hundred takes longer than the limit. etcd syncs each entry of its log before it answers, and loses its leader when that takes long.",
		Pod:     slowest.Pod,
		Subject: fmt.Sprintf("%s (%s)", where, class),
		Evidence: []string{
			v.String(),
			fmt.Sprintf("P50 %s, P99 %s, longest %s of %d", brief(p[0]), brief(p[1]), brief(h.Max), h.N),
		},
		Remedy:     []event.Remedy{run("ktrace fsync --path %v --slow %v", where, v.Limit), run("iostat -x 1 5")},
		Count:      v.Over,
		First:      r.begun,
		Last:       now,
		Confidence: event.Certain,
	}
	if over.N > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("where the time of those over %v went: %v", v.Limit, over.Stages))
	}
	if known {
		f.Evidence = append(f.Evidence, slowestLine(slowest))
	}
	if l, ok := r.limits[ioKey{slowest.Process.PID, slowest.Device}]; known && ok && l.Used() >= nearLimit {
		return throttled(f, class, where, l)
	}
	if 2*over.Starved >= v.Over && 2*over.Stages[event.StageRunQueue] >= over.Stages.Sum() {
		return r.starved(f, class, where, slowest, over)
	}
	if use, known := r.now.disks[slowest.Device]; known {
		return r.onDisk(f, class, where, slowest, use.Since(r.base.disks[slowest.Device]))
	}
	return f
}

// onDisk weighs what else went on while syncs were slow: who writes to their disk, and how short CPUs were.
func (r *Fsync) onDisk(f event.Finding, class event.FsyncClass, where string, slowest event.FsyncSlow, use event.DiskUse) event.Finding {
	if w, ok := use.Contender(slowest.Process.PID); ok {
		return r.neighbour(f, class, where, use, w)
	}
	if use.CPUBound(r.scope.Limit) {
		return cpuBound(f, class, where, use)
	}
	if use.CPUShort() {
		f.Confidence = event.Likely
		f.Evidence = append(f.Evidence, cpuAndDisk(use))
	}
	return f
}

func slowestLine(slowest event.FsyncSlow) string {
	line := fmt.Sprintf("slowest at %s: %s of %s by %s took %s",
		slowest.Time.UTC().Format("15:04:05.000000"), slowest.Op, slowest.Path, slowest.Process.Long(), event.Brief(slowest.Latency))
	if len(slowest.Stages) > 0 {
		line += fmt.Sprintf(", %v", slowest.Stages)
	}
	return line
}

// starved makes of slow syncs the finding that the disk was fast enough: in half of them, or more, the caller could run but
// had no CPU for longer than all else took; and so it was for half of their time.
func (r *Fsync) starved(f event.Finding, class event.FsyncClass, where string, slowest event.FsyncSlow, over event.FsyncOver) event.Finding {
	f.ID = "fsync-cpu-starved"
	f.Title = fmt.Sprintf("Syncs of %s files below %s wait for a CPU, not for the disk.", class, where)
	f.Cause = "The caller was ready to run and had no CPU: too many other tasks want one, or are preferred (nice, cpu.weight, cpu.shares)."
	f.Evidence = append(f.Evidence, fmt.Sprintf("in %d of %d over the limit the time in the run queue is the larger part; of all of them together it is %s of %s",
		over.Starved, f.Count, event.Brief(over.Stages[event.StageRunQueue]), event.Brief(over.Stages.Sum())))
	f.Remedy = whoHasCPUs()
	l, known := r.now.cpus[slowest.Process.PID]
	l = l.Since(r.base.cpus[slowest.Process.PID])
	if known {
		f.Evidence = append(f.Evidence, l.String())
		f.Remedy = slices.Insert(f.Remedy, 0, run("grep -s . %v/cpu.max %v/cpu.weight %v/cpu.cfs_quota_us %v/cpu.shares", l.Cgroup, l.Cgroup, l.Cgroup, l.Cgroup))
	}
	if known && l.Throttled > 0 {
		f.Cause = "The caller was ready to run, but its control group had used up the CPU time that its limit allows."
	}
	if fio.Judge(over.N, f.Count-over.Starved, r.scope.Limit).Result == fio.Fail {
		f.Confidence = event.Likely // there is more that is slow
	}
	return f
}

// cpuBound makes of slow syncs the finding that the node's CPUs hold them up, though the caller itself was not seen to
// wait for one: who writes the journal (jbd2), and who ends the disk's I/O, need a CPU too.
func cpuBound(f event.Finding, class event.FsyncClass, where string, use event.DiskUse) event.Finding {
	f.ID, f.Severity, f.Confidence = "fsync-cpu-starved", event.Warning, event.Likely
	f.Title = fmt.Sprintf("Syncs of %s files below %s are slow while the node's CPUs are overloaded; the disk answers in %s.", class, where, event.Brief(use.Answer()))
	f.Cause = "More tasks want to run than there are CPUs. A sync needs them several times: the caller, the kernel's threads that write the journal, and the end of each I/O."
	f.Evidence = append(f.Evidence, cpuAndDisk(use))
	f.Remedy = append(whoHasCPUs(), f.Remedy[0])
	return f
}

// whoHasCPUs is how to find out.
func whoHasCPUs() []event.Remedy {
	return []event.Remedy{run("cat /proc/pressure/cpu"), pipe(run("top -b -n 1 -o %CPU"), run("head -20")).Noting("who has the CPUs?")}
}

// cpuAndDisk compares how short CPUs were with how long the disk took.
func cpuAndDisk(use event.DiskUse) string {
	return fmt.Sprintf("in %s tasks waited for a CPU for %.0f %% of the time (PSI); disk %s completed %d writes and flushes in %s each on average",
		event.Brief(use.Span), 100*use.CPUWait.Seconds()/use.Span.Seconds(), use.Disk, use.IOs, event.Brief(use.Answer()))
}

// nearLimit is the share of a limit from which on it is what holds writes up.
const nearLimit = 0.7

// throttled makes of slow syncs the finding that it is not the disk.
func throttled(f event.Finding, class event.FsyncClass, where string, l event.IOLimit) event.Finding {
	f.ID = "fsync-throttled"
	f.Title = fmt.Sprintf("Syncs of %s files below %s are held up by an io limit of their control group, not by the disk.", class, where)
	f.Cause = fmt.Sprintf("The limit of the group is %v on disk %s, and it is reached: further writes wait.", l, l.Disk)
	f.Evidence = append(f.Evidence, fmt.Sprintf("limit in %s: %v on %s; %d writes, %d bytes in %s, %.0f %% of it",
		l.Cgroup, l, l.Disk, l.Writes, l.Bytes, event.Brief(l.Span), 100*l.Used()))
	f.Remedy = slices.Insert(f.Remedy, 0, run("grep -s . %v/io.max %v/blkio.throttle.write_bps_device %v/blkio.throttle.write_iops_device", l.Cgroup, l.Cgroup, l.Cgroup).Noting("who set it?"))
	if l.Used() < 0.95 {
		f.Confidence = event.Likely
	}
	return f
}

// neighbour makes of slow syncs the finding that another process keeps their disk busy.
func (r *Fsync) neighbour(f event.Finding, class event.FsyncClass, where string, use event.DiskUse, w event.DiskWriter) event.Finding {
	f.Peer = r.pod(w.Cgroup)
	who := event.Process{PID: w.PID, Comm: w.Comm}.String()
	if name := f.Peer.String(); name != "" {
		who += " of " + name
	}
	f.ID, f.Confidence = "fsync-neighbour", event.Likely
	f.Title = fmt.Sprintf("Syncs of %s files below %s wait for a disk that %s keeps busy.", class, where, who)
	f.Cause = "Its writes are queued on the same disk before those of the sync; and one journal holds the changes of all files of a file system, which a sync writes with its own."
	line := fmt.Sprintf("in %s disk %s took %d bytes and was busy for %.0f %% of the time", event.Brief(use.Span), use.Disk, use.Written, 100*use.Busy.Seconds()/use.Span.Seconds())
	for _, w := range use.Writers {
		line += fmt.Sprintf("; %v wrote %d", event.Process{PID: w.PID, Comm: w.Comm}, w.Bytes)
	}
	f.Evidence = append(f.Evidence, line)
	f.Remedy = []event.Remedy{run("cat /proc/%v/io /proc/%v/cgroup", w.PID, w.PID).Noting("who is it, and does it go on?"), run("iostat -x 1 5"),
		do("give the files that are synced a disk of their own, or limit the other's writes (io.max of its control group)")}
	return f
}

func (r *Fsync) slowest(class event.FsyncClass) (event.FsyncSlow, bool) {
	if r.Slowest == nil {
		return event.FsyncSlow{}, false
	}
	return r.Slowest(class)
}

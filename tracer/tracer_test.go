// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/tracer/probe"
)

// cgroupDir makes a control group of the test's own, in the hierarchy that the machine has.
func cgroupDir(t *testing.T) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err == nil {
			dir := filepath.Join(root, fmt.Sprintf("ktrace-test-%d", os.Getpid()))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Remove(dir) })
			return dir
		}
	}
	t.Fatal("no cgroup2 hierarchy")
	return ""
}

// churn makes and removes n control groups.
func churn(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(sub); err != nil {
			t.Fatal(err)
		}
	}
}

// drain stops a tracer and returns all that it still delivers.
func drain(t *testing.T, tr *Tracer) (events []event.Event, counts event.Counts) {
	t.Helper()
	if err := tr.stop(); err != nil {
		t.Fatal(err)
	}
	s := &decoder.Stream{Frames: tr}
	for {
		e, err := s.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return events, s.Counts()
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
}

func TestRingOverflowIsCountedToTheEvent(t *testing.T) {
	dir := cgroupDir(t)
	const pairs = 500 // a record of some 600 bytes each: far more than one page holds
	tr, err := Open(Options{Probes: []string{probe.Cgroup}, RingBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	churn(t, dir, pairs) // the ring is not read meanwhile
	events, counts := drain(t, tr)
	delivered, lost := uint64(0), uint64(0)
	var last time.Time
	for _, e := range events {
		if e.Body.Kind() == event.KindCgroup {
			delivered++
			last = e.Time
		}
		if f, ok := e.Body.(event.Fact); ok && f.Lost != nil {
			lost += f.Lost.Count
			if from := time.Unix(0, int64(f.Lost.From)); f.Lost.Kind != event.KindCgroup || f.Lost.From > f.Lost.To || from.Before(last) {
				t.Errorf("%+v, and the last record before it is of %v", f.Lost, last)
			}
		}
	}
	if lost != counts.Lost.Ring {
		t.Errorf("%d records are said to be lost when, of %d", lost, counts.Lost.Ring)
	}
	if counts.Seen != delivered+counts.Lost.Total() {
		t.Errorf("seen %d != %d delivered + %d lost", counts.Seen, delivered, counts.Lost.Total())
	}
	if delivered == 0 || counts.Lost.Ring == 0 {
		t.Errorf("%d delivered, %d lost: the ring did not overflow", delivered, counts.Lost.Ring)
	}
	if counts.Seen < pairs {
		t.Errorf("seen %d, but %d groups were made", counts.Seen, pairs)
	}
}

func TestEveryCgroupIsReportedInOrder(t *testing.T) {
	dir := cgroupDir(t)
	const groups = 23
	tr, err := Open(Options{Probes: []string{probe.Cgroup}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	churn(t, dir, groups)
	events, _ := drain(t, tr)
	made := 0
	for _, e := range events {
		c, ok := e.Body.(event.Cgroup)
		if !ok || c.Op != event.CgroupMkdir || !strings.Contains(c.Path, filepath.Base(dir)+"/") {
			continue
		}
		if want := fmt.Sprint(made); filepath.Base(c.Path) != want {
			t.Fatalf("path %s, want .../%s", c.Path, want)
		}
		made++
	}
	if made != groups {
		t.Errorf("%d groups reported, %d made", made, groups)
	}
	if f, ok := events[0].Body.(event.Fact); !ok || f.Node == nil || f.Node.Kernel == "" {
		t.Errorf("the stream begins with %+v, not with the node", events[0].Body)
	}
}

// named is the probe of a name.
func named(t *testing.T, name string) probe.Probe {
	t.Helper()
	for _, p := range probe.All() {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no probe %s", name)
	return probe.Probe{}
}

// broken is the cgroup object, loaded with a better variant that no kernel takes.
func broken(t *testing.T, optional bool) *object {
	t.Helper()
	p := probe.Probe{Name: probe.Cgroup, Hooks: []probe.Hook{{Name: "groups", Optional: optional, Variants: []probe.Variant{
		{Name: "broken", Programs: []string{"mkdir_raw_tp", "rmdir_raw_tp"}},
		{Name: "good", Programs: []string{"mkdir_raw_tp"}},
	}}}}
	return loadedWith(t, p, func(spec *ebpf.CollectionSpec) error {
		spec.Programs["rmdir_raw_tp"].SectionName = "raw_tp/no_such_tracepoint"
		return nil
	})
}

func loaded(t *testing.T, p probe.Probe) *object {
	t.Helper()
	return loadedWith(t, p, nil)
}

func loadedWith(t *testing.T, p probe.Probe, change func(*ebpf.CollectionSpec) error) *object {
	t.Helper()
	_, kernel := knowing(t)
	o, err := common{types: kernel, ring: 4096, splice: change}.load(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func TestNextVariantServesAndTheRefusalIsKept(t *testing.T) {
	o := broken(t, false)
	if err := o.attach("", nil); err != nil {
		t.Fatal(err)
	}
	got := o.status[0]
	if got.Variant == nil || got.Variant.Name != "good" {
		t.Fatalf("took %+v", got.Variant)
	}
	if len(got.Errors) != 1 || got.Errors[0].Variant != "broken" || !errors.Is(got.Errors[0].Err, os.ErrNotExist) {
		t.Errorf("refusals %+v", got.Errors)
	}
	if len(o.links) != 1 {
		t.Errorf("%d links: the broken variant left one behind", len(o.links))
	}
}

func TestForcedVariantHasNoSubstitute(t *testing.T) {
	err := broken(t, false).attach("broken", nil)
	if !errors.Is(err, ErrNoVariant) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want ErrNoVariant with the kernel's own", err)
	}
	if err := broken(t, true).attach("broken", nil); err != nil {
		t.Errorf("optional hook: %v", err)
	}
}

func TestProbeTableIsComplete(t *testing.T) {
	for _, p := range probe.All() {
		spec, err := p.Load()
		if err != nil {
			t.Fatal(err)
		}
		if spec.Maps[ringName] == nil || spec.Maps[probe.CountsMap] == nil {
			t.Errorf("%s lacks the ring or the counters", p.Name)
		}
		used := map[string]bool{}
		for _, h := range p.Hooks {
			if h.Optional && h.Without == "" {
				t.Errorf("%s: %s does not say what is lost without it", p.Name, h.Name)
			}
			for _, v := range h.Variants {
				for _, name := range v.Programs {
					used[name] = true
					if spec.Programs[name] == nil {
						t.Errorf("%s: %s: no program %s", p.Name, v.Name, name)
					}
				}
			}
		}
		for name := range spec.Programs {
			if !used[name] {
				t.Errorf("%s: no hook uses program %s", p.Name, name)
			}
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/decoder/fio"
	"ktrace/decoder/record"
)

// TestWhatOneNodeKnowsIsNothingToAnother reads each recording with one of another node that has the same numbers of
// namespaces, devices and processes, the same addresses and the same rules, at the same time, and for which all that is
// known of them is otherwise. What is found is the same as of each alone, whichever file comes first.
func TestWhatOneNodeKnowsIsNothingToAnother(t *testing.T) {
	t.Parallel()
	matters := map[string]bool{}
	for _, name := range recordings(t) {
		original := rawRecords(t, name)
		alone := findingsOf(t, original)
		twin := otherwise(t, original)
		twinAlone := findingsOf(t, twin)
		for _, files := range [][][][]byte{{original, twin}, {twin, original}} {
			together := findingsOf(t, files...)
			want := slices.Concat(alone, twinAlone)
			if !sameFindings(together, want) {
				t.Errorf("%s: together\n%s\nalone\n%s", name, strings.Join(together, "\n"), strings.Join(want, "\n"))
			}
		}
		for _, kind := range factKinds() { // the same facts of its own run are not nothing
			if !sameFindings(findingsOf(t, instead(t, original, kind)), alone) {
				matters[kind] = true
			}
		}
	}
	want := []string{"blame", "device", "fsync", "pod", "service", "service_rules", "symbol", "sysctl"}
	if got := slices.Sorted(maps.Keys(matters)); !reflect.DeepEqual(got, want) {
		t.Errorf("what is concluded rests on %v, want %v", got, want)
	}
}

func rawRecords(t *testing.T, name string) (all [][]byte) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := record.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for {
		raw, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.Clone(raw))
	}
}

// findingsOf are the findings that diagnose reports of recordings, without the time when they were concluded.
func findingsOf(t *testing.T, recordings ...[][]byte) (all []string) {
	t.Helper()
	var files []capture.File
	for _, records := range recordings {
		files = append(files, capture.File{Reader: io.MultiReader(strings.NewReader(record.Magic), bytes.NewReader(bytes.Join(records, nil)))})
	}
	var out bytes.Buffer
	view := func() (replay.View, error) {
		v, _ := diagnoseView(slowLookup, 0)
		return v, nil
	}
	if err := replay.Replay(context.Background(), flags.Flags{Output: "json"}, view, replay.Streams{Out: &out, Err: io.Discard}, files...); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		if delete(fields, "time"); fields["type"] == "finding" {
			text, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
	}
	return all
}

func sameFindings(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// otherwise are the records of another node, with the opposite facts.
func otherwise(t *testing.T, original [][]byte) [][]byte {
	t.Helper()
	return altered(t, original, func(f *event.Fact) {
		if f.Node != nil {
			f.Node.Name, f.Node.Wall = "another", f.Node.Wall+1
		}
		opposite(f, "")
	})
}

// instead are the records of the same run, with the opposite of a kind of facts.
func instead(t *testing.T, original [][]byte, kind string) [][]byte {
	t.Helper()
	return altered(t, original, func(f *event.Fact) { opposite(f, kind) })
}

func altered(t *testing.T, original [][]byte, change func(*event.Fact)) (all [][]byte) {
	t.Helper()
	for _, raw := range original {
		e, err := event.Decode(raw)
		if f, ok := e.Body.(event.Fact); err == nil && ok && f != (event.Fact{}) {
			change(&f)
			if raw, err = event.EncodeFact(time.Duration(e.Time.UnixNano()), f); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, raw)
	}
	return all
}

func factKinds() []string {
	return []string{"blame", "conntrack", "device", "fsync", "neighbour", "pod", "resolv", "route", "service", "service_rules", "symbol", "sysctl"}
}

// opposite has a fact of a kind, or of any, say something else of the same thing.
func opposite(f *event.Fact, kind string) {
	of := func(k string, is bool) bool { return is && (kind == "" || kind == k) }
	elsewhere := netip.MustParseAddr("192.0.2.99")
	switch {
	case of("blame", f.DropRules != nil):
		f.DropRules.Candidates, f.DropRules.Confidence = nil, ""
	case of("conntrack", f.Conntrack != nil):
		f.Conntrack.Count, f.Conntrack.Rose.Drop = f.Conntrack.Max, 9
	case of("device", f.Device != nil):
		f.Device.Name, f.Device.MTU, f.Device.PeerMTU, f.Device.Addrs = "other0", 9000, 9000, nil
	case of("fsync", f.Fsync != nil && f.Fsync.Counts != nil):
		var h fio.Histogram
		for range 1000 {
			h.Add(20*time.Millisecond, syncLimit)
		}
		f.Fsync.Counts.Histograms = map[event.FsyncClass]fio.Histogram{event.FsyncWAL: h}
	case of("neighbour", f.Neighbour != nil):
		f.Neighbour.State, f.Neighbour.MAC = "reachable", "02:00:00:00:00:09"
	case of("pod", f.Pod != nil):
		f.Pod.Namespace, f.Pod.Name = "other", "other-0"
	case of("resolv", f.Resolv != nil):
		f.Resolv.Nameservers = nil
	case of("route", f.Route != nil):
		f.Route.Errno, f.Route.Type, f.Route.Out, f.Route.MTU, f.Route.Link = "", "unicast", "other0", 0, 9000
	case of("service", f.Service != nil):
		f.Service.Name, f.Service.Ports = "other", nil
	case of("service_rules", f.ServiceRules != nil):
		f.ServiceRules.State, f.ServiceRules.Endpoints = event.ServicePresent, []netip.AddrPort{netip.AddrPortFrom(elsewhere, 99)}
	case of("symbol", f.Symbol != nil):
		f.Symbol.Name = "other"
	case of("sysctl", f.Sysctl != nil):
		f.Sysctl.Value = map[string]string{"0": "1", "1": "0", "2": "0"}[f.Sysctl.Value]
	}
}

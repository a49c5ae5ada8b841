// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/decoder/fio"
)

// begins are the facts that a file begins with which follows others, but for the node.
func begins(t *testing.T, w *Writer) (all []event.Fact) {
	t.Helper()
	var file bytes.Buffer
	if err := errors.Join(w.Begin(&file), w.Close()); err != nil {
		t.Fatal(err)
	}
	s := decoder.Stream{Frames: NewReader(&file, ReaderOptions{})}
	for {
		e, err := s.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := e.Body.(event.Fact); ok && f.Node == nil {
			all = append(all, f)
		}
	}
}

// TestTheNextFileBeginsWithWhatIsReportedOnce, and goes on to count where the one before ended.
func TestTheNextFileBeginsWithWhatIsReportedOnce(t *testing.T) {
	w := NewWriter(Options{})
	learn := func(f event.Fact) {
		t.Helper()
		if err := w.RecordRaw(factRecord(t, 2, f)); err != nil {
			t.Fatal(err)
		}
	}
	var h fio.Histogram
	counted := func(n int) *event.FsyncCounts {
		for range n {
			h.Add(time.Millisecond, 10*time.Millisecond)
		}
		var now fio.Histogram
		now.Merge(h)
		return &event.FsyncCounts{Histograms: map[event.FsyncClass]fio.Histogram{event.FsyncWAL: now}}
	}
	chain := event.ChainFact{Netns: 7, System: "iptables-nft", Family: "ipv4", Table: "filter", Chain: "FORWARD", Policy: "accept"}
	dropping := chain
	dropping.Policy = "drop"
	learn(event.Fact{Fsync: &event.FsyncFact{Scope: &event.FsyncScope{Limit: time.Second}}})
	learn(event.Fact{Chain: &chain})
	learn(event.Fact{Chain: &dropping})
	learn(event.Fact{Fsync: &event.FsyncFact{Counts: counted(5)}})
	learn(event.Fact{Fsync: &event.FsyncFact{Counts: counted(6)}})
	learn(event.Fact{Route: &event.Route{Errno: "ENETUNREACH"}}) // is reported with the next packet that it explains
	all := begins(t, w)
	if len(all) != 3 {
		t.Fatalf("the file begins with %+v", all)
	}
	for _, f := range all {
		switch {
		case f.Chain != nil && f.Chain.Policy == "drop":
		case f.Fsync != nil && f.Fsync.Scope != nil && f.Fsync.Scope.Limit == time.Second:
		case f.Fsync != nil && f.Fsync.Counts == nil && f.Fsync.Before != nil && f.Fsync.Before.Histograms[event.FsyncWAL].N == 11:
		default:
			t.Errorf("the file begins with %s", f.Summary())
		}
	}
}

// TestNamespacesThatComeAndGoTakeNoMemory has more of them than a node has at a time.
func TestNamespacesThatComeAndGoTakeNoMemory(t *testing.T) {
	w := NewWriter(Options{})
	const namespaces = maxNetnsFacts + 10
	for i := range namespaces {
		f := event.Fact{Sysctl: &event.Sysctl{Netns: uint32(i), Key: "net.ipv4.ip_forward", Value: "1"}}
		if err := w.RecordRaw(factRecord(t, time.Duration(i), f)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.current); n > maxNetnsFacts || n != len(w.facts) || n != w.netnsFacts {
		t.Errorf("%d are kept, %d for the next file, and %d counted", n, len(w.facts), w.netnsFacts)
	}
	all := begins(t, w)
	if last := fmt.Sprint(all[len(all)-1].Sysctl.Netns); last != fmt.Sprint(namespaces-1) || !slices.ContainsFunc(all, func(f event.Fact) bool { return f.Sysctl.Netns == namespaces-100 }) {
		t.Errorf("the last is of namespace %s", last)
	}
}

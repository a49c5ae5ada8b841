// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/capture"
	"ktrace/decoder/event"
	"ktrace/decoder/stage"
	"ktrace/testdata/wording"
)

// unknown are what records, facts and captures may lack: each takes it from an event.
func unknown() map[string]func(*event.Event) {
	return map[string]func(*event.Event){
		"nothing":       func(*event.Event) {},
		"the direction": func(e *event.Event) { e.Direction = "" },
		"the device":    func(e *event.Event) { e.Iface, e.Ifindex = "", 0 },
		"its name":      func(e *event.Event) { e.Iface = "" },
		"the place":     func(e *event.Event) { e.Iface, e.Ifindex, e.Netns = "", 0, 0 },
		"the process":   func(e *event.Event) { e.Comm, e.PID, e.TID = "", 0, 0 },
		"the resolver's lists": func(e *event.Event) {
			if f, ok := e.Body.(event.Fact); ok && f.Resolv != nil {
				conf := *f.Resolv
				conf.Search, conf.Nameservers = nil, nil
				f.Resolv = &conf
				e.Body = f
			}
		},
		"the facts": func(e *event.Event) {
			if f, ok := e.Body.(event.Fact); ok && f.Node == nil {
				e.Body = event.Fact{}
			}
		},
	}
}

// changed is a stage that changes events.
type changed struct {
	change func(*event.Event)
	only   event.Single
}

func (c *changed) Observe(e event.Event) []event.Event {
	c.change(&e)
	return c.only.Event(e)
}

func (*changed) Flush(time.Time, bool) []event.Event { return nil }

// TestNothingUnknownLeavesAHole replays every recording without something that may be unknown, and reads all sentences: those of the
// findings, and of the events.
func TestNothingUnknownLeavesAHole(t *testing.T) {
	for _, file := range recordings(t) {
		for what, take := range unknown() {
			for _, text := range textsOf(t, file, take) {
				if err := wording.Text(text); err != nil {
					t.Errorf("%s without %s: %v", file, what, err)
				}
			}
		}
	}
}

// textsOf are the sentences of what diagnose finds in a recording, and of its events, after a change of these.
func textsOf(t *testing.T, name string, change func(*event.Event)) (texts []string) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out bytes.Buffer
	read := func(e *event.Event) { texts = append(texts, e.Body.Summary(), event.Place(*e), e.Process().String()) }
	view := func() (replay.View, error) {
		v, _ := diagnoseView(slowLookup, 0)
		v.Early = append([]stage.Stage{&changed{change: change}}, v.Early...)
		v.Stages = append(v.Stages, &changed{change: read})
		return v, nil
	}
	err = replay.Replay(context.Background(), flags.Flags{Output: "json"}, view, replay.Streams{Out: &out, Err: io.Discard}, capture.File{Reader: file})
	if err != nil && !errors.Is(err, flags.ErrFindings) {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		var f event.Finding
		if err := json.Unmarshal([]byte(line), &f); err == nil && strings.Contains(line, `"type":"finding"`) {
			texts = append(texts, slices.Concat([]string{f.Title, f.Cause, f.Subject}, f.Evidence)...)
		}
	}
	return texts
}

// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"ktrace/decoder/printable"
	"ktrace/tracer/kube"
)

// sourcesJSON writes a line a source of facts about pods.
func sourcesJSON(w io.Writer, sources []kube.SourceState) error {
	enc := json.NewEncoder(printable.NewJSON(w))
	for _, s := range sources {
		line := struct {
			V    int    `json:"v"`
			Type string `json:"type"`
			kube.SourceState
		}{1, "source", s}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// sourcesText prints which sources answered and how old the answers are.
func sourcesText(w io.Writer, sources []kube.SourceState, now time.Time) error {
	w = printable.NewLines(w)
	for _, s := range sources {
		state := cmp.Or(s.Error, "answered just now")
		if age := now.Sub(s.Answered).Round(time.Second); !s.Answered.IsZero() && age > 0 {
			state = fmt.Sprintf("answered %s ago", age)
			if s.Error != "" {
				state += "; now: " + s.Error
			}
		}
		if s.Answered.IsZero() && s.Error == "" {
			state = "has not answered yet"
		}
		if _, err := fmt.Fprintf(w, "%-10s %-34s %s\n", "pods", strings.TrimRight(s.Name+" "+s.Where, " "), printable.Text(state)); err != nil {
			return err
		}
		if s.Answered.IsZero() && s.Impact != "" {
			fmt.Fprintf(w, "%10s impact: %s\n", "", s.Impact)
		}
	}
	return nil
}

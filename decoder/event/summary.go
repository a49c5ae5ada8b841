// SPDX-License-Identifier: Apache-2.0

package event

import "time"

// Summary closes a run: what was seen and what became of it. Seen, Shown, Filtered and Lost are sums of Accounts, each of which adds
// up for itself, or else something was lost without being counted: of what the verb is about, and of all else what was lost.
type Summary struct {
	Duration time.Duration `json:"duration_ns"`
	Seen     uint64        `json:"seen"`
	Shown    uint64        `json:"shown"`
	Filtered uint64        `json:"filtered"`
	Lost     Losses        `json:"lost"`
	Records  uint64        `json:"records"` // that the kernel half handed over
	Accounts Accounting    `json:"accounting"`
	Findings []Tally       `json:"findings,omitempty"`
	Judged   bool          `json:"-"` // rules looked for findings, so that none is news
	Fsync    *FsyncSummary `json:"fsync,omitempty"`
	Drops    *DropSummary  `json:"drops,omitempty"`
	NAT      *NATSummary   `json:"nat,omitempty"`
	DNS      *DNSSummary   `json:"dns,omitempty"`
	Flows    *FlowSummary  `json:"flows,omitempty"`
	// Evicted is what was forgotten to keep the memory bounded, by its name in the plural: what depends on it may be missing.
	Evicted map[string]uint64 `json:"evicted,omitempty"`
	Nodes   []NodeSummary     `json:"nodes,omitempty"` // what is above, and what views added, of each run, where several are read
}

// NodeSummary is the summary of one run on a node.
type NodeSummary struct {
	Node  string   `json:"node,omitempty"` // "" if the files name none
	Files []string `json:"files"`
	Summary
}

// Tally is how often a cause was found in the end.
type Tally struct {
	Node    string `json:"node,omitempty"` // as of Finding
	File    string `json:"file,omitempty"`
	ID      string `json:"id"`
	Subject string `json:"subject"`
	Count   uint64 `json:"count"`
	Hits    []Hit  `json:"hits,omitempty"`         // whom it hits
	Unnamed uint64 `json:"hits_unnamed,omitempty"` // as of Finding
}

// Tally is what the summary says of a finding.
func (f Finding) Tally() Tally {
	return Tally{Node: f.Node, File: f.File, ID: f.ID, Subject: f.Subject, Count: f.Count, Hits: f.Hits, Unnamed: f.Unnamed}
}

// AddEvicted counts things that were forgotten to keep the memory bounded, by their name in the plural.
func (s *Summary) AddEvicted(name string, n uint64) {
	if n == 0 {
		return
	}
	if s.Evicted == nil {
		s.Evicted = map[string]uint64{}
	}
	s.Evicted[name] += n
}

// Summarizer is a Stage or Rule that has something to say at the end.
type Summarizer interface {
	Summarize(*Summary)
}

// Report is the part of a summary that one view adds.
type Report interface {
	Lines() []string // as text shows it
}

// Parts returns what the views added.
func (s Summary) Parts() []Report {
	var parts []Report
	if s.Fsync != nil {
		parts = append(parts, s.Fsync)
	}
	if s.Drops != nil {
		parts = append(parts, s.Drops)
	}
	if s.NAT != nil {
		parts = append(parts, s.NAT)
	}
	if s.DNS != nil {
		parts = append(parts, s.DNS)
	}
	if s.Flows != nil {
		parts = append(parts, s.Flows)
	}
	return parts
}

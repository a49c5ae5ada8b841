// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"encoding/json"
	"fmt"

	"ktrace/decoder/packet"
)

// Schema is the version of JSON lines and of the JSON in captures.
const Schema = 1

// NanosecondTime is RFC 3339 with all nine digits, so that lines sort as text.
const NanosecondTime = "2006-01-02T15:04:05.000000000Z07:00"

type jsonEvent struct {
	V         int            `json:"v"`
	Type      string         `json:"type"`
	Time      string         `json:"time"`
	Kind      Kind           `json:"kind"`
	Node      string         `json:"node,omitempty"`
	Pod       Pod            `json:"pod,omitzero"`
	Peer      Pod            `json:"peer,omitzero"`
	Process   Process        `json:"process,omitzero"`
	Netns     uint32         `json:"netns,omitempty"`
	Iface     string         `json:"iface,omitempty"`
	Direction Direction      `json:"direction,omitempty"`
	Packet    *packet.Packet `json:"packet,omitempty"`
	Journey   uint64         `json:"journey,omitempty"`
}

// Process is a thread of a process, by its numbers in the node's PID namespace.
type Process struct {
	PID  uint32 `json:"pid"`
	TID  uint32 `json:"tid"`
	Comm string `json:"comm"`
}

// Process is that of the header.
func (h Header) Process() Process { return Process{PID: h.PID, TID: h.TID, Comm: h.Comm} }

// String is comm/pid, or what is known of it: a process may take away its name (prctl(2), PR_SET_NAME).
func (p Process) String() string {
	if p.Comm == "" {
		return p.Long()
	}
	return fmt.Sprintf("%s/%d", p.Comm, p.PID)
}

// Long is the name, and the pid in brackets, or what is known of them.
func (p Process) Long() string {
	switch {
	case p.Comm != "":
		return fmt.Sprintf("%s (pid %d)", p.Comm, p.PID)
	case p.PID != 0:
		return fmt.Sprintf("pid %d", p.PID)
	}
	return "an unknown process"
}

// AppendJSON appends the event as one object, without a newline. Beside the fields that all share it holds one named
// after the kind.
func AppendJSON(b []byte, e Event) ([]byte, error) {
	kind := e.Body.Kind()
	head := jsonEvent{
		V: Schema, Type: "event", Time: e.Time.UTC().Format(NanosecondTime), Kind: kind, Node: e.Node, Pod: e.Pod,
		Peer: e.Peer, Netns: e.Netns, Iface: e.Iface, Direction: e.Direction, Packet: e.Packet, Journey: e.Journey,
	}
	if e.PID != 0 {
		head.Process = Process{e.PID, e.TID, e.Comm}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(head); err != nil {
		return b, err
	}
	if f, ok := e.Body.(Frame); ok {
		f.Text = f.Summary()
		e.Body = f
	}
	buf.Truncate(buf.Len() - len("}\n")) // the body goes inside
	fmt.Fprintf(&buf, `,%q:`, kind)
	if err := enc.Encode(e.Body); err != nil {
		return b, err
	}
	buf.Truncate(buf.Len() - len("\n"))
	buf.WriteByte('}')
	return append(b, buf.Bytes()...), nil
}

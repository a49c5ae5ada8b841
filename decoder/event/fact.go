// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"ktrace/decoder/wire"
)

// KindFact is a fact about the node: JSON that ktrace writes into the stream.
const KindFact Kind = "fact"

// Fact is something known of the node rather than seen on it. Facts travel in the stream among the
// records, live as well as in a file, so that whatever rests on them is concluded the same from both.
// Exactly one field is set, or none: then the fact is a tick, which only says that time went by.
type Fact struct {
	Node   *Node        `json:"node,omitempty"`
	Device *Device      `json:"device,omitempty"`
	Symbol *Symbol      `json:"symbol,omitempty"`
	Pod    *PodFact     `json:"pod,omitempty"`
	Counts *Counts      `json:"counts,omitempty"`
	Lost   *LostRecords `json:"lost,omitempty"`
	Fsync  *FsyncFact   `json:"fsync,omitempty"`

	FlowBooks    *FlowBooks      `json:"flow_books,omitempty"`
	LookupFailed *LookupFailed   `json:"unread,omitempty"`
	Deferred     *Deferred       `json:"put_off,omitempty"`
	Chain        *ChainFact      `json:"chain,omitempty"`
	DropRules    *DropRules      `json:"blame,omitempty"`
	Service      *ServiceFact    `json:"service,omitempty"`
	ServiceRules *ServiceRules   `json:"service_rules,omitempty"`
	Sysctl       *Sysctl         `json:"sysctl,omitempty"`
	Route        *Route          `json:"route,omitempty"`
	Neighbour    *Neighbour      `json:"neighbour,omitempty"`
	Conntrack    *ConntrackStats `json:"conntrack,omitempty"`
	PortUse      *PortUse        `json:"port_use,omitempty"`
	Tracking     *Tracking       `json:"tracking,omitempty"`
	Tracked      *Tracked        `json:"tracked,omitempty"`
	Netstat      *Netstat        `json:"netstat,omitempty"`
	Socket       *Socket         `json:"socket,omitempty"`
	Qdisc        *Qdisc          `json:"qdisc,omitempty"`
	Program      *Program        `json:"program,omitempty"`
	Resolv       *ResolvConf     `json:"resolv,omitempty"`
	IOLimit      *IOLimit        `json:"io_limit,omitempty"`
	Certificates *Certificates   `json:"certificates,omitempty"`
	CPULimit     *CPULimit       `json:"cpu_limit,omitempty"`
	DiskUse      *DiskUse        `json:"disk_use,omitempty"`
	Identity     *NetnsIdentity  `json:"netns_identity,omitempty"`
}

// Kind implements Body.
func (Fact) Kind() Kind { return KindFact }

// Summary implements Body.
func (f Fact) Summary() string {
	text, err := json.Marshal(f)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Node is the first fact of a stream: where and when it was recorded.
type Node struct {
	Name    string            `json:"name"`
	Kernel  string            `json:"kernel"`
	Netns   uint32            `json:"netns"`             // the node's own network namespace
	Wall    time.Duration     `json:"wall_ns"`           // CLOCK_REALTIME minus CLOCK_BOOTTIME
	Boot    string            `json:"boot,omitempty"`    // the boot's own name (random(4), boot_id)
	Reasons map[uint32]string `json:"reasons,omitempty"` // enum skb_drop_reason and its like, from the kernel's BTF
	Resets  map[uint32]string `json:"resets,omitempty"`  // enum sk_rst_reason, from the kernel's BTF

	Verdicts bool `json:"verdicts,omitempty"` // what netfilter drops is followed by the hook's own word
	Watched  bool `json:"watched,omitempty"`  // packets were watched on their way; whole ones beside are for people
}

// Device is a network device in one namespace.
type Device struct {
	Netns     uint32         `json:"netns"`
	Ifindex   uint32         `json:"ifindex"`
	Name      string         `json:"name"`
	Type      string         `json:"type,omitempty"` // veth, bridge, vxlan, ... as ip -d link names it
	MTU       int            `json:"mtu,omitempty"`
	Down      bool           `json:"down,omitempty"`       // administratively or operationally down
	PeerIndex uint32         `json:"peer_index,omitempty"` // of a veth: the other end, 0 if unknown
	PeerNetns uint32         `json:"peer_netns,omitempty"`
	PeerMTU   int            `json:"peer_mtu,omitempty"` // what is longer is dropped there, without a word
	Addrs     []netip.Prefix `json:"addrs,omitempty"`
	MAC       string         `json:"mac,omitempty"`
	Gone      bool           `json:"gone,omitempty"`
	Lost      uint64         `json:"lost,omitempty"` // packets that a capture lost here, since it began
}

// Symbol is the function that a kernel address lies in.
type Symbol struct {
	Address uint64 `json:"address"`
	Name    string `json:"name"`
}

// Counts are what the kernel half counted, records of all kinds together: Seen = delivered records + Filtered + Lost.
type Counts struct {
	Seen     uint64 `json:"seen"`
	Filtered uint64 `json:"filtered"`
	Lost     Losses `json:"lost"`
	// Kinds are the same by kind of record, "" for runs of programs that the kernel left out.
	Kinds   map[Kind]Counts `json:"kinds,omitempty"`
	Refused []Refused       `json:"refused,omitempty"`
	// Final says that nothing is counted any more, and that all records that were delivered are before this fact.
	Final bool `json:"final,omitempty"`
}

// Add adds other counts of the same kinds of records.
func (c *Counts) Add(o Counts) {
	c.Seen += o.Seen
	c.Filtered += o.Filtered
	c.Lost.Add(o.Lost)
}

// ByKind are the counts by kind of record; those that do not say of which kind they are, as of older recordings, are of "".
func (c Counts) ByKind() map[Kind]Counts {
	rest, all := c, maps.Clone(c.Kinds)
	for _, of := range c.Kinds {
		rest.Seen -= min(of.Seen, rest.Seen)
		rest.Filtered -= min(of.Filtered, rest.Filtered)
		rest.Lost.Ring -= min(of.Lost.Ring, rest.Lost.Ring)
		rest.Lost.Map -= min(of.Lost.Map, rest.Lost.Map)
		rest.Lost.Userspace -= min(of.Lost.Userspace, rest.Lost.Userspace)
	}
	if rest.Kinds = nil; rest.Lost.Total() > 0 {
		sum := Counts{Kinds: all}
		sum.OfKind("", Counts{Lost: rest.Lost})
		return sum.Kinds
	}
	return all
}

// OfKind adds counts of one kind, to it and to all together.
func (c *Counts) OfKind(k Kind, o Counts) {
	if o.Seen == 0 && o.Filtered == 0 && o.Lost == (Losses{}) {
		return
	}
	if c.Kinds == nil {
		c.Kinds = map[Kind]Counts{}
	}
	all := c.Kinds[k]
	all.Add(o)
	c.Kinds[k] = all
	c.Add(o)
}

// Losses counts what was seen but never reached the user, by where it was lost.
type Losses struct {
	Ring      uint64 `json:"ring"`      // the ring buffer was full
	Map       uint64 `json:"map"`       // a map was full, or half of a pair was missed
	Userspace uint64 `json:"userspace"` // delivered, but not understood
}

// Add adds other losses.
func (l *Losses) Add(o Losses) {
	l.Ring += o.Ring
	l.Map += o.Map
	l.Userspace += o.Userspace
}

// Total is the sum.
func (l Losses) Total() uint64 { return l.Ring + l.Map + l.Userspace }

// EncodeFact writes a fact as a record, to be put into the stream at the given time since boot.
func EncodeFact(sinceBoot time.Duration, f Fact) ([]byte, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	h := wire.Header{Size: uint32(hdrSize + len(body)), Kind: uint16(wire.KindFact), Time: uint64(sinceBoot)}
	raw, err := binary.Append(make([]byte, 0, h.Size), binary.LittleEndian, h)
	return append(raw, body...), err
}

func decodeFact(raw []byte, e *Event) error {
	var f Fact
	if err := json.Unmarshal(raw[hdrSize:], &f); err != nil {
		return fmt.Errorf("fact: %w", err)
	}
	e.Body = f
	return nil
}

// Tunnels reports whether a device encapsulates what it sends in UDP.
func (d *Device) Tunnels() bool { return d.Type == "vxlan" || d.Type == "geneve" }

// SinceBoot turns an event's time back into the kernel's.
func (n Node) SinceBoot(t time.Time) time.Duration {
	return time.Duration(t.UnixNano()) - n.Wall
}

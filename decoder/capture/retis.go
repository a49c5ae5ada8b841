// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"encoding/json"
	"hash/fnv"
	"maps"
	"strings"

	"ktrace/decoder/event"
)

// retisEnterprise is the number of the custom options that "retis pcap" writes (retis/src/process/cli/pcap.rs, from
// v1.6 on): each holds the event of its packet in JSON. Its interfaces are probes, not devices.
const retisEnterprise = 70000

// retisEvent is what is of use of an event of retis (retis-events/src).
type retisEvent struct {
	Common struct {
		Task *struct {
			PID  uint32 `json:"pid"`  // of the thread
			TGID uint32 `json:"tgid"` // of the process
			Comm string `json:"comm"`
		} `json:"task"`
	} `json:"common"`
	Kernel struct {
		Symbol string   `json:"symbol"` // tracepoints as "net:netif_receive_skb"
		Stack  []string `json:"stack_trace"`
	} `json:"kernel"`
	Tracking *struct {
		Head  uint64 `json:"orig_head"` // with the time it names the packet, whatever it is copied to
		Since uint64 `json:"timestamp"`
	} `json:"skb-tracking"`
	Drop *struct {
		Subsystem string `json:"subsys"`
		Reason    string `json:"drop_reason"`
	} `json:"skb-drop"`
	Netns *struct {
		Inode uint32 `json:"inum"`
	} `json:"netns"`
	Device *struct {
		Name    string `json:"name"`
		Ifindex uint32 `json:"ifindex"`
	} `json:"dev"`
}

// retis takes in an event of retis; false if it is none.
func (s *said) retis(text []byte) bool {
	var e retisEvent
	if json.Unmarshal(text, &e) != nil || e.Kernel.Symbol == "" {
		return false
	}
	s.place = &place{}
	s.way = ways()[symbol(e.Kernel.Symbol)]
	if t := e.Common.Task; t != nil {
		s.pid, s.tid, s.thread = t.TGID, t.PID, t.Comm
	}
	if e.Netns != nil {
		s.place.netns = e.Netns.Inode
	}
	if e.Device != nil {
		s.place.ifindex, s.device = e.Device.Ifindex, e.Device.Name
	}
	if t := e.Tracking; t != nil {
		s.journey = t.Since ^ t.Head<<1 | 1<<63
	}
	if e.Drop != nil {
		s.dropped, s.reason, s.function = true, e.Drop.Reason, dropper(e.Kernel.Stack)
		if e.Drop.Subsystem != "" {
			s.reason = e.Drop.Subsystem + "/" + s.reason
		}
	}
	return true
}

// symbol is a function's or tracepoint's name alone.
func symbol(text string) string {
	if _, name, ok := strings.Cut(text, ":"); ok {
		text = name
	}
	name, _, _ := strings.Cut(text, "+")
	return name
}

// ways are the places in the kernel that packets pass in one direction only.
func ways() map[string]event.Direction {
	return map[string]event.Direction{
		"netif_receive_skb": event.In, "netif_rx": event.In, "napi_gro_receive_entry": event.In,
		"__netif_receive_skb_core": event.In, "ip_rcv": event.In, "ip_rcv_core": event.In, "ipv6_rcv": event.In,
		"ip_local_deliver": event.In, "ip6_input": event.In, "tcp_v4_rcv": event.In, "tcp_v6_rcv": event.In,
		"udp_rcv": event.In, "udpv6_rcv": event.In, "icmp_rcv": event.In, "icmpv6_rcv": event.In,
		"net_dev_queue": event.Out, "net_dev_start_xmit": event.Out, "net_dev_xmit": event.Out,
		"__dev_queue_xmit": event.Out, "dev_hard_start_xmit": event.Out, "ip_output": event.Out,
		"ip6_output": event.Out, "ip_finish_output2": event.Out,
	}
}

// notReported stands for a function that retis did not record: it takes stacks only where asked.
const notReported = "not-reported"

// dropper is the function that gave the packet up: the first of the stack that does not free packets for others.
func dropper(stack []string) string {
	for _, line := range stack {
		name := symbol(strings.TrimSpace(line))
		frees := strings.HasPrefix(name, "kfree_skb") || strings.HasPrefix(name, "__kfree_skb") ||
			strings.HasPrefix(name, "sk_skb_reason_drop") || strings.HasPrefix(name, "__traceiter_") || strings.HasPrefix(name, "bpf_")
		if name != "" && !frees {
			return name
		}
	}
	return notReported
}

// tellDevice names the device that a packet was at.
func (r *Reader) tellDevice(s *said) error {
	if s.place.ifindex == 0 || s.device == "" {
		return nil
	}
	return r.emitDevice(*s.place, s.device)
}

// emitDevice emits the name of a device, once.
func (r *Reader) emitDevice(at place, name string) error {
	name = name[:min(len(name), maxWord)]
	known, ok := r.devices[at]
	if known == name && ok {
		return nil
	}
	if !ok && len(r.devices) >= maxSaid {
		clear(r.devices)
	}
	r.devices[at] = strings.Clone(name)
	return r.emit(event.Fact{Device: &event.Device{Netns: at.netns, Ifindex: at.ifindex, Name: name}})
}

// maxReasons is how many reasons of drops a file may name; a kernel has a quarter of that.
const maxReasons = 512

// tellDrop names the reason and the function of a drop, and returns the numbers by which its record refers to them.
func (r *Reader) tellDrop(s *said) (code uint32, address uint64, err error) {
	code, known := r.reasons[s.reason]
	if !known && len(r.reasons) < maxReasons && len(s.reason) <= maxWord {
		code = uint32(len(r.reasons) + 1)
		r.reasons[s.reason] = code
		names := maps.Clone(r.node.Reasons)
		if names == nil {
			names = map[uint32]string{}
		}
		names[code] = s.reason
		r.node.Reasons = names
		if err := r.emit(event.Fact{Node: &r.node}); err != nil {
			return 0, 0, err
		}
	}
	s.function = s.function[:min(len(s.function), maxWord)]
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.function)) // never fails
	address = h.Sum64()
	if r.emitted[address] || len(r.emitted) >= maxSaid {
		return code, address, nil
	}
	r.emitted[address] = true
	return code, address, r.emit(event.Fact{Symbol: &event.Symbol{Address: address, Name: s.function}})
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// accounts are the counts of a summary that must add up.
type accounts struct {
	Seen     uint64 `json:"seen"`
	Shown    uint64 `json:"shown"`
	Filtered uint64 `json:"filtered"`
	Lost     struct {
		Ring      uint64 `json:"ring"`
		Map       uint64 `json:"map"`
		Userspace uint64 `json:"userspace"`
	} `json:"lost"`
	Drops struct {
		Total  uint64 `json:"total"`
		Groups []struct {
			Cause string `json:"cause"`
			Count uint64 `json:"count"`
		} `json:"groups"`
	} `json:"drops"`
}

// TestDropCountsEveryPacket produces drops as fast as the pod can send. The rule's own counter is the truth.
func TestDropCountsEveryPacket(t *testing.T) {
	t.Parallel()
	for name, ring := range map[string]string{
		"in a ring that holds all": "67108864",
		"in a ring that overflows": "65536",
	} {
		t.Run(name, func(t *testing.T) {
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			c.Node.Run("iptables-legacy", "-A", "FORWARD", "-p", "udp", "--dport", "9999", "-j", "DROP")
			run := lab.Ktrace(t, "drop", "--summary", "--ring-bytes", ring, "--netns", p.Path())
			flood(t, p, 100_000)
			var b accounts
			lab.Summary(t, run.Stop()).Into(t, &b)
			b.check(t, rulePackets(t, c.Node))
		})
	}
}

// flood sends datagrams that the node drops.
func flood(t *testing.T, p *lab.Pod, packets int) {
	p.Do(func() {
		conn, err := net.Dial("udp", net.JoinHostPort(lab.ServerAddr, "9999"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range packets {
			if _, err := conn.Write([]byte("dropped")); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// check holds the accounts against what was dropped. What is lost may be more than that: a packet of another kind, too.
func (b accounts) check(t *testing.T, dropped uint64) {
	t.Helper()
	lost := b.Lost.Ring + b.Lost.Map + b.Lost.Userspace
	if b.Shown+b.Filtered+lost != b.Seen {
		t.Errorf("%+v does not add up", b)
	}
	if b.Drops.Total > dropped || b.Drops.Total+lost < dropped || lost == 0 && b.Drops.Total != dropped {
		t.Errorf("%d drops counted and %d lost of %d: %+v", b.Drops.Total, lost, dropped, b)
	}
	t.Logf("%d counted, %d lost", b.Drops.Total, lost)
}

// rulePackets is what the only rule of FORWARD counted.
func rulePackets(t *testing.T, ns *lab.NS) uint64 {
	t.Helper()
	for line := range strings.Lines(ns.Run("iptables-legacy", "-nvxL", "FORWARD")) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "DROP" {
			n, err := strconv.ParseUint(f[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("there is no rule")
	return 0
}

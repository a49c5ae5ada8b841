// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bufio"
	"bytes"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ResolvConf is what a resolv.conf(5) says, as the resolver of the C library understands it.
type ResolvConf struct {
	Netns       uint32       `json:"netns"` // of the processes that read it
	Nameservers []netip.Addr `json:"nameservers,omitempty"`
	Search      []string     `json:"search,omitempty"`
	Ndots       int          `json:"ndots"`         // names with fewer dots are tried under the search domains first
	Bad         []string     `json:"bad,omitempty"` // lines that say nothing to a resolver, or nothing to that of glibc, though they are no comments
}

const (
	maxBadLines = 8 // that are kept
	maxLine     = 200
)

// ParseResolv reads a resolv.conf. What it does not understand it passes over, as resolvers do, and keeps as bad.
func ParseResolv(r io.Reader) ResolvConf {
	c := ResolvConf{Ndots: 1}
	lines := bufio.NewScanner(r)
	lines.Split(keepReturn)
	for lines.Scan() {
		line := strings.TrimLeft(lines.Text(), " \t")
		if strings.TrimSpace(line) == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if !c.line(line) && len(c.Bad) < maxBadLines {
			c.Bad = append(c.Bad, line[:min(len(line), maxLine)])
		}
	}
	return c
}

// keepReturn splits at the ends of lines and leaves a carriage return before them: to glibc it is a part of the line.
func keepReturn(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if !atEOF || len(data) == 0 {
		return 0, nil, nil
	}
	return len(data), data, nil
}

// line takes in one, and reports whether it says to every resolver what it says to some.
func (c *ResolvConf) line(text string) bool {
	f := strings.Fields(text)
	switch f[0] {
	case "nameserver":
		if len(f) < 2 {
			return false
		}
		addr, err := netip.ParseAddr(f[1])
		if err == nil {
			c.Nameservers = append(c.Nameservers, addr)
		}
		return err == nil && !strings.Contains(text, "\r") // with which glibc takes it for no address
	case "search", "domain": // the last one counts
		c.Search = f[1:]
	case "options":
		for _, o := range f[1:] {
			if n, ok := strings.CutPrefix(o, "ndots:"); ok {
				c.Ndots, _ = strconv.Atoi(n) // what is no number is 0, for resolvers too
			}
		}
	case "sortlist":
	default:
		return false
	}
	return true
}

// Cluster reports whether kubelet wrote it for a pod that asks the cluster's DNS: only then there is a search domain
// of services.
func (c ResolvConf) Cluster() bool {
	for _, s := range c.Search {
		if strings.HasPrefix(s, "svc.") || strings.Contains(s, ".svc.") {
			return true
		}
	}
	return false
}

// Garbled reports whether a line that is to name a nameserver names none, to some resolvers at least.
func (c ResolvConf) Garbled() bool {
	return slices.ContainsFunc(c.Bad, func(line string) bool { return strings.HasPrefix(line, "nameserver") })
}

// Base is the name that a resolver was asked for when it sends a query: it tries a name under each of its search
// domains. ok is false if the query is for none of them, but for the name as it is.
func (c ResolvConf) Base(query string) (base string, ok bool) {
	longest := ""
	for _, s := range c.Search {
		s = "." + strings.Trim(s, ".")
		if strings.HasSuffix(query, s) && len(s) > len(longest) && len(s) < len(query) {
			longest = s
		}
	}
	return strings.TrimSuffix(query, longest), longest != ""
}

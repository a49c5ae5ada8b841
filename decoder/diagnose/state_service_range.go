// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
)

// serviceSpan is the lowest and the highest service address that one source listed, of one family. A deleted service
// counts: its address was in the range, too.
type serviceSpan struct {
	low, high netip.Addr
	blocks    []map[netip.Prefix]bool // with a service in them, by the sizes that rangeSizes returns
}

// spanKey is the source: rules belong to a namespace, the API to none (0).
type spanKey struct {
	netns uint32
	four  bool
}

// maxBlocks bounds the blocks of one span.
const maxBlocks = 1 << 12

// rangeSizes are prefix lengths of service ranges: the API server accepts none larger than the first; none in use is
// smaller than the second; most are at least as large as the third.
func rangeSizes(four bool) (largest, smallest, usual int) {
	if four {
		return 12, 24, 16
	}
	return 108, 120, 112
}

// learnSpan takes in a service's cluster address.
func (s *services) learnSpan(netns uint32, a netip.Addr) {
	key := spanKey{netns, a.Is4()}
	span := s.spans[key]
	if span == nil && len(s.spans) >= 2*maxServiceNetns {
		return
	}
	if span == nil {
		span = &serviceSpan{low: a, high: a, blocks: []map[netip.Prefix]bool{{}}}
		s.spans[key] = span
	}
	if a.Less(span.low) {
		span.low = a
	}
	if span.high.Less(a) {
		span.high = a
	}
	_, smallest, usual := rangeSizes(a.Is4())
	for _, bits := range []int{smallest, usual} {
		if block, err := a.Prefix(bits); err == nil && len(span.blocks[0]) < maxBlocks {
			span.blocks[0][block] = true
		}
	}
}

// inRange returns how certain it is that an address is in the service range, "" if that is not known, and why. It looks
// at the API, the node's rules and those of the given namespaces.
func (st *State) inRange(a netip.Addr, spaces ...uint32) (sure event.Confidence, why string) {
	for _, key := range st.services.ranges {
		f := st.services.facts[key]
		if f.CIDR.Contains(a) && (!fromRules(f) || f.Netns == st.node.Netns || slices.Contains(spaces, f.Netns)) {
			return event.Certain, fmt.Sprintf("services have addresses in %v", f.CIDR)
		}
	}
	return st.services.span(a.Is4(), append([]uint32{0, st.node.Netns}, spaces...)...).has(a)
}

// span merges what these sources listed; it is empty if they listed nothing.
func (s *services) span(four bool, of ...uint32) (all serviceSpan) {
	for _, netns := range of {
		one := s.spans[spanKey{netns, four}]
		if one == nil {
			continue
		}
		if !all.low.IsValid() || one.low.Less(all.low) {
			all.low = one.low
		}
		if all.high.Less(one.high) {
			all.high = one.high
		}
		all.blocks = append(all.blocks, one.blocks...)
	}
	return all
}

// has returns how certain it is that an address is in the range of the span, and why.
func (s serviceSpan) has(a netip.Addr) (event.Confidence, string) {
	if !s.low.IsValid() {
		return "", ""
	}
	largest, smallest, usual := rangeSizes(a.Is4())
	within := func(bits int) bool {
		block, err := a.Prefix(bits)
		return err == nil && slices.ContainsFunc(s.blocks, func(of map[netip.Prefix]bool) bool { return of[block] })
	}
	whole, err := s.low.Prefix(largest)
	switch {
	case err == nil && whole.Contains(s.high) && !a.Less(s.low) && !s.high.Less(a):
		return event.Certain, fmt.Sprintf("services have addresses from %v to %v", s.low, s.high)
	case within(smallest):
		return event.Certain, fmt.Sprintf("services have addresses in the same /%d", smallest)
	case within(usual):
		return event.Likely, fmt.Sprintf("services have addresses in the same /%d", usual)
	}
	return "", ""
}

// mayBeService reports whether an address that only a file gives can be a service's. With known services, of the API, of the
// node's rules or of those of the given namespaces, it must be in their range, which a cluster without services of its
// family does not have; without any it must at least not be a public or link-local one.
func (st *State) mayBeService(a netip.Addr, spaces ...uint32) bool {
	from := append(slices.Clone(spaces), 0, st.node.Netns)
	known := func(four bool) bool { return st.services.span(four, from...).low.IsValid() }
	if known(true) || known(false) {
		sure, _ := st.inRange(a, spaces...)
		return sure != ""
	}
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10) // RFC 6598, which some clusters use
	return a.IsPrivate() || shared.Contains(a)
}

package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"ktrace/decoder/event"
)

// serviceSpan is where one source saw services have their addresses, of one family. A service that is gone proves as much
// of the range that its address was taken from.
type serviceSpan struct {
	low, high netip.Addr
	blocks    []map[netip.Prefix]bool // of the sizes that rangeSizes has, in which one is
}

// spanKey is whose: rules are of a namespace, the API of none.
type spanKey struct {
	netns uint32
	four  bool
}

// maxBlocks is how many blocks are remembered of one range.
const maxBlocks = 1 << 12

// rangeSizes are prefix lengths of ranges of service addresses: the API server takes none that is larger than the
// first; none in use is smaller than the second; as a rule they are at least as large as the third.
func rangeSizes(four bool) (largest, smallest, usual int) {
	if four {
		return 12, 24, 16
	}
	return 108, 120, 112
}

// learnSpan takes in the cluster address of a service.
func (s *services) learnSpan(netns uint32, a netip.Addr) {
	key := spanKey{netns, a.Is4()}
	span := s.spans[key]
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

// inRange says how sure it is that an address is of the range of services, "" if it is not known to be, and why. It asks
// what the API says, and what the rules of the node and of the namespaces given do.
func (st *State) inRange(a netip.Addr, spaces ...uint32) (sure event.Confidence, why string) {
	for _, key := range st.services.ranges {
		f := st.services.facts[key]
		if f.CIDR.Contains(a) && (!fromRules(f) || f.Netns == st.node.Netns || slices.Contains(spaces, f.Netns)) {
			return event.Certain, fmt.Sprintf("services have addresses in %v", f.CIDR)
		}
	}
	return st.services.span(a.Is4(), append([]uint32{0, st.node.Netns}, spaces...)...).has(a)
}

// span is where all of these sources together have services; it is empty if none has.
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

// has says how sure it is that the range that a span is of has an address, and why.
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

// mayBeService reports whether an address that only a file of a pod names for a service's can be one: where services
// are known, it lies among theirs; where none is, it is at least no address of the Internet's or of one link.
func (st *State) mayBeService(netns uint32, a netip.Addr) bool {
	if st.services.span(a.Is4(), 0, netns, st.node.Netns).low.IsValid() {
		sure, _ := st.inRange(a, netns)
		return sure != ""
	}
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10) // RFC 6598, which some clusters use
	return a.IsPrivate() || shared.Contains(a)
}

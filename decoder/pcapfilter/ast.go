// SPDX-License-Identifier: Apache-2.0

package pcapfilter

// node is a condition: an expression that is true or false of a packet.
type node interface{ isNode() }

// logic joins two conditions by "and" or "or".
type logic struct {
	and         bool
	left, right node
}

type not struct{ of node }

// everything is the empty expression.
type everything struct{}

// isProto is a protocol written alone: tcp.
type isProto struct {
	proto proto
	col   int
}

// qualified is an id with its qualifiers: src host 10.0.0.1.
type qualified struct {
	qual
	id token
	// For a network, its mask: a prefix length or another dotted number.
	bits token
	mask token
}

// keyword is a primitive of its own word: vlan 5, ip multicast, inbound.
type keyword struct {
	word     string
	proto    proto
	number   uint32
	numbered bool
	col      int
}

// relation compares two numbers.
type relation struct {
	op          string
	left, right number
	col         int
}

func (logic) isNode()      {}
func (not) isNode()        {}
func (everything) isNode() {}
func (isProto) isNode()    {}
func (qualified) isNode()  {}
func (keyword) isNode()    {}
func (relation) isNode()   {}

// number is an arithmetic expression. Op is "" for a constant, "len", "neg", "load" for proto[left:size] or a
// binary operator.
type number struct {
	op          string
	value       uint32
	proto       proto
	size        uint32
	left, right *number
	col         int
}

// qual is the set of qualifiers that an id inherits from the one before it.
type qual struct {
	known bool // there are qualifiers to inherit
	proto proto
	dir   direction
	typ   string // "", host, net, port, portrange or proto
	col   int    // of the first qualifier
}

type direction uint8

const (
	dirEither direction = iota
	dirSrc
	dirDst
	dirBoth
)

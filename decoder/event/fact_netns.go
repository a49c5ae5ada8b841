// SPDX-License-Identifier: Apache-2.0

package event

// NetnsIdentity is which network namespace has an inode number from now on. The kernel gives the number of one that is gone
// to another.
type NetnsIdentity struct {
	Inode uint32 `json:"netns"`
	ID    uint64 `json:"id"` // unique for one boot: see Cookie
	// Replaced is set by the stream where the number was another's before: what is known by it must be forgotten.
	Replaced bool `json:"-"`
}

// noCookie marks an ID that is no cookie.
const noCookie = 1 << 63

// Cookie is what SO_NETNS_COOKIE returns in the namespace (kernel 5.14). It is not ok on kernels before 5.12, which give a
// cookie to few namespaces: ID is then another number of the namespace, of 32 bits, which is random.
func (n NetnsIdentity) Cookie() (cookie uint64, ok bool) { return n.ID, n.ID&noCookie == 0 }

// ReplacedNetns is the inode number of a namespace that was replaced by another, if that is the fact.
func (f Fact) ReplacedNetns() (inode uint32, ok bool) {
	if f.Identity == nil || !f.Identity.Replaced {
		return 0, false
	}
	return f.Identity.Inode, true
}

// decodeNetns reads a header alone, in whose journey the identity is.
func decodeNetns(_ []byte, e *Event) error {
	e.Body = Fact{Identity: &NetnsIdentity{Inode: e.Netns, ID: e.Journey}}
	e.Journey = 0
	return nil
}

// NetnsIDs are the identities of namespaces by their inode numbers.
type NetnsIDs map[uint32]uint64

const maxNetnsIDs = 1 << 16 // a machine that has more at once forgets all

// Learn takes in the identity of a namespace, and returns it with Replaced set if the number was another's before.
func (all NetnsIDs) Learn(n NetnsIdentity) NetnsIdentity {
	before, known := all[n.Inode]
	if !known && len(all) >= maxNetnsIDs {
		clear(all)
	}
	all[n.Inode] = n.ID
	n.Replaced = known && before != n.ID
	return n
}

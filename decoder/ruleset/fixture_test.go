// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"encoding/binary"
	"errors"
)

// parseLegacyFile reads a recorded table: struct ipt_getinfo behind its name, then the rules.
func parseLegacyFile(f Family, b []byte) (*Table, error) {
	const head = 52
	if len(b) < head {
		return nil, errors.New("no info")
	}
	var i LegacyInfo
	if _, err := binary.Decode(b[:head], native, &i); err != nil {
		return nil, err
	}
	return ParseLegacy(f, "filter", i, b[head:])
}

// parseNFTFile reads recorded messages: length, type (as in nfnetlink) and payload of each; elements of sets go to the
// set that they name.
func parseNFTFile(b []byte) *Ruleset {
	var n NFT
	elements := map[*Set][][]byte{} // a dump takes several messages, the last of which may be empty
	for len(b) >= 4 {
		size, kind := int(native.Uint16(b)), native.Uint16(b[2:])
		b = b[4:]
		if size > len(b) {
			break
		}
		msg := b[:size]
		b = b[size:]
		switch kind {
		case 0:
			n.Table(msg)
		case 3:
			n.Chain(msg)
		case 6:
			n.Rule(msg)
		case 9:
			n.Set(msg)
		case 12:
			if len(msg) > nfgenmsgSize {
				a := attrMap(msg[nfgenmsgSize:])
				if s := n.table(Family(msg[0]), cString(a[1])).Sets[cString(a[2])]; s != nil {
					elements[s] = append(elements[s], msg)
				}
			}
		}
	}
	for s, msgs := range elements {
		s.Load(msgs)
	}
	return &Ruleset{Tables: n.Tables()}
}

// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cilium/ebpf"

	"ktrace/decoder/event"
)

// shareSlots are the accounts of each table in sharesMap, shareSize the bytes of one: owner, refused, held of share.h.
const (
	shareSlots = 1024
	shareSize  = 24
)

// shareTables are the tables, as enum share_table of share.h has them.
var shareTables = [...]event.SharedTable{event.SharedOwners, event.SharedEstablished, event.SharedSyncs, event.SharedConnections}

// refusedShares are the owners to whom entries of maps were refused so far, because they held their share.
func refusedShares(shares *ebpf.Memory) (all []event.Refused, err error) {
	if shares == nil {
		return nil, nil
	}
	buf := make([]byte, len(shareTables)*(shareSlots+1)*shareSize)
	if _, err := io.ReadFull(io.NewSectionReader(shares, 0, int64(len(buf))), buf); err != nil {
		return nil, fmt.Errorf("shares: %w", err)
	}
	for i, table := range shareTables {
		for slot := range shareSlots {
			b := buf[(i*(shareSlots+1)+slot)*shareSize:]
			r := event.Refused{Table: table, Owner: binary.NativeEndian.Uint64(b), Count: binary.NativeEndian.Uint64(b[8:]),
				Held: int64(binary.NativeEndian.Uint64(b[16:]))}
			if r.Count > 0 {
				all = append(all, r)
			}
		}
	}
	return all, nil
}

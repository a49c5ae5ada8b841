// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"net/netip"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/tls"
)

// TestAttackManyNamesOfOneServer: names that a client makes up are one finding from some number on, a few are one each.
func TestAttackManyNamesOfOneServer(t *testing.T) {
	for names, want := range map[int]int{1: 1, maxNames: maxNames, 200: maxNames + 1} {
		r := NewTLS(NewState())
		var folder event.Folder
		for i := range 2 * names { // each twice
			e, _ := ruled("10.9.0.2:443", nil, "")
			folder.Add(r.refused(refusal{event: e, Refusal: tls.Refusal{
				Client: netip.MustParseAddrPort("10.244.1.2:40000"), Server: netip.MustParseAddrPort("10.9.0.2:443"), Name: fmt.Sprintf("n%d.example", i%names),
			}}))
		}
		var count uint64
		for _, f := range folder.All() {
			count += f.Count
		}
		if n := len(folder.All()); n != want || count != uint64(2*names) {
			t.Errorf("%d names: %d findings of %d handshakes, want %d", names, n, count, want)
		}
	}
}

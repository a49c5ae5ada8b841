// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"ktrace/decoder/packet/packettest"
	"ktrace/decoder/pcapng"
	"ktrace/testdata/lab"
)

// alikes are traffic that gives a finding for each server, as far as the rule goes.
type alikes struct {
	name, id string
	port     uint16
	packets  func(i int, client, server netip.AddrPort) [][]byte
}

func manyAlike() []alikes {
	tcp := func(from, to netip.AddrPort, flags uint8, payload ...byte) []byte {
		seq := uint32(1000)
		if flags&packettest.SYN == 0 {
			seq++
		}
		return packettest.TCP(from, to, flags, seq, 1001, payload)
	}
	return []alikes{
		{"SYNs without an answer", "connect-no-response", 80, func(_ int, client, server netip.AddrPort) [][]byte {
			other := netip.MustParseAddrPort("10.2.0.3:80") // which shows that answers to the client are in the capture
			return [][]byte{tcp(client, other, packettest.SYN), tcp(other, client, packettest.SYN|packettest.ACK), tcp(client, server, packettest.SYN)}
		}},
		{"queries without an answer", "dns-no-response", 53, func(i int, client, server netip.AddrPort) [][]byte {
			return [][]byte{packettest.UDP(client, server, query(i, "a.example"))}
		}},
		{"ICMP errors", "neighbour-failed", 5000, func(_ int, client, server netip.AddrPort) [][]byte {
			lost := packettest.UDP(client, server, []byte("12345678"))
			return [][]byte{lost, packettest.ICMPError(netip.MustParseAddr("10.9.9.9"), 3, 1, 0, lost)}
		}},
		{"handshakes that end", "tls-alert", 443, func(_ int, client, server netip.AddrPort) [][]byte {
			return [][]byte{tcp(client, server, packettest.ACK|packettest.PSH, 21, 3, 1, 0, 2, 2, 40)}
		}},
	}
}

// answered is a connection and a query that are, which shows that the capture has both ways.
func answered() [][]byte {
	client, server := netip.MustParseAddrPort("10.2.0.1:40000"), netip.MustParseAddrPort("10.2.0.2:80")
	resolver := netip.AddrPortFrom(server.Addr(), 53)
	answer := query(1, "b.example")
	const response, offset = 0x80, 2
	asked := bytes.Clone(answer)
	answer[offset] |= response
	return [][]byte{
		packettest.TCP(client, server, packettest.SYN, 1, 0, nil), packettest.TCP(server, client, packettest.SYN|packettest.ACK, 1, 2, nil),
		packettest.TCP(client, server, packettest.ACK, 2, 2, nil), packettest.UDP(client, resolver, asked), packettest.UDP(resolver, client, answer),
	}
}

// TestOneCauseWithManyIsOneFinding: a thousand clients of one server are one finding, and a thousand servers that a client tries are
// some and one that counts the others.
func TestOneCauseWithManyIsOneFinding(t *testing.T) {
	t.Parallel()
	const many, apart = 1000, 20
	for _, f := range manyAlike() {
		for _, servers := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, many servers %t", f.name, servers), func(t *testing.T) {
				t.Parallel()
				file, err := os.Create(filepath.Join(t.TempDir(), "many"))
				if err != nil {
					t.Fatal(err)
				}
				w := newBombWriter(t, file)
				for j, p := range answered() {
					w.packet(bombTime+int64(j)*1e6, packettest.Frame(p), pcapng.Options{})
				}
				for _, again := range []int64{1e9, 2e9, 4e9, 8e9} { // as clients do who get no answer
					for i := range many {
						client, server := netip.MustParseAddr("10.1.0.1"), netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
						if !servers {
							client, server = server, client
						}
						for j, p := range f.packets(i, netip.AddrPortFrom(client, 40000), netip.AddrPortFrom(server, f.port)) {
							w.packet(bombTime+again+int64(i)*5e5+int64(j)*1e5, packettest.Frame(p), pcapng.Options{})
						}
					}
				}
				w.packet(bombTime+60e9, packettest.Frame(small()), pcapng.Options{})
				w.end()
				file.Close()
				lines, _, said := lab.Read(t, file.Name(), "diagnose", "-o", "json")
				most, count, found := 1, 0, 0
				if servers {
					most = apart + 1
				}
				for _, l := range lab.Findings(lines) {
					var x struct {
						ID    string
						Count int
						Hits  []any
					}
					l.Into(t, &x)
					if x.ID == f.id {
						found, count = found+1, count+x.Count
					}
					if len(x.Hits) > 128 {
						t.Errorf("%d are named", len(x.Hits))
					}
				}
				if found == 0 || found > most || count < many*9/10 {
					t.Errorf("%d findings of %s that count %d, want at most %d that count %d\n%.3000s", found, f.id, count, most, many, said)
				}
			})
		}
	}
}

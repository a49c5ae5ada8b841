// SPDX-License-Identifier: Apache-2.0

package pcapng_test

import (
	"bytes"
	"fmt"
	"io"

	"ktrace/decoder/pcapng"
)

// A capture of one packet that was dropped, as Wireshark, tcpdump and a Reader will see it.
func ExampleWriter() {
	if err := capture(io.Discard); err != nil {
		fmt.Println(err)
	}
	// Output:
}

func capture(file io.Writer) error {
	w := pcapng.NewWriter(file, pcapng.WriterOptions{})
	var head pcapng.Options
	head.AddText(pcapng.SectionApplication, "ktrace")
	if err := w.WriteSection(head); err != nil {
		return err
	}
	eth0 := pcapng.NewInterface("eth0@default/web-0", "", pcapng.LinkEthernet, 262144)
	if err := w.AddInterface(eth0); err != nil {
		return err
	}
	var o pcapng.Options // Reset it for the next packet: then writing allocates nothing
	o.AddComment("DROP NETFILTER_DROP", pcapng.Field{Key: "comm", Value: "x pod=forged"})
	o.AddFlags(pcapng.FlagInbound)
	o.AddUint64(pcapng.PacketID, 7)
	o.AddVerdict(pcapng.VerdictTC, pcapng.TCShot)
	o.AddJSON([]byte(`{"v":1}`))
	p := pcapng.Packet{Interface: eth0, Time: 1_700_000_000_000_000_001, Data: make([]byte, 60), Length: 1514, Options: o}
	if err := w.WritePacket(&p); err != nil {
		return err
	}
	return w.Flush()
}

// The packets of one direction, with everything else that the file holds.
func ExampleReader() {
	var file, inbound bytes.Buffer
	if err := capture(&file); err != nil {
		fmt.Println(err)
	}
	size := int64(file.Len())
	r := pcapng.NewReader(&file, pcapng.ReaderOptions{})
	w := pcapng.NewWriter(&inbound, pcapng.WriterOptions{Subset: true})
	for {
		b, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		var p pcapng.Packet
		if b.IsPacket() && b.Packet(&p) == nil {
			event, _ := p.Options.JSON()
			fmt.Printf("%d %s %d/%d %q %s\n", p.Time, p.Interface.Name(), len(p.Data), p.Length, p.Options.Comments(), event)
			if p.Flags().Direction() != pcapng.FlagInbound {
				continue
			}
		}
		if err := w.WriteBlock(b); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println(w.Flush(), w.Size() == size)
	// Output:
	// 1700000000000000001 eth0@default/web-0 60/1514 ["DROP NETFILTER_DROP comm=\"x pod=forged\""] {"v":1}
	// <nil> true
}

// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"testing"

	"ktrace/decoder/packet/packettest"
)

// readAll returns every block of a capture and the error that ended it, nil for io.EOF.
func readAll(src io.Reader) ([]Block, error) {
	r := NewReader(src, ReaderOptions{})
	var blocks []Block
	for {
		b, err := r.Next()
		if err == io.EOF {
			return blocks, nil
		}
		if err != nil {
			return blocks, err
		}
		blocks = append(blocks, b.Clone())
	}
}

// packets returns every packet of a capture that must be sound.
func packets(t testing.TB, capture []byte) []Packet {
	t.Helper()
	blocks, err := readAll(bytes.NewReader(capture))
	if err != nil {
		t.Fatal(err)
	}
	var all []Packet
	for _, b := range blocks {
		if !b.IsPacket() {
			continue
		}
		var p Packet
		if err := b.Packet(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// written returns what write made of a new Writer.
func written(t testing.TB, options WriterOptions, write func(*Writer) error) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, options)
	if err := errors.Join(write(w), w.Flush()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// passThrough writes blocks as they are.
func passThrough(t testing.TB, blocks []Block) []byte {
	t.Helper()
	return written(t, WriterOptions{}, func(w *Writer) error {
		for _, b := range blocks {
			if err := w.WriteBlock(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// list returns the options of a list, the values copied.
func list(o Options) []Option {
	var all []Option
	for opt := range o.All() {
		opt.Value = slices.Clone(opt.Value)
		all = append(all, opt)
	}
	return all
}

var webNames = []Name{
	{netip.MustParseAddr("10.0.0.1"), "default/web-0"},
	{netip.MustParseAddr("fd00::2"), "default/db-0"},
}

var frame = packettest.Frame(packettest.UDP(netip.MustParseAddrPort("10.0.0.1:5000"), netip.MustParseAddrPort("10.0.0.2:5001"), []byte("ping")))

// annotated is a capture as ktrace makes it: every kind of block and option that it writes.
func annotated(t testing.TB, order Order) []byte {
	t.Helper()
	const start = int64(1_700_000_000_123_456_789)
	eth := NewInterface("eth0@default/web-0", "default/web-0 eth0, host side, tc ingress", LinkEthernet, 262144)
	eth.AddFilter("udp port 5001")
	veth := NewInterface("veth1a2b@node", "", LinkEthernet, 262144)
	return written(t, WriterOptions{Order: order}, func(w *Writer) error {
		var head Options
		head.AddText(SectionApplication, "ktrace test")
		head.AddText(SectionOS, "Linux 6.1.0")
		head.AddJSON([]byte(`{"node":"a"}`))
		stats := &Statistics{Interface: eth, Time: start + 3e9}
		errs := []error{w.WriteSection(head), w.AddInterface(eth), w.AddInterface(veth)}
		errs = append(errs, stats.AddWhen(StatStart, start), stats.AddWhen(StatEnd, start+2e9))
		stats.Options.AddUint64(StatReceived, 2)
		stats.Options.AddUint64(StatOSDropped, 7)
		errs = append(errs, w.WriteNames(webNames, Options{}))
		errs = append(errs, w.WriteSecrets(Secrets{Type: SecretsTLS, Data: []byte("CLIENT_RANDOM 00 00\n")}))
		for i, at := range []*Interface{eth, veth} {
			p := Packet{Interface: at, Time: start + int64(i)*1e9, Data: frame, Length: 1400, Options: dropOptions(uint64(i))}
			errs = append(errs, w.WritePacket(&p))
		}
		errs = append(errs, w.WriteCustom(Custom{Enterprise: Enterprise, Data: []byte("meta"), Copy: true}))
		return errors.Join(append(errs, w.WriteStatistics(stats))...)
	})
}

func dropOptions(i uint64) Options {
	var o Options
	o.AddComment("DROP NETFILTER_DROP nf_hook_slow+0x9c", Field{"pod", "default/web-0"}, Field{"comm", "evil pod=kube-system/x"})
	o.AddFlags(FlagInbound | FlagUnicast)
	o.AddUint64(PacketDropCount, i)
	o.AddUint64(PacketID, 0x1122334455667788)
	o.AddUint32(PacketQueue, 3)
	o.AddVerdict(VerdictTC, TCShot)
	o.AddProcess(4242, 4243)
	o.AddJSON([]byte(`{"v":1,"type":"event"}`))
	return o
}

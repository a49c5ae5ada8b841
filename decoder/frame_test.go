package decoder

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// frames are whole packets, link header first.
func frames() map[string]string {
	const ether = "020000000001020000000002"
	return map[string]string{
		"syn":      ether + "0800" + "4500003c1234400040060000" + "0af40102" + "0a090002" + "c0010050" + "00000001" + "00000000" + "a002faf0" + "00000000" + "020405b40402080a0000000100000000" + "01030307",
		"query":    ether + "0800" + "4500002112344000401100000af401020a090002c00100350" + "00d0000" + "aabbccddee",
		"tagged":   ether + "8100" + "0064" + "0800" + "4500001c12344000400100000af401020a0900020800f7ff00000000",
		"ipv6":     ether + "86dd" + "6000000000083a40" + "fd002440000100000000000000000002" + "fd000009000000000000000000000002" + "0104000000000000",
		"fragment": ether + "0800" + "450000201234001040110000" + "0af401020a090002" + "0102030405060708090a0b0c",
		"arp":      ether + "0806" + "0001080006040001" + "020000000002" + "0af40102" + "000000000000" + "0af40101",
		"runt":     ether[:20],
		"nonsense": ether + "0800" + "f5",
	}
}

func TestFramesReadAsTcpdumpSaysThem(t *testing.T) {
	want := map[string]string{
		"syn":      "IP 10.244.1.2.49153 > 10.9.0.2.80: Flags [S], seq 1, win 64240, length 0",
		"query":    "IP 10.244.1.2.49153 > 10.9.0.2.53: UDP, length 5",
		"tagged":   "IP 10.244.1.2 > 10.9.0.2: ICMP echo request, length 8",
		"ipv6":     "IP6 fd00:2440:1::2 > fd00:9::2: ICMPV6 port unreachable, length 8",
		"fragment": "IP 10.244.1.2 > 10.9.0.2: udp, fragment at 128, length 32",
		"arp":      "ARP, Request who-has 10.244.1.1 tell 10.244.1.2",
		"runt":     "802.3, length 10",
		"nonsense": "IPv4, length 15",
	}
	for name, text := range frames() {
		t.Run(name, func(t *testing.T) {
			data, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			f := RawFrame{Time: 5, Netns: 7, Ifindex: 2, Length: uint32(len(data)), Direction: Out, Ethernet: true, Data: data}
			raw := f.Append(nil)
			again, err := DecodeFrame(raw)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.Data, data) || again.Netns != 7 || again.Ifindex != 2 || again.Direction != Out || !again.Ethernet {
				t.Errorf("a packet came back as %+v", again)
			}
			e, err := Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Body.Summary(); got != want[name] {
				t.Errorf("got  %s\nwant %s", got, want[name])
			}
		})
	}
}

func FuzzFrame(f *testing.F) {
	for _, text := range frames() {
		data, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(true, uint16(0), data)
		f.Add(false, uint16(etherIPv4), data[min(len(data), etherSize):])
	}
	f.Fuzz(func(t *testing.T, ethernet bool, protocol uint16, data []byte) {
		raw := RawFrame{Length: uint32(len(data)), Ethernet: ethernet, Protocol: protocol, Data: data}.Append(nil)
		e, err := Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if e.Body.Summary() == "" {
			t.Error("nothing to say")
		}
		for cut := range raw {
			if _, err := Decode(raw[:cut]); err == nil {
				t.Fatalf("took %d of %d bytes", cut, len(raw))
			}
		}
	})
}

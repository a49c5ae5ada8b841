// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// captures returns what tcpdump, dumpcap, editcap and mergecap wrote: ping and one UDP datagram over
// the loopback of an empty namespace.
func captures(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../../testdata/captures/*.pcap*")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d captures: %v", len(files), err)
	}
	all := make(map[string][]byte)
	for _, file := range files {
		if all[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// capture returns one file of captures.
func capture(t testing.TB, name string) []byte {
	t.Helper()
	file, ok := captures(t)[name]
	if !ok {
		t.Fatalf("no capture %s", name)
	}
	return file
}

// unzipped is the content of a file, compressed or not.
func unzipped(t testing.TB, file []byte) []byte {
	t.Helper()
	if !bytes.HasPrefix(file, []byte{0x1f, 0x8b}) {
		return file
	}
	r, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestFilesOfOthersPassThroughByteForByte(t *testing.T) {
	for name, file := range captures(t) {
		t.Run(name, func(t *testing.T) {
			blocks, err := readAll(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			got := passThrough(t, blocks)
			if strings.HasSuffix(name, ".pcapng") && !bytes.Equal(got, unzipped(t, file)) {
				t.Errorf("%d bytes became %d others", len(file), len(got))
			}
			again, err := readAll(bytes.NewReader(got)) // classic pcap became pcapng, which is fixed
			if err != nil || !bytes.Equal(passThrough(t, again), got) {
				t.Errorf("the second time it differs, error %v", err)
			}
		})
	}
}

func TestPacketsOfEveryWriterLookTheSame(t *testing.T) {
	for _, c := range []struct {
		file   string
		name   string // of the interface of the first packet
		link   LinkType
		count  int
		header int // bytes before the IP header
	}{
		{"tcpdump-micro.pcap", "", LinkEthernet, 6, 14},
		{"tcpdump-nano.pcap", "", LinkEthernet, 6, 14},
		{"tcpdump-nano.pcap.gz", "", LinkEthernet, 6, 14},
		{"tcpdump-any-sll2.pcap", "", LinkLinuxSLL2, 6, 20},
		{"dumpcap.pcapng", "lo", LinkEthernet, 6, 14},
		{"editcap-comments.pcapng", "lo", LinkEthernet, 6, 14},
		{"editcap-secrets.pcapng", "lo", LinkEthernet, 6, 14},
		{"mergecap-two-interfaces.pcapng", "lo", LinkEthernet, 12, 14},
	} {
		t.Run(c.file, func(t *testing.T) {
			all := packets(t, capture(t, c.file))
			if len(all) != c.count {
				t.Fatalf("got %d packets, want %d", len(all), c.count)
			}
			p := all[0]
			if p.Interface.Name() != c.name || p.Interface.LinkType != c.link {
				t.Errorf("got interface %q of link type %d", p.Interface.Name(), p.Interface.LinkType)
			}
			const ping = 84 // IP header, ICMP header, 56 bytes
			if len(p.Data) != c.header+ping || int(p.Length) != len(p.Data) || p.Data[c.header] != 0x45 {
				t.Errorf("got %d of %d bytes: % x", len(p.Data), p.Length, p.Data)
			}
			if !slices.IsSortedFunc(all, func(a, b Packet) int { return int(a.Time - b.Time) }) {
				t.Error("packets are not in the order of their time")
			}
		})
	}
}

func TestTimesAndOptionsOfEditcapAreRead(t *testing.T) {
	all := packets(t, capture(t, "editcap-comments.pcapng"))
	want := map[int][]string{1: {"first comment"}, 3: {"line one\nline two"}}
	for i, p := range all {
		if got := p.Options.Comments(); !slices.Equal(got, want[i]) {
			t.Errorf("packet %d: got %q, want %q", i, got, want[i])
		}
	}
	blocks, err := readAll(bytes.NewReader(capture(t, "editcap-secrets.pcapng")))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(blocks, func(b Block) bool { return b.Type == BlockSecrets })
	if i < 0 {
		t.Fatal("no secrets")
	}
	secrets, err := blocks[i].Secrets()
	if err != nil || secrets.Type != SecretsTLS || !strings.HasPrefix(string(secrets.Data), "CLIENT_RANDOM 0") || len(secrets.Data) != 176 {
		t.Errorf("got %d bytes of secrets of type %#x, error %v", len(secrets.Data), secrets.Type, err)
	}
}

// TestClassicCaptureOfTheOtherByteOrderIsTheSame swaps what tcpdump wrote here.
func TestClassicCaptureOfTheOtherByteOrderIsTheSame(t *testing.T) {
	for _, name := range []string{"tcpdump-micro.pcap", "tcpdump-nano.pcap", "tcpdump-any-sll2.pcap"} {
		file := capture(t, name)
		want, got := packets(t, file), packets(t, swapClassic(file))
		if len(got) != len(want) {
			t.Fatalf("%s: got %d packets, want %d", name, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i].Block.Raw, want[i].Block.Raw) {
				t.Errorf("%s: packet %d differs", name, i)
			}
		}
	}
}

func swapClassic(file []byte) []byte {
	out := slices.Clone(file)
	for _, field := range []struct{ at, n int }{{0, 4}, {4, 2}, {6, 2}, {8, 4}, {12, 4}, {16, 4}, {20, 4}} {
		slices.Reverse(out[field.at : field.at+field.n])
	}
	for at := classicHeader; at < len(file); {
		captured := int(binary.LittleEndian.Uint32(file[at+8:]))
		for field := range 4 {
			slices.Reverse(out[at+4*field : at+4*field+4])
		}
		at += classicRecord + captured
	}
	return out
}

func TestNanosecondsOfClassicCapturesAreKept(t *testing.T) {
	file := capture(t, "tcpdump-nano.pcap")
	record := file[classicHeader:]
	want := int64(binary.LittleEndian.Uint32(record))*nanosecond + int64(binary.LittleEndian.Uint32(record[4:]))
	if got := packets(t, file)[0].Time; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}

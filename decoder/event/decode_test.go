// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"ktrace/decoder/wire"
	"ktrace/decoder/wire/wiretest"
)

func TestDecodeRefusesWhatIsNoRecord(t *testing.T) {
	good := wiretest.RawRecord(t, wire.Cgroup{Hdr: wire.Header{Size: 584, Kind: uint16(wire.KindCgroup)}})
	wrongKind := bytes.Clone(good)
	binary.LittleEndian.PutUint16(wrongKind[4:], 999)
	tooLarge := bytes.Clone(good)
	binary.LittleEndian.PutUint32(tooLarge, 585)
	tooSmall := bytes.Clone(good)
	binary.LittleEndian.PutUint32(tooSmall, uint32(hdrSize-1))
	for _, c := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"nothing", nil, ErrShort},
		{"half a header", good[:hdrSize/2], ErrShort},
		{"a claim beyond its end", tooLarge, ErrShort},
		{"a claim within the header", tooSmall, ErrShort},
		{"a kind of the future", wrongKind, ErrKind},
		{"a whole record", good, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Decode(c.raw); !errors.Is(err, c.want) {
				t.Errorf("got error %v, want %v", err, c.want)
			}
		})
	}
}

func TestDecodeCgroup(t *testing.T) {
	r := wire.Cgroup{
		Hdr:       wire.Header{Size: 584, Kind: uint16(wire.KindCgroup), Cpu: 1, Time: 1500, Pid: 7, Tid: 8, Cgroup: 99, Netns: 4},
		Op:        uint32(wire.CgroupAttach),
		Hierarchy: 0,
		PathLen:   9,
	}
	copy(r.Hdr.Comm[:], "runc\x00junk")
	copy(r.Path[:], "/kubepods")
	got, err := Decode(wiretest.RawRecord(t, r))
	if err != nil {
		t.Fatal(err)
	}
	want := Header{Time: time.Unix(0, 1500).UTC(), CPU: 1, PID: 7, TID: 8, Comm: "runc", Cgroup: 99, Netns: 4}
	if got.Header != want {
		t.Errorf("header %+v, want %+v", got.Header, want)
	}
	if body := (Cgroup{Op: CgroupAttach, Hierarchy: 0, Path: "/kubepods"}); got.Body != body {
		t.Errorf("body %+v, want %+v", got.Body, body)
	}
}

func TestFactSurvivesTheStream(t *testing.T) {
	raw, err := EncodeFact(3*time.Second, Fact{Symbol: &Symbol{Address: 1 << 63, Name: "nft_do_chain"}})
	if err != nil {
		t.Fatal(err)
	}
	e, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := e.Body.(Fact)
	if !ok || f.Symbol == nil || *f.Symbol != (Symbol{1 << 63, "nft_do_chain"}) {
		t.Errorf("got %+v", e.Body)
	}
	if e.Time.UnixNano() != int64(3*time.Second) {
		t.Errorf("time %v", e.Time)
	}
}

func TestEveryKindOfRecordIsDecoded(t *testing.T) {
	for kind := wire.KindFact; kind < wire.KindEnd; kind++ {
		if rowOf(kind).decode == nil {
			t.Errorf("kind %d has no row", kind)
		}
	}
	if rowOf(wire.KindEnd).decode != nil {
		t.Errorf("kind %d has a row", wire.KindEnd)
	}
}

func FuzzDecode(f *testing.F) {
	for kind := wire.KindFact; kind < wire.KindEnd; kind++ {
		r := wire.Cgroup{Hdr: wire.Header{Size: 584, Kind: uint16(kind), Pid: 1}, Op: 1, PathLen: 600}
		f.Add(wiretest.RawRecord(f, r))
		f.Add(wiretest.RawRecord(f, r.Hdr))
	}
	f.Add(netfilterRaw(f, wire.Netfilter{Op: uint32(wire.NetfilterInvalid), Hook: noHook, Text: [128]uint8{'%', '9', '9', 's'}}))
	fact, err := EncodeFact(0, Fact{Node: &Node{Name: "n", Reasons: map[uint32]string{2: "X"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fact)
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		e, err := Decode(raw)
		if !bytes.Equal(raw, before) {
			t.Fatal("Decode changed its input")
		}
		if err == nil && (e.Body == nil || e.Body.Kind() == "") {
			t.Fatalf("decoded to nothing: %+v", e)
		}
		if err == nil {
			_ = e.Body.Summary()
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	raw := wiretest.RawRecord(b, wire.Cgroup{Hdr: wire.Header{Size: 584, Kind: uint16(wire.KindCgroup)}, Op: uint32(wire.CgroupMkdir), PathLen: 40})
	for b.Loop() {
		if _, err := Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}

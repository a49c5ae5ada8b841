// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"ktrace/decoder/event"
	"ktrace/decoder/record"
	"ktrace/decoder/wire"
)

// mutator changes recordings and captures so that their structure stays sound, mostly: what is only damaged is refused by the
// first that reads it.
type mutator struct{ *rand.Rand }

// file returns another file like one.
func (m mutator) file(like []byte) []byte {
	var out []byte
	switch {
	case bytes.HasPrefix(like, []byte(record.Magic)):
		out = append([]byte(record.Magic), bytes.Join(m.parts(cutRecords(like[len(record.Magic):]), m.record), nil)...)
	case len(like) > 4 && binary.LittleEndian.Uint32(like) == sectionMagic:
		out = bytes.Join(m.parts(blocks(like), m.block), nil)
	default: // pcap, and what is compressed
		out = bytes.Clone(like)
		for range 1 + m.IntN(8) {
			m.poke(out)
		}
	}
	if m.IntN(10) == 0 && len(out) > 0 {
		out = out[:m.IntN(len(out))]
	}
	if m.IntN(12) == 0 {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, _ = w.Write(out) // to memory
		_ = w.Close()
		out = packed.Bytes()
	}
	return out
}

const sectionMagic = 0x0a0d0d0a // of a block of pcapng

// cutRecords cuts a recording up.
func cutRecords(b []byte) (all [][]byte) {
	for len(b) > 0 {
		var one []byte
		one, b = event.CutRecord(b)
		all = append(all, bytes.Clone(one))
	}
	return all
}

// blocks cuts a capture up.
func blocks(b []byte) (all [][]byte) {
	for len(b) >= 12 {
		n := min(int(binary.LittleEndian.Uint32(b[4:])), len(b))
		if n < 12 {
			break
		}
		all = append(all, bytes.Clone(b[:n]))
		b = b[n:]
	}
	return all
}

// parts changes some of a file's parts, and repeats, moves and removes some.
func (m mutator) parts(all [][]byte, change func([]byte) []byte) [][]byte {
	for range 1 + m.IntN(12) {
		if len(all) == 0 {
			return all
		}
		i, j := m.IntN(len(all)), m.IntN(len(all))
		switch m.IntN(8) {
		case 0:
			all = slices.Delete(all, i, i+1)
		case 1:
			all[i], all[j] = all[j], all[i]
		case 2: // again, at another place
			all = slices.Insert(all, j, bytes.Clone(all[i]))
		case 3: // a flood of things that are alike
			for size := 0; size < 1<<20; {
				all = append(all, change(bytes.Clone(all[i])))
				size += len(all[len(all)-1]) + 4000
			}
		default:
			all[i] = change(all[i])
		}
	}
	return all
}

// extremes are numbers at which arithmetic ends.
func extremes() []uint64 {
	return []uint64{0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 1 << 30, math.MaxInt32, 1 << 31, math.MaxUint32, math.MaxInt64, 1 << 63, math.MaxUint64}
}

func (m mutator) extreme() uint64 { return extremes()[m.IntN(len(extremes()))] }

// poke changes a bit, a number or some bytes.
func (m mutator) poke(b []byte) {
	if len(b) == 0 {
		return
	}
	at := m.IntN(len(b))
	switch m.IntN(4) {
	case 0:
		b[at] ^= 1 << m.IntN(8)
	case 1:
		for i := at; i < min(len(b), at+1+m.IntN(40)); i++ {
			b[i] = byte(m.Uint32())
		}
	default:
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], m.extreme())
		copy(b[at:], n[:1<<m.IntN(4)])
	}
}

// record changes a record: its time, what its kind has, or what a fact says.
func (m mutator) record(raw []byte) []byte {
	const header, kind, at = 64, 4, 8
	if len(raw) < header {
		return raw
	}
	switch m.IntN(6) {
	case 0:
		binary.LittleEndian.PutUint64(raw[at:], m.extreme()+uint64(m.IntN(5)))
		return raw
	case 1:
		m.poke(raw[kind:])
		return raw
	}
	var fact any
	if wire.Kind(binary.LittleEndian.Uint16(raw[kind:])) != wire.KindFact || json.Unmarshal(raw[header:], &fact) != nil {
		m.poke(raw[at:])
		return raw
	}
	body, err := json.Marshal(m.json(fact))
	const longest = 1 << 18                // lists in lists grow fast
	if err != nil || len(body) > longest { // or a number that JSON does not have
		return raw
	}
	raw = append(raw[:header:header], body...)
	binary.LittleEndian.PutUint32(raw, uint32(len(raw)))
	return raw
}

// json changes a value somewhere.
func (m mutator) json(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			switch m.IntN(12) {
			case 0:
				v[key] = m.odd()
			case 1:
				delete(v, key)
			default:
				v[key] = m.json(v[key])
			}
		}
		return v
	case []any:
		if len(v) > 0 && m.IntN(4) == 0 {
			i := m.IntN(len(v))
			v[i] = m.json(v[i])
		}
		if len(v) > 0 && m.IntN(6) == 0 {
			return slices.Repeat(v, 1+m.IntN(300))
		}
		return v
	}
	if m.IntN(6) == 0 {
		return m.odd()
	}
	return v
}

// odd is what nothing expects.
func (m mutator) odd() any {
	all := []any{nil, true, -1, 0, 1e308, m.extreme(), int64(math.MinInt64), "", "\x1b[2J\u202e", strings.Repeat("a", 70000), "10.0.0.1", "::", "10.0.0.1:53",
		[]any{}, []any{"10.0.0.1"}, map[string]any{}}
	return all[m.IntN(len(all))]
}

// block changes a block: what it holds, its length, or how deep its packet is.
func (m mutator) block(raw []byte) []byte {
	const head, packet = 8, 28
	if len(raw) < head+4 {
		return raw
	}
	switch m.IntN(5) {
	case 0:
		m.poke(raw)
	case 1:
		if len(raw) > packet+34+4 && binary.LittleEndian.Uint32(raw) == 6 {
			return m.deeper(raw, packet)
		}
		fallthrough
	default:
		m.poke(raw[head : len(raw)-4])
	}
	return raw
}

// deeper wraps the packet of a block in tags or IP headers.
func (m mutator) deeper(raw []byte, at int) []byte {
	const link, ip = 12, 20
	frame := raw[at : len(raw)-4]
	data := bytes.Clone(frame[:link])
	header, rest := []byte{0x81, 0, 0, 1}, frame[link:]
	if m.IntN(2) == 0 {
		header, rest = bytes.Clone(frame[link+2:link+2+ip]), frame[link+2:]
		header[0], header[9] = 0x45, 4
		data = append(data, 8, 0)
	}
	data = append(append(data, bytes.Repeat(header, 1+m.IntN(60))...), rest...)
	data = data[:len(data)&^3]
	out := append(bytes.Clone(raw[:at]), data...)
	size := uint32(len(out) + 4)
	for field, n := range map[int]uint32{4: size, 20: uint32(len(data)), 24: uint32(len(data))} {
		binary.LittleEndian.PutUint32(out[field:], n)
	}
	return binary.LittleEndian.AppendUint32(out, size)
}

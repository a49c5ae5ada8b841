// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"ktrace/tracer/host"
)

// newRing makes a ring and a reader of it.
func newRing(t *testing.T, bytes uint32) (*ebpf.Map, *Reader) {
	t.Helper()
	_ = host.LiftMemlock() // where it is too low the map fails
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: bytes})
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), m.Close()); err != nil {
			t.Error(err)
		}
	})
	return m, r
}

// writer is a program that writes a record of a size, whose first and last four bytes are the length of what it runs
// on behind the link-layer header; or one that it discards.
func writer(t *testing.T, m *ebpf.Map, size int32, end asm.BuiltinFunc) func(value uint32) {
	t.Helper()
	const lenOfSkb, linkHeader = 0, 14
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, lenOfSkb, asm.Word),
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Imm(asm.R2, size),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnRingbufReserve.Call(),
		asm.JEq.Imm(asm.R0, 0, "full"),
		asm.StoreMem(asm.R0, 0, asm.R6, asm.Word),
		asm.StoreMem(asm.R0, int16(size-4), asm.R6, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.Mov.Imm(asm.R2, 0),
		end.Call(),
		asm.Mov.Imm(asm.R0, 1),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("full"),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return func(value uint32) {
		written, err := p.Run(&ebpf.RunOptions{Data: make([]byte, linkHeader+value)})
		if err != nil || written != 1 {
			t.Errorf("written: %d, %v", written, err)
		}
	}
}

// TestReaderReadsWhatIsWritten has records of all sizes come to lie across the end of a ring of a page, some of them discarded.
func TestReaderReadsWhatIsWritten(t *testing.T) {
	m, r := newRing(t, uint32(os.Getpagesize()))
	sizes := []int32{4, 8, 12, 100, 1000}
	var write []func(uint32)
	for _, size := range sizes {
		write = append(write, writer(t, m, size, asm.FnRingbufSubmit))
	}
	discard := writer(t, m, 40, asm.FnRingbufDiscard)
	random := rand.New(rand.NewPCG(1, 1))
	var buf []byte
	for round := range uint32(500) {
		var want [][]byte
		for range random.IntN(4) {
			i, value := random.IntN(len(sizes)), 1+round+random.Uint32N(100)
			write[i](value)
			record := make([]byte, sizes[i])
			binary.NativeEndian.PutUint32(record, value)
			binary.NativeEndian.PutUint32(record[sizes[i]-4:], value)
			want = append(want, record)
			discard(1)
		}
		for _, record := range want {
			got, err := r.Next(t.Context(), buf, time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(record) || !bytes.Equal(got[:4], record[:4]) || !bytes.Equal(got[len(got)-4:], record[len(got)-4:]) {
				t.Fatalf("%d bytes, %x … %x, want %d, %x", len(got), got[:4], got[len(got)-4:], len(record), record[:4])
			}
			buf = got
		}
		if _, err := r.Next(t.Context(), buf, time.Now()); !errors.Is(err, os.ErrDeadlineExceeded) || r.Waiting() {
			t.Fatalf("after the last: %v, waiting: %v", err, r.Waiting())
		}
	}
}

// TestReaderWaits: a record ends it, and so does the end of the context.
func TestReaderWaits(t *testing.T) {
	m, r := newRing(t, 1<<16)
	write := writer(t, m, 8, asm.FnRingbufSubmit)
	for range 100 {
		go write(20)
		if _, err := r.Next(t.Context(), nil, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if _, err := r.Next(ctx, nil, time.Now().Add(time.Minute)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
}

// TestReaderTakesNoMoreThanTheRing: all that is mapped counts as resident.
func TestReaderTakesNoMoreThanTheRing(t *testing.T) {
	const size = 16 << 20
	before := shared(t)
	newRing(t, size)
	if took := shared(t) - before; took > size+1<<20 {
		t.Errorf("a ring of %d bytes takes %d", size, took)
	}
}

// shared is how much of what others may share the process has mapped and present.
func shared(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident, pages int
	if _, err := fmt.Sscan(string(text), &size, &resident, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

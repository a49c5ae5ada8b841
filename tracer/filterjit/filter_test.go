// SPDX-License-Identifier: Apache-2.0

package filterjit_test

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"

	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/pcapfilter/filtertest"
	"ktrace/tracer/filterjit"
)

// needRoot skips without the privilege to load programs, which these tests are about.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loading eBPF programs needs root")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, expr string) *pcapfilter.Expr {
	t.Helper()
	e, err := pcapfilter.Parse(expr)
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	return e
}

// stub is what the compiler makes of a stub: a function that accepts everything.
func stub(name string) asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 1).WithSymbol(name), asm.Return()}
}

// load splices an expression into a program that ends with stubs, and loads it.
func load(t *testing.T, typ ebpf.ProgramType, main asm.Instructions, stubName, expr string) *ebpf.Program {
	t.Helper()
	spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{
		"test": {Name: "test", Type: typ, License: "GPL", Instructions: append(main, stub(stubName)...)},
	}}
	n, err := filterjit.Splice(spec, parse(t, expr))
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	if n != 1 {
		t.Fatalf("%q: replaced %d stubs, want 1", expr, n)
	}
	p, err := ebpf.NewProgram(spec.Programs["test"])
	if err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			t.Fatalf("%q: %+v\n%v", expr, ve, spec.Programs["test"].Instructions)
		}
		t.Fatalf("%q: %v", expr, err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func matcher(t *testing.T, link pcapfilter.LinkType, expr string) *pcapfilter.Program {
	t.Helper()
	p, err := parse(t, expr).Compile(link)
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	return p
}

// expressions are libpcap's and those that go beyond it. Where a kernel is emulated they are few, as the frames are: what
// they mean is of no kernel, and what its verifier takes shows by few.
func expressions() []string {
	list := filtertest.Expressions()
	for _, e := range filtertest.Extensions() {
		list = append(list, e.Ours)
	}
	return few(list)
}

// few are all, or every fourth under -short.
func few[T any](all []T) []T {
	if !testing.Short() {
		return all
	}
	var some []T
	for i := 0; i < len(all); i += 4 {
		some = append(some, all[i])
	}
	return some
}

// frameProgram shortens the frame to the length that the context's mark says, runs extra instructions, and calls the
// stub.
func frameProgram(way pcapfilter.Direction, more ...asm.Instruction) asm.Instructions {
	const skbMark = 8
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R1, skbMark, asm.Word),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnSkbChangeTail.Call(),
		asm.JNE.Imm(asm.R0, 0, "out"),
	}
	ins = append(ins, more...)
	return append(ins,
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, int32(way)),
		asm.Call.Label(filterjit.FrameStub),
		asm.Return().WithSymbol("out"),
	)
}

// runFrame runs a program over a frame. The kernel runs none over one whose IP header is not whole, so it is given a
// longer one, and frameProgram shortens it.
func runFrame(t *testing.T, p *ebpf.Program, frame []byte) bool {
	t.Helper()
	const skbSize, skbMark = 192, 8
	context := make([]byte, skbSize)
	binary.NativeEndian.PutUint32(context[skbMark:], uint32(len(frame)))
	long := make([]byte, max(len(frame), 80))
	copy(long, frame)
	got, err := p.Run(&ebpf.RunOptions{Data: long, Context: context})
	if err != nil {
		t.Fatal(err)
	}
	if got > 1 {
		t.Fatalf("cannot shorten a frame to %d bytes: %d", len(frame), int32(got))
	}
	return got == 1
}

func TestFramesInTheKernelAgreeWithTheMatcher(t *testing.T) {
	needRoot(t)
	packets := few(filtertest.Packets())
	for _, expr := range expressions() {
		p := load(t, ebpf.SchedCLS, frameProgram(pcapfilter.Inbound), filterjit.FrameStub, expr)
		m := matcher(t, pcapfilter.LinkEthernet, expr)
		for _, pkt := range packets {
			got := runFrame(t, p, pkt.Data)
			want := m.Match(pcapfilter.Packet{Data: pkt.Data, Length: len(pkt.Data), Direction: pcapfilter.Inbound, Interface: 1})
			if got != want {
				t.Errorf("%q on %s: the kernel says %v, the matcher %v", expr, pkt.Name, got, want)
				break
			}
		}
		p.Close()
	}
	t.Logf("%d expressions, %d packets", len(expressions()), len(packets))
}

func TestATagThatTheKernelTookOffIsPutBackForVLANFilters(t *testing.T) {
	needRoot(t)
	const tci = 0x6005
	for _, expr := range []string{
		"vlan", "vlan 5", "vlan 6", "vlan and tcp", "vlan 5 and port 53", "vlan and vlan", "vlan 5 and vlan 300 and ip", "not vlan",
		"vlan and tcp[13] & 2 != 0", "vlan and host 10.244.1.2", "vlan and ip6", "ip or vlan 5", "vlan and len > 60", "vlan and less 58",
		"vlan and ip[ip[0] & 0xf] = 0", "vlan and ether[14:2] = 0x6005", "vlan and ether[len - 1] = 0", "vlan and ether src 02:00:00:00:00:01",
		"vlan and udp[8:2] = 0x1234", "vlan and arp", "vlan and ether[100] = 0", "vlan and tcp[40] = 0",
	} {
		p := load(t, ebpf.SchedCLS, frameProgram(pcapfilter.Outbound,
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, 0x0081), // 0x8100 in network order
			asm.Mov.Imm(asm.R3, tci),
			asm.FnSkbVlanPush.Call(),
		), filterjit.FrameStub, expr)
		m := matcher(t, pcapfilter.LinkEthernet, expr)
		for _, pkt := range few(filtertest.Packets()) {
			got := runFrame(t, p, pkt.Data)
			tagged := append(append(append([]byte(nil), pkt.Data[:12]...), 0x81, 0, tci>>8, tci&0xff), pkt.Data[12:]...)
			want := m.Match(pcapfilter.Packet{Data: tagged, Length: len(tagged), Direction: pcapfilter.Outbound})
			if got != want {
				t.Errorf("%q on tagged %s: the kernel says %v, the matcher %v", expr, pkt.Name, got, want)
				break
			}
		}
		p.Close()
	}
}

// The map in which the packets of the second form are handed over: their bytes behind what is said about them.
const (
	roomAt, lengthAt, ifindexAt, aboutAt, bytesAt, valueSize = 0, 4, 8, 16, 24, 2048
)

// packetProgram calls the stub with a packet that is in a map, by its address as a plain number.
func packetProgram(packets *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, packets.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, "found"),
		asm.Return(),
		asm.Mov.Reg(asm.R6, asm.R0).WithSymbol("found"),
		asm.Add.Imm(asm.R0, bytesAt),
		asm.StoreMem(asm.RFP, -16, asm.R0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, -24),
		asm.Mov.Imm(asm.R2, 8),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, -16),
		asm.FnProbeReadKernel.Call(),
		asm.LoadMem(asm.R1, asm.RFP, -24, asm.DWord),
		asm.LoadMem(asm.R2, asm.R6, roomAt, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, lengthAt, asm.Word),
		asm.LoadMem(asm.R4, asm.R6, aboutAt, asm.DWord),
		asm.LoadMem(asm.R5, asm.R6, ifindexAt, asm.Word),
		asm.Call.Label(filterjit.PacketStub),
		asm.Return(),
	}
}

// element lays a packet out for packetProgram.
func element(p pcapfilter.Packet) []byte {
	v := make([]byte, valueSize)
	binary.NativeEndian.PutUint32(v[roomAt:], uint32(len(p.Data)))
	binary.NativeEndian.PutUint32(v[lengthAt:], uint32(p.Length))
	binary.NativeEndian.PutUint32(v[ifindexAt:], p.Interface)
	about := uint64(p.Protocol) | uint64(p.Tag)<<16 | uint64(p.Direction)<<33
	if p.Tagged {
		about |= 1 << 32
	}
	binary.NativeEndian.PutUint64(v[aboutAt:], about)
	copy(v[bytesAt:], p.Data)
	for i := bytesAt + len(p.Data); i < valueSize; i++ {
		v[i] = 0xa5 // what lies behind the packet must not be read
	}
	return v
}

func TestPacketsInTracingProgramsAgreeWithTheMatcher(t *testing.T) {
	needRoot(t)
	elements, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: valueSize, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer elements.Close()
	compared := 0
	for _, expr := range expressions() {
		if _, err := parse(t, expr).Compile(pcapfilter.LinkNetwork); err != nil {
			continue // asks for a link header; that this is an error is tested with the compiler
		}
		compared++
		p := load(t, ebpf.RawTracepoint, packetProgram(elements), filterjit.PacketStub, expr)
		m := matcher(t, pcapfilter.LinkNetwork, expr)
		for i, pkt := range few(filtertest.Packets()) {
			packet := pcapfilter.Packet{
				Data: pkt.Data[14:], Length: len(pkt.Data) - 14 + i%3*500, Interface: uint32(3 + i%2), Direction: pcapfilter.Direction(i % 3),
				Protocol: binary.BigEndian.Uint16(pkt.Data[12:]), Tagged: i%4 == 0, Tag: uint16(i % 8 << 13),
			}
			if i%16 == 0 {
				packet.Tag = 5
			}
			if err := elements.Put(uint32(0), element(packet)); err != nil {
				t.Fatal(err)
			}
			got, err := p.Run(&ebpf.RunOptions{})
			if err != nil {
				t.Fatalf("%q on %s: %v", expr, pkt.Name, err)
			}
			if want := m.Match(packet); (got == 1) != want {
				t.Errorf("%q on %s: the kernel says %d, the matcher %v", expr, pkt.Name, got, want)
				break
			}
		}
		p.Close()
	}
	t.Logf("%d expressions, %d packets", compared, len(few(filtertest.Packets())))
}

func TestAFilterThatNeedsALinkHeaderIsRefusedWhereThereIsNone(t *testing.T) {
	spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"test": {Instructions: stub(filterjit.PacketStub)}}}
	_, err := filterjit.Splice(spec, parse(t, "tcp and ether host 02:00:00:00:00:01"))
	var fe *pcapfilter.Error
	if !errors.As(err, &fe) || fe.Column != 20 {
		t.Errorf("got %v, want an error at column 20", err)
	}
}

func TestAFilterThatIsTooLongForTheKernelIsRefused(t *testing.T) {
	spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"test": {Instructions: stub(filterjit.FrameStub)}}}
	_, err := filterjit.Splice(spec, parse(t, "ip[0]"+strings.Repeat("*(ip[1]", 12)+strings.Repeat(")", 12)+" = 1"))
	if !errors.Is(err, filterjit.ErrTooComplex) {
		t.Errorf("got %v", err)
	}
}

func TestALongListOfHostsLoads(t *testing.T) {
	needRoot(t)
	load(t, ebpf.SchedCLS, frameProgram(pcapfilter.DirectionUnknown), filterjit.FrameStub,
		"host 10.0.0.1"+strings.Repeat(" or 10.0.0.2 or 192.168.3.4", 100)+" or port 53"+strings.Repeat(" or 8080 or 443", 50))
}

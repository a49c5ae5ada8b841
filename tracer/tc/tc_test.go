// SPDX-License-Identifier: Apache-2.0

package tc

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"ktrace/decoder/event"
	"ktrace/testdata/lab"
	"ktrace/tracer/netlink"
	"ktrace/tracer/netns"
)

func TestMain(m *testing.M) { os.Exit(lab.RunBPF(m)) }

// counter is a program that counts packets and returns a verdict.
type counter struct {
	*ebpf.Program
	seen *ebpf.Map
}

const (
	next = -1 // TC_ACT_UNSPEC, TCX_NEXT, NETKIT_NEXT
	pass = 0  // TC_ACT_OK, TCX_PASS, NETKIT_PASS: ends the row, as agents' programs do
)

func newCounter(t *testing.T, verdict int32) counter {
	t.Helper()
	seen, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { seen.Close() })
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, seen.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, verdict).WithSymbol("out"),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return counter{p, seen}
}

// take returns how many packets there were since the last time.
func (c counter) take(t *testing.T) (n uint64) {
	t.Helper()
	if err := c.seen.Lookup(uint32(0), &n); err != nil {
		t.Fatal(err)
	}
	if err := c.seen.Put(uint32(0), uint64(0)); err != nil {
		t.Fatal(err)
	}
	return n
}

// pair is two namespaces and a device in the first that leads to the second.
type pair struct {
	near, far *lab.NS
	handle    *netns.Handle
	device    event.Device
}

const nearAddr, farAddr = "10.7.0.1", "10.7.0.2"

// newPair lets the kernel name the second end, for ip(8) before 6.8 cannot name a netkit's.
func newPair(t *testing.T, kind, peer string) pair {
	t.Helper()
	n := lab.New(t)
	p := pair{near: n.Namespace("near"), far: n.Namespace("far")}
	p.near.IP("link add dev0 type "+kind, "link set "+peer+" netns "+p.far.Name+" name dev1",
		"addr add "+nearAddr+"/24 dev dev0", "link set dev0 up")
	p.far.IP("addr add "+farAddr+"/24 dev dev1", "link set dev1 up")
	handle, err := netns.Open(p.near.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { handle.Close() })
	p.handle = handle
	devices, err := handle.Devices()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(devices, func(d event.Device) bool { return d.Name == "dev0" })
	if i < 0 {
		t.Fatalf("no dev0 among %v", devices)
	}
	p.device = devices[i]
	return p
}

func (p pair) ping() { p.near.Run("ping", "-c1", "-W5", farAddr) }

func (p pair) attach(t *testing.T, mode string, ingress, egress counter) *Attachment {
	t.Helper()
	a, err := Attach(Options{Netns: p.handle, Ifindex: int(p.device.Ifindex), Ingress: ingress.Program, Egress: egress.Program, Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ways are those that this kernel must take at a veth, by a witness that the loader does not use.
func modes(t *testing.T) []string {
	t.Helper()
	if hasSymbol(t, "tcx_prog_attach") {
		return []string{TCX, Clsact}
	}
	return []string{Clsact}
}

func hasSymbol(t *testing.T, name string) bool {
	t.Helper()
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 2 && fields[2] == name {
			return true
		}
	}
	return false
}

func closed(t *testing.T, a *Attachment) {
	t.Helper()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestBestModeIsTaken(t *testing.T) {
	p := newPair(t, "veth", "veth0")
	a := p.attach(t, "", newCounter(t, next), newCounter(t, next))
	defer closed(t, a)
	if got, want := a.Mode(), modes(t)[0]; got != want {
		t.Errorf("took %s, want %s", got, want)
	}
}

func TestPacketsAreSeenAndGoOn(t *testing.T) {
	for _, mode := range modes(t) {
		t.Run(mode, func(t *testing.T) {
			p := newPair(t, "veth", "veth0")
			before := p.near.Run("tc", "qdisc", "show")
			ingress, egress := newCounter(t, next), newCounter(t, next)
			a := p.attach(t, mode, ingress, egress)
			p.ping()
			if in, out := ingress.take(t), egress.take(t); in == 0 || out == 0 {
				t.Errorf("%d packets in, %d out", in, out)
			}
			closed(t, a)
			_, _ = ingress.take(t), egress.take(t) // of what passed meanwhile
			p.ping()
			if in, out := ingress.take(t), egress.take(t); in != 0 || out != 0 {
				t.Errorf("detached, and yet %d packets in, %d out", in, out)
			}
			if after := p.near.Run("tc", "qdisc", "show"); after != before {
				t.Errorf("qdiscs\n%snow\n%s", before, after)
			}
		})
	}
}

// agent attaches as Cilium does: preference 1, handle 1, in place of what is there.
func agent(t *testing.T, p pair, parent uint32, c counter) {
	t.Helper()
	err := p.handle.Do(func() error {
		rt, err := netlink.Dial(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer rt.Close()
		q := &clsact{rt: rt, ifindex: int32(p.device.Ifindex)}
		if err := q.addQdisc(); err != nil {
			return err
		}
		m := netlink.AppendAttr(q.bpfFilter(1, parent, 1), unix.TCA_OPTIONS, bpfOptions(c.Program, "agent"))
		return q.change(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, m)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAgentsProgramsRunAsBefore(t *testing.T) {
	for _, mode := range modes(t) {
		for _, first := range []string{"agent", "ktrace"} {
			t.Run(mode+" after "+first, func(t *testing.T) {
				p := newPair(t, "veth", "veth0")
				theirs, ours := newCounter(t, pass), newCounter(t, next)
				var a *Attachment
				both := func(when string) {
					t.Helper()
					if _, err := a.Ensure(); err != nil {
						t.Fatal(err)
					}
					theirs.take(t)
					ours.take(t)
					p.ping()
					if a, b := theirs.take(t), ours.take(t); a == 0 || b == 0 {
						t.Errorf("%s: the agent saw %d packets, we %d", when, a, b)
					}
				}
				if first == "agent" {
					agent(t, p, parentIngress, theirs)
				}
				a = p.attach(t, mode, ours, counter{})
				agent(t, p, parentIngress, theirs)
				both("attached")
				agent(t, p, parentIngress, theirs)
				both("attached anew")
				p.near.Try("tc", "qdisc", "del", "dev", "dev0", "clsact") // there is none with tcx and no agent before
				agent(t, p, parentIngress, theirs)
				both("qdisc made anew")
				closed(t, a)
				p.ping()
				if theirs.take(t) == 0 {
					t.Error("the agent's program is gone with ours")
				}
			})
		}
	}
}

// TestQueueingDisciplineThatAnAgentMadeAnewStays: Calico's removes what is there and makes its own.
func TestQueueingDisciplineThatAnAgentMadeAnewStays(t *testing.T) {
	for _, ensured := range []bool{true, false} {
		t.Run(fmt.Sprintf("ensured %v", ensured), func(t *testing.T) {
			p := newPair(t, "veth", "veth0")
			a := p.attach(t, Clsact, newCounter(t, next), newCounter(t, next))
			p.near.Run("tc", "qdisc", "del", "dev", "dev0", "clsact")
			p.near.Run("tc", "qdisc", "add", "dev", "dev0", "clsact")
			if ensured {
				if again, err := a.Ensure(); err != nil || !again {
					t.Errorf("attached again: %v, %v", again, err)
				}
			}
			closed(t, a)
			if left := p.near.Run("tc", "qdisc", "show", "dev", "dev0"); !strings.Contains(left, "clsact") {
				t.Errorf("the agent's qdisc is gone with our filters:\n%s", left)
			}
			if left := p.near.Run("tc", "filter", "show", "dev", "dev0", "ingress"); strings.Contains(left, "ktrace") {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
}

// TestAgentsLinksRunAsBefore: agents of kernels with tcx or netkit attach links, change their programs in place, and
// decide. Cilium puts its own last, others first.
func TestAgentsLinksRunAsBefore(t *testing.T) {
	for _, mode := range linkModes(t) {
		for name, anchor := range map[string]link.Anchor{"first": link.Head(), "last": link.Tail()} {
			t.Run(mode.name+" "+name, func(t *testing.T) {
				p := newPair(t, mode.kind, mode.peer)
				theirs, newer, ours := newCounter(t, pass), newCounter(t, pass), newCounter(t, next)
				a := p.attach(t, mode.name, ours, counter{})
				agent := mode.agent(t, p, theirs, anchor)
				defer func() { agent.Close() }()
				both := func(when string, theirs counter) {
					t.Helper()
					if _, err := a.Ensure(); err != nil {
						t.Fatal(err)
					}
					theirs.take(t)
					ours.take(t)
					p.ping()
					if a, b := theirs.take(t), ours.take(t); a == 0 || b == 0 {
						t.Errorf("%s: the agent saw %d packets, we %d", when, a, b)
					}
				}
				both("attached", theirs)
				if err := agent.Update(newer.Program); err != nil {
					t.Fatal(err)
				}
				both("program changed", newer)
				if err := agent.Close(); err != nil {
					t.Fatal(err)
				}
				agent = mode.agent(t, p, newer, anchor)
				both("attached anew", newer)
				closed(t, a)
				p.ping()
				if newer.take(t) == 0 {
					t.Error("the agent's program is gone with ours")
				}
			})
		}
	}
}

// TestWhatAgentsDropIsDropped: to watch must not be to decide.
func TestWhatAgentsDropIsDropped(t *testing.T) {
	const shot = 2 // TC_ACT_SHOT, TCX_DROP
	for _, mode := range modes(t) {
		t.Run(mode, func(t *testing.T) {
			p := newPair(t, "veth", "veth0")
			theirs, ours := newCounter(t, shot), newCounter(t, next)
			a := p.attach(t, mode, ours, counter{})
			defer closed(t, a)
			agent(t, p, parentIngress, theirs)
			if _, err := a.Ensure(); err != nil {
				t.Fatal(err)
			}
			if out, err := p.near.Try("ping", "-c1", "-W1", farAddr); err == nil {
				t.Errorf("what the agent drops arrives:\n%s", out)
			}
			if a, b := theirs.take(t), ours.take(t); a == 0 || b == 0 {
				t.Errorf("the agent saw %d packets, we %d", a, b)
			}
		})
	}
}

// linkWay is a way by which agents attach links too.
type linkMode struct {
	name, kind, peer string // the way, and a pair of devices for it
	attach           func(ifindex int, p *ebpf.Program, anchor link.Anchor) (link.Link, error)
}

// agent attaches a program as an agent does.
func (w linkMode) agent(t *testing.T, p pair, c counter, anchor link.Anchor) (l link.Link) {
	t.Helper()
	err := p.handle.Do(func() (err error) {
		l, err = w.attach(int(p.device.Ifindex), c.Program, anchor)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// linkWays are those that this kernel must have.
func linkModes(t *testing.T) []linkMode {
	t.Helper()
	var all []linkMode
	if hasSymbol(t, "tcx_prog_attach") {
		all = append(all, linkMode{TCX, "veth", "veth0", func(ifindex int, p *ebpf.Program, anchor link.Anchor) (link.Link, error) {
			return link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: p, Attach: ebpf.AttachTCXIngress, Anchor: anchor})
		}})
	}
	if hasSymbol(t, "netkit_link_attach") {
		all = append(all, linkMode{Netkit, "netkit", "nk0", func(ifindex int, p *ebpf.Program, anchor link.Anchor) (link.Link, error) {
			return link.AttachNetkit(link.NetkitOptions{Interface: ifindex, Program: p, Attach: ebpf.AttachNetkitPeer, Anchor: anchor})
		}})
	}
	return all
}

func TestRemovedByOthersIsPutBack(t *testing.T) {
	removals := map[string]func(*testing.T, pair, *Attachment){
		Clsact: func(_ *testing.T, p pair, _ *Attachment) { p.near.Run("tc", "qdisc", "del", "dev", "dev0", "clsact") },
		TCX: func(t *testing.T, _ pair, a *Attachment) {
			for _, s := range a.mode.(*links).slots {
				if err := s.link.Detach(); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	for _, mode := range modes(t) {
		t.Run(mode, func(t *testing.T) {
			p := newPair(t, "veth", "veth0")
			ingress, egress := newCounter(t, next), newCounter(t, next)
			a := p.attach(t, mode, ingress, egress)
			defer closed(t, a)
			removals[mode](t, p, a)
			ingress.take(t)
			egress.take(t)
			p.ping()
			if in, out := ingress.take(t), egress.take(t); in+out != 0 {
				t.Fatalf("%d packets seen, but nothing should be attached", in+out)
			}
			for _, want := range []bool{true, false} { // the second finds nothing to do
				if again, err := a.Ensure(); err != nil || again != want {
					t.Fatalf("attached again: %v, %v, want %v", again, err, want)
				}
			}
			p.ping()
			if in, out := ingress.take(t), egress.take(t); in == 0 || out == 0 {
				t.Errorf("%d packets in, %d out", in, out)
			}
		})
	}
}

func TestDeviceThatIsGone(t *testing.T) {
	for _, mode := range modes(t) {
		t.Run(mode, func(t *testing.T) {
			p := newPair(t, "veth", "veth0")
			a := p.attach(t, mode, newCounter(t, next), newCounter(t, next))
			p.near.IP("link del dev0")
			if _, err := a.Ensure(); !errors.Is(err, unix.ENODEV) {
				t.Errorf("error %v, want no such device", err)
			}
			closed(t, a)
		})
	}
}

func TestNetkitDevice(t *testing.T) {
	if !hasSymbol(t, "netkit_link_attach") {
		t.Skip("this kernel has no netkit devices (CONFIG_NETKIT, 6.7)")
	}
	p := newPair(t, "netkit", "nk0")
	ingress, egress := newCounter(t, next), newCounter(t, next)
	a := p.attach(t, "", ingress, egress)
	defer closed(t, a)
	if a.Mode() != Netkit {
		t.Errorf("took %s", a.Mode())
	}
	p.ping()
	if in, out := ingress.take(t), egress.take(t); in == 0 || out == 0 {
		t.Errorf("%d packets in, %d out", in, out)
	}
}

func TestUnknownModeIsAnError(t *testing.T) {
	if _, err := Attach(Options{Mode: "carrier pigeon"}); err == nil {
		t.Error("no error")
	}
}

// SPDX-License-Identifier: Apache-2.0

package filterjit_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"

	"ktrace/decoder/pcapfilter/filtertest"
	"ktrace/tracer/filterjit"
)

// source has the stubs as the package's documentation shows them, and programs that call them.
const source = `
typedef unsigned int __u32;
typedef unsigned long long __u64;
struct __sk_buff { __u32 len, pkt_type, mark, queue_mapping, protocol; };
#define SEC(name) __attribute__((section(name), used))

__attribute__((noinline)) int packet_filter_l2(struct __sk_buff *skb, __u32 way)
{
	int pass = 1;

	asm volatile("" : "+r"(pass) : "r"(skb), "r"(way));
	return pass;
}

__attribute__((noinline)) int packet_filter_l3(__u64 data, __u32 room, __u32 len, __u64 about, __u32 ifindex)
{
	int pass = 1;

	asm volatile("" : "+r"(pass) : "r"(data), "r"(room), "r"(len), "r"(about), "r"(ifindex));
	return pass;
}

SEC("tc") int ingress(struct __sk_buff *skb)
{
	return packet_filter_l2(skb, 1) ? 7 : 8;
}

SEC("tc") int unfiltered(struct __sk_buff *skb)
{
	return skb->len;
}

SEC("raw_tp/netif_receive_skb") int receive(__u64 *args)
{
	return packet_filter_l3(args[0], 64, 64, 0x800, 1) + packet_filter_l3(args[0], 64, 64, 0x86dd, 1);
}

char LICENSE[] SEC("license") = "GPL";
`

// compileC makes an object of source, as bpf2go would.
func compileC(t *testing.T) *ebpf.CollectionSpec {
	t.Helper()
	clang, err := exec.LookPath("clang")
	if err != nil {
		t.Skip("clang is not installed: there is no object to splice into")
	}
	dir := t.TempDir()
	c, object := filepath.Join(dir, "stubs.c"), filepath.Join(dir, "stubs.o")
	if err := os.WriteFile(c, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(clang, "-O2", "-g", "-target", "bpfel", "-c", c, "-o", object).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestSpliceReplacesTheGlobalFunctionsOfACompiledObject(t *testing.T) {
	needRoot(t)
	spec := compileC(t)
	n, err := filterjit.Splice(spec, parse(t, "tcp port 80 or udp port 53"))
	if err != nil {
		t.Fatal(err)
	}
	if n != 2 {
		t.Errorf("replaced %d stubs, want 2: one program has none", n)
	}
	objects, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer objects.Close()
	for _, tt := range []struct {
		name string
		want uint32
	}{{"tcp syn", 7}, {"udp dns query", 7}, {"icmp echo", 8}, {"arp request", 8}} {
		got, err := objects.Programs["ingress"].Run(&ebpf.RunOptions{Data: packet(t, tt.name)})
		if err != nil {
			t.Fatal(err)
		}
		if got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestStubsAcceptEverythingUntilSomethingIsSplicedIn(t *testing.T) {
	needRoot(t)
	objects, err := ebpf.NewCollection(compileC(t))
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer objects.Close()
	got, err := objects.Programs["ingress"].Run(&ebpf.RunOptions{Data: packet(t, "icmp echo")})
	if err != nil || got != 7 {
		t.Errorf("got %d, %v, want 7", got, err)
	}
}

func TestEveryExpressionSplicesIntoACompiledObject(t *testing.T) {
	needRoot(t)
	spec := compileC(t)
	delete(spec.Programs, "receive")
	for _, expr := range expressions() {
		copied := spec.Copy()
		if _, err := filterjit.Splice(copied, parse(t, expr)); err != nil {
			t.Errorf("%q: %v", expr, err)
			continue
		}
		objects, err := ebpf.NewCollection(copied)
		if err != nil {
			t.Errorf("%q: %+v", expr, err)
			continue
		}
		objects.Close()
	}
}

func packet(t *testing.T, name string) []byte {
	t.Helper()
	for _, p := range filtertest.Packets() {
		if p.Name == name {
			return p.Data
		}
	}
	t.Fatalf("the corpus has no packet %q", name)
	return nil
}

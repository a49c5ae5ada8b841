// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"ktrace/decoder"
	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
	"ktrace/decoder/pod"
	"ktrace/decoder/stage"
)

// foreign writes a capture of another tool: what it writes beside packets is in the form of its sources, the packets
// are our own.
func foreign(t testing.TB, application string, write func(w *pcapng.Writer) error) []byte {
	t.Helper()
	var file bytes.Buffer
	w := pcapng.NewWriter(&file, pcapng.WriterOptions{})
	var o pcapng.Options
	o.AddText(pcapng.SectionApplication, application)
	if err := errors.Join(w.WriteSection(o), write(w), w.Flush()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// ptcpdumpComments of ptcpdump v0.37 with --context process,thread,user,parentproc,container,pod.
func podComments() []string {
	return []string{
		"PID: 4242\nCmd: /usr/bin/curl-with-a-long-name\nArgs: curl\nPodName: forged\nPodUID: x",
		"ThreadId: 4243\nThreadName: resolver",
		"UserId: 1000\nGroupId: 1000",
		"ParentPID: 1\nParentCmd: /bin/sh\nParentArgs: sh -c curl",
		"ContainerName: app\nContainerId: c0ffee\nContainerImage: curl:8\nContainerLabels: {\"a\":\"b\"}",
		"PodName: web-0\nPodNamespace: default\nPodUID: 6f1e\nPodLabels: {\"app\":\"web\"}\nPodAnnotations: {}",
	}
}

// ptcpdumpFile has a packet each of a pod's process, of a process outside of pods, and of no process.
func ptcpdumpFile(t testing.TB) []byte {
	return foreign(t, "ptcpdump 0.37.0", func(w *pcapng.Writer) error {
		dummy := pcapng.NewInterface("dummy-0", "", pcapng.LinkEthernet, 65535)
		eth := pcapng.NewInterface("eth0", "", pcapng.LinkEthernet, 65535)
		errs := []error{w.AddInterface(dummy), w.AddInterface(eth)}
		for i, comments := range [][]string{
			podComments(),
			{"PID: 7\nCmd: sshd\nArgs: sshd -D", "UserId: 3"},
			{"PID: -1\nCmd: nonsense", "PodName: half", "PodUID: no\nPodName: order", "a comment"},
		} {
			p := pcapng.Packet{Interface: eth, Time: 1_700_000_000e9 + int64(i)*1e9, Data: query("10.244.1.2", "10.96.0.10")}
			for _, c := range comments {
				p.Options.AddText(pcapng.OptComment, c)
			}
			p.Options.AddFlags(pcapng.FlagOutbound)
			errs = append(errs, w.WritePacket(&p))
		}
		return errors.Join(errs...)
	})
}

// retisFile has one packet at three probes, the last of which drops it, and another packet.
func retisFile(t testing.TB) []byte {
	return foreign(t, "retis 1.6.4", func(w *pcapng.Writer) error {
		errs := []error{w.WriteCustom(pcapng.Custom{Enterprise: retisEnterprise, Data: []byte(`{"$schema":"x"}`), Copy: true})}
		for i, probe := range []struct{ kind, name, more string }{
			{"raw_tracepoint", "net:net_dev_start_xmit", `"netns":{"cookie":5,"inum":4026532001},"dev":{"name":"eth0","ifindex":2}`},
			{"raw_tracepoint", "net:netif_receive_skb", `"netns":{"cookie":1,"inum":4026531840},"dev":{"name":"veth1","ifindex":9,"rx_ifindex":9}`},
			{"raw_tracepoint", "skb:kfree_skb", `"netns":{"inum":4026531840},"dev":{"name":"veth1","ifindex":9},"skb-drop":{"drop_reason":"NETFILTER_DROP"}`},
			{"kprobe", "tcp_v4_connect", `"netns":{"inum":4026531840}`},
		} {
			at := pcapng.NewInterface(probe.kind+"/"+probe.name, "Fake interface for probe "+probe.kind+"/"+probe.name, pcapng.LinkEthernet, 65535)
			head, stack := uint64(18446619372617628672), ``
			if i == 2 {
				stack = `,"stack_trace":["kfree_skb_reason+0x2f","nf_hook_slow+0x9c","ip_forward+0x4f3"]`
			}
			if i == 3 {
				head++
			}
			event := fmt.Sprintf(`{"common":{"timestamp":%d,"smp_id":1,"task":{"pid":4243,"tgid":4242,"comm":"curl"}},`+
				`"kernel":{"symbol":%q,"probe_type":%q%s},"skb-tracking":{"orig_head":%d,"timestamp":77,"skb":3},%s}`, i, probe.name, probe.kind, stack, head, probe.more)
			p := pcapng.Packet{Interface: at, Time: 1_700_000_000e9 + int64(i), Data: query("10.244.1.2", "10.96.0.10")}
			p.Options.AddText(pcapng.OptComment, "the event as text")
			p.Options.AddCustom(pcapng.Custom{Enterprise: retisEnterprise, Data: []byte(event), Text: true, Copy: true})
			errs = append(errs, w.AddInterface(at), w.WritePacket(&p))
		}
		return errors.Join(errs...)
	})
}

// eventsOf are the events of a file, facts left out, as the stages that every view begins with make them.
func eventsOf(t testing.TB, file []byte) []event.Event {
	t.Helper()
	source := decoder.Stream{Frames: NewReader(bytes.NewReader(file), ReaderOptions{})}
	stages := []stage.Stage{stage.NewJourneys(), pod.NewIndex(), stage.NewNames()}
	var all []event.Event
	for {
		e, err := source.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stages {
			e = s.Observe(e)[0]
		}
		if e.Body.Kind() != event.KindFact {
			all = append(all, e)
		}
	}
}

func TestPtcpdumpNamesProcessContainerAndPod(t *testing.T) {
	type who struct {
		pid, tid uint32
		comm     string
		pod      event.Pod
		iface    string
	}
	var got []who
	for _, e := range eventsOf(t, ptcpdumpFile(t)) {
		got = append(got, who{e.PID, e.TID, e.Comm, e.Pod, e.Iface})
	}
	want := []who{
		{4242, 4243, "resolver", event.Pod{Namespace: "default", Name: "web-0", UID: "6f1e", Container: "app", Source: "ptcpdump"}, "eth0"},
		{7, 7, "sshd", event.Pod{}, "eth0"},
		{0, 0, "", event.Pod{}, "eth0"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRetisProbesSeeOnePacketOnItsWay(t *testing.T) {
	all := eventsOf(t, retisFile(t))
	if len(all) != 4 {
		t.Fatalf("%d events, want 4", len(all))
	}
	type where struct {
		netns      uint32
		iface      string
		way        event.Direction
		sameAsLast bool
	}
	var got []where
	for i, e := range all {
		got = append(got, where{e.Netns, e.Iface, e.Direction, i > 0 && e.Journey == all[i-1].Journey})
		if e.PID != 4242 || e.TID != 4243 || e.Comm != "curl" || e.Packet == nil || e.Packet.Dport != 53 || e.Packet.Src.String() != "10.244.1.2" {
			t.Errorf("event %d: %+v %+v", i, e.Header, e.Packet)
		}
	}
	want := []where{
		{podNetns, "eth0", event.Out, false}, {nodeNetns, "veth1", event.In, true}, {nodeNetns, "veth1", "", true}, {nodeNetns, "", "", false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	d, ok := all[2].Body.(event.Drop)
	if !ok || d.Reason != "NETFILTER_DROP" || d.Location != "nf_hook_slow" {
		t.Errorf("the drop is %+v", all[2].Body)
	}
	for _, i := range []int{0, 1, 3} {
		if all[i].Body.Kind() != event.KindHop {
			t.Errorf("event %d is a %s", i, all[i].Body.Kind())
		}
	}
}

// FuzzForeign reads what others may have written, whatever it is.
func FuzzForeign(f *testing.F) {
	for _, c := range podComments() {
		f.Add(c, "")
	}
	f.Add("", `{"common":{"task":{"pid":1,"tgid":2,"comm":"x"}},"kernel":{"symbol":"skb:kfree_skb"},"skb-drop":{"drop_reason":"NO_SOCKET"}}`)
	f.Fuzz(func(t *testing.T, comment, event string) {
		if len(comment)+len(event) > 60_000 {
			return // more than an option holds
		}
		file := foreign(t, "x", func(w *pcapng.Writer) error {
			eth := pcapng.NewInterface("eth0", "", pcapng.LinkEthernet, 0)
			p := pcapng.Packet{Interface: eth, Time: 1, Data: query("10.244.1.2", "10.96.0.10")}
			p.Options.AddText(pcapng.OptComment, comment)
			p.Options.AddCustom(pcapng.Custom{Enterprise: retisEnterprise, Data: []byte(event), Text: true, Copy: true})
			return errors.Join(w.AddInterface(eth), w.WritePacket(&p))
		})
		if all := eventsOf(t, file); len(all) != 1 {
			t.Errorf("%d events of one packet", len(all))
		}
	})
}

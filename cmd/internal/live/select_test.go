// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// Of two pods that start while ktrace runs, each way to select finds the one, and all that it sends.
func TestEveryWayToSelectAPodThatJoins(t *testing.T) {
	const pings = 10
	c := lab.NewCluster(t)
	r := lab.NewRuntime(t, c.Node, "10.244.200.0/28")
	for _, s := range []struct {
		name string
		flag []string
		slow bool // labels come from the runtime, which a first packet may outrun
	}{
		{name: "web-0", flag: []string{"--pod", "shop/web-0"}},
		{name: "web-1", flag: []string{"--pod", "web-1", "--pod", "nobody-*"}},
		{name: "web-7d4b9c6f5d-x2x9z", flag: []string{"--pod", "deploy/web"}},
		{name: "web-2", flag: []string{"--namespace", "shop"}},
		{name: "web-3", flag: []string{"--container", "talker"}},
		{name: "web-4", flag: []string{"--selector", "app=web"}, slow: true},
	} {
		t.Run(fmt.Sprint(s.flag), func(t *testing.T) {
			run := lab.KtraceOn(t, c.Node, append([]string{"--host-root", r.Root}, s.flag...)...)
			requests := map[string]int{}
			addrs := map[netip.Addr]string{}
			for pod, container := range map[string]string{"shop/" + s.name: "talker", "default/db-0": "other"} {
				p := talk(t, r, pod, container, pings, s.slow)
				addrs[netip.MustParseAddr(p.Addr)] = pod
				defer p.Remove()
			}
			for _, line := range lab.Events(run.Stop(), "hop") {
				var h hop
				line.Into(t, &h)
				if h.Pod.Source == "cgroup" && h.Packet.Dst == netip.MustParseAddr(lab.ServerAddr) {
					requests[addrs[h.Packet.Src]]++
				}
			}
			got := requests["shop/"+s.name]
			if len(requests) != 1 || got == 0 || got%pings != 0 && !s.slow {
				t.Errorf("hops of %d requests each: %v", pings, requests)
			}
		})
	}
}

// talk starts a pod, ns/name, and one container in it that pings the server, and waits for its end; slowly takes seconds.
func talk(t *testing.T, r *lab.Runtime, pod, container string, pings int, slow bool) *lab.CRIPod {
	t.Helper()
	namespace, name, _ := strings.Cut(pod, "/")
	p, err := r.Pod(namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	pace := map[bool]string{false: "-A", true: "-i 0.3"}[slow]
	if err := p.Run(container, fmt.Sprintf("ping -q %s -c %d %s", pace, pings, lab.ServerAddr)); err != nil {
		t.Fatal(err)
	}
	return p
}

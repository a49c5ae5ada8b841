// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestServicesAreReadFromAnEnvironment(t *testing.T) {
	env := func(vars ...string) string { return strings.Join(vars, "\x00") + "\x00" }
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("S%d_SERVICE_HOST=10.96.%d.%d", i, i>>8, i&255), fmt.Sprintf("S%d_SERVICE_PORT=80", i))
	}
	for _, c := range []struct {
		name, environ string
		want          []string
	}{
		{"as kubelet writes it", env("PATH=/bin", "KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=443", "KUBERNETES_SERVICE_PORT_HTTPS=443",
			"KUBERNETES_PORT=tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1"), []string{"10.96.0.1 tcp 443"}},
		{"of DNS over UDP", env("DNS_SERVICE_HOST=fd00:96::a", "DNS_SERVICE_PORT=53", "DNS_PORT=udp://[fd00:96::a]:53", "DNS_SERVICE_PORT_METRICS=9153"),
			[]string{"fd00:96::a udp 53", "fd00:96::a tcp 9153"}},
		{"of DNS over both, as kubelet writes it", env("KUBE_DNS_SERVICE_HOST=10.96.0.10", "KUBE_DNS_SERVICE_PORT=53", "KUBE_DNS_SERVICE_PORT_DNS=53",
			"KUBE_DNS_SERVICE_PORT_DNS_TCP=53", "KUBE_DNS_SERVICE_PORT_METRICS=9153", "KUBE_DNS_PORT=udp://10.96.0.10:53"),
			[]string{"10.96.0.10 udp 53", "10.96.0.10 tcp 9153"}},
		{"of two names and one address", env("B_SERVICE_HOST=10.96.0.7", "B_SERVICE_PORT=81", "A_SERVICE_HOST=10.96.0.7", "A_SERVICE_PORT=80"),
			[]string{"10.96.0.7 tcp 80"}},
		{"a host's name", env("KUBERNETES_SERVICE_HOST=api.example.org", "KUBERNETES_SERVICE_PORT=443"), nil},
		{"no port", env("DB_SERVICE_HOST=10.96.0.7"), nil},
		{"no number", env("DB_SERVICE_HOST=10.96.0.7", "DB_SERVICE_PORT=99999", "DB_SERVICE_PORT_X=-1"), nil},
		{"nothing", "", nil},
		{"no assignments", "\x00\x00=\x00A", nil},
	} {
		var got []string
		for _, s := range ParseServiceEnv(c.environ) {
			for _, p := range s.Ports {
				got = append(got, fmt.Sprintf("%v %s %d", s.Addrs[0], p.Proto, p.Port))
			}
			if s.Source != "env" || s.Name != "" {
				t.Errorf("%s: %+v", c.name, s)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if n := len(ParseServiceEnv(env(many...))); n != maxEnvServices {
		t.Errorf("%d services of 1000", n)
	}
}

func FuzzServiceEnv(f *testing.F) {
	f.Add("A_SERVICE_HOST=10.96.0.1\x00A_SERVICE_PORT=80\x00A_PORT=udp://x\x00")
	f.Fuzz(func(t *testing.T, environ string) {
		for _, s := range ParseServiceEnv(environ) {
			if len(s.Addrs) != 1 || s.Addrs[0] == (netip.Addr{}) || len(s.Ports) == 0 {
				t.Errorf("%q gives %+v", environ, s)
			}
		}
	})
}

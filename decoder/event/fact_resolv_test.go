// SPDX-License-Identifier: Apache-2.0

package event

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseResolvReadsWhatResolversDo(t *testing.T) {
	for _, c := range []struct {
		name, text string
		servers    int
		search     string
		ndots      int
		bad        int
	}{
		{"kubelet's", "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n", 1, "default.svc.cluster.local svc.cluster.local cluster.local", 5, 0},
		{"comments and blanks", "# nameserver 10.0.0.1\n\n ; x\nnameserver fd00::1\n", 1, "", 1, 0},
		{"the last search line counts", "search a b\nsearch c\n", 0, "c", 1, 0},
		{"an address with a port", "nameserver 10.96.0.10:53\n", 0, "", 1, 1},
		{"a word that is none", "nameservers 10.96.0.10\n", 0, "", 1, 1},
		{"a nameserver without an address", "nameserver\n", 0, "", 1, 1},
		{"nothing", "", 0, "", 1, 0},
		{"no end of the last line", "nameserver 10.96.0.10", 1, "", 1, 0},
		{"blanks before and behind", "  nameserver\t10.96.0.10  \n", 1, "", 1, 0},
		{"lines of Windows, of which glibc understands no address", "nameserver 10.96.0.10\r\nsearch a.b\r\n\r\n", 1, "a.b", 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ParseResolv(strings.NewReader(c.text))
			if len(got.Nameservers) != c.servers || strings.Join(got.Search, " ") != c.search || got.Ndots != c.ndots || len(got.Bad) != c.bad {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestBaseIsTheNameThatWasLookedUp(t *testing.T) {
	conf := ResolvConf{Search: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}}
	got := map[string]string{}
	for _, query := range []string{"web.default.svc.cluster.local", "web.prod.svc.cluster.local", "web.cluster.local", "web", "svc.cluster.local", "cluster.local"} {
		got[query], _ = conf.Base(query)
	}
	want := map[string]string{
		"web.default.svc.cluster.local": "web", "web.prod.svc.cluster.local": "web.prod", "web.cluster.local": "web", "web": "web",
		"svc.cluster.local": "svc", "cluster.local": "cluster.local",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

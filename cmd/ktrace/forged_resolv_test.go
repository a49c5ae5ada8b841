// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"ktrace/testdata/lab"
)

// TestDiagnoseBlamesNoNodeByAPodsWord: a pod's resolv.conf may name any address as the cluster's DNS service. The node, which has
// no rules for services, or none of that family, is as it should be.
func TestDiagnoseBlamesNoNodeByAPodsWord(t *testing.T) {
	t.Parallel()
	v4 := dnsFamilies()[0]
	for _, c := range []struct {
		name, server, owner string
		rules               bool
		worst               string // severity of a finding about services; "" is none
	}{
		{"a user's own file", "10.77.1.1", "65534", false, ""},
		{"root's file", "10.77.1.1", "0", false, "warning"},
		{"of a family without services", "fd00:77::1", "0", true, ""},
		{"out of the range of services", "10.77.1.1", "0", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cluster := lab.NewCluster(t)
			p := cluster.AddPod("pod")
			if c.rules {
				v4.kubeDNS(cluster.Node)
			}
			p.ResolvConf(clusterNames + "nameserver " + c.server + "\n")
			p.Run("chown", c.owner, "/etc/resolv.conf")
			p.Start("sleep", "infinity")
			run := lab.Ktrace(t, "diagnose", "--duration", "4s", "--netns", p.Path())
			lookup(p, c.server, "web.default.svc.cluster.local")
			lines, _ := run.Wait()
			for _, l := range lab.Findings(lines) {
				var f struct{ ID, Severity, Title string }
				l.Into(t, &f)
				if (strings.HasPrefix(f.ID, "service-") || strings.HasPrefix(f.ID, "kube-proxy-")) && f.Severity != c.worst {
					t.Errorf("claims %s %s: %s", f.Severity, f.ID, f.Title)
				}
			}
		})
	}
}

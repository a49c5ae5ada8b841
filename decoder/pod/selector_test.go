// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"strings"
	"testing"
)

func TestSelector(t *testing.T) {
	web := Info{Namespace: "shop", Name: "web-7d4b9c6f5d-x2x9z", Labels: map[string]string{"app": "web", "tier": "front"},
		Containers: []*Container{{ID: "1", Name: "nginx"}, {ID: "2", Sandbox: true}}, Netns: 7}
	for _, c := range []struct {
		name                         string
		pods                         []string
		namespace, container, labels string
		want                         bool
	}{
		{"nothing asked", nil, "", "", "", true},
		{"its name", []string{"web-7d4b9c6f5d-x2x9z"}, "", "", "", true},
		{"half its name", []string{"web"}, "", "", "", false},
		{"glob", []string{"web-*"}, "", "", "", true},
		{"namespace and glob", []string{"shop/w*"}, "", "", "", true},
		{"other namespace", []string{"prod/web-*"}, "", "", "", false},
		{"any namespace", []string{"*/web-*"}, "", "", "", true},
		{"one of two", []string{"db-0", "web-*"}, "", "", "", true},
		{"deployment", []string{"deploy/web"}, "", "", "", true},
		{"deployment in a namespace", []string{"shop/deployment/web"}, "", "", "", true},
		{"deployment by glob", []string{"deploy/w*"}, "", "", "", true},
		{"another deployment", []string{"deploy/web-7d4b9c6f5d"}, "", "", "", false},
		{"replica set", []string{"rs/web-7d4b9c6f5d"}, "", "", "", true},
		{"stateful set", []string{"sts/web"}, "", "", "", false},
		{"namespace", nil, "shop", "", "", true},
		{"name in another namespace", []string{"web-*"}, "prod", "", "", false},
		{"container", nil, "", "nginx", "", true},
		{"container that it has not", nil, "", "sidecar", "", false},
		{"labels", nil, "", "", "app=web, tier==front", true},
		{"label that it has not", nil, "", "", "app=web,track", false},
		{"label that it must not have", nil, "", "", "app!=db,!track", true},
		{"label and name", []string{"db-*"}, "", "", "app=web", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := NewSelector(c.pods, c.namespace, c.container, c.labels)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Matches(web); got != c.want {
				t.Errorf("%q: %v", s, got)
			}
			if s.Matches(Info{UID: "nameless"}) != s.All() {
				t.Error("a pod without name or labels is selected by them")
			}
		})
	}
}

func TestSelectorByPlace(t *testing.T) {
	inside, outside := Info{UID: "a", Netns: 7}, Info{UID: "b", Netns: 8}
	s, err := NewSelector(nil, "", "", "", Place{Netns: 7})
	if err != nil || !s.Matches(inside) || s.Matches(outside) {
		t.Errorf("by namespace: %v", err)
	}
	s, err = NewSelector(nil, "", "", "", Place{Cgroup: 30, Netns: 7})
	if err != nil || s.Matches(inside) {
		t.Errorf("a container's cgroup selects all of its pod: %v", err)
	}
	inside.Containers = []*Container{{ID: "1", Cgroups: []uint64{30}}}
	if !s.Concerns(inside) || s.Concerns(outside) {
		t.Error("a container's cgroup does not concern its pod, or concerns another")
	}
}

func TestSelectorErrorsNameTheRemedy(t *testing.T) {
	for _, c := range []struct{ pod, labels, want string }{
		{"[", "", "want NAME"}, {"", "", "want NAME"}, {"a/b/c", "", "want NAME"}, {"/x", "", "want NAME"}, {"a/", "", "want NAME"},
		{"x", "a in (b)", "want KEY=VALUE"}, {"x", "=b", "want KEY=VALUE"}, {"x", "!", "want KEY=VALUE"},
	} {
		if _, err := NewSelector([]string{c.pod}, "", "", c.labels); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("pod %q, labels %q: %v", c.pod, c.labels, err)
		}
	}
}

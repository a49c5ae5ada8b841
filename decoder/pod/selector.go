// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"ktrace/decoder/event"
)

// Selector says which pods the user asked for. The zero Selector selects everything.
type Selector struct {
	patterns  []pattern
	namespace string
	container string
	labels    []requirement
	places    []Place
}

// Place is a selection by what the kernel knows: a network namespace, or a cgroup with the namespace that its tasks
// are in.
type Place struct {
	Cgroup uint64
	Netns  uint32       // 0 if that is the node's
	Addrs  []netip.Addr // of the namespace, by which its packets are known elsewhere
}

// holds reports whether an address is the place's own.
func (l Place) holds(a netip.Addr) bool { return slices.Contains(l.Addrs, a.Unmap()) }

// pattern is one --pod.
type pattern struct {
	text      string
	namespace string         // a glob, "" for any
	name      string         // a glob
	workload  *regexp.Regexp // instead of name
}

type requirement struct {
	key, value string
	exists     bool // whatever the value
	not        bool
}

type workload struct {
	kinds  []string
	suffix string
}

// workloads are the forms of the names that controllers give their pods: the suffixes are the controller's, five
// random letters and, of a Deployment, the hash of its template before them.
var workloads = [...]workload{
	{[]string{"deploy", "deployment", "deployments"}, `-[0-9a-z]{1,10}-[0-9a-z]{5}`},
	{[]string{"rs", "replicaset", "replicasets", "ds", "daemonset", "daemonsets"}, `-[0-9a-z]{5}`},
	{[]string{"sts", "statefulset", "statefulsets"}, `-[0-9]+`},
	{[]string{"job", "jobs"}, `(-[0-9]+)?-[0-9a-z]{5}`},
	{[]string{"cj", "cronjob", "cronjobs"}, `-[0-9]+(-[0-9]+)?-[0-9a-z]{5}`},
	{[]string{"pod", "pods", "po"}, ``},
}

// NewSelector reads what the flags say: pods as NAME, NS/NAME, KIND/NAME or NS/KIND/NAME, with * in names; a
// namespace; a container; labels as kubectl's -l takes them. Its errors name the remedy.
func NewSelector(pods []string, namespace, container, labels string, places ...Place) (Selector, error) {
	s := Selector{namespace: namespace, container: container, places: places}
	for _, text := range pods {
		p, err := parsePattern(text)
		if err != nil {
			return s, err
		}
		s.patterns = append(s.patterns, p)
	}
	var err error
	s.labels, err = parseLabels(labels)
	return s, err
}

func parsePattern(text string) (pattern, error) {
	p := pattern{text: text}
	parts := strings.Split(text, "/")
	p.name = parts[len(parts)-1]
	parts = parts[:len(parts)-1]
	if n := len(parts); n > 0 {
		if i := slices.IndexFunc(workloads[:], func(w workload) bool { return slices.Contains(w.kinds, parts[n-1]) }); i >= 0 {
			stem := strings.ReplaceAll(regexp.QuoteMeta(p.name), `\*`, `.*`)
			p.workload = regexp.MustCompile("^" + stem + workloads[i].suffix + "$")
			parts = parts[:n-1]
		}
	}
	if len(parts) > 0 {
		p.namespace = parts[0]
	}
	for _, glob := range []string{p.namespace, p.name} {
		if _, err := path.Match(glob, ""); err != nil || len(parts) > 1 || p.name == "" || p.namespace == "" && len(parts) > 0 {
			return p, fmt.Errorf("%q names no pod: want NAME, NS/NAME or KIND/NAME, as in kube-system/coredns-* or deploy/web", text)
		}
	}
	return p, nil
}

func parseLabels(text string) ([]requirement, error) {
	var all []requirement
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		r := requirement{}
		key, value, equal := strings.Cut(part, "=")
		switch {
		case equal && strings.HasSuffix(key, "!"):
			key, r.not = strings.TrimSuffix(key, "!"), true
		case equal:
			value = strings.TrimPrefix(value, "=")
		case strings.HasPrefix(part, "!"):
			key, r.exists, r.not = part[1:], true, true
		default:
			r.exists = true
		}
		r.key, r.value = strings.TrimSpace(key), strings.TrimSpace(value)
		if r.key == "" || strings.ContainsAny(r.key+r.value, " ()!=") {
			return nil, fmt.Errorf("%q is no label to select by: want KEY=VALUE, KEY!=VALUE, KEY or !KEY", part)
		}
		all = append(all, r)
	}
	return all, nil
}

// All reports whether everything is selected.
func (s Selector) All() bool {
	return len(s.patterns) == 0 && s.namespace == "" && s.container == "" && len(s.labels) == 0 && len(s.places) == 0
}

// Pods reports whether pods are selected by what Kubernetes calls them.
func (s Selector) Pods() bool {
	return len(s.patterns) > 0 || s.namespace != "" || s.container != "" || len(s.labels) > 0
}

// ByLabels reports whether labels decide.
func (s Selector) ByLabels() bool { return len(s.labels) > 0 }

// String is what is selected, as the user wrote it.
func (s Selector) String() string {
	var parts []string
	for _, p := range s.patterns {
		parts = append(parts, p.text)
	}
	if s.namespace != "" {
		parts = append(parts, "namespace "+s.namespace)
	}
	if s.container != "" {
		parts = append(parts, "container "+s.container)
	}
	for _, r := range s.labels {
		parts = append(parts, "label "+r.String())
	}
	return strings.Join(parts, ", ")
}

// String is the requirement as it was written.
func (r requirement) String() string {
	not := map[bool]string{true: "!"}[r.not]
	if r.exists {
		return not + r.key
	}
	return r.key + not + "=" + r.value
}

// Matches reports whether a pod is selected, be it only for one of its containers. One whose name or labels no source
// has reported yet is not.
func (s Selector) Matches(p Info) bool {
	if s.All() || slices.ContainsFunc(s.places, func(l Place) bool { return p.at(l) }) {
		return true
	}
	named, labelled := len(s.patterns) > 0 || s.namespace != "", len(s.labels) > 0
	if !s.Pods() || named && p.Name == "" || labelled && p.Labels == nil {
		return false
	}
	return (s.namespace == "" || match(s.namespace, p.Namespace)) &&
		(len(s.patterns) == 0 || slices.ContainsFunc(s.patterns, func(t pattern) bool { return t.matches(p) })) &&
		!slices.ContainsFunc(s.labels, func(r requirement) bool { return !r.holds(p.Labels) }) &&
		(s.container == "" || slices.ContainsFunc(p.Containers, s.matchesContainer))
}

// Concerns reports whether a pod is selected, or one of its containers by its cgroup.
func (s Selector) Concerns(p Info) bool {
	return s.Matches(p) || slices.ContainsFunc(p.Containers, func(c *Container) bool {
		return slices.ContainsFunc(s.places, func(l Place) bool { return slices.Contains(c.Cgroups, l.Cgroup) })
	})
}

func (s Selector) matchesContainer(c *Container) bool {
	return s.container == "" || match(s.container, c.Name)
}

func (t pattern) matches(p Info) bool {
	if t.namespace != "" && !match(t.namespace, p.Namespace) {
		return false
	}
	if t.workload != nil {
		return t.workload.MatchString(p.Name)
	}
	return match(t.name, p.Name)
}

func (r requirement) holds(labels map[string]string) bool {
	value, has := labels[r.key]
	if r.exists {
		return has != r.not
	}
	return (has && value == r.value) != r.not
}

// match never fails: patterns were tried when they were read, and a bad one matches nothing.
func match(glob, name string) bool {
	ok, err := path.Match(glob, name)
	return ok && err == nil
}

// at reports whether the place is the pod's namespace as a whole.
func (p *Info) at(l Place) bool { return l.Cgroup == 0 && l.Netns != 0 && l.Netns == p.Netns }

// Selected reports whether an event is of a selected pod: one of its ends, where it was seen, or where its packet was
// seen before, for addresses may be translated on the way.
func (x *Index) Selected(s Selector, e event.Event) bool {
	if s.All() {
		return true
	}
	if !x.selected(s, e) {
		chosen, _ := x.chosen.Get(e.Journey)
		return chosen
	}
	if e.Journey != 0 {
		x.chosen.Put(e.Journey, true)
	}
	return true
}

func (x *Index) selected(s Selector, e event.Event) bool {
	for _, l := range s.places {
		if l.Netns != 0 && l.Netns == e.Netns || l.Cgroup != 0 && l.Cgroup == e.Cgroup || slices.ContainsFunc(e.Addrs(), l.holds) {
			return true
		}
	}
	return x.selectedEnd(s, e.Pod) || x.selectedEnd(s, e.Peer)
}

// selectedEnd reports whether one end of an event is selected. Of a packet only the pod may be known: its containers
// share the namespace.
func (x *Index) selectedEnd(s Selector, end event.Pod) bool {
	p := x.pods[end.UID]
	if p == nil || !s.Matches(*p) {
		return false
	}
	return end.Container == "" || s.container == "" || match(s.container, end.Container)
}

package lab

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// RunAll runs scenarios. Under go test -short these are the core, which is what is worth its time on every kernel: one
// for each finding that is the verb's own and one of what other verbs find, too; one of all with a variant that is not
// the best.
func RunAll(t *testing.T, all []Scenario) {
	if testing.Short() {
		runCore(t, core(all))
		return
	}
	for _, s := range all {
		s.Run(t)
	}
}

// core leaves one for each finding: by turns the first of them and the last, which is of another address family where
// the list goes through both.
func core(all []Scenario) []Scenario {
	var order []string
	of := map[string][]Scenario{}
	for _, s := range all {
		k := s.Want
		if !s.own() {
			k = "of other verbs"
		}
		if of[k] == nil {
			order = append(order, k)
		}
		of[k] = append(of[k], s)
	}
	kept := make([]Scenario, 0, len(order))
	for i, want := range order {
		kept = append(kept, of[want][i%2*(len(of[want])-1)])
	}
	if os.Getenv(testVariant) != "" {
		return kept[:1]
	}
	return kept
}

// own is whether no other verb finds it as well.
func (s Scenario) own() bool {
	verb := s.Args[0]
	for prefix, by := range map[string]string{
		"dns-": "dns", "service-": "nat", "conntrack-": "nat", "kube-proxy-": "nat", "mtu-": "mtu", "pmtu-": "mtu", "reset-": "reset",
		"connection-": "reset", "accept-": "reset", "overlay-": "diagnose", "sysctl-": "diagnose", "tls-": "diagnose",
	} {
		if strings.HasPrefix(s.Want, prefix) {
			return verb == by
		}
	}
	return verb == "drop"
}

// twinsAtMost is how many of the core's twins are run: what a kernel of its own says of healthy networks, it says of any.
const twinsAtMost = 2

// runCore runs each fault, and some of the twins past one ktrace: where a kernel is emulated, programs' starts are what
// takes the time. That a file says the same is of no kernel, nor is silence a matter of variants: these are left out.
func runCore(t *testing.T, all []Scenario) {
	twins := map[string][]Scenario{}
	for _, s := range all {
		args := strings.Join(s.Args, " ")
		s.Args = unhurried(s.Args)
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			run, _ := s.attach(t, true)
			run.AwaitFinding(s.Want)
			s.onlyWanted(t, run.Stop())
		})
		if len(twins[args]) < twinsAtMost && os.Getenv(testVariant) == "" {
			twins[args] = append(twins[args], s)
		}
	}
	for args, same := range twins {
		t.Run("healthy "+args, func(t *testing.T) {
			t.Parallel()
			healthyTogether(t, same)
		})
	}
}

// unhurried gives traffic three times as long to pass.
func unhurried(args []string) []string {
	args = slices.Clone(args)
	if i := slices.Index(args, "--duration"); i >= 0 {
		if d, err := time.ParseDuration(args[i+1]); err == nil {
			args[i+1] = (3 * d).String()
		}
	}
	return args
}

// named is a test by another name: networks have the names and the addresses of theirs.
type named struct {
	testing.TB
	name string
}

func (n named) Name() string { return n.name }

// healthyTogether runs the twins of scenarios that have the same arguments past one ktrace.
func healthyTogether(t *testing.T, all []Scenario) {
	var clusters []*Cluster
	var pods []*Pod
	args := slices.Clone(all[0].Args)
	if slices.Contains(args, "--duration") {
		args = append(args, "--duration", "1h") // until all have had their turn
	}
	for _, s := range all {
		c, p := s.build(named{t, t.Name() + s.Name}, false)
		clusters, pods, args = append(clusters, c), append(pods, p), append(args, "--netns", p.Path())
	}
	run := Ktrace(t, args...)
	for i, s := range all {
		s.Traffic(t, clusters[i], pods[i])
	}
	silent(t, run.Stop())
}

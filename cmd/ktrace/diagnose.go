package main

import (
	"errors"
	"maps"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ktrace/cmd/internal/cli"
	"ktrace/decoder"
	"ktrace/decoder/diagnose"
	"ktrace/decoder/dns"
	"ktrace/tracer"
	"ktrace/tracer/node"
)

// diagnoseFor is how long a node is watched unless told otherwise.
const diagnoseFor = 15 * time.Second

// newDiagnose is the verb that watches everything for a while and says what is wrong.
func newDiagnose(s cli.Streams) *cobra.Command {
	var (
		f       cli.Flags
		watched diagnosis
		certain bool
	)
	c := &cobra.Command{
		Use:   "diagnose [flags] [FILTER]",
		Short: "all of it for a while, ranked root causes",
		Long: `Watches packets, drops, translations, DNS, resets, and the syncs of etcd's log and its like, for --duration, and says
what is wrong, worst first, at the end; on a terminal also at once what is certain, and with --until-certain that is the
end. The exit status is 3 if anything above information was found and is not over; --fail-on critical leaves out warnings.`,
		RunE: func(c *cobra.Command, args []string) error {
			if f.FailOn == "" {
				f.FailOn = string(decoder.Warning)
			}
			if f.Duration == 0 {
				f.Duration = diagnoseFor
			}
			if err := f.Validate(); err != nil {
				return err
			}
			expr, err := cli.ParsePathFilter(args)
			if err != nil {
				return err
			}
			v, done, err := watched.live(f, expr == nil) // else it is about packets
			if err != nil {
				return err
			}
			v.Filter, v.Certain = expr, certain
			return errors.Join(cli.Live(c.Context(), f, v, s), done())
		},
	}
	f.Add(c.Flags())
	f.AddLive(c.Flags())
	watched.add(c.Flags())
	c.Flags().BoolVar(&certain, "until-certain", false, "end as soon as something above information is certain")
	return c
}

// dnsPort is where servers are asked by default.
const dnsPort = 53

// diagnosis is what a live node is watched for to find any cause, for all verbs that wait for one.
type diagnosis struct {
	cidr string
	slow time.Duration
	ask  bool
}

func (d *diagnosis) add(fs *pflag.FlagSet) {
	addServiceRange(fs, &d.cidr)
	addSlow(fs, &d.slow)
	fs.BoolVar(&d.ask, "ask-certificates", true,
		"shake hands with a server that a client refused, once a minute, where TLS 1.3 hid its certificate")
}

// live is every stage and rule, and all that they want to know; done lets go of it.
func (d *diagnosis) live(f cli.Flags, disks bool) (v cli.View, done func() error, err error) {
	known, err := serviceRange(d.cidr)
	if err != nil {
		return v, nil, err
	}
	v, syncs := diagnoseView(d.slow)
	certificates := node.NewCertificates(node.New(f.HostRoot))
	if d.ask {
		v.Witnesses = append(v.Witnesses, certificates)
	}
	v, node := watchNode(known(watchFlows(v, f.HostRoot)), f.HostRoot)
	done = func() error { return errors.Join(node(), certificates.Close()) }
	v.Probes = []string{"path", "sock", "netfilter", tracer.TLSProbe, tracer.DNSProbe}
	v.Optional = append(v.Optional, tracer.TLSProbe, tracer.DNSProbe)
	v.Globals["snap"] = uint32(512) // a DNS message
	maps.Copy(v.Globals, tracer.DNSPorts([]uint{dnsPort}))
	if disks {
		v, err = alsoSyncs(v, f, syncs)
	}
	if err != nil {
		err = errors.Join(err, done())
	}
	return v, done, err
}

// slowLookup is what is too slow for DNS unless told otherwise.
const slowLookup = 100 * time.Millisecond

func addSlow(fs *pflag.FlagSet, slow *time.Duration) {
	fs.DurationVar(slow, "slow", slowLookup, "DNS answers that take longer are a finding")
}

// alsoSyncs has a view watch the syncs on all disks, as far as the kernel allows; without them the rest is of use.
func alsoSyncs(v cli.View, f cli.Flags, stage *decoder.FsyncStage) (cli.View, error) {
	live, err := tracer.NewFsync(tracer.FsyncOptions{
		PID: f.PID, HostRoot: f.HostRoot, Limit: syncLimit, ByNetns: f.Netns != "" || f.PID != 0,
	})
	if errors.Is(err, tracer.ErrNoDisk) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v.Optional = append(v.Optional, "fsync")
	return v.With(watchSyncs(live, stage, f.HostRoot, syncLimit)), nil
}

// diagnoseView is every stage and every rule.
func diagnoseView(slow time.Duration) (cli.View, *decoder.FsyncStage) {
	v, levels := packetRules(slow)
	syncs := &decoder.FsyncStage{Silent: true}
	disks := &diagnose.Fsync{Slowest: syncs.Slowest, Forget: syncs.Forget}
	v.Hold = true
	v.Pods = func(of func(uint64) decoder.Pod) { disks.Pod = of }
	v.Stages = append(v.Stages, syncs)
	v.Rules = append(v.Rules, disks, diagnose.NewTogether(levels...))
	return v, syncs
}

// packetRules is every stage about packets, and the rules by level, for diagnose.NewTogether: those that see the packets
// themselves, those about what takes or carries them, and those that see what becomes of transactions and connections.
func packetRules(slow time.Duration) (v cli.View, levels [][]decoder.Rule) {
	const dnsWait = 5 * time.Second
	facts := diagnose.NewFacts()
	translations := diagnose.NewTranslations(facts)
	v = cli.View{
		Keep:  isLoss,
		Early: []decoder.Stage{decoder.NewOverflows()},
		Stages: []decoder.Stage{decoder.NewNames(), decoder.NewDrops(), translations.Stage(),
			dns.New(dns.Options{Wait: dnsWait, Slow: slow, Ports: []uint16{dnsPort}}), decoder.NewResets()},
		Rules: []decoder.Rule{facts},
	}
	return v, [][]decoder.Rule{
		{diagnose.NewDrops(facts), translations, diagnose.NewSenders(facts), diagnose.NewBlackholes(facts), diagnose.NewICMPErrors(facts), diagnose.NewDNSLoops(facts)},
		{diagnose.NewTunnels(facts), diagnose.NewSockets()},
		{diagnose.NewDNS(facts, slow), diagnose.NewLookups(facts), diagnose.NewTruncated(facts), diagnose.NewResets(facts, false),
			diagnose.NewBridges(facts), diagnose.NewAlone(facts), diagnose.NewTLS(facts)},
	}
}

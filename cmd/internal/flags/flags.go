// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ktrace/cmd/internal/outfile"
	"ktrace/decoder/event"
)

// Flags mean the same with every verb.
type Flags struct {
	Pods      []string
	Namespace string
	Container string
	Labels    string
	Netns     string
	PID       int
	Devices   []string

	Duration   time.Duration
	Count      uint64
	Output     string
	NoHeader   bool
	Verbose    bool
	FailOn     string
	ReadyFile  string
	Record     string
	Write      string
	Mixed      bool
	Compat     string
	HostRoot   string
	CRISocket  string
	Kubeconfig string
	BTF        string

	Variant string // hidden: force a hook's variant
	Ring    uint32 // hidden: bytes
}

// Add declares the flags that make sense with a live node as well as with a file.
func (f *Flags) Add(fs *pflag.FlagSet) {
	f.addSelection(fs)
	fs.StringVarP(&f.Container, "container", "c", "", "only this container of the pods")
	fs.Uint64Var(&f.Count, "count", 0, "end after so many events")
	f.addRun(fs)
}

// AddPackets declares the same for whole packets: there -c is the count, as with tcpdump, and containers, which share
// the network of their pod, cannot be distinguished.
func (f *Flags) AddPackets(fs *pflag.FlagSet) {
	f.addSelection(fs)
	fs.Uint64VarP(&f.Count, "count", "c", 0, "end after so many packets")
	f.addRun(fs)
}

func (f *Flags) addRun(fs *pflag.FlagSet) {
	f.addOutput(fs)
	fs.BoolVarP(&f.Verbose, "verbose", "v", false, "print what is loaded, show single hops, and all layers of packets")
	fs.StringVar(&f.FailOn, "fail-on", "", "exit with 3 on findings of this severity: warning or critical")
}

// AddPods declares the flags for a list of this node's pods.
func (f *Flags) AddPods(fs *pflag.FlagSet) {
	f.addSelection(fs)
	fs.StringVarP(&f.Container, "container", "c", "", "only this container of the pods")
	f.addOutput(fs)
	f.addPlace(fs)
	f.AddNode(fs)
}

func (f *Flags) addSelection(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.Pods, "pod", "p", nil, "only this pod: NAME, NS/NAME, KIND/NAME as in deploy/web, or a pattern with * (repeatable)")
	fs.StringVarP(&f.Namespace, "namespace", "n", "", "only pods of this namespace")
	fs.StringVarP(&f.Labels, "selector", "l", "", "only pods with these labels, as in app=web,tier!=db")
}

func (f *Flags) addOutput(fs *pflag.FlagSet) {
	fs.StringVarP(&f.Output, "output", "o", "text", "text, wide or json")
	fs.BoolVar(&f.NoHeader, "no-header", false, "no heading line")
}

func (f *Flags) addPlace(fs *pflag.FlagSet) {
	f.AddNetns(fs)
	fs.IntVar(&f.PID, "pid", 0, "only the container, or the network namespace, of this process")
}

// AddDevices declares the selection by device, for views of events that happen at one.
func (f *Flags) AddDevices(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.Devices, "interface", "i", nil, "only at this device, or at all that match a pattern (repeatable)")
}

// At reports whether an event is at one of the devices that were named, if any were.
func (f *Flags) At(e event.Event) bool {
	if len(f.Devices) == 0 || e.Body.Kind() == event.KindFact {
		return true
	}
	return slices.ContainsFunc(f.Devices, func(pattern string) bool {
		ok, _ := path.Match(pattern, e.Iface) // Validate looked at the patterns
		return ok
	})
}

// AddNetns declares the selection by namespace, for files too while the namespace is there.
func (f *Flags) AddNetns(fs *pflag.FlagSet) {
	fs.StringVar(&f.Netns, "netns", "", "only this network namespace: a path, or a name under /run/netns")
}

// AddNode declares the node's paths and sockets.
func (f *Flags) AddNode(fs *pflag.FlagSet) {
	fs.StringVar(&f.HostRoot, "host-root", "/", "where the node's file system is, when running in a container")
	fs.StringVar(&f.CRISocket, "cri-socket", "", "the container runtime's socket, if it is not where they usually are")
	fs.StringVar(&f.Kubeconfig, "kubeconfig", "", "access to the Kubernetes API; by default a pod's own, or the kubelet's")
}

// AddLive declares the flags for a live node.
func (f *Flags) AddLive(fs *pflag.FlagSet) {
	f.addPlace(fs)
	f.AddNode(fs)
	fs.DurationVarP(&f.Duration, "duration", "d", 0, "end after this time")
	fs.StringVar(&f.ReadyFile, "ready-file", "", "create this file once everything is attached")
	fs.StringVarP(&f.Write, "write", "w", "", "also write the packets, annotated, to this pcapng file, which may hold secrets and is its user's alone (0600); - is standard output")
	fs.BoolVar(&f.Mixed, "mixed", false, "with -w, also rows for events that are no packets; tcpdump refuses such files")
	fs.StringVar(&f.Compat, "compat", "", "with -w, leave out what this program corrupts: wireshark-4.0")
	fs.StringVar(&f.Record, "record", "", "also keep all raw records in this file, for \"ktrace read\"; complete to the last second even if ktrace is killed; it may hold secrets, as -w")
	f.AddBTF(fs)
	fs.StringVar(&f.Variant, "variant", "", "force this variant of every hook that has it")
	fs.Uint32Var(&f.Ring, "ring-bytes", 0, "size of the ring: a power of two and whole pages")
	for _, hidden := range []string{"variant", "ring-bytes"} {
		_ = fs.MarkHidden(hidden) // fails only for a flag that was not declared
	}
}

// AddBTF declares the flag for kernels that do not describe themselves.
func (f *Flags) AddBTF(fs *pflag.FlagSet) {
	fs.StringVar(&f.BTF, "btf", "", "file with this kernel's types (BTF), where the kernel has none of its own")
}

// Validate checks what pflag cannot.
func (f *Flags) Validate() error {
	switch f.Output {
	case "text", "wide", "json":
	default:
		return Usagef("--output %q: want text, wide or json", f.Output)
	}
	switch event.Severity(f.FailOn) {
	case "", event.Warning, event.Critical:
	default:
		return Usagef("--fail-on %q: want warning or critical", f.FailOn)
	}
	if f.Compat != "" && f.Compat != "wireshark-4.0" {
		return Usagef("--compat %q: want wireshark-4.0", f.Compat)
	}
	if f.Write == "" && (f.Mixed || f.Compat != "") {
		return Usagef("--mixed and --compat are about a capture file: they need -w FILE")
	}
	if f.Duration < 0 {
		return Usagef("--duration %v: want a positive time, as in 30s", f.Duration)
	}
	for _, pattern := range f.Devices {
		if _, err := path.Match(pattern, ""); err != nil {
			return Usagef("--interface %q: want a device's name, or a pattern as in veth*", pattern)
		}
	}
	if f.PID < 0 {
		return Usagef("--pid %d: want a process id", f.PID)
	}
	if f.Ring != 0 && f.Ring&(f.Ring-1) != 0 {
		return Usagef("--ring-bytes %d: want a power of two", f.Ring)
	}
	if outfile.IsStdout(f.Write) {
		f.Write = "-"
	}
	return nil
}

// LaterFile refuses an output that has the name of a file that -C, -G or --ring begins later: that is refused then too,
// but by then the run would be over.
func (f *Flags) LaterFile() error {
	for _, o := range []struct{ flag, name string }{{"--record", f.Record}, {"--ready-file", f.ReadyFile}} {
		number, ok := strings.CutPrefix(filepath.Clean(o.name), filepath.Clean(f.Write))
		if ok && strings.Trim(number, "0123456789") == "" {
			return Usagef("%s %s: -w %s begins files of such names; name another", o.flag, o.name, f.Write)
		}
	}
	return nil
}

// Judge returns ErrFindings if any finding is as severe as --fail-on.
func (f *Flags) Judge(all []event.Finding) error {
	worst := event.Severity(f.FailOn)
	if worst != "" && slices.ContainsFunc(all, func(x event.Finding) bool { return x.Severity.AtLeast(worst) }) {
		return ErrFindings
	}
	return nil
}

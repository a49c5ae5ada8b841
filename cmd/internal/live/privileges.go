// SPDX-License-Identifier: Apache-2.0

package live

import (
	"slices"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/replay"
	"ktrace/tracer"
	"ktrace/tracer/confine"
	"ktrace/tracer/host"
	"ktrace/tracer/kube"
	"ktrace/tracer/probe"
)

// privileged is an error if the process lacks a capability that the view is nothing without. It reports what it does without, and
// what is lost by that.
func (v View) privileged(s replay.Streams) error {
	probes := v.Probes
	if v.Tap != nil {
		probes = append(slices.Clone(probes), probe.Tap)
	}
	if err := tracer.Privileged(probes...); err != nil {
		return err
	}
	for _, lost := range host.Lacks(append(v.needs(), host.SysAdmin)...) {
		s.Say(lost)
	}
	return nil
}

// needs are the capabilities that the view needs as long as it runs: to read maps, look processes up, and enter new namespaces.
func (v View) needs() []string {
	needs := append([]string{host.BPF, host.SysPtrace, host.DACReadSearch}, v.Needs...)
	if v.Tap != nil {
		needs = append(needs, host.SysAdmin, host.NetAdmin)
	}
	return needs
}

// confine gives up what is not needed any more once everything is attached and all files are open. Where that is refused, as in
// some sandboxes, ktrace works as before.
func (v View) confine(f flags.Flags, w *kube.Watcher, s replay.Streams) {
	keep := v.needs()
	if f.Write != "" || f.Record != "" || f.ReadyFile != "" { // in a directory that may be another user's
		keep = append(keep, host.DACOverride, host.Fowner)
	}
	runs := w.RunsPrograms() || v.Save != nil && v.Save.Files.Command != ""
	if err := confine.Process(confine.Options{Capabilities: host.Set(keep...), Programs: runs}); err != nil && f.Verbose {
		s.Say("keeps privileges that it does not need: " + err.Error())
	}
}

// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/live"
	"ktrace/cmd/internal/outfile"
	"ktrace/cmd/internal/replay"
	"ktrace/decoder/pcapfilter"
	"ktrace/decoder/printable"
)

// extcapOptions are what Wireshark calls an external capture program with (extcap(4)).
type extcapOptions struct {
	own        flags.Flags
	interfaces bool
	dlts       bool
	config     bool
	capture    bool
	device     string
	expr       string
	fifo       string
	version    string
	profile    string
}

// extcapNode is the interface that stands for the node; others are extcapPod and the pod's name.
const (
	extcapNode = "ktrace-node"
	extcapPod  = "ktrace-pod:"
)

// newExtcap is the verb that Wireshark runs, so that pods are among the interfaces that it lists.
func newExtcap(s replay.Streams) *cobra.Command {
	var o extcapOptions
	c := &cobra.Command{
		Use:   "extcap",
		Short: "be an external capture program of Wireshark: its interfaces are the pods",
		Long: `Wireshark lists the pods of this node as interfaces once it finds a program for that. Put this script, executable, into
the personal or the global extcap path that Wireshark names under Help, About, Folders:

    #!/bin/sh
    exec ktrace extcap "$@"

--wireshark-profile DIR writes a profile with columns and colours for what ktrace notes of packets: into
the directory profiles/ktrace of Wireshark's personal configuration.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), s) },
	}
	f := c.Flags()
	f.BoolVar(&o.interfaces, "extcap-interfaces", false, "list what can be captured at")
	f.BoolVar(&o.dlts, "extcap-dlts", false, "list the link types")
	f.BoolVar(&o.config, "extcap-config", false, "list the settings")
	f.BoolVar(&o.capture, "capture", false, "capture")
	f.StringVar(&o.device, "extcap-interface", "", "at this interface")
	f.StringVar(&o.expr, "extcap-capture-filter", "", "packets that match")
	f.StringVar(&o.fifo, "fifo", "", "into this pipe")
	f.StringVar(&o.version, "extcap-version", "", "of Wireshark")
	f.StringVar(&o.profile, "wireshark-profile", "", "write a profile into this directory")
	o.own.AddNode(f)
	return c
}

func (o *extcapOptions) run(ctx context.Context, s replay.Streams) error {
	switch {
	case o.profile != "":
		return writeProfile(o.profile)
	case o.interfaces:
		return o.list(s.Out)
	case o.dlts:
		return printLine(s.Out, "dlt {number=1}{name=EN10MB}{display=Ethernet}")
	case o.config:
		return nil // there is nothing to set
	case o.capture && o.fifo != "":
		return o.start(ctx, s)
	case o.expr != "": // Wireshark validates it while it is typed
		if _, err := pcapfilter.Parse(o.expr); err != nil {
			return printLine(s.Out, err.Error())
		}
		return nil
	}
	return flags.Usagef("Wireshark runs this; see \"ktrace extcap --help\"")
}

func (o *extcapOptions) list(w io.Writer) error {
	lines := []string{
		"extcap {version=1}{display=ktrace}",
		"interface {value=" + extcapNode + "}{display=ktrace: this node}",
	}
	pods, err := live.Pods(o.own)
	if err != nil {
		return err
	}
	for _, p := range pods {
		if p.Name != "" && !p.HostNetwork {
			name := p.Namespace + "/" + p.Name
			if printable.Text(name) != name || strings.ContainsAny(name, "{}") {
				continue // no kubelet's: it would be read as another entry, or command a terminal
			}
			lines = append(lines, fmt.Sprintf("interface {value=%s%s}{display=ktrace: pod %s}", extcapPod, name, name))
		}
	}
	return printLine(w, strings.Join(lines, "\n"))
}

func printLine(w io.Writer, text string) error {
	_, err := fmt.Fprintln(printable.NewLines(w), text)
	return err
}

// start captures into Wireshark's pipe until that closes it or ends this process.
func (o *extcapOptions) start(ctx context.Context, s replay.Streams) error {
	var c captureOptions
	c.Flags = o.own
	c.Output, c.Write = "text", o.fifo
	c.files.Unbuffered = true
	switch name, isPod := strings.CutPrefix(o.device, extcapPod); {
	case isPod:
		c.Pods = []string{name}
	case o.device != extcapNode:
		return flags.Usagef("--extcap-interface %q: want %s or %sNAMESPACE/NAME", o.device, extcapNode, extcapPod)
	}
	if err := c.validate(); err != nil {
		return err
	}
	return c.run(ctx, []string{o.expr}, s)
}

// profileFiles are a Wireshark profile. Names of addresses are shown, and packets that several devices saw are not
// taken for retransmissions: Wireshark distinguishes conversations by interface since 4.4.
func profileFiles() map[string]string {
	return map[string]string{
		"preferences": `gui.column.format: "No.", "%m", "Time", "%t", "Where", "%Cus:frame.interface_name:0:R",
	"Source", "%s", "Destination", "%d", "Protocol", "%p", "Length", "%L", "ktrace", "%Cus:frame.comment:0:R", "Info", "%i"
nameres.network_name: TRUE
nameres.dns_pkt_addr_resolution: FALSE
nameres.use_external_name_resolver: FALSE
conversation_deinterlacing_key: .MI
`,
		"colorfilters": `@ktrace dropped@frame.verdict.ebpf_tc == 2@[65535,52428,52428][40000,0,0]
@ktrace lost before@frame.drop_count > 0@[65535,61166,46003][0,0,0]
@TCP reset@tcp.flags.reset == 1@[42148,0,0][65535,64764,40092]
`,
	}
}

func writeProfile(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var errs []error
	for name, text := range profileFiles() {
		errs = append(errs, writeWhole(filepath.Join(dir, name), text))
	}
	return errors.Join(errs...)
}

// writeWhole writes a file, or leaves what was there.
func writeWhole(path, text string) error {
	var none *outfile.Guard
	file, err := none.Create("--wireshark-profile", path)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(file, text); err != nil {
		return errors.Join(err, file.Discard())
	}
	return file.Close()
}

// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ktrace/decoder/pod"
)

// ErrElsewhere is returned for a selection whose pods all run on other nodes.
var ErrElsewhere = errors.New("not on this node")

// announce says that a selection matches no pod yet. It fails with ErrElsewhere if the API lists matching pods elsewhere.
func (w *Watcher) announce() error {
	here, elsewhere := w.selected()
	if !w.opts.Selector.Pods() || len(here) > 0 {
		return nil
	}
	if len(elsewhere) > 0 {
		return fmt.Errorf("%w: %s", ErrElsewhere, names(elsewhere))
	}
	w.waits = true
	local := slices.DeleteFunc(w.index.Pods(), remote)
	w.opts.Say(fmt.Sprintf("no pod matches %s yet: waiting for one (here are %s)", w.opts.Selector, names(local)))
	return nil
}

func remote(p pod.Info) bool { return p.Node != "" }

// announceFound says which pods match after announce said that none does.
func (w *Watcher) announceFound() {
	if !w.waits {
		return
	}
	if found, _ := w.selected(); len(found) > 0 {
		w.waits = false
		w.opts.Say("found " + names(found))
	}
}

// selected are the pods that match, on this node and on others.
func (w *Watcher) selected() (here, elsewhere []pod.Info) {
	for _, p := range w.index.Pods() {
		switch {
		case !w.opts.Selector.Matches(p):
		case remote(p):
			elsewhere = append(elsewhere, p)
		default:
			here = append(here, p)
		}
	}
	return here, elsewhere
}

// names lists pods for a person; there may be hundreds.
func names(pods []pod.Info) string {
	const most = 20
	var all []string
	for _, p := range pods {
		name := p.Namespace + "/" + p.Name
		if remote(p) {
			name += " on " + p.Node
		}
		if p.Name != "" {
			all = append(all, name)
		}
	}
	switch n := len(all); {
	case n == 0:
		return "none"
	case n > most:
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), n-most)
	}
	return strings.Join(all, ", ")
}

package kube

import (
	"fmt"
	"slices"
	"strings"

	"ktrace/decoder/pod"
)

// announce says what a selection by pod found, or that it found nothing yet.
func (w *Watcher) announce() {
	if w.opts.Selector.Pods() && len(w.selected()) == 0 {
		w.waits = true
		w.opts.Say(fmt.Sprintf("no pod matches %s yet: waiting for one (here are %s)", w.opts.Selector, names(w.index.Pods())))
	}
}

// welcome says that the wait is over.
func (w *Watcher) welcome() {
	if !w.waits {
		return
	}
	if found := w.selected(); len(found) > 0 {
		w.waits = false
		w.opts.Say("found " + names(found))
	}
}

func (w *Watcher) selected() []pod.Info {
	return slices.DeleteFunc(w.index.Pods(), func(p pod.Info) bool { return !w.opts.Selector.Matches(p) })
}

// names lists pods for a person; there may be hundreds.
func names(pods []pod.Info) string {
	const most = 20
	var all []string
	for _, p := range pods {
		if p.Name != "" {
			all = append(all, p.Namespace+"/"+p.Name)
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

package diagnose

import (
	"slices"
	"strings"
	"time"

	"ktrace/decoder"
)

// Together runs rules about the same packets, and reports what one of them concludes from the consequences of another's
// cause only if there is no such cause. It reports at the end.
type Together struct {
	causes   []decoder.Rule // see the packets themselves
	symptoms []decoder.Rule // see what became of transactions and connections
	found    [2]decoder.Folder
}

// NewTogether returns it.
func NewTogether(causes, symptoms []decoder.Rule) *Together {
	return &Together{causes: causes, symptoms: symptoms}
}

// Observe implements decoder.Rule.
func (x *Together) Observe(e decoder.Event) []decoder.Finding {
	x.each(func(r decoder.Rule) []decoder.Finding { return r.Observe(e) })
	return nil
}

// Flush implements decoder.Rule.
func (x *Together) Flush(now time.Time, final bool) []decoder.Finding {
	x.each(func(r decoder.Rule) []decoder.Finding { return r.Flush(now, final) })
	if !final {
		return nil
	}
	causes := x.found[0].All()
	found := slices.Clone(causes)
	for _, s := range x.found[1].All() {
		if !slices.ContainsFunc(causes, func(c decoder.Finding) bool { return explains(c, s) }) {
			found = append(found, s)
		}
	}
	if slices.ContainsFunc(found, func(f decoder.Finding) bool { return f.ID == "overlay-blocked" }) {
		found = slices.DeleteFunc(found, unansweredByTunnel)
	}
	return found
}

// unansweredByTunnel reports whether a finding is about a neighbour at the other end of a tunnel. If the tunnel itself is
// found not to pass, that is all there is to say.
func unansweredByTunnel(f decoder.Finding) bool {
	return f.ID == "neighbour-failed" && slices.ContainsFunc(f.Evidence, func(line string) bool { return strings.HasSuffix(line, beyondTunnel) })
}

// each folds in what the rules find.
func (x *Together) each(ask func(decoder.Rule) []decoder.Finding) {
	for i, rules := range [][]decoder.Rule{x.causes, x.symptoms} {
		for _, r := range rules {
			for _, f := range ask(r) {
				x.found[i].Add(f)
			}
		}
	}
}

// explains reports whether a cause accounts for a symptom: it names the same, or hit the same pod, or a packet to or
// from the same address, while the symptom went on.
func explains(c, s decoder.Finding) bool {
	if c.Severity == decoder.Info || c.First.After(s.Last.Add(time.Second)) {
		return false
	}
	if c.Pod.UID != "" && c.Pod.UID == s.Pod.UID {
		return true
	}
	text := strings.Join(append(c.Evidence, c.Subject, c.Title), " ")
	for _, word := range strings.FieldsFunc(s.Subject, func(r rune) bool { return r == ' ' || r == ',' }) {
		if strings.ContainsAny(word, ".:") && strings.Contains(text, word) {
			return true
		}
	}
	return false
}

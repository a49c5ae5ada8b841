package decoder

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Severity says how bad a finding is.
type Severity string

// Severities, worst first.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
	Info     Severity = "info"
)

// rank orders severities; what is unknown comes last.
func (s Severity) rank() int {
	return slices.Index([]Severity{Info, Warning, Critical}, s)
}

// AtLeast reports whether s is as bad as limit or worse.
func (s Severity) AtLeast(limit Severity) bool { return s.rank() >= limit.rank() }

// Worst sorts findings, worst first; equals stay in their order.
func Worst(findings []Finding) []Finding {
	slices.SortStableFunc(findings, func(a, b Finding) int { return b.Severity.rank() - a.Severity.rank() })
	return findings
}

// Confidence says what a finding rests on.
type Confidence string

// How sure a finding is.
const (
	Certain  Confidence = "certain"  // the kernel said so: a reason, a rule, an errno
	Likely   Confidence = "likely"   // several observations that have one usual cause
	Possible Confidence = "possible" // a hint
)

// Finding names a root cause in words that the person on call understands, with what it rests on and what to do.
type Finding struct {
	Time       time.Time  `json:"time"` // when it was concluded
	ID         string     `json:"id"`   // from the catalogue; never changes its meaning
	Severity   Severity   `json:"severity"`
	Title      string     `json:"title"` // one sentence
	Cause      string     `json:"cause"` // the mechanism, one or two sentences
	Pod        Pod        `json:"pod,omitzero"`
	Peer       Pod        `json:"peer,omitzero"`
	Subject    string     `json:"subject"` // what it is about: an address, a device, a file
	Evidence   []string   `json:"evidence"`
	Remedy     []string   `json:"remedy"` // commands that work as printed, or what to do
	Count      uint64     `json:"count"`
	First      time.Time  `json:"first"`
	Last       time.Time  `json:"last"`
	Confidence Confidence `json:"confidence"`
}

// key is what makes two findings the same cause.
func (f Finding) key() string {
	return f.ID + "\x00" + f.Subject + "\x00" + f.Pod.String()
}

// maxCauses is how many a Folder keeps: somebody who scans a node gives each address that he tries one of its own.
const maxCauses = 1 << 14

// Folder keeps one finding a cause and counts its repetitions. Of more causes than it has room for it forgets those that
// are the least severe, and of these the ones that did not come for the longest time; if they do, they are new again.
type Folder struct {
	order []string
	found map[string]*Finding
}

// Add takes a finding in and reports whether it is worth telling: its cause is new, or worse than it was.
func (f *Folder) Add(x Finding) bool {
	if f.found == nil {
		f.found = map[string]*Finding{}
	}
	x.Count = max(x.Count, 1)
	k := x.key()
	if old, ok := f.found[k]; ok {
		x.Count += old.Count
		x.First = old.First
		worse := x.Severity.rank() > old.Severity.rank()
		if worse {
			*old = x
		}
		old.Count, old.Last = x.Count, x.Last
		return worse
	}
	if len(f.order) >= maxCauses {
		f.forget()
	}
	f.order = append(f.order, k)
	f.found[k] = &x
	return true
}

// forget makes room by half.
func (f *Folder) forget() {
	least := slices.SortedFunc(maps.Keys(f.found), func(a, b string) int {
		x, y := f.found[a], f.found[b]
		return cmp.Or(x.Severity.rank()-y.Severity.rank(), x.Last.Compare(y.Last))
	})
	for _, k := range least[:len(least)/2] {
		delete(f.found, k)
	}
	f.order = slices.DeleteFunc(f.order, func(k string) bool { return f.found[k] == nil })
}

// All returns the findings in the order in which their causes appeared, with their counts so far.
func (f *Folder) All() []Finding {
	all := make([]Finding, 0, len(f.order))
	for _, k := range f.order {
		all = append(all, *f.found[k])
	}
	return all
}

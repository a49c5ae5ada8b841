// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"ktrace/decoder/bounded"
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
	Time       time.Time  `json:"time"`           // when it was concluded
	Node       string     `json:"node,omitempty"` // that it is of
	File       string     `json:"file,omitempty"` // that it is of, where several are read and the node's name does not say which
	ID         string     `json:"id"`             // from the catalogue; never changes its meaning
	Severity   Severity   `json:"severity"`
	Title      string     `json:"title"` // one sentence
	Cause      string     `json:"cause"` // the mechanism, one or two sentences
	Pod        Pod        `json:"pod,omitzero"`
	Peer       Pod        `json:"peer,omitzero"`
	Subject    string     `json:"subject"` // the cause: a server, a rule, a route, a device, a file; never who is hit by it
	About      About      `json:"about"`
	Hits       []Hit      `json:"hits"`                   // whom it hits
	Unnamed    uint64     `json:"hits_unnamed,omitempty"` // times that it hit others, who are too many to be named
	Traffic    []Traffic  `json:"-"`                      // what it was met by, as far as that is kept apart: for rules
	Evidence   []string   `json:"evidence"`
	Remedy     []Remedy   `json:"remedy"` // commands first, then advice
	Count      uint64     `json:"count"`
	First      time.Time  `json:"first"`
	Last       time.Time  `json:"last"`
	Over       time.Time  `json:"over,omitzero"`   // since when the same works again, or Ended; zero if it does not
	Ended      bool       `json:"ended,omitempty"` // it is over because the pod that caused it has ended
	Early      bool       `json:"-"`               // nothing that comes can take it back: it need not wait for the end
	Reported   bool       `json:"-"`               // it was shown before: what became of it is the news
	Recorded   bool       `json:"-"`               // records show all that it says: it does not rest on what no record shows
	Doubtful   bool       `json:"-"`               // it rests on what no record shows, and records were lost
	Confidence Confidence `json:"confidence"`

	size    int     // bytes, as a Folder counts them
	account account // on which it is in a Folder
}

// Of fills in what is known of the event that a finding is concluded from: the two ends, and what it is about.
func (f Finding) Of(e Event) Finding {
	f.Pod, f.Peer = e.roles()
	f.About.Merge(AboutEvent(e))
	return f
}

// Whole is the finding with what its rule leaves to others: that it was found once, whom it hits, and lists where there
// is nothing to list.
func (f Finding) Whole() Finding {
	f.Count = max(f.Count, 1)
	if len(f.Hits) == 0 {
		f.Hits = f.hit()
	}
	if len(f.Traffic) == 0 {
		f.Traffic = f.traffic()
	}
	f.Hits, f.Evidence, f.Remedy = orEmpty(f.Hits), orEmpty(f.Evidence), orEmpty(f.Remedy)
	return f
}

// Key is what makes two findings the same cause: whom it hits does not. But a file belongs to a pod, and an address such
// as 127.0.0.1 to a namespace.
func (f Finding) Key() CauseKey {
	k := CauseKey{node: f.Node, file: f.File, id: f.ID, subject: f.Subject}
	switch {
	case len(f.About.Servers) == 0:
		k.pod = f.Pod.String()
	case f.About.local():
		k.netns = f.About.Netns
	}
	return k
}

// CauseKey is a cause.
type CauseKey struct {
	node, file, id, subject, pod string
	netns                        uint32
}

// maxNamed is how many hits and how much traffic the findings of a Folder have together, but for those of the first time.
const maxNamed = 1 << 17

// maxCauses is how many a Folder keeps: a scan of the node makes one for each address that it tries.
const maxCauses = 1 << 14

// Folder keeps one finding a cause and counts its repetitions. Of more causes than it has room for it forgets those of whom it has
// most, the least severe first, and of these the ones that did not come for the longest time; if they do, they are new again.
type Folder struct {
	order []CauseKey
	found map[CauseKey]*Finding
	alike map[alike]int // how many causes
	named int           // hits and traffic of all
	size  int           // bytes of all, as they were found first
	out   uint64
}

// maxFolder is how many bytes the findings of a Folder take, but for what is counted by maxNamed.
const maxFolder = 12 << 20

// Add takes a finding in and reports whether it is worth telling: its cause is new, or worse than it was.
func (f *Folder) Add(x Finding) bool {
	if f.found == nil {
		f.found = map[CauseKey]*Finding{}
	}
	x = x.Whole()
	k := x.Key()
	if old, ok := f.found[k]; ok {
		f.named -= old.names()
		worse := old.fold(x, f.named < maxNamed)
		f.named += old.names()
		return worse
	}
	size := bounded.SizeOf(x)
	if len(f.order) > 0 && (len(f.order) >= maxCauses || f.size+size > maxFolder) {
		f.forget()
	}
	f.order = append(f.order, k)
	x = x.own()
	x.size, x.account = size, x.whose()
	f.found[k] = &x
	f.count(x, 1)
	f.named += x.names()
	f.size += size
	return true
}

// names is how many hits and how much traffic a finding has.
func (f Finding) names() int { return len(f.Hits) + len(f.Traffic) }

// Find returns the finding of a cause as it is now.
func (f *Folder) Find(k CauseKey) (Finding, bool) {
	x, ok := f.found[k]
	if !ok {
		return Finding{}, false
	}
	return x.own(), true
}

// fold takes in another finding of the same cause, with hits that are new if there is room for them, and reports whether
// it is worse. What is said of the cause is what was said when it was worst.
func (f *Finding) fold(x Finding, room bool) (worse bool) {
	if x.Doubtful != f.Doubtful { // what is doubtful counts for nothing beside what is not
		if f.Doubtful {
			size, of := f.size, f.account
			*f = x.own()
			f.size, f.account = size, of
		}
		return !x.Doubtful
	}
	all := *f
	all.Count += x.Count
	all.Last = x.Last
	all.About.Merge(x.About)
	all.alsoHits(x, room)
	all.alsoMet(x, room)
	if worse = x.Severity.rank() > f.Severity.rank(); worse {
		size, of := f.size, f.account
		*f = x
		f.size, f.account = size, of
	}
	f.Over, f.Ended = x.Over, x.Ended // a cause that hits again is not over
	f.Count, f.First, f.Last, f.About, f.Hits, f.Unnamed, f.Traffic = all.Count, all.First, all.Last, all.About, all.Hits, all.Unnamed, all.Traffic
	return worse
}

// Demote makes findings that are over information, and returns them. over returns since when one is over, or zero.
func (f *Folder) Demote(over func(Finding) (since time.Time, ended bool)) (demoted []Finding) {
	for _, k := range f.order {
		x := f.found[k]
		if !x.Severity.AtLeast(Warning) {
			continue
		}
		if since, ended := over(*x); !since.IsZero() {
			x.Over, x.Ended, x.Severity = since, ended, Info
			demoted = append(demoted, x.own())
		}
	}
	return demoted
}

// account is on whose a finding is.
type account struct {
	pod string
	bounded.Owner
}

// whose is the account of the pod that was first hit, or else of the first client, where it was met.
func (f Finding) whose() account {
	if pod := f.Pod.String(); pod != "" {
		return account{pod: pod}
	}
	a := account{Owner: bounded.Owner{Netns: f.About.Netns}}
	if len(f.About.Clients) > 0 {
		a.Addr = f.About.Clients[0]
	}
	return a
}

// forget makes room by half: the accounts with the most findings lose some, until half are left.
func (f *Folder) forget() {
	worst := slices.SortedFunc(maps.Keys(f.found), func(a, b CauseKey) int {
		x, y := f.found[a], f.found[b]
		return cmp.Or(y.Severity.rank()-x.Severity.rank(), y.Last.Compare(x.Last))
	})
	place, had := map[CauseKey]int{}, map[account]int{} // of each among those of the same account, the worst first
	for _, k := range worst {
		whose := f.found[k].whose()
		place[k] = had[whose]
		had[whose]++
	}
	slices.SortStableFunc(worst, func(a, b CauseKey) int { return place[a] - place[b] })
	for _, k := range worst[len(worst)/2:] {
		f.named -= f.found[k].names()
		f.size -= f.found[k].size
		f.count(*f.found[k], -1)
		f.out++
		delete(f.found, k)
	}
	f.order = slices.DeleteFunc(f.order, func(k CauseKey) bool { return f.found[k] == nil })
}

// Evicted is how many findings were forgotten to make room.
func (f *Folder) Evicted() uint64 { return f.out }

// All returns the findings in the order in which their causes appeared, with their counts so far.
func (f *Folder) All() []Finding {
	all := make([]Finding, 0, len(f.order))
	for _, k := range f.order {
		all = append(all, f.found[k].own())
	}
	return all
}

// own is the finding with memory of its own for what grows.
func (f Finding) own() Finding {
	f.Hits, f.Traffic = slices.Clone(f.Hits), slices.Clone(f.Traffic)
	for i := range f.Traffic {
		f.Traffic[i].Failed = slices.Clone(f.Traffic[i].Failed)
	}
	f.About.Clients, f.About.Servers = slices.Clone(f.About.Clients), slices.Clone(f.About.Servers)
	return f
}

// Alongside is a finding with what another run on the node found of the same cause. Whether it is over, the run knows that
// met it last.
func (f Finding) Alongside(x Finding) Finding {
	first, last, over := f.First, f.Last, f.Over
	if x.First.Before(first) {
		first = x.First
	}
	if x.Last.After(last) {
		last, over = x.Last, x.Over
	}
	apart := x.First.After(f.Last) || f.First.After(x.Last)
	count := max(f.Count, x.Count) // both saw the same
	worse := x.Severity.rank() - f.Severity.rank()
	switch {
	case apart:
		f.fold(x, true)
		count = f.Count
	case worse > 0 || worse == 0 && x.Count > f.Count:
		f = x
	}
	if f.First, f.Last, f.Over, f.Count = first, last, over, count; !over.IsZero() {
		f.Severity = Info
	}
	return f
}

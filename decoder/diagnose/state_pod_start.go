package diagnose

import (
	"fmt"
	"time"

	"ktrace/decoder/event"
)

// startsWithin is how long the programs of a new pod may take before they serve: as long as probes of the usual period and
// number allow.
const startsWithin = 30 * time.Second

// learnPod keeps when a pod began, if it did meanwhile.
func (st *State) learnPod(p event.PodFact) {
	if p.At != 0 && !p.Gone && p.UID != "" {
		st.podStarts.Put(p.UID, time.Unix(0, int64(p.At)))
	}
}

// starting says that a pod had begun a moment before, so that its programs may not be ready yet; "" if it had not, or
// its start was not seen.
func (st *State) starting(p event.Pod, now time.Time) string {
	began, ok := st.podStarts.Get(p.UID)
	age := now.Sub(began)
	if !ok || p.UID == "" || age > startsWithin {
		return ""
	}
	return fmt.Sprintf("%v had begun %v before: it may still be starting", p, max(age, 0).Round(100*time.Millisecond))
}

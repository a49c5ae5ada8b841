// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"time"

	"ktrace/decoder/event"
)

// startsWithin is how long the processes of a new pod may take to serve: what probes with the usual period and threshold
// allow.
const startsWithin = 30 * time.Second

// learnPod keeps the start of a pod that started during the run.
func (st *State) learnPod(p event.PodFact) {
	if p.At != 0 && !p.Gone && p.UID != "" {
		st.podStarts.Put(p.UID, time.Unix(0, int64(p.At)))
	}
}

// starting returns a sentence if a pod started less than startsWithin before now, so that its processes may not be
// ready; "" if it did not, or its start was not seen.
func (st *State) starting(p event.Pod, now time.Time) string {
	began, ok := st.podStarts.Get(p.UID)
	age := now.Sub(began)
	if !ok || p.UID == "" || age > startsWithin {
		return ""
	}
	return fmt.Sprintf("%v had begun %v before: it may still be starting", p, max(age, 0).Round(100*time.Millisecond))
}

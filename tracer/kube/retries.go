// SPDX-License-Identifier: Apache-2.0

package kube

import "time"

// retries are when what is not known of a pod is looked for again, by the pod's UID: often while it starts, then ever more
// seldom. On a node without the files that have the names, thousands of pods stay nameless.
type retries map[string]retry

type retry struct {
	containers int // that the pod had: with a new one it begins anew
	first      time.Time
	next       time.Time
	wait       time.Duration
}

const (
	retryOften   = 3 * time.Second // every time for so long
	retryLongest = 30 * time.Second
)

// due reports whether it is time to look again, and that this is done now.
func (r retries) due(uid string, containers int, now time.Time) bool {
	x, known := r[uid]
	if !known || x.containers != containers {
		x = retry{containers: containers, first: now}
	}
	if now.Before(x.next) {
		return false
	}
	if now.Sub(x.first) > retryOften {
		x.wait = min(max(2*x.wait, time.Second), retryLongest)
		x.next = now.Add(x.wait)
	}
	r[uid] = x
	return true
}

// seldom makes the retries of what was there when ktrace began those of pods that do not start.
func (r retries) seldom() {
	for uid, x := range r {
		x.first = x.first.Add(-retryOften)
		x.wait, x.next = time.Second, x.first.Add(retryOften+time.Second)
		r[uid] = x
	}
}

// forget drops those that nothing asked about for long: their pods are complete, or gone.
func (r retries) forget(now time.Time) {
	for uid, x := range r {
		if now.Sub(x.next) > 2*retryLongest && now.Sub(x.first) > 2*retryLongest {
			delete(r, uid)
		}
	}
}

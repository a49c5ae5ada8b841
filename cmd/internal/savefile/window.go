// SPDX-License-Identifier: Apache-2.0

package savefile

import "ktrace/decoder/event"

// window holds records back to put them in order of time: two CPUs that reserve room in the ring one after the other
// may read the clock in the opposite order.
type window struct {
	held [][]byte // by time
	free [][]byte
}

// insert takes a copy of a record.
func (w *window) insert(raw []byte) {
	var slot []byte
	if n := len(w.free); n > 0 {
		slot, w.free = w.free[n-1], w.free[:n-1]
	}
	slot = append(slot[:0], raw...)
	i := len(w.held)
	w.held = append(w.held, slot)
	for t := event.RecordTime(slot); i > 0 && event.RecordTime(w.held[i-1]) > t; i-- {
		w.held[i], w.held[i-1] = w.held[i-1], w.held[i]
	}
}

// release passes on the oldest records until only keep are held.
func (w *window) release(keep int, to func([]byte) error) error {
	n := len(w.held) - keep
	if n <= 0 {
		return nil
	}
	for _, raw := range w.held[:n] {
		if err := to(raw); err != nil {
			return err
		}
	}
	w.free = append(w.free, w.held[:n]...)
	w.held = append(w.held[:0], w.held[n:]...)
	return nil
}

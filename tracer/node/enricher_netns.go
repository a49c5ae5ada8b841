// SPDX-License-Identifier: Apache-2.0

package node

import (
	"maps"
	"time"

	"ktrace/decoder/event"
)

// forget drops what was read in the namespace that had an inode number before, and withdraws its services.
func (w *Enricher) forget(inode uint32) []event.Fact {
	delete(w.reader.states, inode)
	w.seen.Delete(inode)
	delete(w.ruled, inode)
	delete(w.silent, inode)
	maps.DeleteFunc(w.tunnels, func(d ownDevice, _ bool) bool { return d.netns == inode })
	maps.DeleteFunc(w.own, func(k ownKey, _ bool) bool { return k.netns == inode })
	maps.DeleteFunc(w.asked, func(k asked, _ time.Time) bool { return k.about.Netns == inode })
	w.pending.DeleteFunc(func(k asked) bool { return k.about.Netns == inode })
	gone := maps.Clone(w.emitted)
	maps.DeleteFunc(gone, func(k serviceKey, _ event.ServiceFact) bool { return k.netns != inode })
	return w.learnServices(w.withdraw(gone))
}

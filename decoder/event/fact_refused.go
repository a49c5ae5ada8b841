// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

// SharedTable is a table of the kernel half in which each owner has a share.
type SharedTable string

const (
	SharedOwners      SharedTable = "owners"      // who connects or listens, by namespace
	SharedEstablished SharedTable = "established" // since when connections are, by namespace
	SharedSyncs       SharedTable = "syncs"       // that are under way, by control group
	SharedConnections SharedTable = "connections" // that are established, by namespace
)

// Refused are entries for which an owner had no place in a table any more. What rests on them is not known.
type Refused struct {
	Table SharedTable `json:"table"`
	Owner uint64      `json:"owner"` // inode of a network namespace, or id of a control group
	Count uint64      `json:"count"`
	Held  int64       `json:"held"` // entries that it has
}

// Netns is the owner as a network namespace, 0 if it is a control group.
func (r Refused) Netns() uint32 {
	if r.Table == SharedSyncs {
		return 0
	}
	return uint32(r.Owner)
}

// What says what was refused, in the plural, and why; who is the owner's name.
func (r Refused) What(who string) string {
	what := map[SharedTable]string{
		SharedOwners:      "sockets of %s whose process is not known: it had %d already",
		SharedEstablished: "connections of %s whose age is not known: it had %d already",
		SharedConnections: "connections of %s that are not followed: it had %d already",
		SharedSyncs:       "syncs of %s that were not followed: %d were under way",
	}[r.Table]
	if what == "" {
		what = "entries of %s: it had %d already"
	}
	return fmt.Sprintf(what, who, r.Held)
}

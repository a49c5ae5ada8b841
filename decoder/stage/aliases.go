// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"time"

	"ktrace/decoder/bounded"
	"ktrace/decoder/packet"
)

// alias is a translated connection, as conntrack has it.
type alias struct {
	connection      packet.Connection // by its name before translation
	original, reply packet.FlowTuple
	when            time.Time
}

// aliases are the translated connections, by their names before translation and behind it.
type aliases struct {
	bounded.Map[packet.Connection, alias]
}

// of returns the connection that a flow belongs to, by its name before translation.
func (a *aliases) of(f packet.FlowTuple) packet.Connection {
	c := packet.ConnectionOf(f)
	if known, ok := a.Get(c); ok {
		return known.connection
	}
	return c
}

// forget takes out a translated connection, under both names.
func (a *aliases) forget(known alias) {
	a.Delete(packet.ConnectionOf(known.original))
	a.Delete(packet.ConnectionOf(known.reply))
}

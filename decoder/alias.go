package decoder

import "time"

// alias is a translated connection, as conntrack has it.
type alias struct {
	connection      connection // by its name before translation
	original, reply FlowTuple
	when            time.Time
}

// aliases are the translated connections, by their names before translation and behind it.
type aliases map[connection]alias

// of returns the connection that a flow belongs to, by its name before translation.
func (a aliases) of(f FlowTuple) connection {
	c := connectionOf(f)
	if known, ok := a[c]; ok {
		return known.connection
	}
	return c
}

// forget takes out a translated connection, under both names.
func (a aliases) forget(known alias) {
	delete(a, connectionOf(known.original))
	delete(a, connectionOf(known.reply))
}

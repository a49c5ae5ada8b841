// SPDX-License-Identifier: Apache-2.0

package event

// roles returns the pods of who asks and of who is asked, as far as the event's packet shows which is which; else as the
// event has them. A reset's are whom it hit and who sent it.
func (e Event) roles() (client, server Pod) {
	if _, reset := e.Body.(Reset); reset || e.Packet == nil {
		return e.Pod, e.Peer
	}
	source, destination := e.Ends()
	p := e.Packet.Innermost()
	if p.Quoted() != nil { // an error goes back to who asked
		return destination, source
	}
	switch asks, answers := p.RequestOrReply(); {
	case answers:
		return destination, source
	case asks:
		return source, destination
	}
	return e.Pod, e.Peer
}

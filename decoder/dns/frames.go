// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"

	"ktrace/decoder/event"
	"ktrace/decoder/reassembly"
)

// frames cuts one direction of a connection into messages: over TCP each follows its length (RFC 1035, section 4.2.2).
type frames struct {
	segments reassembly.Stream
	synced   bool // the byte that comes next is of a message whose beginning was seen
	at       frame
	passed   int  // bytes of the message that went by, those of its length included
	cut      bool // some of them are not in it
}

// frame is a message as it was sent.
type frame struct {
	first      event.Event // of the segment that it begins in
	begin, end uint32      // sequence numbers, of the first byte of the length and of what follows the message
	length     [2]byte
	data       []byte // as much as is kept
	size       int    // of it, without the length
}

const (
	lengthSize = 2
	headerSize = 12       // of a message
	kept       = 16 << 10 // bytes of a message; long ones are transfers of zones, of which the first records are enough
)

// held is how many bytes the direction keeps.
func (f *frames) held() int { return f.segments.Held() + len(f.at.data) }

// add takes in the data of a segment, and returns the messages that it completes. lost says that bytes are missing, in
// which messages may have been.
func (f *frames) add(e event.Event, p reassembly.Piece) (done []frame, lost bool) {
	return f.take(e, f.segments.Add(p))
}

// skip gives up what did not come.
func (f *frames) skip(e event.Event) (done []frame, lost bool) {
	return f.take(e, f.segments.Skip())
}

func (f *frames) take(e event.Event, pieces []reassembly.Piece) (done []frame, lost bool) {
	for _, p := range pieces {
		if p.Lost {
			f.unsync()
			lost = true
		}
		done = append(done, f.piece(e, p)...)
		if p.Missing > 0 && !f.pass(p.Missing, &done) {
			f.unsync()
			lost = true
		}
	}
	return done, lost
}

// unsync forgets the message at hand: where the next one begins is to be found out.
func (f *frames) unsync() {
	f.synced = false
	f.restart()
}

func (f *frames) restart() { f.at, f.passed, f.cut = frame{}, 0, false }

// piece goes through data that is in order.
func (f *frames) piece(e event.Event, p reassembly.Piece) (done []frame) {
	data, seq := p.Data, p.Seq
	for len(data) > 0 {
		if !f.synced && !begins(data) {
			return done
		}
		f.synced = true
		if f.passed == 0 {
			f.at.first, f.at.begin = e, seq
		}
		n := f.consume(data)
		data, seq = data[n:], seq+uint32(n)
		if f.passed < lengthSize {
			continue
		}
		if f.at.size < headerSize {
			f.unsync()
			return done
		}
		done = f.complete(seq, done)
	}
	return done
}

// consume takes bytes into the message at hand, and returns how many: of the length one at a time.
func (f *frames) consume(data []byte) int {
	if f.passed < lengthSize {
		f.at.length[f.passed] = data[0]
		f.passed++
		f.at.size = int(binary.BigEndian.Uint16(f.at.length[:]))
		return 1
	}
	n := min(lengthSize+f.at.size-f.passed, len(data))
	if room := min(n, kept-len(f.at.data)); !f.cut && room > 0 {
		f.at.data = append(f.at.data, data[:room]...)
	}
	f.passed += n
	return n
}

// complete adds the message at hand if it is whole.
func (f *frames) complete(seq uint32, done []frame) []frame {
	if f.passed < lengthSize+f.at.size {
		return done
	}
	f.at.end = seq
	done = append(done, f.at)
	f.restart()
	return done
}

// pass goes over bytes that were not captured. It reports whether they are all of the message at hand.
func (f *frames) pass(n int, done *[]frame) bool {
	if f.passed < lengthSize || f.passed+n > lengthSize+f.at.size {
		return false
	}
	f.passed, f.cut = f.passed+n, true
	*done = f.complete(f.at.begin+uint32(f.passed), *done)
	return true
}

// begins reports whether a segment's data is likely to begin with the length of a message, in a connection whose
// beginning was not seen. Most senders begin a segment with each message; some send the length alone before it.
func begins(data []byte) bool {
	if len(data) < lengthSize {
		return false
	}
	size := int(binary.BigEndian.Uint16(data))
	body := data[lengthSize:]
	if size < headerSize || len(body) == 0 {
		return size >= headerSize
	}
	body = body[:min(size, len(body))]
	if m, ok := parse(body); ok {
		return m.response || m.plain
	}
	return continues(body)
}

// continues reports whether a message is an answer without a question, as those of a transfer may be from the second
// on (RFC 5936, section 2.2.1).
func continues(b []byte) bool {
	if len(b) < headerSize {
		return false
	}
	const fixed, response = 0xf84f, 0x8000 // QR, OPCODE, Z, RCODE
	count := func(at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
	return count(2)&fixed == response && count(4) == 0 && count(6) > 0
}

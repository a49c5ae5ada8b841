// SPDX-License-Identifier: Apache-2.0

package pcapng

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
)

// ErrOptionTooLong is returned when an option would not fit the 65535 bytes that its length can say.
var ErrOptionTooLong = errors.New("option is longer than 65535 bytes")

// Options is the list of options of one block, in the order and with the bytes of the file. The zero
// value is an empty list to which options can be added.
//
// A list that a Reader gave aliases its buffer: Clone it to keep it longer than the block. Adding to
// such a list copies it first.
type Options struct {
	raw   []byte
	order Order
	own   bool  // raw was built here: it has no end marker and may be appended to
	err   error // of the first Add that failed; a Writer refuses the list
}

// Option is one option of a list.
type Option struct {
	Code  OptionCode
	Value []byte // without padding; aliases the list
	order Order
}

// All yields the options in order, without the end marker. It stops at the first one that overruns
// the list; Malformed reports that.
func (o Options) All() iter.Seq[Option] {
	return func(yield func(Option) bool) {
		for rest := o.raw; ; {
			opt, n := o.first(rest)
			if n == 0 || !yield(opt) {
				return
			}
			rest = rest[n:]
		}
	}
}

// first is the option at the beginning of raw and the bytes that it takes: 0 at the end of the list.
// The padding of the last option may be missing; Wireshark takes that too.
func (o Options) first(raw []byte) (Option, int) {
	if len(raw) < 4 {
		return Option{}, 0
	}
	code, n := OptionCode(o.order.uint16(raw)), int(o.order.uint16(raw[2:]))
	if code == OptEnd || n > len(raw)-4 {
		return Option{}, 0
	}
	return Option{code, raw[4 : 4+n : 4+n], o.order}, min(4+align(n), len(raw))
}

// end is the offset behind the last option: of the end marker, if there is one.
func (o Options) end() int {
	at := 0
	for {
		_, n := o.first(o.raw[at:])
		if n == 0 {
			return at
		}
		at += n
	}
}

// Malformed reports whether bytes are left behind the last option that are no end marker.
func (o Options) Malformed() bool {
	rest := o.raw[o.end():]
	return len(rest) > 0 && (len(rest) < 4 || o.order.uint32(rest) != 0)
}

// Empty reports whether the list holds no option.
func (o Options) Empty() bool {
	_, n := o.first(o.raw)
	return n == 0
}

// Clone returns a list that shares no memory with o.
func (o Options) Clone() Options {
	o.raw = slices.Clone(o.raw)
	return o
}

// Reset empties the list and keeps its memory for the next packet.
func (o *Options) Reset() {
	if !o.own {
		*o = Options{}
	}
	o.raw, o.err = o.raw[:0], nil
}

// Find returns the first option with that code.
func (o Options) Find(code OptionCode) (Option, bool) {
	for opt := range o.All() {
		if opt.Code == code {
			return opt, true
		}
	}
	return Option{}, false
}

// Text returns the first option with that code as a string. It is what the file holds, which
// may be no UTF-8 and have control characters in it: quote it before a terminal sees it.
func (o Options) Text(code OptionCode) (string, bool) {
	opt, ok := o.Find(code)
	return string(opt.Value), ok
}

// Uint32 returns the first option with that code, if it is four bytes long.
func (o Options) Uint32(code OptionCode) (uint32, bool) {
	opt, ok := o.Find(code)
	if !ok || len(opt.Value) != 4 {
		return 0, false
	}
	return o.order.uint32(opt.Value), true
}

// Uint64 returns the first option with that code, if it is eight bytes long.
func (o Options) Uint64(code OptionCode) (uint64, bool) {
	opt, ok := o.Find(code)
	if !ok || len(opt.Value) != 8 {
		return 0, false
	}
	return o.order.uint64(opt.Value), true
}

// Comments returns every comment, in order.
func (o Options) Comments() []string {
	var all []string
	for opt := range o.All() {
		if opt.Code == OptComment {
			all = append(all, string(opt.Value))
		}
	}
	return all
}

// Custom is the content of a custom option.
type Custom struct {
	Enterprise uint32 // IANA private enterprise number of who defined the data
	Data       []byte
	Text       bool // the data is meant to be UTF-8
	Copy       bool // the option may be copied into a changed file
}

// Custom returns the content of a custom option; false if it is another option or shorter than the
// enterprise number.
func (o Option) Custom() (Custom, bool) {
	text := o.Code == OptCustomText || o.Code == OptCustomTextNoCopy
	if !text && o.Code != OptCustomBytes && o.Code != OptCustomBytesNoCopy || len(o.Value) < 4 {
		return Custom{}, false
	}
	return Custom{
		Enterprise: o.order.uint32(o.Value),
		Data:       o.Value[4:],
		Text:       text,
		Copy:       o.Code == OptCustomText || o.Code == OptCustomBytes,
	}, true
}

// Custom yields the custom options of one enterprise.
func (o Options) Custom(enterprise uint32) iter.Seq[Custom] {
	return func(yield func(Custom) bool) {
		for opt := range o.All() {
			if c, ok := opt.Custom(); ok && c.Enterprise == enterprise && !yield(c) {
				return
			}
		}
	}
}

// AddBytes appends an option as it is; OptEnd would hide all behind it. Numbers in it must be in the byte order of the list, which is
// little-endian unless a Reader gave it.
func (o *Options) AddBytes(code OptionCode, value []byte) {
	at := o.begin(code)
	o.raw = append(o.raw, value...)
	o.finish(at)
}

// AddText appends an option as text. Bytes that are no UTF-8 become U+FFFD, as the format wants it.
func (o *Options) AddText(code OptionCode, value string) {
	at := o.begin(code)
	o.raw = append(o.raw, strings.ToValidUTF8(value, "\uFFFD")...)
	o.finish(at)
}

// AddUint32 appends a number of four bytes.
func (o *Options) AddUint32(code OptionCode, value uint32) {
	at := o.begin(code)
	o.raw = o.order.append32(o.raw, value)
	o.finish(at)
}

// AddUint64 appends a number of eight bytes.
func (o *Options) AddUint64(code OptionCode, value uint64) {
	at := o.begin(code)
	o.raw = o.order.append64(o.raw, value)
	o.finish(at)
}

// AddCustom appends a custom option. Text that is no UTF-8 is repaired as by AddText.
func (o *Options) AddCustom(c Custom) {
	at := o.begin(customCode(c.Text, c.Copy))
	o.raw = o.order.append32(o.raw, c.Enterprise)
	if c.Text {
		o.raw = append(o.raw, bytes.ToValidUTF8(c.Data, []byte("\uFFFD"))...)
	} else {
		o.raw = append(o.raw, c.Data...)
	}
	o.finish(at)
}

func customCode(text, mayCopy bool) OptionCode {
	code := OptCustomBytesNoCopy
	if mayCopy {
		code = OptCustomBytes
	}
	if text {
		code-- // 2988 is the text of 2989, 19372 that of 19373
	}
	return code
}

// Delete removes every option for which drop says so.
func (o *Options) Delete(drop func(Option) bool) {
	kept := Options{order: o.order, err: o.err}
	for opt := range o.All() {
		if !drop(opt) {
			kept.AddBytes(opt.Code, opt.Value)
		}
	}
	*o = kept
}

// begin appends the header of an option and returns where it starts. The first time it copies what a
// Reader gave, up to the end marker: appending there would write into the Reader's buffer.
func (o *Options) begin(code OptionCode) int {
	if !o.own {
		o.raw = pad(slices.Clone(o.raw[:o.end()]), 0)
		o.own = true
	}
	at := len(o.raw)
	o.raw = o.order.append16(o.raw, uint16(code))
	o.raw = o.order.append16(o.raw, 0)
	return at
}

// finish sets the length of the option that starts at at, and pads it.
func (o *Options) finish(at int) {
	n := len(o.raw) - at - 4
	if n > math.MaxUint16 {
		if o.err == nil {
			o.err = fmt.Errorf("option %d of %d bytes: %w", o.order.uint16(o.raw[at:]), n, ErrOptionTooLong)
		}
		o.raw = o.raw[:at]
		return
	}
	o.order.put16(o.raw[at+2:], uint16(n))
	o.raw = pad(o.raw, at)
}

// SPDX-License-Identifier: Apache-2.0

package pcapng

import "bytes"

// Enterprise is the private enterprise number of ktrace's custom options. IANA has not assigned one;
// 32473 is what RFC 5612 sets aside for examples, so it can never be that of a vendor whose data we would
// take for ours. JSONPrefix keeps other users of the number apart.
const Enterprise uint32 = 32473

// JSONPrefix begins the data of a custom option that holds an event of schema 1.
const JSONPrefix = "ktrace1:"

// AddJSON appends an event as a custom option that may be copied (2988): stock Wireshark does not
// show it, and editcap 4.0 to 4.6 keeps it, on packets and on sections; so does mergecap. An event
// that does not fit an option makes the Writer refuse the block with ErrOptionTooLong.
func (o *Options) AddJSON(event []byte) {
	at := o.begin(OptCustomText)
	o.raw = o.order.append32(o.raw, Enterprise)
	o.raw = append(append(o.raw, JSONPrefix...), event...)
	o.finish(at)
}

// JSON returns the first event that AddJSON appended; it aliases the list. It is whatever the file
// says: decode it with care.
func (o Options) JSON() ([]byte, bool) {
	for opt := range o.All() {
		c, ok := opt.Custom()
		if !ok || c.Enterprise != Enterprise {
			continue
		}
		if event, ok := bytes.CutPrefix(c.Data, []byte(JSONPrefix)); ok {
			return event, true
		}
	}
	return nil, false
}

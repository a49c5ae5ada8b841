// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"ktrace/decoder/event"
	"ktrace/decoder/pcapng"
)

// saidOf reads what is written beside a packet by others.
func saidOf(o pcapng.Options) said {
	var s said
	for opt := range o.All() {
		switch {
		case opt.Code == pcapng.OptComment:
			s.ptcpdump(string(opt.Value))
		case opt.Code == pcapng.OptCustomText:
			if c, ok := opt.Custom(); ok && c.Enterprise == retisEnterprise {
				s.retis(c.Data)
			}
		}
	}
	return s
}

// annotate puts another tool's annotations of a packet into its record, after the facts to which they refer.
func (r *Reader) annotate(p *pcapng.Packet, f *event.RawFrame, s *said) (err error) {
	if s.pid == 0 {
		s.pid, s.tid = p.Process()
	}
	f.PID, f.TID, f.Comm, f.Journey = s.pid, s.tid, s.comm(), s.journey
	if f.TID == 0 {
		f.TID = f.PID
	}
	if f.Cgroup, err = r.emitPod(s); err != nil || s.place == nil {
		return err
	}
	f.Netns, f.Ifindex, f.Direction = s.place.netns, s.place.ifindex, s.way
	return r.tellDevice(s)
}

package node

import (
	"time"

	"ktrace/decoder"
	"ktrace/tracer/netns"
)

// Devices is the decoder.Witness that names the devices which events refer to, of whatever namespace.
type Devices struct {
	root   string
	known  map[decoder.Question]bool // of a question only namespace and device
	missed map[decoder.Question]time.Time
	paths  map[uint32]string
}

// missedAgain is how soon a device that was not found is looked for again, by the events' clock.
const missedAgain = time.Second

// maxDevices is how many are remembered, fewer than decoder.Names does: it is told all of them again before it forgets.
const maxDevices = decoder.RecentMost / 4

// NewDevices returns the witness; root is where the node's file system is.
func NewDevices(root string) *Devices {
	return &Devices{root: root, known: map[decoder.Question]bool{}, missed: map[decoder.Question]time.Time{}, paths: map[uint32]string{}}
}

// About implements decoder.Witness. The first event of a namespace tells all its devices.
func (d *Devices) About(e decoder.Event) []decoder.Fact {
	q := decoder.Question{Netns: e.Netns, Ifindex: e.Ifindex}
	if e.Netns == 0 || e.Ifindex == 0 || d.known[q] || e.Time.Sub(d.missed[q]) < missedAgain {
		return nil
	}
	if len(d.known)+len(d.missed) >= maxDevices {
		clear(d.known)
		clear(d.missed)
		clear(d.paths)
	}
	d.missed[q] = e.Time // names are worth no failure; what is unknown keeps its number
	space := d.open(e.Netns)
	if space == nil {
		return nil
	}
	defer space.Close()
	devices, err := space.Devices()
	if err != nil {
		return nil
	}
	var facts []decoder.Fact
	for _, device := range devices {
		q := decoder.Question{Netns: device.Netns, Ifindex: device.Ifindex}
		if !d.known[q] {
			d.known[q] = true
			facts = append(facts, decoder.Fact{Device: &device})
		}
	}
	return facts
}

// open returns a namespace by its number, nil if nobody is in it and it has no name.
func (d *Devices) open(inode uint32) *netns.Space {
	if s, err := netns.Open(d.paths[inode]); err == nil {
		if s.Inode == inode {
			return s
		}
		_ = s.Close()
	}
	for path := range netns.Paths(d.root) {
		if found, err := netns.Inode(path); err != nil || found != inode {
			continue
		}
		if s, err := netns.Open(path); err == nil && s.Inode == inode {
			d.paths[inode] = path
			return s
		}
	}
	return nil
}

package pcapng

// Interface is one place where packets were captured.
type Interface struct {
	ID       int // its number within the section that a Reader found it in
	LinkType LinkType
	SnapLen  uint32 // the most bytes taken of a packet; 0 is no limit
	Options  Options

	clock clock
}

const interfaceFixed = 8 // link type, reserved, snap length

// NewInterface describes an interface with nanosecond time stamps. SnapLen 0 is no limit. tcpdump
// reads a file only if all of its interfaces have the same link type and snap length.
func NewInterface(name, description string, link LinkType, snapLen uint32) *Interface {
	i := &Interface{LinkType: link, SnapLen: snapLen}
	i.Options.AddText(IfName, name)
	if description != "" {
		i.Options.AddText(IfDescription, description)
	}
	i.Options.AddBytes(IfTimeResolution, []byte{9})
	return i
}

// Name returns if_name, empty if there is none.
func (i *Interface) Name() string {
	name, _ := i.Options.Text(IfName)
	return name
}

// Description returns if_description, empty if there is none.
func (i *Interface) Description() string {
	description, _ := i.Options.Text(IfDescription)
	return description
}

// Filter returns the pcap-filter expression that packets had to match, empty if there is none.
func (i *Interface) Filter() string {
	opt, ok := i.Options.Find(IfFilter)
	if !ok || len(opt.Value) == 0 || opt.Value[0] != 0 {
		return ""
	}
	return string(opt.Value[1:])
}

// AddFilter notes the pcap-filter expression that packets had to match.
func (i *Interface) AddFilter(expression string) {
	i.Options.AddText(IfFilter, "\x00"+expression)
}

// interfaceBlock decodes a block of type BlockInterface. The options are copied: an interface
// outlives its block.
func (b *Block) interfaceBlock() (*Interface, error) {
	body, err := b.body(interfaceFixed)
	if err != nil {
		return nil, err
	}
	i := &Interface{
		ID:       len(b.interfaces),
		LinkType: LinkType(b.Order.uint16(body)),
		SnapLen:  b.Order.uint32(body[4:]),
		Options:  b.options(interfaceFixed).Clone(),
	}
	i.clock = newClock(i.Options)
	return i, nil
}

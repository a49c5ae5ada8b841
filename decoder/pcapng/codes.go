// SPDX-License-Identifier: Apache-2.0

package pcapng

// BlockType says what a block holds. Types with the top bit set are for local use.
type BlockType uint32

// The block types that this package can look into; every other one passes through.
const (
	BlockSection      BlockType = 0x0A0D0D0A // a section begins: byte order, interfaces start over
	BlockInterface    BlockType = 1
	BlockOldPacket    BlockType = 2 // obsolete, still found in old files
	BlockSimplePacket BlockType = 3 // no interface, no time, no options
	BlockNames        BlockType = 4
	BlockStatistics   BlockType = 5
	BlockPacket       BlockType = 6 // the "enhanced" packet, which everybody writes
	BlockJournal      BlockType = 9
	BlockSecrets      BlockType = 10
	BlockCustom       BlockType = 0x00000BAD
	BlockCustomNoCopy BlockType = 0x40000BAD // not to be copied by programs that change the file
)

// OptionCode says what an option holds. Below 2988 its meaning depends on the type of the block.
type OptionCode uint16

// Options that any block may have. The custom ones begin with a private enterprise number.
const (
	OptEnd               OptionCode = 0
	OptComment           OptionCode = 1
	OptCustomText        OptionCode = 2988
	OptCustomBytes       OptionCode = 2989
	OptCustomTextNoCopy  OptionCode = 19372
	OptCustomBytesNoCopy OptionCode = 19373
)

// Options of BlockSection.
const (
	SectionHardware    OptionCode = 2
	SectionOS          OptionCode = 3
	SectionApplication OptionCode = 4
)

// Options of BlockInterface.
const (
	IfName           OptionCode = 2
	IfDescription    OptionCode = 3
	IfIPv4Address    OptionCode = 4 // address and mask, four bytes each; repeatable
	IfIPv6Address    OptionCode = 5 // address and prefix length, 17 bytes; repeatable
	IfMACAddress     OptionCode = 6
	IfEUIAddress     OptionCode = 7
	IfSpeed          OptionCode = 8 // uint64, bit/s
	IfTimeResolution OptionCode = 9 // one byte: 10^-n s, or 2^-n s with the top bit set
	IfTimeZone       OptionCode = 10
	IfFilter         OptionCode = 11 // first byte 0: the rest is a pcap-filter expression
	IfOS             OptionCode = 12
	IfFCSLength      OptionCode = 13
	IfTimeOffset     OptionCode = 14 // int64, seconds
	IfHardware       OptionCode = 15
	IfTxSpeed        OptionCode = 16 // uint64, bit/s
	IfRxSpeed        OptionCode = 17 // uint64, bit/s
	IfIANAZone       OptionCode = 18
)

// Options of BlockPacket. BlockOldPacket has the first two.
const (
	PacketFlags     OptionCode = 2 // uint32, see Flags
	PacketHash      OptionCode = 3 // algorithm byte, then the hash; repeatable
	PacketDropCount OptionCode = 4 // uint64: lost on this interface since its packet before
	PacketID        OptionCode = 5 // uint64: the same for one packet seen in several places
	PacketQueue     OptionCode = 6 // uint32
	PacketVerdict   OptionCode = 7 // kind byte, then what the kind defines; repeatable
	PacketProcess   OptionCode = 8 // process id and thread id, uint32 each; 0 is unknown
)

// Options of BlockNames.
const (
	NamesServer     OptionCode = 2
	NamesServerIPv4 OptionCode = 3
	NamesServerIPv6 OptionCode = 4
)

// Options of BlockStatistics. Times count in the unit of the interface, counters are uint64.
const (
	StatStart     OptionCode = 2
	StatEnd       OptionCode = 3
	StatReceived  OptionCode = 4
	StatDropped   OptionCode = 5 // by the interface, for lack of resources
	StatAccepted  OptionCode = 6 // by the filter
	StatOSDropped OptionCode = 7
	StatDelivered OptionCode = 8 // to the program that captured
)

// LinkType says which header a captured packet begins with. https://www.tcpdump.org/linktypes.html
type LinkType uint16

// Link types that ktrace writes or has to know.
const (
	LinkNull      LinkType = 0
	LinkEthernet  LinkType = 1
	LinkRaw       LinkType = 101 // IPv4 or IPv6 without any header before it
	LinkLinuxSLL  LinkType = 113
	LinkUpperPDU  LinkType = 252 // Wireshark's exported PDU
	LinkLinuxSLL2 LinkType = 276
)

// PacketProcessIndex is a local-use packet option: uint32, the index within the section of the
// BlockProcess that sent or received the packet. Wireshark 4.6 shows it for files of any system.
const PacketProcessIndex OptionCode = 0x8001

// BlockProcess is a local-use block, first written on Darwin: uint32 process id, then options, of
// which 2 is the name.
const BlockProcess BlockType = 0x80000001

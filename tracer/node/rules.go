package node

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"ktrace/decoder/netfilter"
)

// Messages of nftables (enum nf_tables_msg_types), with their subsystem.
const (
	nftables      = unix.NFNL_SUBSYS_NFTABLES << 8
	nftGetTable   = nftables | unix.NFT_MSG_GETTABLE
	nftGetChain   = nftables | unix.NFT_MSG_GETCHAIN
	nftGetRule    = nftables | unix.NFT_MSG_GETRULE
	nftGetSet     = nftables | unix.NFT_MSG_GETSET
	nftGetSetElem = nftables | unix.NFT_MSG_GETSETELEM
)

// Bounds of one reading.
const (
	maxRuleBytes = 256 << 20 // of what the kernel says of rules
	maxSetLoads  = 256       // sets whose elements are read for one question
)

// errTooMuch ends a reading that would take more memory than it is worth.
var errTooMuch = errors.New("more rules than ktrace reads")

// readRules reads every table of the namespace that the thread is in. What cannot be read is named in Unread.
func readRules() *netfilter.Ruleset {
	rs := &netfilter.Ruleset{}
	for _, f := range []netfilter.Family{netfilter.IPv4, netfilter.IPv6} {
		tables, err := readLegacy(f)
		rs.Tables = append(rs.Tables, tables...)
		if err != nil {
			rs.Unread = append(rs.Unread, err.Error())
		}
	}
	tables, err := readNFT()
	rs.Tables = append(rs.Tables, tables...)
	if err != nil {
		rs.Unread = append(rs.Unread, err.Error())
	}
	return rs
}

// readNFT reads the tables of nftables, iptables-nft's among them. A kernel without nftables has none.
func readNFT() ([]*netfilter.Table, error) {
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	defer c.close()
	// Between two changes of the rules the dumps agree with each other; if there was one, once more.
	const tries = 3
	for try := 1; ; try++ {
		n, err := dumpNFT(c)
		switch {
		case errors.Is(err, unix.EINTR) && try < tries:
			continue
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
			return nil, nil
		case err != nil:
			return n.Tables(), fmt.Errorf("nftables: %w", err)
		}
		return n.Tables(), nil
	}
}

func dumpNFT(c *conn) (*netfilter.NFT, error) {
	n := &netfilter.NFT{}
	left := maxRuleBytes
	for _, step := range []struct {
		kind uint16
		take func([]byte)
	}{{nftGetTable, n.Table}, {nftGetChain, n.Chain}, {nftGetSet, n.Set}, {nftGetRule, n.Rule}} {
		err := c.ask(step.kind, unix.NLM_F_DUMP, nfgenmsg(unix.AF_UNSPEC), func(m message) error {
			if left -= len(m.payload); left < 0 {
				return errTooMuch
			}
			step.take(m.payload)
			return nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func nfgenmsg(family byte) []byte { return []byte{family, unix.NFNETLINK_V0, 0, 0} }

// loadSets reads the elements of sets that a question turned out to need.
func loadSets(sets []*netfilter.Set) error {
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.close()
	for _, s := range sets[:min(len(sets), maxSetLoads)] {
		body := nfgenmsg(byte(s.Family))
		body = attr(body, unix.NFTA_SET_ELEM_LIST_TABLE, append([]byte(s.Table), 0))
		body = attr(body, unix.NFTA_SET_ELEM_LIST_SET, append([]byte(s.Name), 0))
		var msgs [][]byte
		left := maxRuleBytes
		err := c.ask(nftGetSetElem, unix.NLM_F_DUMP, body, func(m message) error {
			if left -= len(m.payload); left < 0 {
				return errTooMuch
			}
			msgs = append(msgs, append([]byte(nil), m.payload...))
			return nil
		})
		if err != nil {
			return fmt.Errorf("set %s: %w", s, err)
		}
		s.Load(msgs)
	}
	return nil
}

// Options of getsockopt by which iptables-legacy reads a table (enum in <linux/netfilter_ipv4/ip_tables.h>; those of
// IPv6 have the same numbers).
const (
	soGetInfo    = 64
	soGetEntries = 65
	infoSize     = 84
	entriesHead  = 40
)

// readLegacy reads the tables of iptables-legacy. Only tables that exist are asked for: asking for one that does not
// would make it, and with it hooks that every packet passes.
func readLegacy(f netfilter.Family) ([]*netfilter.Table, error) {
	domain, level, list := unix.AF_INET, unix.SOL_IP, "ip_tables_names"
	if f == netfilter.IPv6 {
		domain, level, list = unix.AF_INET6, unix.SOL_IPV6, "ip6_tables_names"
	}
	text, err := os.ReadFile("/proc/thread-self/net/" + list)
	if errors.Is(err, os.ErrNotExist) || len(strings.Fields(string(text))) == 0 {
		return nil, nil // the kernel has none, or nobody used them
	}
	if err != nil {
		return nil, fmt.Errorf("iptables-legacy: %w", err)
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("iptables-legacy: %w", err)
	}
	defer unix.Close(fd)
	var tables []*netfilter.Table
	for _, name := range strings.Fields(string(text)) {
		t, err := readLegacyTable(fd, level, f, name)
		if err != nil {
			return tables, fmt.Errorf("iptables-legacy: table %s: %w", name, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

func readLegacyTable(fd, level int, f netfilter.Family, name string) (*netfilter.Table, error) {
	// The table may grow between the two calls: then the second answers EAGAIN.
	const tries = 3
	for try := 1; ; try++ {
		info := make([]byte, infoSize)
		copy(info[:31], name)
		if err := getsockopt(fd, level, soGetInfo, info); err != nil {
			return nil, err
		}
		i := legacyInfo(info[32:])
		if i.Size > maxRuleBytes {
			return nil, errTooMuch
		}
		entries := make([]byte, entriesHead+int(i.Size))
		copy(entries[:31], name)
		native.PutUint32(entries[32:], i.Size)
		err := getsockopt(fd, level, soGetEntries, entries)
		if errors.Is(err, unix.EAGAIN) && try < tries {
			continue
		}
		if err != nil {
			return nil, err
		}
		return netfilter.ParseLegacy(f, name, i, entries[entriesHead:])
	}
}

func legacyInfo(b []byte) netfilter.LegacyInfo {
	i := netfilter.LegacyInfo{ValidHooks: native.Uint32(b), Entries: native.Uint32(b[44:]), Size: native.Uint32(b[48:])}
	for h := range i.Entry {
		i.Entry[h], i.Underflow[h] = native.Uint32(b[4+4*h:]), native.Uint32(b[24+4*h:])
	}
	return i
}

// getsockopt is the plain system call: the wrappers of x/sys know no option that is an array in and out.
func getsockopt(fd, level, option int, b []byte) error {
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return os.NewSyscallError("getsockopt", errno)
	}
	return nil
}

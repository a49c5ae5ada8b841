// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"ktrace/decoder/ruleset"
	"ktrace/tracer/netlink"
)

// Messages of nftables (enum nf_tables_msg_types), with their subsystem.
const (
	nftables      = unix.NFNL_SUBSYS_NFTABLES << 8
	nftGetTable   = nftables | unix.NFT_MSG_GETTABLE
	nftGetChain   = nftables | unix.NFT_MSG_GETCHAIN
	nftGetRule    = nftables | unix.NFT_MSG_GETRULE
	nftGetSet     = nftables | unix.NFT_MSG_GETSET
	nftGetGen     = nftables | unix.NFT_MSG_GETGEN
	nftGetSetElem = nftables | unix.NFT_MSG_GETSETELEM
)

// Bounds of one reading.
const (
	maxRuleBytes = 256 << 20 // of what the kernel says of rules
	maxSetLoads  = 256       // sets whose elements are read for one lookup
)

// errTooMuch ends a reading that would take more memory than it is worth.
var errTooMuch = errors.New("more rules than ktrace reads")

// readRules reads every table of the namespace that the thread is in. What cannot be read is named in Unread.
func readRules() *ruleset.Ruleset {
	rs := &ruleset.Ruleset{}
	readAllLegacy(rs)
	readAllNFT(rs)
	nameIPSets(rs)
	return rs
}

// recount reads the counters of rules that were read before; if rules changed, it reads all again. nftables dumps the rules
// of one chain fast, but all of them slowly: for every datagram of the dump it begins again at the first rule.
func recount(old *ruleset.Ruleset) *ruleset.Ruleset {
	rs := &ruleset.Ruleset{Generation: old.Generation}
	readAllLegacy(rs)
	if old.Generation == 0 || len(old.Unread) > 0 || !recountNFT(old) {
		rs.Generation = 0
		readAllNFT(rs)
		nameIPSets(rs)
		return rs
	}
	nameIPSets(rs)
	for _, t := range old.Tables {
		if t.System != ruleset.Legacy {
			rs.Tables = append(rs.Tables, t)
		}
	}
	return rs
}

func readAllLegacy(rs *ruleset.Ruleset) {
	for _, f := range []ruleset.Family{ruleset.IPv4, ruleset.IPv6} {
		tables, err := readLegacy(f)
		rs.Tables = append(rs.Tables, tables...)
		if err != nil {
			rs.Unread = append(rs.Unread, err.Error())
		}
	}
}

func readAllNFT(rs *ruleset.Ruleset) {
	tables, generation, err := readNFT()
	rs.Tables, rs.Generation = append(rs.Tables, tables...), generation
	if err != nil {
		rs.Unread = append(rs.Unread, err.Error())
	}
}

// recountNFT renews the counters of the rules that may drop. It returns false if rules changed meanwhile.
func recountNFT(rs *ruleset.Ruleset) bool {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return false
	}
	defer c.Close()
	if generation(c) != rs.Generation {
		return false
	}
	same := true
	for _, chain := range rs.Counting() {
		body := nfgenmsg(byte(chain.Table.Family))
		body = netlink.AppendString(body, unix.NFTA_RULE_TABLE, chain.Table.Name)
		rules := netlink.AppendString(body, unix.NFTA_RULE_CHAIN, chain.Name)
		i := 0
		err := c.Ask(nftGetRule, unix.NLM_F_DUMP, rules, func(m netlink.Message) error {
			same = same && chain.Recount(i, m.Payload)
			i++
			return nil
		})
		if err == nil && chain.Hook != ruleset.NoHook {
			policy := netlink.AppendString(body, unix.NFTA_CHAIN_NAME, chain.Name)
			err = c.Ask(nftGetChain, 0, policy, func(m netlink.Message) error {
				chain.RecountPolicy(m.Payload)
				return nil
			})
		}
		if err != nil || !same {
			return false
		}
	}
	return generation(c) == rs.Generation
}

// generation is nftables' number of the present state; 0 if it has none.
func generation(c *netlink.Conn) (id uint32) {
	const genID = 1
	err := c.Ask(nftGetGen, 0, nfgenmsg(unix.AF_UNSPEC), func(m netlink.Message) error {
		if len(m.Payload) >= 4 {
			id = netlink.NetUint32(netlink.AttrMap(m.Payload[4:])[genID])
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return id
}

// readNFT reads the tables of nftables, iptables-nft's among them. A kernel without nftables has none.
func readNFT() ([]*ruleset.Table, uint32, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, 0, fmt.Errorf("nftables: %w", err)
	}
	defer c.Close()
	// The dumps are of one state unless the rules change between them; then they are read again.
	const tries = 3
	for try := 1; ; try++ {
		id := generation(c)
		n, err := dumpNFT(c)
		switch {
		case errors.Is(err, unix.EINTR) && try < tries:
			continue
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
			return nil, 0, nil
		case err != nil:
			return n.Tables(), 0, fmt.Errorf("nftables: %w", err)
		}
		return n.Tables(), id, nil
	}
}

func dumpNFT(c *netlink.Conn) (*ruleset.NFT, error) {
	n := &ruleset.NFT{}
	left := maxRuleBytes
	for _, step := range []struct {
		kind uint16
		take func([]byte)
	}{{nftGetTable, n.Table}, {nftGetChain, n.Chain}, {nftGetSet, n.Set}, {nftGetRule, n.Rule}} {
		err := c.Ask(step.kind, unix.NLM_F_DUMP, nfgenmsg(unix.AF_UNSPEC), func(m netlink.Message) error {
			if left -= len(m.Payload); left < 0 {
				return errTooMuch
			}
			step.take(m.Payload)
			return nil
		})
		if err != nil || n.Empty() { // as most namespaces are
			return n, err
		}
	}
	return n, nil
}

func nfgenmsg(family byte) []byte { return []byte{family, unix.NFNETLINK_V0, 0, 0} }

// loadSets reads the elements of the sets that a lookup needs.
func loadSets(sets []*ruleset.Set) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, s := range sets[:min(len(sets), maxSetLoads)] {
		body := nfgenmsg(byte(s.Family))
		body = netlink.AppendString(body, unix.NFTA_SET_ELEM_LIST_TABLE, s.Table)
		body = netlink.AppendString(body, unix.NFTA_SET_ELEM_LIST_SET, s.Name)
		var msgs [][]byte
		left := maxRuleBytes
		err := c.Ask(nftGetSetElem, unix.NLM_F_DUMP, body, func(m netlink.Message) error {
			if left -= len(m.Payload); left < 0 {
				return errTooMuch
			}
			msgs = append(msgs, append([]byte(nil), m.Payload...))
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
func readLegacy(f ruleset.Family) ([]*ruleset.Table, error) {
	domain, level, list := unix.AF_INET, unix.SOL_IP, "ip_tables_names"
	if f == ruleset.IPv6 {
		domain, level, list = unix.AF_INET6, unix.SOL_IPV6, "ip6_tables_names"
	}
	text, err := os.ReadFile("/proc/thread-self/net/" + list)
	if errors.Is(err, os.ErrNotExist) || len(strings.Fields(string(text))) == 0 {
		return nil, nil // the kernel has none, or none is in use
	}
	if err != nil {
		return nil, fmt.Errorf("iptables-legacy: %w", err)
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("iptables-legacy: %w", err)
	}
	defer unix.Close(fd)
	var tables []*ruleset.Table
	for _, name := range strings.Fields(string(text)) {
		t, err := readLegacyTable(fd, level, f, name)
		if err != nil {
			return tables, fmt.Errorf("iptables-legacy: table %s: %w", name, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

func readLegacyTable(fd, level int, f ruleset.Family, name string) (*ruleset.Table, error) {
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
		binary.NativeEndian.PutUint32(entries[32:], i.Size)
		err := getsockopt(fd, level, soGetEntries, entries)
		if errors.Is(err, unix.EAGAIN) && try < tries {
			continue
		}
		if err != nil {
			return nil, err
		}
		return ruleset.ParseLegacy(f, name, i, entries[entriesHead:])
	}
}

func legacyInfo(b []byte) ruleset.LegacyInfo {
	i := ruleset.LegacyInfo{ValidHooks: binary.NativeEndian.Uint32(b), Entries: binary.NativeEndian.Uint32(b[44:]), Size: binary.NativeEndian.Uint32(b[48:])}
	for h := range i.Entry {
		i.Entry[h], i.Underflow[h] = binary.NativeEndian.Uint32(b[4+4*h:]), binary.NativeEndian.Uint32(b[24+4*h:])
	}
	return i
}

// nameIPSets asks for the names of the ipsets that rules look into (struct ip_set_req_get_set). One that is gone, or may
// not be asked for, keeps its number.
func nameIPSets(rs *ruleset.Ruleset) {
	const soIPSet, getByIndex, protocol, nameAt, size = 83, 7, 6, 8, 40
	fd := -1
	names := map[uint16]string{}
	rs.NameIPSets(func(index uint16) string {
		if name, ok := names[index]; ok {
			return name
		}
		if fd < 0 {
			var err error
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
				return ""
			}
		}
		b := make([]byte, size)
		binary.NativeEndian.PutUint32(b, getByIndex)
		binary.NativeEndian.PutUint32(b[4:], protocol)
		binary.NativeEndian.PutUint16(b[nameAt:], index)
		if getsockopt(fd, unix.SOL_IP, soIPSet, b) == nil {
			names[index] = unix.ByteSliceToString(b[nameAt:])
		}
		return names[index]
	})
	if fd >= 0 {
		unix.Close(fd)
	}
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

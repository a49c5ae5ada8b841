// SPDX-License-Identifier: Apache-2.0

package filtertest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Oracle is a classic BPF program as libpcap's compiler made it.
type Oracle []instruction

type instruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// Available reports whether tcpdump is installed.
func Available() bool {
	_, err := exec.LookPath("tcpdump")
	return err == nil
}

// Compile has tcpdump compile an expression for a link type, by tcpdump's name of it, with or without
// libpcap's optimizer. The error is tcpdump's.
func Compile(link, expr string, optimize bool) (Oracle, error) {
	args := []string{"-y", link, "-ddd"}
	if !optimize {
		args = append(args, "-O")
	}
	cmd := exec.Command("tcpdump", append(args, "--", expr)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if strings.Contains(stderr.String(), "expression rejects all packets") { // which the optimizer calls an error
		return Oracle{{code: 6}}, nil
	}
	if err != nil {
		return nil, errors.New(strings.TrimSpace(stderr.String()))
	}
	var o Oracle
	s := bufio.NewScanner(bytes.NewReader(out))
	s.Scan() // the count
	for s.Scan() {
		var in instruction
		if _, err := fmt.Sscan(s.Text(), &in.code, &in.jt, &in.jf, &in.k); err != nil {
			return nil, fmt.Errorf("tcpdump printed %q: %w", s.Text(), err)
		}
		o = append(o, in)
	}
	return o, nil
}

// Beside is what Linux lets a program ask of a packet beside its bytes.
type Beside struct {
	PacketType uint32 // 0 received, 4 sent
	Interface  uint32
}

// Offsets from which Linux answers instead of the packet (SKF_AD_OFF and what is added to it).
const (
	askPacketType = 0xfffff000 + 4
	askInterface  = 0xfffff000 + 8
)

// machine is the state of a running program.
type machine struct {
	data   []byte
	length uint32
	beside Beside
	a, x   uint32
	mem    [16]uint32
}

// Match runs the program over a packet as libpcap's interpreter would.
func (o Oracle) Match(data []byte, length int, beside Beside) bool {
	m := machine{data: data, length: uint32(length), beside: beside}
	for pc := 0; ; pc++ {
		in := o[pc]
		switch in.code & 7 {
		case 0, 1: // ld, ldx
			v, ok := m.load(in)
			if !ok {
				return false
			}
			if in.code&7 == 0 {
				m.a = v
			} else {
				m.x = v
			}
		case 2:
			m.mem[in.k] = m.a
		case 3:
			m.mem[in.k] = m.x
		case 4:
			if !m.calculate(in) {
				return false
			}
		case 5:
			pc += m.jump(in)
		case 6:
			return in.k != 0
		case 7:
			if in.code&0xf8 == 0 {
				m.x = m.a
			} else {
				m.a = m.x
			}
		}
	}
}

func (m *machine) load(in instruction) (uint32, bool) {
	off := uint64(in.k)
	switch in.code & 0xe0 {
	case 0x00:
		return in.k, true
	case 0x60:
		return m.mem[in.k], true
	case 0x80:
		return m.length, true
	case 0xa0: // 4*([k]&0xf)
		if off >= uint64(len(m.data)) {
			return 0, false
		}
		return 4 * uint32(m.data[off]&0xf), true
	case 0x20:
		switch in.k {
		case askPacketType:
			return m.beside.PacketType, true
		case askInterface:
			return m.beside.Interface, true
		}
	case 0x40:
		off += uint64(m.x)
	}
	return m.read(off, in.code&0x18)
}

// read reads a word, a half word or a byte.
func (m *machine) read(off uint64, size uint16) (uint32, bool) {
	left := uint64(len(m.data)) - min(off, uint64(len(m.data)))
	switch {
	case size == 0x00 && left >= 4:
		return binary.BigEndian.Uint32(m.data[off:]), true
	case size == 0x08 && left >= 2:
		return uint32(binary.BigEndian.Uint16(m.data[off:])), true
	case size == 0x10 && left >= 1:
		return uint32(m.data[off]), true
	}
	return 0, false
}

func (m *machine) operand(in instruction) uint32 {
	if in.code&8 != 0 {
		return m.x
	}
	return in.k
}

func (m *machine) calculate(in instruction) bool {
	b := m.operand(in)
	switch in.code & 0xf0 {
	case 0x00:
		m.a += b
	case 0x10:
		m.a -= b
	case 0x20:
		m.a *= b
	case 0x30, 0x90:
		if b == 0 {
			return false
		}
		if in.code&0xf0 == 0x30 {
			m.a /= b
		} else {
			m.a %= b
		}
	case 0x40:
		m.a |= b
	case 0x50:
		m.a &= b
	case 0x60:
		m.a <<= b
	case 0x70:
		m.a >>= b
	case 0x80:
		m.a = -m.a
	case 0xa0:
		m.a ^= b
	}
	return true
}

func (m *machine) jump(in instruction) int {
	b := m.operand(in)
	holds := false
	switch in.code & 0xf0 {
	case 0x00:
		return int(in.k)
	case 0x10:
		holds = m.a == b
	case 0x20:
		holds = m.a > b
	case 0x30:
		holds = m.a >= b
	case 0x40:
		holds = m.a&b != 0
	}
	if holds {
		return int(in.jt)
	}
	return int(in.jf)
}

// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// counter is one of a protocol's counters, by the name that nstat gives it.
type counter struct {
	name string
	n    uint64
}

// counters are the protocols' counters of a namespace, in the kernel's order.
type counters []counter

// netstat are the counters of a namespace as its files had them.
type netstat struct {
	text uint64 // the files' hash
	all  counters
}

// netstatReader reads the counters of namespaces. There are some 400 in each, by the same names.
type netstatReader struct {
	seed  maphash.Seed
	text  []byte
	names []string // as last read
}

func newNetstatReader() netstatReader { return netstatReader{seed: maphash.MakeSeed()} }

// read reads the counters of the namespace that the thread is in. They are those before if the files are the same, as they
// are from second to second in most namespaces of a node: to parse them takes as long as the kernel does to write them.
func (r *netstatReader) read(before netstat) (netstat, error) {
	r.text = r.text[:0]
	for _, file := range []string{"netstat", "snmp", "snmp6"} {
		err := r.readFile("/proc/thread-self/net/" + file)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // as snmp6 does without IPv6
			return netstat{}, fmt.Errorf("counters: %w", err)
		}
	}
	if text := maphash.Bytes(r.seed, r.text); before.all == nil || text != before.text {
		return netstat{text, r.parse(make(counters, 0, len(r.names)), r.text)}, nil
	}
	return before, nil
}

// readFile appends a file to r.text, whose room is used again.
func (r *netstatReader) readFile(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		r.text = slices.Grow(r.text, 8<<10) // more than any of the files has
		n, err := unix.Read(fd, r.text[len(r.text):cap(r.text)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return &os.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return nil
		default:
			r.text = r.text[:len(r.text)+n]
		}
	}
}

// parse reads both forms: a line of names and one of numbers, each after the protocol's name, or one name and number a line.
func (r *netstatReader) parse(all counters, text []byte) counters {
	var names []byte
	for line := range bytes.Lines(text) {
		switch first, rest := cutField(line); {
		case !bytes.HasSuffix(first, []byte(":")):
			number, _ := cutField(rest)
			all = r.add(all, nil, first, number)
		case names != nil && bytes.HasPrefix(names, first):
			all = r.pairs(all, first[:len(first)-1], names[len(first):], rest)
			names = nil
		default:
			names = line
		}
	}
	return all
}

func (r *netstatReader) pairs(all counters, protocol, names, numbers []byte) counters {
	for {
		var name, number []byte
		name, names = cutField(names)
		number, numbers = cutField(numbers)
		if len(name) == 0 || len(number) == 0 {
			return all
		}
		all = r.add(all, protocol, name, number)
	}
}

// cutField returns the first word of a line, and what follows.
func cutField(line []byte) (field, rest []byte) {
	begin := 0
	for begin < len(line) && isSpace(line[begin]) {
		begin++
	}
	end := begin
	for end < len(line) && !isSpace(line[end]) {
		end++
	}
	return line[begin:end], line[end:]
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

// add adds a number; those below zero are no counters.
func (r *netstatReader) add(all counters, protocol, name, number []byte) counters {
	n, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return all
	}
	return append(all, counter{r.name(len(all), protocol, name), n})
}

// name returns the name of the i-th counter, the one that it had where it was last read if it is the same.
func (r *netstatReader) name(i int, protocol, name []byte) string {
	if i == len(r.names) {
		r.names = append(r.names, "")
	}
	was := r.names[i]
	if len(was) != len(protocol)+len(name) || was[:len(protocol)] != string(protocol) || was[len(protocol):] != string(name) {
		r.names[i] = string(protocol) + string(name)
	}
	return r.names[i]
}

// rose is what is higher than before.
func (c counters) rose(before counters) map[string]uint64 {
	up := map[string]uint64{}
	for i, now := range c {
		if old := before.at(i, now.name); now.n > old {
			up[now.name] = now.n - old
		}
	}
	return up
}

// at returns the counter of a name, which is the i-th unless the kernel lists others: those of ICMP's types come with
// their first message.
func (c counters) at(i int, name string) uint64 {
	if i >= len(c) || c[i].name != name {
		i = slices.IndexFunc(c, func(o counter) bool { return o.name == name })
	}
	if i < 0 {
		return 0
	}
	return c[i].n
}

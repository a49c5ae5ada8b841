// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// asForger in the environment makes a test binary send packets for a Forger, from the first device to this link address.
const asForger = "KTRACE_LAB_FORGER"

// Forger is an Attacker's pod: who runs in it is root of its network namespace, and of nothing else.
type Forger struct {
	*Pod
	in  io.Writer
	out io.Reader
}

// AddForger makes a pod like AddPod, in namespaces of an Attacker. The package's TestMain must be Main.
func (c *Cluster) AddForger(name string) *Forger {
	c.t.Helper()
	a := NewAttacker(c.t, "hold ready")
	a.Await()
	ns := &NS{t: c.t, Name: c.prefix + "-" + name}
	c.spaces[name] = ns
	if err := bindNetns(a.Netns(), ns.Path()); err != nil {
		c.t.Fatal(err)
	}
	f := &Forger{Pod: c.addPodAt(c.Node, name)}
	var router net.HardwareAddr
	c.Node.Do(func() {
		d, err := net.InterfaceByName(f.Veth)
		if err != nil {
			c.t.Fatal(err)
		}
		router = d.HardwareAddr
	})
	f.start(a, router)
	return f
}

// bindNetns makes a file that stands for a namespace.
func bindNetns(of, path string) error {
	if err := shareNetnsDir(); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return err
	}
	return unix.Mount(of, path, "", unix.MS_BIND, "")
}

// start runs the process that sends, in the attacker's namespaces and by his right. It gets this binary as a file that is open: he may
// not look for it where it is.
func (f *Forger) start(a *Attacker, router net.HardwareAddr) {
	t := f.t
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	c := exec.Command("nsenter", "-t", strconv.Itoa(a.PID()), "-U", "-n", "-S", "0", "-G", "0", "/proc/self/fd/3")
	c.Env, c.ExtraFiles, c.Stderr = append(os.Environ(), asForger+"="+router.String()), []*os.File{self}, os.Stderr
	in, noIn := c.StdinPipe()
	out, noOut := c.StdoutPipe()
	if err := errors.Join(noIn, noOut, c.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			t.Errorf("the forger: %v", err)
		}
	})
	f.in, f.out = in, out
}

// Send sends IP packets as they are to the node, by a packet socket. It returns when they are out.
func (f *Forger) Send(packets ...[]byte) {
	f.t.Helper()
	for _, p := range packets {
		_, err := f.in.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...))
		if err == nil {
			_, err = io.ReadFull(f.out, make([]byte, 1))
		}
		if err != nil {
			f.t.Fatalf("the forger: %v", err)
		}
	}
}

// forge is the process that a Forger runs.
func forge(router string) error {
	to, noAddress := net.ParseMAC(router)
	device, noDevice := net.InterfaceByName("eth0")
	fd, noSocket := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err := errors.Join(noAddress, noDevice, noSocket); err != nil {
		return err
	}
	for {
		var size [2]byte
		if _, err := io.ReadFull(os.Stdin, size[:]); err != nil {
			return nil // the test is over
		}
		p := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(os.Stdin, p); err != nil {
			return fmt.Errorf("reading a packet: %w", err)
		}
		kind := map[byte]uint16{4: unix.ETH_P_IP, 6: unix.ETH_P_IPV6}[p[0]>>4]
		at := &unix.SockaddrLinklayer{Protocol: kind<<8 | kind>>8, Ifindex: device.Index, Halen: uint8(len(to))}
		copy(at.Addr[:], to)
		if err := unix.Sendto(fd, p, 0, at); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
		if _, err := os.Stdout.Write([]byte{1}); err != nil {
			return err
		}
	}
}

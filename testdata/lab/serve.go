// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// ServeTCP takes connections at an address of the namespace until the test ends, and closes each once serve returns.
func (ns *NS) ServeTCP(addr string, serve func(*net.TCPConn)) {
	ns.t.Helper()
	ns.Do(func() {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			ns.t.Fatal(err)
		}
		ns.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer Close(conn)
					serve(conn.(*net.TCPConn))
				}()
			}
		}()
	})
}

// Close closes a connection or listener, and with it the socket: a program that is about to be started holds a copy of it until
// then, and would be who closes it.
func Close(socket io.Closer) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	socket.Close()
}

// ServeUDP takes datagrams at an address of the namespace, one after the other, until stop is called or the test ends.
func (ns *NS) ServeUDP(addr string, serve func(at net.PacketConn, from net.Addr, data []byte)) (stop func()) {
	ns.t.Helper()
	ns.Do(func() {
		conn, err := net.ListenPacket("udp", addr)
		if err != nil {
			ns.t.Fatal(err)
		}
		stop = func() { conn.Close() }
		ns.t.Cleanup(stop)
		go func() {
			data := make([]byte, 4096)
			for {
				n, from, err := conn.ReadFrom(data)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err != nil {
					ns.t.Error(err)
					return
				}
				serve(conn, from, data[:n])
			}
		}()
	})
	return stop
}

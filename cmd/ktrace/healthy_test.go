// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// healthyFor is how long the mixed load goes on: go test -run Healthy -args -healthy 10m
var healthyFor = flag.Duration("healthy", 8*time.Second, "how long the healthy mixed load goes on")

// restarting is a server that is stopped and started again while it has clients. It holds away while it is down, which
// a busy machine may draw out: to be refused for long is a finding.
func restarting(t *testing.T, ns *lab.NS, addr string, away sync.Locker, until time.Time) {
	for {
		var l net.Listener
		var err error
		for err = syscall.EADDRINUSE; errors.Is(err, syscall.EADDRINUSE); { // the one before is not quite gone
			ns.Do(func() { l, err = net.Listen("tcp", addr) })
		}
		away.Unlock()
		if err != nil {
			t.Error(err)
			return
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			serve(l, func() func(net.Conn) { return readAll })
		}()
		if time.Until(until) < restartEvery {
			t.Cleanup(func() { l.Close() }) // the last one stays for those that still come
			return
		}
		time.AfterFunc(restartEvery, func() {
			away.Lock()
			l.Close()
		})
		<-served
	}
}

// restartEvery is how long a server runs.
const restartEvery = 2 * time.Second

// transfer sends much to a service, and reads to the end.
func transfer(t *testing.T, p *lab.Pod, addr string, there sync.Locker, size int64) {
	p.Do(func() {
		there.Lock()
		c, err := net.DialTimeout("tcp", addr, unhurried)
		there.Unlock()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.CopyN(c, zeros{}, size)
	})
}

// unhurried is how long a client of a busy but healthy machine waits.
const unhurried = 30 * time.Second

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// TestDiagnoseIsSilentOnHealthyMixedLoad: small requests, DNS, large transfers, restarts of a server, over IPv4 and IPv6.
func TestDiagnoseIsSilentOnHealthyMixedLoad(t *testing.T) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	var load sync.WaitGroup
	echoTCP(t, c.Server, "8080")
	run := lab.Ktrace(t, "diagnose", "--slow", unhurried.String(), "--duration", (*healthyFor + time.Hour).String(), "--netns", p.Path())
	until := time.Now().Add(*healthyFor) // ktrace may take as long to start where a kernel is emulated
	for i, f := range stacks() {
		f.kube(c.Node, "web", "tcp", f.service(), net.JoinHostPort(f.server, "8080"))
		family := dnsFamilies()[i]
		family.cluster(t, c, p)
		f.kube(c.Node, "big", "tcp", f.far(), net.JoinHostPort(f.server, "9090"))
		var server sync.RWMutex
		server.Lock() // until it serves
		for _, traffic := range []func(){
			func() { fetch(p.NS, net.JoinHostPort(f.service(), "80"), unhurried) },
			func() { lookup(p, f.service(), "web.example.org") },
			func() { transfer(t, p, net.JoinHostPort(f.far(), "80"), server.RLocker(), 1<<20) },
		} {
			load.Add(1)
			go func() {
				defer load.Done()
				for time.Now().Before(until) {
					traffic()
				}
			}()
		}
		load.Add(1)
		go func() {
			defer load.Done()
			restarting(t, c.Server, net.JoinHostPort(f.server, "9090"), &server, until)
		}()
	}
	load.Wait()
	lines := run.Stop()
	for _, l := range lab.Findings(lines) {
		var f struct{ ID, Severity, Title string }
		l.Into(t, &f)
		if f.Severity != "info" {
			t.Errorf("claims %s: %s\n%s", f.ID, f.Title, l.Raw)
		}
	}
	var sum struct{ Records uint64 }
	lab.Summary(t, lines).Into(t, &sum)
	least := uint64(100)
	if testing.Short() {
		least = 50 // where a kernel is emulated
	}
	if sum.Records < least {
		t.Errorf("%d records: the load did not pass", sum.Records)
	}
	t.Logf("%d records, %d findings of information only", sum.Records, len(lab.Findings(lines)))
}

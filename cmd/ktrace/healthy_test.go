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

// restarting is a server that is stopped and started again while clients come.
func restarting(t *testing.T, ns *lab.NS, addr string, until time.Time) {
	for time.Now().Before(until) {
		var l net.Listener
		var err error
		ns.Do(func() { l, err = net.Listen("tcp", addr) })
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // the one before is not quite gone
		}
		if err != nil {
			t.Error(err)
			return
		}
		end := time.AfterFunc(2*time.Second, func() { l.Close() })
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			go readAll(c)
		}
		end.Stop()
	}
}

// transfer sends much to a service, and reads to the end.
func transfer(p *lab.Pod, addr string, size int64) {
	p.Do(func() {
		c, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err != nil {
			return // the server is being restarted
		}
		defer c.Close()
		_, _ = io.CopyN(c, zeros{}, size)
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// TestDiagnoseIsSilentOnHealthyMixedLoad: small requests, DNS, large transfers, restarts of a server, over IPv4 and IPv6.
func TestDiagnoseIsSilentOnHealthyMixedLoad(t *testing.T) {
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	until := time.Now().Add(*healthyFor)
	var load sync.WaitGroup
	echoTCP(t, c.Server, "8080")
	run := lab.Ktrace(t, "diagnose", "--duration", (*healthyFor + time.Hour).String(), "--netns", p.Path())
	for i, f := range stacks() {
		f.kube(c.Node, "web", "tcp", f.service(), net.JoinHostPort(f.server, "8080"))
		family := dnsFamilies()[i]
		family.cluster(t, c, p)
		f.kube(c.Node, "big", "tcp", f.far(), net.JoinHostPort(f.server, "9090"))
		for _, traffic := range []func(){
			func() { f.toService(t, c, p) },
			func() { lookup(p, f.service(), "web.example.org") },
			func() { transfer(p, net.JoinHostPort(f.far(), "80"), 1<<20) },
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
			restarting(t, c.Server, net.JoinHostPort(f.server, "9090"), until)
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
	if sum.Records < 100 {
		t.Errorf("%d records: the load did not pass", sum.Records)
	}
	t.Logf("%d records, %d findings of information only", sum.Records, len(lab.Findings(lines)))
}

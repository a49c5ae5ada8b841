// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ktrace/testdata/lab"
)

// authority signs certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	a := authority{t: t}
	c := a.issue("authority", nil, -time.Hour, time.Hour)
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue makes a certificate that is valid in a span from now on, signed by the authority, or by itself if there is none.
func (a authority) issue(subject string, names []string, from, to time.Duration) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: subject},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to), IsCA: names == nil, BasicConstraintsValid: true,
	}
	for _, n := range names {
		if addr, err := netip.ParseAddr(n); err == nil {
			c.IPAddresses = append(c.IPAddresses, addr.AsSlice())
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	signer, by := key, c
	if a.cert != nil {
		signer, by = a.key, a.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// trusts is what a client needs to know.
func (a authority) trusts() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// serveTLS takes connections at a port, shakes hands and sends each what it sent.
func serveTLS(t testing.TB, ns *lab.NS, port string, config *tls.Config) {
	t.Helper()
	ns.Do(func() {
		l, err := net.Listen("tcp", "[::]:"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					s := tls.Server(c, config)
					_, _ = io.Copy(s, s) // the client may refuse
					s.Close()
				}()
			}
		}()
	})
}

// visit shakes hands and exchanges a few bytes; it does not mind being refused, or refusing.
func visit(ns *lab.NS, addr string, config *tls.Config) (ok bool) {
	ns.Do(func() {
		c, err := net.DialTimeout("tcp", addr, 10*patience)
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * patience))
		s := tls.Client(c, config)
		defer s.Close()
		if _, err := s.Write([]byte("hello")); err != nil {
			return
		}
		_, err = io.ReadFull(s, make([]byte, 5))
		ok = err == nil
	})
	return ok
}

// shaken is a handshake that goes wrong, or does not.
type shaken struct {
	name, want, proof string
	fault             func(m *meeting)
}

const tlsName = "web.example.org"

func handshakes() []shaken {
	return []shaken{
		{"expired", "tls-certificate-expired", "valid from", func(m *meeting) {
			m.served = m.trusted.issue("web", []string{tlsName}, -time.Hour, -time.Minute)
		}},
		{"of tomorrow", "tls-certificate-not-yet-valid", "valid from", func(m *meeting) {
			m.served = m.trusted.issue("web", []string{tlsName}, time.Hour, 2*time.Hour)
		}},
		{"for another name", "tls-name-mismatch", "names other.example.org", func(m *meeting) {
			m.served = m.trusted.issue("web", []string{"other.example.org"}, -time.Hour, time.Hour)
		}},
		{"signs itself", "tls-unknown-authority", "signs itself", func(m *meeting) {
			m.served = authority{t: m.trusted.t}.issue("web", []string{tlsName}, -time.Hour, time.Hour)
		}},
		{"of another authority", "tls-unknown-authority", "the chain ends before", func(m *meeting) {
			m.trusted = newAuthority(m.trusted.t)
		}},
		{"no protocol in common", "tls-alert", "no_application_protocol", func(m *meeting) {
			m.server.NextProtos, m.client.NextProtos = []string{"h2"}, []string{"smtp"}
		}},
	}
}

// offered is a certificate of the client's that has expired: from TLS 1.3 on nothing shows that.
func offered() shaken {
	return shaken{"of the client, expired", "tls-certificate-expired", "the client's certificate", func(m *meeting) {
		m.server.ClientAuth, m.server.ClientCAs = tls.RequireAndVerifyClientCert, m.trusted.trusts()
		m.client.Certificates = []tls.Certificate{m.trusted.issue("client", []string{"client"}, -time.Hour, -time.Minute)}
	}}
}

// meeting is what both ends of a handshake bring.
type meeting struct {
	trusted        authority // by the client
	served         tls.Certificate
	server, client *tls.Config
	broken         bool
}

// visits has each cluster's own meeting: the broken one and its twin meet at a time.
type visits struct{ sync.Map }

func (v *visits) of(c *lab.Cluster) *meeting {
	m, _ := v.Load(c)
	return m.(*meeting)
}

// scenario has a client of the pod meet the server at an address that leads to port 8443 of its host.
func (h shaken) scenario(name, addr string, version uint16, meet func(testing.TB, *lab.NS, string, *meeting) bool) lab.Scenario {
	var all visits
	if meet == nil {
		meet = func(_ testing.TB, ns *lab.NS, addr string, m *meeting) bool { return visit(ns, addr, m.client) }
	}
	return lab.Scenario{
		Name: name + " " + h.name, Want: h.want, Proof: h.proof,
		Args: []string{"diagnose", "--duration", "6s", "--ask-certificates"},
		Setup: func(t testing.TB, c *lab.Cluster, _ *lab.Pod) {
			a := newAuthority(t)
			all.Store(c, &meeting{
				trusted: a, served: a.issue("web", []string{tlsName}, -time.Hour, time.Hour),
				server: &tls.Config{MaxVersion: version},
				client: &tls.Config{MaxVersion: version, ServerName: tlsName},
			})
		},
		Fault: func(_ testing.TB, c *lab.Cluster, _ *lab.Pod) {
			m := all.of(c)
			m.broken = true
			h.fault(m)
		},
		Traffic: func(t testing.TB, c *lab.Cluster, p *lab.Pod) {
			m := all.of(c)
			m.server.Certificates, m.client.RootCAs = []tls.Certificate{m.served}, m.trusted.trusts()
			serveTLS(t, c.Server, "8443", m.server)
			if ok := meet(t, p.NS, addr, m); ok == m.broken {
				t.Errorf("the handshake went well: %v", ok)
			}
		},
	}
}

// TestHandshakesThatFailAreExplained is TLS 1.2, where all but the end of a handshake is in the clear.
func TestHandshakesThatFailAreExplained(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, h := range append(handshakes(), offered(), withoutCertificate()) {
			all = append(all, h.scenario(f.name, net.JoinHostPort(f.server, "8443"), tls.VersionTLS12, nil))
		}
	}
	lab.RunAll(t, all)
}

// withoutCertificate is a client that shows none to a server which wants one: under TLS 1.3 the client is done by then.
func withoutCertificate() shaken {
	return shaken{"no certificate of the client", "tls-alert", "alert", func(m *meeting) { m.server.ClientAuth = tls.RequireAnyClientCert }}
}

// TestHandshakesInTheDarkAreExplained is TLS 1.3: what the server shows, and why the client ends it, is encrypted.
func TestHandshakesInTheDarkAreExplained(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, f := range stacks() {
		for _, h := range append(handshakes(), withoutCertificate()) {
			all = append(all, h.scenario(f.name, net.JoinHostPort(f.server, "8443"), tls.VersionTLS13, nil))
		}
	}
	lab.RunAll(t, all)
}

// openssl shakes hands and goes.
func openssl(t testing.TB, ns *lab.NS, addr string, m *meeting) (ok bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.trusted.cert.Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := ns.Try("openssl", "s_client", "-connect", addr, "-servername", tlsName, "-CAfile", file, "-verify_return_error")
	return err == nil
}

// TestHandshakesOfOpenSSLAreExplained: of TLS 1.3, too, it says in the clear why it ends a handshake, but not what the
// server showed.
func TestHandshakesOfOpenSSLAreExplained(t *testing.T) {
	t.Parallel()
	var all []lab.Scenario
	for _, h := range handshakes() {
		if h.want == "tls-name-mismatch" || h.want == "tls-alert" {
			continue // its options leave out both
		}
		all = append(all, h.scenario("openssl", lab.ServerAddr+":8443", tls.VersionTLS13, openssl))
	}
	lab.RunAll(t, all)
}

// titles are those of the findings above information.
func titles(t testing.TB, lines []lab.Line) []string {
	t.Helper()
	var all []string
	for _, l := range lab.Findings(lines) {
		var found struct{ Severity, Title string }
		if l.Into(t, &found); found.Severity != "info" {
			all = append(all, found.Title)
		}
	}
	return all
}

// TestHandshakesWithAServiceNameIt: the client knows the service's address, the server its own.
func TestHandshakesWithAServiceNameIt(t *testing.T) {
	t.Parallel()
	for version, f := range map[uint16]stack{tls.VersionTLS12: stacks()[0], tls.VersionTLS13: stacks()[1]} {
		t.Run(f.name+" "+tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			s := handshakes()[0].scenario("", net.JoinHostPort(f.service(), "80"), version, nil)
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			s.Setup(t, c, p)
			s.Fault(t, c, p)
			f.kube(c.Node, "web", "tcp", f.service(), net.JoinHostPort(f.server, "8443"))
			run := lab.KtraceOn(t, c.Node, "diagnose", "--duration", "4s", "--ask-certificates", "--netns", p.Path())
			s.Traffic(t, c, p)
			lines, _ := run.Wait()
			want := fmt.Sprintf("The certificate of %s at service default/web (%s) has expired.", tlsName, net.JoinHostPort(f.service(), "80"))
			if got := titles(t, lines); len(got) != 1 || got[0] != want {
				t.Errorf("found %q, want %q\n%s", got, want, lab.Findings(lines))
			}
		})
	}
}

// TestHandshakesThatEndWellAreNoFault goes through what looks like a failure, and is none.
func TestHandshakesThatEndWellAreNoFault(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			c := lab.NewCluster(t)
			p := c.AddPod("pod")
			a := newAuthority(t)
			server := &tls.Config{MaxVersion: version, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{a.issue("web", []string{tlsName}, -time.Hour, -time.Minute)}}
			serveTLS(t, c.Server, "8443", server)
			echoTCP(t, c.Server, "80")
			client := &tls.Config{MaxVersion: version, ServerName: tlsName, InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			run := lab.Ktrace(t, "diagnose", "--duration", "6s", "--ask-certificates", "--netns", p.Path())
			for range 3 { // the second and third resume the first
				if !visit(p.NS, lab.ServerAddr+":8443", client) {
					t.Error("the server was not reached")
				}
			}
			picky := client.Clone()
			picky.NextProtos, picky.ClientSessionCache = []string{"smtp"}, nil
			leaving := client.Clone()
			leaving.ClientSessionCache = nil
			if version == tls.VersionTLS13 { // else it says in the clear that the certificate is bad
				leaving.VerifyConnection = func(tls.ConnectionState) error { return errors.New("seen enough") }
			}
			visit(p.NS, lab.ServerAddr+":8443", picky)
			visit(p.NS, lab.ServerAddr+":8443", leaving)
			for _, addr := range []string{lab.ServerAddr + ":8443", lab.ServerAddr + ":80"} {
				fetch(p.NS, addr, patience) // not TLS, whatever the server speaks
			}
			p.Do(func() { // shakes hands, and goes without a word
				if conn, err := tls.Dial("tcp", lab.ServerAddr+":8443", client); err != nil {
					t.Error(err)
				} else {
					conn.Close()
				}
			})
			lines, _ := run.Wait()
			if got := titles(t, lines); len(got) != 0 { // how the connections end is information
				t.Errorf("claims %q", got)
			}
		})
	}
}

// TestServersAreAskedOnce counts the connections to one that clients refuse again and again, and that refuses any client that has
// no certificate, as ktrace has none. None is asked where no person runs ktrace, unless the flag says so.
func TestServersAreAskedOnce(t *testing.T) {
	t.Parallel()
	const known, not = "tls-certificate-expired", "tls-alert"
	t.Run("nobody looks on", func(t *testing.T) { askedSoOften(t, 0, not, lab.Ktrace) })
	t.Run("by the flag", func(t *testing.T) {
		askedSoOften(t, 1, known, func(t testing.TB, args ...string) *lab.Run {
			return lab.Ktrace(t, append(args, "--ask-certificates")...)
		})
	})
	t.Run("on a terminal", func(t *testing.T) {
		_, program := pseudoterminal(t)
		askedSoOften(t, 1, known, func(t testing.TB, args ...string) *lab.Run {
			ready := filepath.Join(t.TempDir(), "ready")
			conditions := fmt.Sprintf(`exec <%s 2>&0 "$@"`, program.Name())
			return lab.KtraceUnder(t, conditions, append(args, "-o", "json", "--ready-file", ready)...).AwaitReady(ready)
		})
	})
}

func askedSoOften(t *testing.T, asked int, wants string, ktrace func(testing.TB, ...string) *lab.Run) {
	t.Parallel()
	c := lab.NewCluster(t)
	p := c.AddPod("pod")
	a := newAuthority(t)
	var shaken atomic.Int32
	serveTLS(t, c.Server, "8443", &tls.Config{
		ClientAuth: tls.RequireAnyClientCert, Certificates: []tls.Certificate{a.issue("web", []string{tlsName}, -time.Hour, -time.Minute)},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { shaken.Add(1); return nil, nil },
	})
	own := a.issue("client", []string{"client"}, -time.Hour, time.Hour)
	run := ktrace(t, "diagnose", "--duration", "5s", "--netns", p.Path())
	const visits = 3
	for range visits {
		if visit(p.NS, lab.ServerAddr+":8443", &tls.Config{ServerName: tlsName, RootCAs: a.trusts(), Certificates: []tls.Certificate{own}}) {
			t.Error("the client took an expired certificate")
		}
	}
	lines, _ := run.Wait()
	if n := shaken.Load(); int(n) != visits+asked {
		t.Errorf("%d handshakes, want %d of the client and %d of ktrace", n, visits, asked)
	}
	for _, l := range lab.Findings(lines) {
		var found struct {
			ID, Severity string
			Count        int
		}
		l.Into(t, &found)
		if found.Count != visits || found.Severity != "info" && found.ID != wants { // each visit ends in a reset
			t.Errorf("claims %s", l.Raw)
		}
	}
}

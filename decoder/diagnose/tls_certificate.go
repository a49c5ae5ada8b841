// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/tls"
)

// parseChain reads certificates, up to the first that cannot be read.
func parseChain(der [][]byte) []*x509.Certificate {
	var chain []*x509.Certificate
	for _, d := range der {
		c, err := x509.ParseCertificate(d)
		if err != nil {
			break
		}
		chain = append(chain, c)
	}
	return chain
}

// certificate says what is wrong with the certificate that the other side had, if that is why it was refused.
func (r *TLS) certificate(x refusal, f *event.Finding) {
	if x.ByServer {
		clientCertificate(x, f, fmt.Sprintf("%v for %s", x.Client.Addr(), r.named(x)))
		return
	}
	if len(x.chain) > 0 {
		f.Evidence = append(f.Evidence, describe(x.chain[0]))
	}
	if x.asked {
		f.Evidence = append(f.Evidence, "the server showed it when it was asked again, as openssl does")
		f.Confidence = event.Likely
	}
	said := func(code uint8) bool { return x.Alert != nil && x.Alert.Code == code }
	switch fault, name := x.fault(), r.named(x); {
	case fault == "tls-certificate-expired", len(x.chain) == 0 && said(tls.CertificateExpired):
		expired(f, "server", name)
		if said(tls.CertificateExpired) && !x.Guessed {
			f.Confidence = event.Certain
		}
	case fault == "tls-certificate-not-yet-valid":
		f.ID, f.Cause = fault, "The server's certificate begins later than the time at which it was refused."
		f.Title = fmt.Sprintf("The certificate of %s is not valid yet.", name)
		f.Remedy = append(f.Remedy, run("timedatectl").Noting("on the client, and where the certificate was made: are the clocks right?"))
	case said(tls.UnknownCA):
		x.unknownAuthority(f, name)
		if !x.Guessed {
			f.Confidence = event.Certain
		}
	case fault == "tls-name-mismatch":
		f.ID, f.Cause, f.Confidence = fault, "The server's certificate is for other names than the one that the client asked for.", event.Likely
		f.Title = fmt.Sprintf("The certificate of %s is not for that name.", name)
		f.Remedy = append(f.Remedy, do("add the name to the certificate, or ask for one that it has"))
	case fault == "tls-unknown-authority":
		f.Evidence = append(f.Evidence, "nothing is wrong with time and name")
		x.unknownAuthority(f, name)
	}
}

// clientCertificate says whether the client's is out of date; whom the server trusts is not known.
func clientCertificate(x refusal, f *event.Finding, whose string) {
	chain := parseChain(x.ClientChain)
	if len(chain) == 0 {
		return
	}
	f.Evidence = append(f.Evidence, "the client's "+describe(chain[0]))
	if f.Time.After(chain[0].NotAfter) {
		expired(f, "client", whose)
	}
}

func expired(f *event.Finding, side, name string) {
	f.ID, f.Cause = "tls-certificate-expired", fmt.Sprintf("The %s's certificate has expired, by the clock of this node or of the other side.", side)
	f.Title = fmt.Sprintf("The certificate of %s has expired.", name)
	f.Remedy = append(f.Remedy, run("timedatectl").Noting("is the clock right?"),
		run("kubeadm certs check-expiration").Noting("of a control plane; kubeadm certs renew all renews them"),
		do("renew the certificate, and have the %s load it", side))
}

// unknownAuthority is as sure as the chain makes it: one that signs itself is none that all the world knows.
func (x refusal) unknownAuthority(f *event.Finding, name string) {
	f.ID, f.Cause = "tls-unknown-authority", "The client does not trust the issuer of the server's certificate: an authority of its own that the client does not have, or an intermediate certificate that the server does not send."
	f.Title = fmt.Sprintf("The client does not know the authority behind the certificate of %s.", name)
	f.Remedy = append(f.Remedy, do("give the client the authority's certificate, or the server the whole chain"))
	f.Confidence = event.Possible
	if len(x.chain) == 0 {
		return
	}
	how, last := "the chain ends before %q", x.chain[len(x.chain)-1]
	if signsItself(last) {
		f.Confidence, how = event.Likely, "%q signs itself"
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf(how, last.Issuer))
}

// fault is what is wrong with the server's chain, since the client refused it, by the id of the finding; "" if nothing
// that can be known. Where the client asked for no name it knows the server by the address, or by a name that it does not send.
func (x refusal) fault() string {
	if len(x.chain) == 0 {
		return ""
	}
	name, leaf, at := x.Name, x.chain[0], x.event.Time
	if name == "" {
		name = x.Server.Addr().Unmap().String()
	}
	switch wrong := leaf.VerifyHostname(name) != nil; {
	case at.After(leaf.NotAfter):
		return "tls-certificate-expired"
	case at.Before(leaf.NotBefore):
		return "tls-certificate-not-yet-valid"
	case wrong && x.Name != "":
		return "tls-name-mismatch"
	case wrong:
		return ""
	}
	return "tls-unknown-authority"
}

func signsItself(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func describe(c *x509.Certificate) string {
	return fmt.Sprintf("certificate: subject %q, issuer %q, valid from %s to %s, names %s", c.Subject, c.Issuer,
		c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), strings.Join(names(c), " "))
}

// names are those that a certificate is for.
func names(c *x509.Certificate) []string {
	all := append([]string(nil), c.DNSNames...)
	for _, a := range c.IPAddresses {
		all = append(all, a.String())
	}
	return all
}

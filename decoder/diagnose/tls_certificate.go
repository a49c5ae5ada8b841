package diagnose

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"ktrace/decoder"
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

// certificate says what is wrong with the server's certificate, where the client refused it with an alert.
func (r *TLS) certificate(e decoder.Event, h *handshake, a tls.Alert, f *decoder.Finding) {
	if len(h.chain) > 0 {
		f.Evidence = append(f.Evidence, describe(h.chain[0]))
	}
	name := r.named(e, h)
	switch fault := h.fault(f.Time); {
	case fault == "tls-certificate-expired", len(h.chain) == 0 && a.Code == tls.CertificateExpired:
		expired(f, name)
	case fault == "tls-certificate-not-yet-valid":
		f.ID, f.Cause = fault, "The server's certificate begins later than the time at which it was refused."
		f.Title = fmt.Sprintf("The certificate of %s is not valid yet.", name)
		f.Remedy = append(f.Remedy, "check the clocks of the client and of whoever made the certificate: timedatectl")
	case a.Code == tls.UnknownCA:
		unknownAuthority(f, name)
	case fault == "tls-name-mismatch":
		f.ID, f.Cause, f.Confidence = fault, "The server's certificate is for other names than the one that the client asked for.", decoder.Likely
		f.Title = fmt.Sprintf("The certificate of %s is not for that name.", name)
		f.Remedy = append(f.Remedy, "add the name to the certificate, or ask for one that it has")
	case fault == "tls-unknown-authority":
		unknownAuthority(f, name)
		f.Confidence = decoder.Possible
		how := fmt.Sprintf("it is not said who %q is", h.chain[len(h.chain)-1].Issuer)
		if signsItself(h.chain[len(h.chain)-1]) {
			f.Confidence = decoder.Likely
			how = fmt.Sprintf("%q signs itself", h.chain[len(h.chain)-1].Subject)
		}
		f.Evidence = append(f.Evidence, "time and name are right, and "+how)
	}
}

func expired(f *decoder.Finding, name string) {
	f.ID, f.Cause = "tls-certificate-expired", "The server's certificate is past its end; the clock of this node says so, or the client."
	f.Title = fmt.Sprintf("The certificate of %s has expired.", name)
	f.Remedy = append(f.Remedy, "renew the certificate, and have the server load it (of a control plane: kubeadm certs check-expiration; kubeadm certs renew all); "+
		"check the clocks: timedatectl")
}

func unknownAuthority(f *decoder.Finding, name string) {
	f.ID, f.Cause = "tls-unknown-authority", "The client does not trust who signed the server's certificate: an authority of its own that the client does not have, or an intermediate certificate that the server does not send."
	f.Title = fmt.Sprintf("The client does not know the authority behind the certificate of %s.", name)
	f.Remedy = append(f.Remedy, "give the client the authority's certificate, or the server the whole chain")
}

// fault is what is wrong with the chain at a time, by the id of the finding, if a client refused it; "" if nothing that
// can be told. Where the client asked for no name it knows the server by the address, or by a name that is not told.
func (h *handshake) fault(at time.Time) string {
	if len(h.chain) == 0 {
		return ""
	}
	name, leaf := h.name, h.chain[0]
	if name == "" {
		name = h.server.Addr().Unmap().String()
	}
	switch wrong := leaf.VerifyHostname(name) != nil; {
	case at.After(leaf.NotAfter):
		return "tls-certificate-expired"
	case at.Before(leaf.NotBefore):
		return "tls-certificate-not-yet-valid"
	case wrong && h.name != "":
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

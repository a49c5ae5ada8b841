// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestKubeletsAccessIsFoundWhereDistributionsPutIt: with files that it names as the node has them, and beside it.
func TestKubeletsAccessIsFoundWhereDistributionsPutIt(t *testing.T) {
	if _, err := kubeletAccess(t.TempDir()); !errors.Is(err, errNoAccess) {
		t.Errorf("without a file: %v", err)
	}
	write := func(root, name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range kubeconfigs {
		root := t.TempDir()
		write(root, name, `{"apiVersion":"v1","kind":"Config","current-context":"c",
			"clusters":[{"name":"c","cluster":{"server":"https://192.0.2.1:6443","certificate-authority":"ca.crt"}}],
			"users":[{"name":"u","user":{"client-certificate":"/var/lib/kubelet/pki/current.pem","client-key":"/var/lib/kubelet/pki/current.pem"}}],
			"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}]}`)
		for _, file := range []string{filepath.Join(filepath.Dir(name), "ca.crt"), "var/lib/kubelet/pki/current.pem"} {
			write(root, file, "")
		}
		if name != kubeconfigs[0] { // OpenShift's
			write(root, kubeconfigs[0], "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\nclusterDNS: [172.30.0.10]\n")
		}
		c, err := kubeletAccess(root)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if ca := filepath.Join(root, filepath.Dir(name), "ca.crt"); c.Host != "https://192.0.2.1:6443" || c.CAFile != ca || c.CertFile != filepath.Join(root, "var/lib/kubelet/pki/current.pem") {
			t.Errorf("%s: server %s, CA %s, certificate %s", name, c.Host, c.CAFile, c.CertFile)
		}
	}
}

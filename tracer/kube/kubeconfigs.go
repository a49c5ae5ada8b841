// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// kubeconfigs are where distributions keep the kubelet's own access: enough for this node's pods and for services; what else it
// may list depends on the cluster.
var kubeconfigs = [...]string{
	"etc/kubernetes/kubelet.conf",                          // kubeadm, kind; on OpenShift another kind of file
	"var/lib/kubelet/kubeconfig",                           // EKS, AKS, GKE, OpenShift
	"etc/kubernetes/kubeconfig",                            // OpenShift, while it starts
	"var/lib/rancher/k3s/agent/kubelet.kubeconfig",         // k3s
	"var/lib/rancher/rke2/agent/kubelet.kubeconfig",        // RKE2
	"var/lib/k0s/kubelet.conf",                             // k0s
	"var/snap/microk8s/current/credentials/kubelet.config", // microk8s
}

// errNoAccess is returned where nothing says how to reach the API.
var errNoAccess = errors.New("no access to the API: give --kubeconfig, or run in a pod")

// kubeletAccess is the kubelet's access on a node, as the first file that names a server gives it.
func kubeletAccess(hostRoot string) (*rest.Config, error) {
	for _, name := range kubeconfigs {
		path := filepath.Join(hostRoot, name)
		file, err := clientcmd.LoadFromFile(path)
		switch {
		case errors.Is(err, os.ErrPermission):
			return nil, fmt.Errorf("%w (%w)", errNoAccess, err)
		case err != nil || len(file.Clusters) == 0:
			continue // there is none, or another kind of file
		}
		for _, c := range file.Clusters {
			below(hostRoot, path, &c.CertificateAuthority)
		}
		for _, u := range file.AuthInfos {
			below(hostRoot, path, &u.ClientCertificate, &u.ClientKey, &u.TokenFile)
		}
		return clientcmd.NewDefaultClientConfig(*file, nil).ClientConfig()
	}
	return nil, errNoAccess
}

// below makes files that a kubeconfig names ours: an absolute name is the node's, others are beside the kubeconfig.
func below(hostRoot, kubeconfig string, files ...*string) {
	for _, f := range files {
		switch {
		case *f == "":
		case filepath.IsAbs(*f):
			*f = filepath.Join(hostRoot, *f)
		default:
			*f = filepath.Join(filepath.Dir(kubeconfig), *f)
		}
	}
}

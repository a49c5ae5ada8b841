// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAKubeconfigThatRunsAProgramIsKnown: then ktrace must stay able to run it, again and again.
func TestAKubeconfigThatRunsAProgramIsKnown(t *testing.T) {
	const config = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
users: [{name: u, user: {USER}}]
`
	for user, runs := range map[string]bool{
		`token: x`: false,
		`exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, interactiveMode: Never}`: true,
	} {
		path := filepath.Join(t.TempDir(), "config")
		text := []byte(config[:len(config)-len("USER}}]\n")] + user + "}}]\n")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		w := &Watcher{api: newAPISource("/", path, "node")}
		if got := w.RunsPrograms(); got != runs {
			t.Errorf("%s: %v, want %v", user, got, runs)
		}
	}
}

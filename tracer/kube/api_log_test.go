// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/klog/v2"
)

// TestTheClientLibraryDoesNotWriteToStderr: its messages carry what servers answer, and would stand among ktrace's own.
func TestTheClientLibraryDoesNotWriteToStderr(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	real := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = real }()
	newAPISource("/", "", "node")
	klog.ErrorS(errors.New("forged\nline"), "Unhandled Error")
	klog.Error("forged")
	klog.Flush()
	if text, err := os.ReadFile(path); err != nil || len(text) > 0 {
		t.Errorf("stderr has %q: %v", text, err)
	}
}

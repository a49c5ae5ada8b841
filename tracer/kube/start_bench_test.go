// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/testdata/lab"
	"ktrace/tracer/kube"
)

// BenchmarkPods begins on a node with 2,000 pods and polls for 20 s of a run, with names and without. Its control groups are real.
func BenchmarkPods(b *testing.B) {
	for name, named := range map[string]bool{"named": true, "nameless": false} {
		b.Run(name, func(b *testing.B) {
			const pods = 2000
			k := lab.NewKubelet(b)
			for i := range pods {
				uid := fmt.Sprintf("%08x-0000-4000-8000-%012x", os.Getpid(), i)
				k.Cgroup(fmt.Sprintf("kubepods/besteffort/pod%s/%064x", uid, i+1), 0)
				dir := "var/log/pods/default_web-" + fmt.Sprint(i) + "_" + uid
				if !named {
					continue
				}
				if err := os.MkdirAll(filepath.Join(k.Root, dir), 0o755); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				w, err := kube.NewWatcher(kube.Options{HostRoot: k.Root, Say: func(string) {}})
				if err != nil {
					b.Fatal(err)
				}
				begin := time.Now()
				if _, err := w.Begin(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/start")
				before := used(b)
				for range 20 {
					time.Sleep(time.Second) // as in a run: how often what is looked for again depends on time
					if _, err := w.Poll(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((used(b) - before).Milliseconds()), "cpu-ms/20s")
				if n := len(w.Pods()); n < pods || strings.HasPrefix(w.Pods()[n-1].Name, "web-") != named {
					b.Fatalf("%d pods, the last is %q", n, w.Pods()[n-1].Name)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func used(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

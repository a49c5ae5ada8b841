// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ktrace/cmd/internal/replay"
	"ktrace/testdata/lab"
)

// TestMistakesNameTheRemedy: whatever is mistaken in a command line, ktrace says what to write instead, and does nothing.
func TestMistakesNameTheRemedy(t *testing.T) {
	t.Parallel()
	recording := filepath.Join("..", "..", "testdata", "records", "dns-healthy.rec")
	capture := filepath.Join(t.TempDir(), "x.pcapng")
	for _, tt := range []struct{ args, want string }{
		{"bogus", `see "ktrace --help"`},
		{"drop --bogus", `see "ktrace drop --help"`},
		{"version --bogus", `see "ktrace version --help"`},
		{"read " + recording + " dns --bogus", `see "ktrace read FILE dns --help"`},
		{"read " + recording + " --bogus", `see "ktrace read FILE --help"`},
		{"read " + recording + " --stats", `as in "ktrace read FILE dns"`},
		{"read " + recording + " -w " + capture, `as in "ktrace read FILE dns"`},
		{"drop --variant kprope", `no variant is named "kprope"; there are cgroup_skb, clsact, fentry, iter, kprobe, kprobe.multi`},
		{"drop --netns /etc/passwd", "is no network namespace"},
		{"drop --netns /proc/self/ns/mnt", "is no network namespace"},
		{"drop --netns nobody", "\"ip netns\" lists"},
		{"drop --mixed", "they need -w FILE"},
		{"drop --compat wireshark-4.0", "they need -w FILE"},
		{"drop --kubeconfig /nowhere", "there is no such file"},
		{"drop --cri-socket unix:///nowhere", "there is no such file"},
		{"capture --trigger signal", "it needs --ring"},
		{"capture --after 1s", "it needs --ring"},
		{"capture --ring 4294967295 -w " + capture, "want fewer"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			run := lab.StartKtrace(t, strings.Fields(tt.args)...)
			lines, status := run.Wait()
			if status != 2 || !strings.Contains(run.Stderr(), tt.want) || len(lines) > 0 {
				t.Errorf("status %d, said %q and %v, want 2 and %q alone", status, run.Stderr(), lines, tt.want)
			}
		})
	}
}

func TestReadDiagnoseEndsWithStatus3IfSomethingIsWrong(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"dns-healthy.rec": 0, "dns-service-dnat-miss.rec": 3} {
		if _, status := lab.StartKtrace(t, "read", filepath.Join("..", "..", "testdata", "records", name), "diagnose", "-o", "json").Wait(); status != want {
			t.Errorf("%s: status %d, want %d", name, status, want)
		}
	}
}

// TestReadSelectsANamespaceByName as by path. The recording may be of a namespace that had the same number.
func TestReadSelectsANamespaceByName(t *testing.T) {
	t.Parallel()
	ns := lab.New(t).Namespace("ns")
	read := func(netns string) []lab.Line {
		lines, status, said := lab.Read(t, filepath.Join(records, "dns-healthy.rec"), "dns", "--netns", netns)
		if status != 0 {
			t.Fatalf("status %d\n%s", status, said)
		}
		return lines
	}
	if byName, byPath := read(ns.Name), read(ns.Path()); !reflect.DeepEqual(byName, byPath) {
		t.Errorf("by name %v, by path %v", byName, byPath)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"version", "--version"} {
		var out strings.Builder
		root := newRoot(replay.Streams{Out: &out, Err: io.Discard})
		root.SetArgs([]string{arg})
		if err := root.Execute(); err != nil || !strings.HasPrefix(out.String(), "ktrace version ") {
			t.Errorf("%s: %v, said %q", arg, err, &out)
		}
	}
}

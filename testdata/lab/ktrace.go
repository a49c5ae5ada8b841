// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ktrace/decoder/diagnose"
	"ktrace/decoder/event"
)

// AsKtrace in the environment makes a test binary run as ktrace itself.
const AsKtrace = "KTRACE_AS_ITSELF"

// testVariant in the environment is the variant that every ktrace is forced to use, unless its test names one.
const testVariant = "KTRACE_TEST_VARIANT"

// patience bounds every wait, so that a hung run fails by name; on a healthy machine nothing comes near it.
const patience = 60 * time.Second

// Main is a package's TestMain: it lets the test binary serve as the ktrace that Ktrace starts, and the test's process as the
// one that Read needs, if any test does.
func Main(m *testing.M, ktrace func(), read Command) {
	if os.Getenv(AsKtrace) != "" {
		ktrace()
		return
	}
	if router := os.Getenv(asForger); router != "" {
		if err := forge(router); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	inProcess = read
	os.Exit(m.Run())
}

// Line is one JSON line of output.
type Line struct {
	Type string          `json:"type"` // event, finding, summary
	Kind string          `json:"kind"` // of an event
	ID   string          `json:"id"`   // of a finding
	Raw  json.RawMessage `json:"-"`
}

// Into decodes the line.
func (l Line) Into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(l.Raw, v); err != nil {
		t.Fatalf("%s: %v", l.Raw, err)
	}
}

// Run is a running ktrace.
type Run struct {
	t      testing.TB
	cmd    *exec.Cmd
	stderr bytes.Buffer
	lines  *lines
	seen   []Line
	done   chan error // why it ended with another status than 0; sent once end is set
	end    ended
	until  *duration // nil if ktrace ends by itself
	over   bool      // it was interrupted
}

// attaching bounds how many ktraces attach at one time, which is a quarter of a second of CPU each: tests that wait for
// traffic, or measure it, are not starved by those that begin, however many run at one time.
var attaching = make(chan struct{}, runtime.NumCPU()+1)

// Ktrace starts ktrace with JSON output and returns once everything is attached. The verb's package must use Main.
func Ktrace(t testing.TB, args ...string) *Run {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	if v := os.Getenv(testVariant); v != "" && !slices.Contains(args, "--variant") {
		args = append(args, "--variant", v)
	}
	args, until := lasting(args)
	attaching <- struct{}{}
	defer func() { <-attaching }()
	return StartKtrace(t, append(args, "-o", "json", "--ready-file", ready)...).awaitReady(ready, args).ending(until)
}

// AwaitReady waits until everything is attached, as the file of --ready-file says.
func (r *Run) AwaitReady(ready string) *Run {
	r.t.Helper()
	return r.awaitReady(ready, r.cmd.Args)
}

// awaitReady waits until everything is attached.
func (r *Run) awaitReady(ready string, args []string) *Run {
	t := r.t
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		if _, err := os.Stat(ready); err == nil {
			return r
		}
		select {
		case err := <-r.done:
			t.Fatalf("ktrace %s ended before it was ready: %v\n%s", strings.Join(args, " "), err, r.stderr.String())
		case <-time.After(5 * time.Millisecond): // a file has no wait of its own
		}
		if time.Now().After(deadline) {
			t.Fatalf("ktrace %s was not ready within %v", strings.Join(args, " "), patience)
		}
	}
}

// StartKtrace starts ktrace with these arguments and does not wait.
func StartKtrace(t testing.TB, args ...string) *Run {
	t.Helper()
	return startKtrace(t, "/proc/self/exe", args...)
}

// KtraceOn is Ktrace in the network namespace of a node, which it takes for the node's own.
func KtraceOn(t testing.TB, node *NS, args ...string) *Run {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ready := filepath.Join(t.TempDir(), "ready")
	args, until := lasting(args)
	args = append([]string{"--net=" + node.Path(), self}, append(args, "-o", "json", "--ready-file", ready)...)
	attaching <- struct{}{}
	defer func() { <-attaching }()
	return startKtrace(t, "nsenter", args...).awaitReady(ready, args).ending(until)
}

// KtraceUnder runs ktrace as the last words of a shell command that sets conditions, where "$@" stands for it, and
// does not wait.
func KtraceUnder(t testing.TB, conditions string, args ...string) *Run {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startKtrace(t, "sh", append([]string{"-c", conditions, "sh", self}, args...)...)
}

func startKtrace(t testing.TB, program string, args ...string) *Run {
	t.Helper()
	r := &Run{t: t, cmd: exec.Command(program, args...), lines: newLines(), done: make(chan error, 1)}
	r.cmd.Env = append(os.Environ(), AsKtrace+"=1")
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, noOut := r.cmd.StdoutPipe()
	said, noErr := r.cmd.StderrPipe()
	if err := errors.Join(noOut, noErr); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go r.collect(out, said)
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()                               // has ended in a test that passed
		time.AfterFunc(reapAfter, func() { _ = r.cmd.Wait() }) // how it ended is known
		r.seen = nil                                           // a test keeps its Cleanup functions, and a package its tests, to its end
	})
	return r
}

func (r *Run) collect(out, said io.Reader) {
	var messages sync.WaitGroup
	messages.Go(func() { _, _ = r.stderr.ReadFrom(said) })
	scan := bufio.NewScanner(out)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		r.lines.add(lineOf(bytes.Clone(scan.Bytes())))
	}
	r.lines.end()
	messages.Wait()
	var err error
	if r.end, err = awaitZombie(r.cmd.Process.Pid); err == nil {
		err = r.end.err()
	}
	r.done <- err
}

// Await returns the first line, seen before or to come, that is as wanted.
func (r *Run) Await(what string, wanted func(Line) bool) Line {
	r.t.Helper()
	r.endInTime()
	for _, l := range r.seen {
		if wanted(l) {
			return l
		}
	}
	limit := time.After(patience)
	for {
		l, err := r.lines.next(limit)
		switch {
		case errors.Is(err, io.EOF):
			r.t.Fatalf("ktrace ended without %s: %v\n%s%s", what, <-r.done, r.transcript(), r.stderr.String())
		case err != nil:
			r.t.Fatalf("no %s within %v\n%s", what, patience, r.transcript())
		}
		r.seen = append(r.seen, l)
		if wanted(l) {
			return l
		}
	}
}

// AwaitFinding returns the finding of that id.
func (r *Run) AwaitFinding(id string) Line {
	r.t.Helper()
	return r.Await("finding "+id, func(l Line) bool { return l.Type == "finding" && l.ID == id })
}

// Stop interrupts ktrace as a user would, waits for its end and returns all its lines. It fails the test if ktrace
// does, or if what it traced with is still there.
func (r *Run) Stop() []Line {
	r.t.Helper()
	r.interrupt()
	lines, status := r.Wait()
	if status != 0 && status != 3 {
		r.t.Fatalf("ktrace exited with %d\n%s%s", status, r.transcript(), r.stderr.String())
	}
	return lines
}

// Wait waits for ktrace to end by itself and returns its lines and exit status.
func (r *Run) Wait() ([]Line, int) {
	r.t.Helper()
	r.endInTime()
	limit := time.After(patience)
	for {
		l, err := r.lines.next(limit)
		if err == nil {
			r.seen = append(r.seen, l)
			continue
		}
		if !errors.Is(err, io.EOF) {
			r.t.Fatalf("ktrace did not end within %v\n%s", patience, r.transcript())
		}
		<-r.done
		InTable(r.t, r.seen)
		if said := r.stderr.String(); strings.Contains(said, "accounting does not add up") {
			r.t.Errorf("%s", said)
		}
		return r.seen, r.end.status
	}
}

// Usage is what it took, once it has ended.
func (r *Run) Usage() *unix.Rusage { return &r.end.usage }

// Pause keeps ktrace from running until Resume, as a node without a CPU to spare does.
func (r *Run) Pause() { r.signal(syscall.SIGSTOP) }

// Resume lets ktrace go on.
func (r *Run) Resume() { r.signal(syscall.SIGCONT) }

func (r *Run) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// PID is ktrace's process.
func (r *Run) PID() int { return r.cmd.Process.Pid }

// Stderr is what ktrace said beside its output; complete once it has ended.
func (r *Run) Stderr() string { return r.stderr.String() }

func (r *Run) transcript() string { return transcript(r.seen) }

func transcript(lines []Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.Write(l.Raw)
		b.WriteByte('\n')
	}
	return b.String()
}

// Events picks the events of a kind.
func Events(lines []Line, kind string) []Line {
	return pick(lines, func(l Line) bool { return l.Type == "event" && l.Kind == kind })
}

// Findings picks the findings.
func Findings(lines []Line) []Line {
	return pick(lines, func(l Line) bool { return l.Type == "finding" })
}

// InTable fails the test if a finding has no row in the table, or a severity that its row does not allow; what is over may be
// information in any case.
func InTable(t testing.TB, lines []Line) {
	t.Helper()
	for _, l := range Findings(lines) {
		var f struct {
			Severity event.Severity
			Over     string
		}
		l.Into(t, &f)
		if row, ok := diagnose.RowOf(l.ID); !ok || f.Over == "" && !row.Allows(f.Severity) {
			t.Errorf("%s is %q, want one of the table, as its row allows: %s", l.ID, f.Severity, l.Raw)
		}
	}
}

// Summary returns the closing line.
func Summary(t testing.TB, lines []Line) Line {
	t.Helper()
	all := pick(lines, func(l Line) bool { return l.Type == "summary" })
	if len(all) != 1 {
		t.Fatalf("%d summaries, want one", len(all))
	}
	return all[0]
}

func pick(lines []Line, wanted func(Line) bool) []Line {
	var picked []Line
	for _, l := range lines {
		if wanted(l) {
			picked = append(picked, l)
		}
	}
	return picked
}

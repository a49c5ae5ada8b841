// SPDX-License-Identifier: Apache-2.0

package heap

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestLimitIsTheLowest(t *testing.T) {
	for _, tt := range []struct {
		name  string
		group memlimit.Provider
		want  int64
	}{
		{"no group", func() (uint64, error) { return 0, memlimit.ErrNoCgroup }, 1000},
		{"unreadable", func() (uint64, error) { return 0, errors.New("?") }, 1000},
		{"a wider group", memlimit.Limit(1 << 40), 1000},
		{"no limit in fact", memlimit.Limit(math.MaxUint64), 1000},
		{"a narrow group", memlimit.Limit(400), 200},
		{"a wide group", memlimit.Limit(beside + 700), 1000},
	} {
		if got := of(1000, tt.group); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestRingIsSmallInANarrowGroup(t *testing.T) {
	none := func() (uint64, error) { return 0, memlimit.ErrNoCgroup }
	for want, group := range map[uint32]memlimit.Provider{0: memlimit.Limit(128 << 20), 4 << 20: memlimit.Limit(96 << 20)} {
		if got := ringOf(group); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
	if got := ringOf(none); got != 0 {
		t.Errorf("without a group: %d", got)
	}
}

func TestLimitLeavesWhatTheUserSet(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "1GiB")
	before := debug.SetMemoryLimit(-1)
	Limit(1 << 20)()
	if after := debug.SetMemoryLimit(-1); after != before {
		t.Errorf("the limit is %d, was %d", after, before)
	}
}

// TestLimitOfAGroupAbove runs itself in a control group that has no limit, below one that has.
func TestLimitOfAGroupAbove(t *testing.T) {
	const within = "KTRACE_TEST_IN_GROUP"
	if os.Getenv(within) != "" {
		defer Limit(Live)()
		fmt.Println("limit", debug.SetMemoryLimit(-1))
		return
	}
	limits := map[string]string{"memory": "memory.limit_in_bytes", ".": "memory.max"} // of version 1 and 2
	for controller, file := range limits {
		top := filepath.Join("/sys/fs/cgroup", controller, fmt.Sprintf("ktrace-limit-%d", os.Getpid()))
		below := filepath.Join(top, "below")
		if err := os.MkdirAll(below, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() { _, _ = os.Remove(below), os.Remove(top) })
		limit, err := os.OpenFile(filepath.Join(top, file), os.O_WRONLY, 0) // not made here: the root of version 1 is no group
		if err != nil {
			continue
		}
		_, err = limit.WriteString("67108864")
		if err = errors.Join(err, limit.Close()); err != nil {
			continue
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$1" -test.run TestLimitOfAGroupAbove`, below, self)
		cmd.Env = append(os.Environ(), within+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if want := fmt.Sprint("limit ", 32<<20); !strings.Contains(string(out), want) {
			t.Errorf("printed %q, want %q", out, want)
		}
		return
	}
	t.Skip("no control group can be made here with a limit of memory")
}

// SPDX-License-Identifier: Apache-2.0

package fio

import (
	"encoding/json"
	"math"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sync is what fio's JSON (json+) says of a job's syncs.
type sync struct {
	N      uint64            `json:"N"`
	Min    uint64            `json:"min"`
	Max    uint64            `json:"max"`
	Mean   float64           `json:"mean"`
	Stddev float64           `json:"stddev"`
	Bins   map[uint64]uint64 `json:"bins"` // by the value that the bucket stands for
}

// histogram turns fio's numbers into ours. Mean and deviation come with six decimals: more than the text shows.
func (s sync) histogram() *Histogram {
	h := Histogram{N: s.N, Min: s.Min, Max: s.Max, Counts: map[uint16]uint64{}}
	h.Sum = uint64(math.Round(s.Mean * float64(s.N)))
	mean := float64(h.Sum) / float64(s.N)
	squares, _ := big.NewFloat(s.Stddev*s.Stddev*float64(s.N-1) + mean*mean*float64(s.N)).Int(nil)
	h.SquareHi = new(big.Int).Rsh(squares, 32).Uint64()
	h.SquareLo = new(big.Int).And(squares, big.NewInt(math.MaxUint32)).Uint64()
	for value, n := range s.Bins {
		h.Counts[uint16(Bucket(value))] += n
	}
	return &h
}

// The recordings are of fio 3.33: on tmpfs, on an SSD, and throttled to 12 writes and to one a second.
func TestBlockIsFiosLetterForLetter(t *testing.T) {
	for _, name := range []string{"nsec", "usec", "wide", "msec"} {
		t.Run(name, func(t *testing.T) {
			var s sync
			raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(raw, &s); err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(s.histogram().Lines(), "\n") + "\n"; got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// The fio of this machine, whatever its version, on whatever the temporary directory lies on.
func TestBlockIsThatOfTheInstalledFio(t *testing.T) {
	out, err := exec.Command("fio", "--name=t", "--directory="+t.TempDir(), "--size=1m", "--bs=2300", "--rw=write",
		"--ioengine=sync", "--fdatasync=1", "--output-format=json+,normal").CombinedOutput()
	if err != nil {
		t.Fatalf("fio: %v\n%s", err, out)
	}
	var report struct {
		Jobs []struct {
			Sync struct {
				Lat sync `json:"lat_ns"`
			} `json:"sync"`
		} `json:"jobs"`
	}
	text := string(out)
	if err := json.NewDecoder(strings.NewReader(text[strings.Index(text, "{\n"):])).Decode(&report); err != nil || len(report.Jobs) != 1 {
		t.Fatalf("fio's report: %v\n%s", err, text)
	}
	for _, line := range report.Jobs[0].Sync.Lat.histogram().Lines()[1:] { // newer ones add "/syncfs" to the heading
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("fio does not print %q but\n%s", line, text[strings.Index(text, "  fsync/"):])
		}
	}
}

func TestNumbersTooLongGetAPrefix(t *testing.T) {
	for n, want := range map[uint64]string{
		0:             "0",
		999_999:       "999999",
		1_000_000:     "1000.0k",
		1_234_567:     "1234.6k",
		9_999_999:     "10000.0k",
		12_345_678:    "12346k",
		123_456_789:   "123457k",
		1_234_567_890: "1234.6M",
	} {
		if got := short(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}

func TestNothingCountedPrintsNothing(t *testing.T) {
	if lines := new(Histogram).Lines(); lines != nil {
		t.Errorf("got %q", lines)
	}
}

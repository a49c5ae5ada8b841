// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// kernel is the results under one kernel.
type kernel struct {
	name    string // as in the matrix's arguments
	release string
	lines   []line
	tests   []outcome
}

// line is a check or a hook of ktrace doctor -o json.
type line struct {
	Type    string
	Name    string // of a check
	OK      bool
	Probe   string
	Hook    string
	Variant string
	Impact  string
}

// outcome is the result of a test.
type outcome struct {
	run     string // the part of the run: "cmd-ktrace", "cmd-ktrace --variant raw_tp"
	test    string
	status  string // PASS, FAIL or SKIP
	because string // why it was skipped
}

func read(results string) ([]kernel, error) {
	statuses, err := filepath.Glob(filepath.Join(results, "*", "status"))
	if err != nil {
		return nil, err
	}
	var kernels []kernel
	for _, file := range statuses {
		k, err := readKernel(filepath.Dir(file))
		if err != nil {
			return nil, err
		}
		kernels = append(kernels, k)
	}
	if len(kernels) == 0 {
		return nil, fmt.Errorf("no results in %s", results)
	}
	slices.SortFunc(kernels, func(a, b kernel) int { return slices.Compare(numbers(a.release), numbers(b.release)) })
	return kernels, nil
}

func readKernel(dir string) (k kernel, err error) {
	k.name = filepath.Base(dir)
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return k, err
	}
	k.release = strings.TrimSpace(string(release))
	if k.lines, err = readDoctor(filepath.Join(dir, "doctor.json")); err != nil {
		return k, err
	}
	out, err := os.Open(filepath.Join(dir, "out"))
	if err != nil {
		return k, err
	}
	defer out.Close()
	k.tests, err = parseOutcomes(out)
	return k, err
}

func readDoctor(file string) ([]line, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []line
	for lines := json.NewDecoder(f); ; {
		var l line
		switch err := lines.Decode(&l); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, l)
	}
}

// parseOutcomes reads the output of guest: a heading for each part, and the test binary's with -test.v.
func parseOutcomes(r io.Reader) ([]outcome, error) {
	var (
		part    = regexp.MustCompile(`^== (\S+(?: --variant \S+)?)$`)
		ended   = regexp.MustCompile(`^( *)--- (PASS|FAIL|SKIP): (\S+)`)
		because = regexp.MustCompile(`^\s+\w+\.go:\d+: (.*)`)
		all     []outcome
		run     string
		said    string // the test's log line before this one
	)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if m := part.FindStringSubmatch(lines.Text()); m != nil {
			run = m[1]
		}
		if m := ended.FindStringSubmatch(lines.Text()); m != nil && (m[1] == "" || m[2] == "SKIP") {
			o := outcome{run: run, test: m[3], status: m[2]}
			if o.status == "SKIP" {
				o.because = said
			}
			all = append(all, o)
		}
		said = ""
		if m := because.FindStringSubmatch(lines.Text()); m != nil {
			said = m[1]
		}
	}
	return all, lines.Err()
}

// numbers are the numbers of a release, for comparison.
func numbers(release string) []int {
	var all [3]int
	_, _ = fmt.Sscanf(release, "%d.%d.%d", &all[0], &all[1], &all[2]) // missing ones are 0
	return all[:]
}

// title is the version, marked if the kernel is not Debian's.
func (k kernel) title() string {
	version, _, _ := strings.Cut(k.release, "-")
	version, _, _ = strings.Cut(version, "+")
	if k.name == "host" {
		return version + " (another)"
	}
	return version
}

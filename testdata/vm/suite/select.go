// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
)

// run is how much of the list a matrix runs.
type run int

const (
	ci   run = iota // each commit, under some kernels
	core            // make test-vm
	all             // make test-vm SUITE=all
)

func parseRun(name string) (run, bool) {
	i := slices.Index([]string{"ci", "core", "all"}, name)
	return run(i), i >= 0
}

// everyTest is the pattern of a package that runs all of its tests.
const everyTest = "."

// packagesOf are the packages of a run, as go list takes them.
func packagesOf(r run) []string {
	var packages []string
	for _, g := range groups() {
		if p := "./" + g.pkg; g.from <= r && !slices.Contains(packages, p) {
			packages = append(packages, p)
		}
	}
	if r >= core {
		for _, w := range wholePackages() {
			packages = append(packages, "./"+w.pkg)
		}
	}
	return packages
}

// testsOf is the pattern of a package's tests in a run, empty if there are none. A package that is not listed runs all.
func testsOf(pkg string, r run, spared bool) string {
	if i := slices.IndexFunc(wholePackages(), func(w wholePackage) bool { return w.covers(pkg) }); i >= 0 && r >= core {
		if spared && wholePackages()[i].once {
			return ""
		}
		return everyTest
	}
	if !slices.ContainsFunc(groups(), func(g group) bool { return g.pkg == pkg }) {
		return everyTest
	}
	var names []string
	for _, g := range groups() {
		for _, t := range g.tests {
			if g.pkg == pkg && g.from <= r && !(spared && t.once) {
				names = append(names, t.name)
			}
		}
	}
	return pattern(names)
}

// testsOfProbe is the pattern of the verbs' tests that run again with each lower variant of a probe's hooks.
func testsOfProbe(probe string) string {
	var names []string
	for _, g := range groups() {
		for _, t := range g.tests {
			if slices.Contains(t.probes, probe) {
				names = append(names, t.name)
			}
		}
	}
	return pattern(names)
}

// covers reports whether a folder is the package, or is in the tree if its name ends in "/...".
func (w wholePackage) covers(pkg string) bool {
	root, tree := strings.CutSuffix(w.pkg, "/...")
	return pkg == root || tree && strings.HasPrefix(pkg, root+"/")
}

// pattern matches these names and no other, for go test -run.
func pattern(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

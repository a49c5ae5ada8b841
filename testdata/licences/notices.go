// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// builds are the systems that ktrace is built for; what it is made of differs.
func builds() []string {
	return []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"}
}

const heading = `Third-party notices

The binaries of ktrace contain the software below, under the licences that follow each list. "make generate" makes this file from
the modules that are linked. The BPF programs are compiled with the headers of libbpf (https://github.com/libbpf/libbpf), which are
taken under BSD-2-Clause.
`

// pkg is what "go list -json" reports of a package.
type pkg struct {
	Dir      string
	Standard bool
	Module   *struct{ Path, Version, Dir string }
}

// notices returns the licences of all that the binaries are made of, each text once, below the names of what it is for.
func notices() (string, error) {
	names := map[string][]string{} // by text
	for _, build := range builds() {
		packages, err := linked(build)
		if err != nil {
			return "", err
		}
		for _, p := range packages {
			if err := p.collect(names); err != nil {
				return "", err
			}
		}
	}
	type entry struct{ names, text string }
	var all []entry
	for text, of := range names {
		slices.Sort(of)
		all = append(all, entry{strings.Join(slices.Compact(of), "\n"), text})
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.names+a.text, b.names+b.text) })
	var out strings.Builder
	out.WriteString(heading)
	for _, e := range all {
		fmt.Fprintf(&out, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), e.names, e.text)
	}
	return out.String(), nil
}

// linked returns the packages of one system's binary.
func linked(build string) ([]pkg, error) {
	system, machine, _ := strings.Cut(build, "/")
	c := exec.Command("go", "list", "-deps", "-tags", "grpcnotrace", "-json=Dir,Standard,Module", "ktrace/cmd/ktrace")
	c.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+machine, "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("go list for %s: %w", build, err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		case p.Standard || p.Module.Path != "ktrace":
			all = append(all, p)
		}
	}
}

// collect adds the licences that hold for a package: those in its directory and above, up to its module's.
func (p pkg) collect(names map[string][]string) error {
	var name, root string
	if p.Standard {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return fmt.Errorf("go env: %w", err)
		}
		name, root = "Go standard library", strings.TrimSpace(string(out))
	} else {
		name, root = p.Module.Path+" "+p.Module.Version, p.Module.Dir
	}
	found := false
	for dir := p.Dir; strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
		texts, err := licencesIn(dir)
		if err != nil {
			return err
		}
		of := name
		if below, _ := filepath.Rel(root, dir); below != "." {
			of += ", " + filepath.ToSlash(below)
		}
		for _, text := range texts {
			found = true
			names[text] = append(names[text], of)
		}
	}
	if !found {
		return fmt.Errorf("%s has no licence", name)
	}
	return nil
}

// licencesIn returns the texts of the licences and notices in a directory.
func licencesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	named := regexp.MustCompile(`^(?i:licen[cs]e|copying|notice|patents)(\.txt|\.md)?$`)
	texts := map[string]bool{}
	for _, e := range entries {
		if !e.Type().IsRegular() || !named.MatchString(e.Name()) {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		texts[strings.TrimSpace(strings.ReplaceAll(string(raw), "\r\n", "\n"))] = true
	}
	return slices.Sorted(maps.Keys(texts)), nil
}

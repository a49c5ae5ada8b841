// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// use does with a ruleset whatever may be done, so that no reader of it trips over garbled rules.
func use(rs *Ruleset) {
	rs.Counts()
	rs.ChainFacts(1)
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for i := range c.Rules {
				_ = c.Rules[i].Text(c)
			}
		}
	}
	p := newPacket(protoTCP, "10.1.0.2:40000", "10.96.0.10:53", Prerouting)
	rs.DropRules(Case{Packet: p, Hooks: []Hook{Prerouting, Input, Forward, Output, Postrouting}, Drops: 1})
}

// seeds are what a kernel once said, recorded in testdata.
func seeds(f *testing.F, pattern string) {
	f.Helper()
	files, err := filepath.Glob("testdata/" + pattern)
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds %s: %v", pattern, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func FuzzParseLegacy(f *testing.F) {
	seeds(f, "*.legacy")
	f.Fuzz(func(_ *testing.T, b []byte) {
		for _, family := range []Family{IPv4, IPv6} {
			if t, err := parseLegacyFile(family, b); err == nil {
				use(&Ruleset{Tables: []*Table{t}})
			}
		}
	})
}

func FuzzNFT(f *testing.F) {
	seeds(f, "*.nft")
	f.Fuzz(func(_ *testing.T, b []byte) { use(parseNFTFile(b)) })
}

func FuzzParseSave(f *testing.F) {
	f.Add("*filter\n:INPUT DROP [1:2]\n:A - [0:0]\n[3:4] -A INPUT -s 10.0.0.0/8 ! -i eth+ -p tcp -m tcp --dport 80:90 -j A\nCOMMIT\n")
	f.Add("*nat\n:PREROUTING ACCEPT\n-A PREROUTING -m comment --comment \"a \\\"b\" -j DNAT --to-destination 10.0.0.1:53\n")
	f.Fuzz(func(_ *testing.T, text string) {
		for _, family := range []Family{IPv4, IPv6} {
			if rs, err := ParseSave(strings.NewReader(text), Legacy, family); err == nil {
				use(rs)
			}
		}
	})
}

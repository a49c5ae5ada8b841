// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Account is what became of all that was seen of one kind, in one unit.
type Account struct {
	Kind     Kind   `json:"kind"` // "": runs of programs that the kernel left out, of which it is not known what they would have seen
	Unit     string `json:"unit"`
	Seen     uint64 `json:"seen"`     // as who saw it counted it: the kernel, or the stage that made it of records
	Shown    uint64 `json:"shown"`    // events that were printed, or counted in what is
	Filtered uint64 `json:"filtered"` // not selected, or only a part of what is shown
	Lost     Losses `json:"lost"`
	Own      bool   `json:"-"`                 // of the events that the verb is about
	Missing  int64  `json:"missing,omitempty"` // seen, but neither shown nor filtered nor lost; the other way round if negative: an error
}

// UnitRecord is the unit of what the kernel half counts.
const UnitRecord = "records"

// UnitOf is the unit of events of a kind that stages make of records.
func UnitOf(k Kind) string {
	if unit, ok := map[Kind]string{KindDNS: "queries", KindReset: "connections", KindNAT: "flows", KindMTU: "packets", KindFsync: "syncs"}[k]; ok {
		return unit
	}
	return "events"
}

// Check fills in what is missing.
func (a Account) Check() Account {
	a.Missing = int64(a.Seen) - int64(a.Shown) - int64(a.Filtered) - int64(a.Lost.Total())
	return a
}

// String is the account in words.
func (a Account) String() string {
	return fmt.Sprintf("%d seen = %d shown + %d filtered + %d lost", a.Seen, a.Shown, a.Filtered, a.Lost.Total())
}

// Accounting are accounts, one for each kind and unit.
type Accounting []Account

// MismatchError is returned if accounts do not add up: ktrace lost something without counting it.
type MismatchError struct{ Accounts Accounting }

// Error implements error.
func (e MismatchError) Error() string {
	var all []string
	for _, a := range e.Accounts {
		all = append(all, fmt.Sprintf("%s %s: %v", cmp.Or(string(a.Kind), "skipped"), a.Unit, a))
	}
	return "accounting does not add up, which is an error of ktrace: " + strings.Join(all, "; ")
}

// Err is a MismatchError if one of the accounts does not add up.
func (all Accounting) Err() error {
	wrong := slices.DeleteFunc(slices.Clone(all), func(a Account) bool { return a.Missing == 0 })
	if len(wrong) == 0 {
		return nil
	}
	return MismatchError{wrong}
}

// ByUnit are the accounts of each unit together, records first.
func (all Accounting) ByUnit() Accounting {
	var sums Accounting
	for _, a := range all {
		i := slices.IndexFunc(sums, func(s Account) bool { return s.Unit == a.Unit })
		if i < 0 {
			i = len(sums)
			sums = append(sums, Account{Unit: a.Unit})
		}
		sums[i].add(a)
	}
	return sums
}

func (a *Account) add(o Account) {
	a.Seen += o.Seen
	a.Shown += o.Shown
	a.Filtered += o.Filtered
	a.Lost.Add(o.Lost)
	a.Missing += o.Missing
}

// With are the accounts with those of another run.
func (all Accounting) With(others Accounting) Accounting {
	all = slices.Clone(all)
	for _, o := range others {
		i := slices.IndexFunc(all, func(a Account) bool { return a.Kind == o.Kind && a.Unit == o.Unit })
		if i < 0 {
			all = append(all, o)
			continue
		}
		all[i].add(o)
	}
	return all
}

// Instead are the accounts with one in the place of the others of its kind.
func (all Accounting) Instead(a Account) Accounting {
	return append(slices.DeleteFunc(all, func(x Account) bool { return x.Kind == a.Kind }), a)
}

// Balance fills in the sums of the accounts: of those that the verb is about all, and of the others what was lost.
func (s *Summary) Balance() {
	s.Accounts = orEmpty(s.Accounts)
	var sum Account
	for _, a := range s.Accounts {
		if !a.Own {
			a = Account{Seen: a.Lost.Total(), Lost: a.Lost}
		}
		sum.add(a)
	}
	s.Seen, s.Shown, s.Filtered, s.Lost = sum.Seen, sum.Shown, sum.Filtered, sum.Lost
}

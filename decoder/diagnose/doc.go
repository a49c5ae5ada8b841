// SPDX-License-Identifier: Apache-2.0

// Package diagnose has the rules: they observe events and conclude what is wrong, with the evidence and a remedy.
//
// table.go has a row for each finding; files are named after families of findings. A finding is concluded by a rule of its
// own, by a proof that a dropped packet gives (drop.go), or by the meaning of a kernel's drop reason (drop_reason*.go).
// State has the facts of the node that rules share; Inhibitor leaves out findings that another one explains.
package diagnose

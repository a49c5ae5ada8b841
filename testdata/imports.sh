#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# imports: the longest import path of the module, and the arrows that climb: from decoder to tracer or cmd, from tracer to
# cmd, or from a package to one of a folder around it.
go list -f '{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}
{{end}}' ./... | awk '
function depth(p,   i, n, best, all) {
	if (p in known) return known[p]
	best = 0; after[p] = ""
	n = split(needs[p], all, " ")
	for (i = 1; i <= n; i++) { if (depth(all[i]) > best) { best = known[all[i]]; after[p] = all[i] } }
	return known[p] = best + 1
}
function rank(p) { return p ~ /^ktrace\/cmd/ ? 3 : p ~ /^ktrace\/tracer/ ? 2 : p ~ /^ktrace\/(decoder|bpf)/ ? 1 : 0 }
$2 ~ /^ktrace\// {
	needs[$1] = needs[$1] " " $2; pkgs[$1]
	if (rank($2) > rank($1) && rank($1) || index($1, $2 "/") == 1) { climbs++; print "climbs: " $1 " -> " $2 }
}
END {
	for (p in pkgs) if (depth(p) > best || known[p] == best && p < top) { best = known[p]; top = p }
	for (p = top; p; p = after[p]) path = path " " substr(p, 8)
	print "longest path: " best ":" path
	print "arrows that climb: " climbs + 0
}'

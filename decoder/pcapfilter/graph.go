// SPDX-License-Identifier: Apache-2.0

package pcapfilter

// maxBlocks bounds a program before it is shortened, and with it the time that compiling and running it
// takes: some 1300 hosts or 600 ports.
const maxBlocks = 16000

// newProgram makes the graph of a condition; it is false if the graph would be too large.
func newProgram(link LinkType, c *cond) (*Program, bool) {
	g := &graph{}
	start := g.emit(c, Accept, Reject)
	if len(g.blocks) > maxBlocks {
		return nil, false
	}
	p := &Program{Link: link}
	p.Start, p.Blocks = g.reverse(start)
	for range maxPasses {
		if !p.shorten() {
			break
		}
	}
	p.code = assemble(p.Blocks)
	return p, true
}

// graph collects blocks, every one after those that it leads to.
type graph struct{ blocks []Block }

// emit adds the blocks of a condition that goes on to then or els, and returns the first of them.
func (g *graph) emit(c *cond, then, els int) int {
	switch c.kind {
	case condAnd:
		return g.emit(c.left, g.emit(c.right, then, els), els)
	case condOr:
		return g.emit(c.left, then, g.emit(c.right, then, els))
	case condNot:
		return g.emit(c.left, els, then)
	case condTrue:
		return then
	case condFalse:
		return els
	}
	if len(g.blocks) > maxBlocks {
		return Reject // newProgram refuses the whole
	}
	g.blocks = append(g.blocks, Block{Test: c.test, Then: then, Else: els})
	return len(g.blocks) - 1
}

// reverse turns the order round, so that edges lead forward.
func (g *graph) reverse(start int) (int, []Block) {
	turn := func(i int) int {
		if i < 0 {
			return i
		}
		return len(g.blocks) - 1 - i
	}
	out := make([]Block, len(g.blocks))
	for i, b := range g.blocks {
		b.Then, b.Else = turn(b.Then), turn(b.Else)
		out[turn(i)] = b
	}
	return turn(start), out
}

// maxPasses bounds the work of shortening: the passes after the first few find little.
const maxPasses = 8

// shorten lets edges skip tests whose outcome is known where they come from, and joins blocks that have become
// the same. Neither changes what a program says, not even of a truncated packet: an outcome is known only
// where the same value has been read before. Edges that were moved already take nothing away from
// that: what the old way proved, the shorter one does. It is false if there was nothing to do.
func (p *Program) shorten() bool {
	before := append([]Block(nil), p.Blocks...)
	p.prune()
	d := p.dominators()
	for i := range p.Blocks {
		b := &p.Blocks[i]
		b.Then = p.skip(d, i, true, b.Then)
		b.Else = p.skip(d, i, false, b.Else)
	}
	p.join()
	p.prune()
	return !equal(before, p.Blocks)
}

func equal(a, b []Block) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// dominance is, for each block, its immediate dominator.
type dominance struct {
	parent []int  // -1 for the first block
	after  []edge // which edge of its parent is the only one that reaches the block
}

type edge uint8

const (
	severalEdges edge = iota
	thenEdge
	elseEdge
)

func (p *Program) dominators() dominance {
	n := len(p.Blocks)
	d := dominance{parent: make([]int, n), after: make([]edge, n)}
	depth := make([]int, n)
	for i := range d.parent {
		d.parent[i] = -1
	}
	reach := func(from, to int, by edge) {
		switch {
		case to < 0:
			return
		case d.parent[to] < 0:
			d.parent[to], d.after[to] = from, by
		default:
			d.parent[to], d.after[to] = meet(d.parent, depth, d.parent[to], from), severalEdges
		}
		depth[to] = depth[d.parent[to]] + 1
	}
	for i, b := range p.Blocks { // edges lead forward: all ways to a block are known when it comes up
		reach(i, b.Then, thenEdge)
		reach(i, b.Else, elseEdge)
	}
	return d
}

// meet finds the nearest common ancestor.
func meet(parent, depth []int, a, b int) int {
	for a != b {
		if depth[a] < depth[b] {
			a, b = b, a
		}
		a = parent[a]
	}
	return a
}

// skip follows an edge of block from through the tests that its outcome and those before it decide.
func (p *Program) skip(d dominance, from int, outcome bool, to int) int {
	for to >= 0 {
		t := p.Blocks[to].Test
		known, holds := t.given(p.Blocks[from].Test, outcome)
		for at := from; !known && d.parent[at] >= 0; at = d.parent[at] {
			if d.after[at] != severalEdges {
				known, holds = t.given(p.Blocks[d.parent[at]].Test, d.after[at] == thenEdge)
			}
		}
		if !known {
			return to
		}
		if holds {
			to = p.Blocks[to].Then
		} else {
			to = p.Blocks[to].Else
		}
	}
	return to
}

// given reports whether the outcome of another test of the same value decides this one, and how.
func (t Test) given(other Test, outcome bool) (known, holds bool) {
	if t.Value != other.Value {
		return false, false
	}
	if t.Op == other.Op && t.Arg == other.Arg {
		return true, outcome
	}
	low, high, ok := other.bounds(outcome)
	if !ok {
		return false, false
	}
	first, last := t.Op.holds(low, t.Arg), t.Op.holds(high, t.Arg)
	if t.Op == Equal {
		outside := t.Arg < low || t.Arg > high
		return outside || low == high, first && low == high
	}
	return first == last, first
}

// bounds is the range that the outcome of a test leaves, where it leaves one.
func (t Test) bounds(outcome bool) (low, high uint32, ok bool) {
	const all = 0xffffffff
	switch {
	case t.Op == Equal:
		return t.Arg, t.Arg, outcome
	case t.Op == Greater && outcome:
		return t.Arg + 1, all, t.Arg != all
	case t.Op == Greater:
		return 0, t.Arg, true
	case outcome:
		return t.Arg, all, true
	}
	return 0, t.Arg - 1, t.Arg != 0
}

// join makes one of blocks that test the same and lead to the same.
func (p *Program) join() {
	same := make(map[Block]int, len(p.Blocks))
	moved := make([]int, len(p.Blocks))
	to := func(i int) int {
		if i < 0 {
			return i
		}
		return moved[i]
	}
	for i := len(p.Blocks) - 1; i >= 0; i-- {
		b := &p.Blocks[i]
		b.Then, b.Else = to(b.Then), to(b.Else)
		if first, ok := same[*b]; ok {
			moved[i] = first
			continue
		}
		same[*b], moved[i] = i, i
	}
	p.Start = to(p.Start)
}

// prune removes blocks that nothing leads to.
func (p *Program) prune() {
	used := make([]bool, len(p.Blocks))
	if p.Start >= 0 {
		used[p.Start] = true
	}
	for i, b := range p.Blocks {
		if !used[i] {
			continue
		}
		for _, to := range []int{b.Then, b.Else} {
			if to >= 0 {
				used[to] = true
			}
		}
	}
	p.renumber(used)
}

func (p *Program) renumber(keep []bool) {
	place := make([]int, len(p.Blocks))
	kept := 0
	for i := range p.Blocks {
		place[i] = kept
		if keep[i] {
			kept++
		}
	}
	to := func(i int) int {
		if i < 0 {
			return i
		}
		return place[i]
	}
	out := make([]Block, 0, kept)
	for i, b := range p.Blocks {
		if keep[i] {
			b.Then, b.Else = to(b.Then), to(b.Else)
			out = append(out, b)
		}
	}
	p.Start, p.Blocks = to(p.Start), out
}

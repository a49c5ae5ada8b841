// SPDX-License-Identifier: Apache-2.0

package pcapfilter

// relation is true when a comparison of numbers holds and the packet is of the protocols that they are
// read from. Where those are all transports, it is also tried on IPv6 packets, which libpcap does not.
func (l *lowering) relation(n relation) *cond {
	a := &arithmetic{lowering: l}
	c := a.compare(n)
	if len(a.checked) == 0 {
		return c
	}
	for _, p := range a.checked {
		if p != protoTCP && p != protoUDP && p != protoSCTP {
			return c
		}
	}
	return or(c, (&arithmetic{lowering: l, ip6: true}).compare(n))
}

// arithmetic lowers the two sides of one relation.
type arithmetic struct {
	*lowering
	ip6     bool    // transport headers are those of IPv6 packets
	checked []proto // protocols whose presence is part of the condition
}

// operand is a number and the condition under which it can be read, if any.
type operand struct {
	expr  *Arith
	check *cond
}

// comparison is how a relation is computed: an Op, perhaps negated.
var comparisons = map[string]struct {
	op     Op
	negate bool
}{
	"=": {Equal, false}, "!=": {Equal, true}, ">": {Greater, false}, "<=": {Greater, true},
	">=": {GreaterEqual, false}, "<": {GreaterEqual, true},
}

func (a *arithmetic) compare(n relation) *cond {
	left, right := a.number(&n.left), a.number(&n.right)
	op := comparisons[n.op]
	c := compare(op.op, left.expr, right.expr)
	if op.negate {
		c = negate(c)
	}
	if right.check != nil {
		c = and(right.check, c)
	}
	if left.check != nil {
		c = and(left.check, c)
	}
	return c
}

// compare tests two numbers, in the simplest form that they allow.
func compare(op Op, left, right *Arith) *cond {
	switch {
	case left.Op == ArithConst && right.Op == ArithConst:
		return truth(op.holds(left.Const, right.Const))
	case right.Op == ArithConst:
		return test(left.value(), op, right.Const)
	case left.Op == ArithConst && op == Equal:
		return test(right.value(), Equal, left.Const)
	case left.Op == ArithConst && op == Greater: // c > v is not v >= c
		return negate(test(right.value(), GreaterEqual, left.Const))
	case left.Op == ArithConst:
		return negate(test(right.value(), Greater, left.Const))
	}
	both := &Arith{Op: ArithEqual + ArithOp(op), Left: left, Right: right}
	return test(both.value(), Equal, 1)
}

// value makes a value of a node that is no constant.
func (e *Arith) value() Value {
	if e.Op == ArithField {
		return e.Value
	}
	return Value{Source: Computed, Mask: 0xffffffff, Expr: e}
}

func (a *arithmetic) number(n *number) operand {
	switch n.op {
	case "":
		return operand{expr: constant(n.value)}
	case "len":
		return operand{expr: &Arith{Op: ArithField, Value: beside(Length)}}
	case "neg":
		of := a.number(n.left)
		if of.expr.Op == ArithConst {
			return operand{constant(-of.expr.Const), of.check}
		}
		return operand{&Arith{Op: ArithNeg, Left: of.expr}, of.check}
	case "load":
		return a.load(n)
	}
	// As in libpcap, only the left side's protocol is checked.
	left := a.number(n.left)
	kept := len(a.checked)
	right := a.number(n.right)
	a.checked = a.checked[:kept]
	return operand{a.binary(n, left.expr, right.expr), left.check}
}

func constant(n uint32) *Arith { return &Arith{Op: ArithConst, Const: n} }

var arithOps = map[string]ArithOp{
	"+": ArithAdd, "-": ArithSub, "*": ArithMul, "/": ArithDiv, "%": ArithMod, "&": ArithAnd, "|": ArithOr,
	"^": ArithXor, "<<": ArithLsh, ">>": ArithRsh,
}

func (a *arithmetic) binary(n *number, left, right *Arith) *Arith {
	op := arithOps[n.op]
	if right.Op == ArithConst {
		switch {
		case right.Const == 0 && (op == ArithDiv || op == ArithMod):
			a.fail(n.col, "division by zero")
			return right
		case right.Const > 31 && (op == ArithLsh || op == ArithRsh):
			a.fail(n.col, "shift by more than 31 bits")
		case left.Op == ArithConst:
			v, _ := calculate(op, left.Const, right.Const)
			return constant(v)
		case op == ArithAnd && left.Op == ArithField:
			return &Arith{Op: ArithField, Value: left.Value.masked(right.Const)}
		}
	}
	if left.Op == ArithConst && op == ArithAnd && right.Op == ArithField {
		return &Arith{Op: ArithField, Value: right.Value.masked(left.Const)}
	}
	return &Arith{Op: op, Left: left, Right: right}
}

// calculate computes one operation; it is false for a division by zero.
func calculate(op ArithOp, a, b uint32) (uint32, bool) {
	switch op {
	case ArithNeg:
		return -a, true
	case ArithAdd:
		return a + b, true
	case ArithSub:
		return a - b, true
	case ArithMul:
		return a * b, true
	case ArithDiv, ArithMod:
		if b == 0 {
			return 0, false
		}
		if op == ArithDiv {
			return a / b, true
		}
		return a % b, true
	case ArithAnd:
		return a & b, true
	case ArithOr:
		return a | b, true
	case ArithXor:
		return a ^ b, true
	case ArithLsh:
		return a << b, true
	case ArithRsh:
		return a >> b, true
	}
	if Op(op-ArithEqual).holds(a, b) {
		return 1, true
	}
	return 0, true
}

// load reads proto[index:size].
func (a *arithmetic) load(n *number) operand {
	index := a.number(n.left)
	base, check := a.base(n, index.check)
	base.Size = uint8(n.size)
	base.Mask = fullMask(base.Size)
	if index.expr.Op == ArithConst {
		base.Off += index.expr.Const
		return operand{&Arith{Op: ArithField, Value: base}, check}
	}
	return operand{&Arith{Op: ArithIndex, Value: base, Left: index.expr}, check}
}

// base finds where a protocol's header starts and when it is there. Inner is the condition of the index.
func (a *arithmetic) base(n *number, inner *cond) (Value, *cond) {
	pr := protocols[n.proto]
	header := Value{Source: Fixed, Off: a.net}
	switch {
	case n.proto == protoLink:
		if a.link == LinkNetwork {
			a.fail(n.col, "%s have no link header to read", a.name)
		}
		return Value{Source: Fixed}, inner
	case pr.etherType != 0:
		a.checked = append(a.checked, n.proto)
		return header, both(inner, a.etherType(pr.etherType, n.col))
	}
	a.checked = append(a.checked, n.proto)
	header.Off += 40
	next := test(field(a.net+6, 1), Equal, pr.number)
	switch {
	case n.proto == protoICMP6:
		return header, both(inner, and(a.lowering.ip6(n.col), next))
	case a.ip6:
		return header, and(a.lowering.ip6(n.col), both(inner, next))
	}
	first := and(a.isProto(n.proto, n.col), a.firstFragment())
	return Value{Source: Transport, Net: a.net}, and(a.ip4(n.col), both(inner, first))
}

// both is and, where the left condition may be missing.
func both(left, right *cond) *cond {
	if left == nil {
		return right
	}
	return and(left, right)
}

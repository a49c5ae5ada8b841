// SPDX-License-Identifier: Apache-2.0

package pcapfilter

import "fmt"

// maxDepth bounds nesting, and with it the stack that an expression can ask for.
const maxDepth = 200

// MaxLength is the longest expression in bytes that Parse takes.
const MaxLength = 64 << 10

// Expr is a parsed expression.
type Expr struct {
	text string
	root node
}

// String returns the expression as it was written.
func (e *Expr) String() string { return e.text }

// Parse reads an expression; the empty one matches every packet. Errors are of type *Error.
func Parse(expr string) (*Expr, error) {
	if len(expr) > MaxLength {
		return nil, &Error{Expr: expr, Column: MaxLength + 1, Msg: "expression is too long"}
	}
	toks, lexErr := lex(expr)
	if lexErr != nil {
		return nil, lexErr
	}
	p := &parser{expr: expr, toks: toks}
	root := p.all()
	if p.err != nil {
		return nil, p.err
	}
	e := &Expr{text: expr, root: root}
	// Ethernet has everything that the language can ask for: what does not compile there is wrong.
	if _, err := e.Compile(LinkEthernet); err != nil {
		return nil, err
	}
	return e, nil
}

// parser is a recursive descent over the tokens. The first error sticks and moves it to the end.
type parser struct {
	expr  string
	toks  []token
	pos   int
	depth int
	err   *Error
}

// item is what a place in an expression may hold before the next word decides: a condition or a number.
type item struct {
	cond node
	num  *number
	bare token // the token of a number that stands alone, and so may be an id
	qual qual  // that the next id inherits
}

func (p *parser) peek() token { return p.toks[p.pos] }

func (p *parser) next() token {
	t := p.toks[p.pos]
	if t.kind != kindEnd {
		p.pos++
	}
	return t
}

func (p *parser) at(words ...string) bool {
	t := p.peek()
	for _, w := range words {
		if t.kind == kindWord && t.text == w {
			return true
		}
	}
	return false
}

func (p *parser) accept(word string) bool {
	if !p.at(word) {
		return false
	}
	p.pos++
	return true
}

func (p *parser) expect(word string) {
	if !p.accept(word) {
		p.fail(p.peek().col, "expected %q, found %s", word, p.peek().describe())
	}
}

func (p *parser) fail(col int, format string, args ...any) {
	if p.err == nil {
		p.err = &Error{Expr: p.expr, Column: col, Msg: fmt.Sprintf(format, args...)}
	}
	p.pos = len(p.toks) - 1
}

// enter counts a level of nesting; leave must follow it.
func (p *parser) enter() {
	p.depth++
	if p.depth > maxDepth {
		p.fail(p.peek().col, "more than %d levels of nesting", maxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) all() node {
	if p.peek().kind == kindEnd {
		return everything{}
	}
	it := p.conditions(qual{})
	cond := p.condition(it)
	if t := p.peek(); t.kind != kindEnd {
		p.fail(t.col, "expected \"and\", \"or\" or the end, found %s", t.describe())
	}
	return cond
}

// conditions reads operands joined by and/or, or a single number if that is all there is.
func (p *parser) conditions(q qual) item {
	it := p.operand(q)
	for p.at("and", "or") {
		left := p.condition(it)
		and := p.next().text == "and"
		it = p.operand(it.qual)
		it.cond = logic{and: and, left: left, right: p.condition(it)}
		it.num = nil
	}
	return it
}

// condition makes a condition of an item: a number that stands alone is an id.
func (p *parser) condition(it item) node {
	switch {
	case it.cond != nil:
		return it.cond
	case p.err != nil:
		return everything{}
	case it.num.op != "" || it.bare.kind == kindEnd:
		p.fail(p.peek().col, "expected a comparison (=, !=, <, >, <=, >=), found %s", p.peek().describe())
	case !it.qual.known:
		p.fail(it.bare.col, "expected a qualifier before %s, as in port %s, or a comparison after it", it.bare.describe(), it.bare.text)
	}
	return qualified{qual: it.qual, id: it.bare}
}

// operand reads one side of and/or.
func (p *parser) operand(q qual) item {
	if p.at("not") {
		p.enter()
		defer p.leave()
		p.next()
		it := p.operand(q)
		return item{cond: not{p.condition(it)}, qual: it.qual}
	}
	left := p.arithmetic(q, 0)
	if left.num == nil || !p.at("=", "!=", "<", ">", "<=", ">=") {
		return left
	}
	op := p.next()
	right := p.numberOf(p.arithmetic(qual{}, 0))
	return item{cond: relation{op: op.text, left: *left.num, right: *right, col: op.col}}
}

// binding is how tightly an operator holds its left and its right side. libpcap's grammar leaves % and ^
// without precedence, by which they take everything to their right and the nearest number to their left.
var binding = map[string]struct{ left, right int }{
	"|": {1, 2}, "&": {3, 4}, "<<": {5, 6}, ">>": {5, 6}, "+": {7, 8}, "-": {7, 8}, "*": {9, 10}, "/": {9, 10},
	"%": {20, 0}, "^": {20, 0},
}

const bindingNeg = 11

// arithmetic reads a number whose operators bind at least as tightly as min, or a condition.
func (p *parser) arithmetic(q qual, min int) item {
	p.enter()
	defer p.leave()
	left := p.primary(q)
	for left.num != nil {
		op := p.peek()
		b, ok := binding[op.text]
		if op.kind != kindWord || !ok || b.left < min {
			break
		}
		p.next()
		right := p.numberOf(p.arithmetic(qual{}, b.right))
		left = item{num: &number{op: op.text, left: left.num, right: right, col: op.col}}
	}
	return left
}

// numberOf makes a number of an item, or fails.
func (p *parser) numberOf(it item) *number {
	if it.num == nil {
		p.fail(p.peek().col, "expected a number, len or proto[offset:size] before this")
		return &number{}
	}
	return it.num
}

// primary reads the smallest whole part: a number, a condition in parentheses or a primitive.
func (p *parser) primary(q qual) item {
	t := p.peek()
	switch t.kind {
	case kindNumber:
		p.next()
		return item{num: &number{value: t.num, col: t.col}, bare: t, qual: q}
	case kindWord:
		return p.wordPrimary(q)
	case kindEnd:
		p.fail(t.col, "expected a filter, found the end")
		return item{cond: everything{}}
	}
	if !q.known {
		p.fail(t.col, "%s", unqualified(t))
		return item{cond: everything{}}
	}
	return item{cond: p.id(q), qual: q}
}

// unqualified says what is wrong with an id that has no qualifier.
func unqualified(t token) string {
	switch t.kind {
	case kindName:
		return fmt.Sprintf("unknown word %s", t.describe())
	case kindMAC:
		return fmt.Sprintf("expected a qualifier before the address, as in ether host %s", t.text)
	}
	return fmt.Sprintf("expected a qualifier before the address, as in host %s", t.text)
}

func (p *parser) wordPrimary(q qual) item {
	t := p.next()
	switch t.text {
	case "(":
		return p.parenthesis(q)
	case "-":
		of := p.numberOf(p.arithmetic(qual{}, bindingNeg))
		return item{num: &number{op: "neg", left: of, col: t.col}}
	case "len":
		return item{num: &number{op: "len", col: t.col}}
	case "src", "dst", "host", "net", "port", "portrange", "proto":
		p.pos--
		return p.head(protoAny, t.col)
	}
	if pr, ok := protoNamed(t.text); ok {
		return p.afterProto(pr, t)
	}
	return item{cond: p.keyword(protoAny, t)}
}

func (p *parser) parenthesis(q qual) item {
	p.enter()
	defer p.leave()
	it := p.conditions(q)
	p.expect(")")
	it.qual = q
	return it
}

// afterProto reads what follows a protocol: an offset, more qualifiers, or nothing.
func (p *parser) afterProto(pr proto, t token) item {
	switch {
	case p.accept("["):
		return item{num: p.load(pr, t.col)}
	case p.at("src", "dst", "host", "net", "port", "portrange", "proto"):
		return p.head(pr, t.col)
	case p.at("broadcast", "multicast"):
		return item{cond: p.keyword(pr, p.next())}
	case p.at("gateway", "protochain"):
		p.refuse(p.peek())
	case pr == protoLink:
		p.fail(p.peek().col, "expected host, src, dst, proto, broadcast, multicast or [offset] after \"ether\", found %s", p.peek().describe())
	}
	return item{cond: isProto{proto: pr, col: t.col}}
}

// load reads the rest of proto[offset:size].
func (p *parser) load(pr proto, col int) *number {
	n := &number{op: "load", proto: pr, size: 1, col: col}
	if !protocols[pr].indexable {
		p.fail(col, "%s[..] is not supported", protocols[pr].name)
	}
	n.left = p.numberOf(p.arithmetic(qual{}, 0))
	if p.accept(":") {
		size := p.next()
		if size.kind != kindNumber || size.num != 1 && size.num != 2 && size.num != 4 {
			p.fail(size.col, "expected a size of 1, 2 or 4 bytes, found %s", size.describe())
		}
		n.size = size.num
	}
	p.expect("]")
	return n
}

// head reads direction and type qualifiers and the id, or list of ids in parentheses, that they are for.
func (p *parser) head(pr proto, col int) item {
	q := qual{known: true, proto: pr, col: col}
	if p.at("src", "dst") {
		q.dir = p.direction()
	}
	switch {
	case p.at("host", "net", "port", "portrange"):
		q.typ = p.next().text
	case q.dir == dirEither && p.accept("proto"):
		q.typ = "proto"
	case p.at("gateway", "protochain"):
		p.refuse(p.peek())
	}
	return item{cond: p.ids(q), qual: q}
}

// direction reads src, dst, or both joined by and/or.
func (p *parser) direction() direction {
	first := p.next().text
	other := map[string]string{"src": "dst", "dst": "src"}[first]
	if p.at("and", "or") {
		after := p.toks[p.pos+1]
		if after.kind == kindWord && after.text == other {
			dir := map[string]direction{"and": dirBoth, "or": dirEither}[p.next().text]
			p.next()
			return dir
		}
	}
	return map[string]direction{"src": dirSrc, "dst": dirDst}[first]
}

// ids reads an id, a negated one, or several in parentheses.
func (p *parser) ids(q qual) node {
	p.enter()
	defer p.leave()
	switch {
	case p.accept("not"):
		return not{p.ids(q)}
	case p.accept("("):
		n := p.ids(q)
		for p.at("and", "or") {
			and := p.next().text == "and"
			n = logic{and: and, left: n, right: p.ids(q)}
		}
		p.expect(")")
		return n
	}
	return p.id(q)
}

// id reads one id and, for a network, its mask.
func (p *parser) id(q qual) node {
	n := qualified{qual: q, id: p.next()}
	if q.typ == "proto" && n.id.kind == kindWord && namesProtocol(n.id.text) {
		n.id.kind = kindName
	}
	switch n.id.kind {
	case kindEnd, kindWord:
		p.fail(n.id.col, "expected %s, found %s", wanted(q), n.id.describe())
	case kindIP4, kindIP6:
		if p.accept("/") {
			n.bits = p.next()
			if n.bits.kind != kindNumber {
				p.fail(n.bits.col, "expected a prefix length, found %s", n.bits.describe())
			}
		} else if n.id.kind == kindIP4 && p.accept("mask") {
			n.mask = p.next()
			if n.mask.kind != kindIP4 {
				p.fail(n.mask.col, "expected a network mask such as 255.255.0.0, found %s", n.mask.describe())
			}
		}
	}
	return n
}

// namesProtocol reports whether a word may be an id after proto, where libpcap wants a backslash before it.
func namesProtocol(word string) bool {
	_, ip := ipProtocols[word]
	_, ether := etherProtocols[word]
	return ip || ether
}

// wanted names the id that the qualifiers call for.
func wanted(q qual) string {
	switch q.typ {
	case "net":
		return "a network such as 10.0.0.0/8"
	case "port":
		return "a port"
	case "portrange":
		return "a range of ports such as 8000-8080"
	case "proto":
		return "a protocol, by name or number"
	case "host":
		return "an address"
	}
	return "host, net, port, portrange or an address"
}

func (p *parser) refuse(t token) {
	p.fail(t.col, "%q %s", t.text, refused[t.text])
}

// keyword reads a primitive that is a word of its own.
func (p *parser) keyword(pr proto, t token) node {
	k := keyword{word: t.text, proto: pr, col: t.col}
	switch t.text {
	case "broadcast", "multicast", "inbound", "outbound", "pppoed":
	case "less", "greater", "ifindex":
		k.number, k.numbered = p.plainNumber(), true
	case "vlan", "mpls":
		if p.peek().kind == kindNumber || p.at("(") {
			k.number, k.numbered = p.plainNumber(), true
		}
	default:
		if refused[t.text] != "" {
			p.refuse(t)
		}
		p.fail(t.col, "expected a filter, found %s", t.describe())
	}
	return k
}

// plainNumber reads a number, in parentheses or not.
func (p *parser) plainNumber() uint32 {
	p.enter()
	defer p.leave()
	if p.accept("(") {
		n := p.plainNumber()
		p.expect(")")
		return n
	}
	t := p.next()
	if t.kind != kindNumber {
		p.fail(t.col, "expected a number, found %s", t.describe())
	}
	return t.num
}

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// kind is a kind of change.
type kind string

// The kinds of changes.
const (
	never      kind = "never"      // a condition that never holds: a check left out
	negate     kind = "negate"     // a condition the other way round
	boundary   kind = "boundary"   // < for <=, and so on
	equality   kind = "equality"   // == for !=, and back
	logic      kind = "logic"      // && for ||, and back
	arithmetic kind = "arithmetic" // + for -, * for /, and so on
	constant   kind = "constant"   // an integer that is one more, true for false
	drop       kind = "drop"       // a statement left out: a call, an assignment, a continue
	noError    kind = "noerror"    // nil in the place of an error that is returned
)

var allKinds = []kind{never, negate, boundary, equality, logic, arithmetic, constant, drop, noError}

func kindNames() string {
	var names []string
	for _, k := range allKinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ",")
}

// parseKinds reads names that are divided by commas; none stands for all.
func parseKinds(s string) ([]kind, error) {
	if s == "" {
		return allKinds, nil
	}
	var kinds []kind
	for name := range strings.SplitSeq(s, ",") {
		if !slices.Contains(allKinds, kind(name)) {
			return nil, fmt.Errorf("%q is no kind of change: name some of %s", name, kindNames())
		}
		kinds = append(kinds, kind(name))
	}
	return kinds, nil
}

// mutant is one change of one file.
type mutant struct {
	file     string // slash-separated, from where the command runs
	line     int
	function string // as in (*Placer).Free; "" outside functions
	kind     kind
	old, new string // on one line, shortened
	nth      int    // among those of one function that read alike, from 1

	start, end  int    // bytes of the file that give way
	replacement string // to this
}

// change describes the change, the same for the same code wherever it is.
func (m mutant) change() string {
	s := string(m.kind) + " `" + m.old + "`"
	if m.new != "" {
		s += " → `" + m.new + "`"
	}
	if m.nth > 1 {
		s += fmt.Sprintf(" #%d", m.nth)
	}
	return s
}

func (m mutant) String() string {
	where := m.function
	if where == "" {
		where = "declaration"
	}
	return fmt.Sprintf("%s:%d: %s: %s", m.file, m.line, where, m.change())
}

// swaps are the operators that give way to others.
var swaps = map[token.Token][]swap{
	token.LSS: {{boundary, token.LEQ}}, token.LEQ: {{boundary, token.LSS}},
	token.GTR: {{boundary, token.GEQ}}, token.GEQ: {{boundary, token.GTR}},
	token.EQL: {{equality, token.NEQ}}, token.NEQ: {{equality, token.EQL}},
	token.LAND: {{logic, token.LOR}}, token.LOR: {{logic, token.LAND}},
	token.ADD: {{arithmetic, token.SUB}}, token.SUB: {{arithmetic, token.ADD}},
	token.MUL: {{arithmetic, token.QUO}}, token.QUO: {{arithmetic, token.MUL}},
	token.REM: {{arithmetic, token.MUL}},
	token.AND: {{arithmetic, token.OR}}, token.OR: {{arithmetic, token.AND}},
	token.ADD_ASSIGN: {{arithmetic, token.SUB_ASSIGN}}, token.SUB_ASSIGN: {{arithmetic, token.ADD_ASSIGN}},
}

type swap struct {
	kind kind
	to   token.Token
}

// changer finds the mutants of one file.
type changer struct {
	name     string
	text     string
	tokens   *token.File
	function string
	found    []mutant
}

// mutantsOf finds all mutants of a file, in the order of its text.
func mutantsOf(name, text string) ([]mutant, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(f) {
		return nil, nil
	}
	c := changer{name: name, text: text, tokens: fset.File(f.Pos())}
	for _, d := range f.Decls {
		c.function = ""
		if fn, ok := d.(*ast.FuncDecl); ok {
			c.function = c.functionName(fn)
		}
		ast.Inspect(d, c.node)
	}
	slices.SortStableFunc(c.found, func(a, b mutant) int { return a.start - b.start })
	seen := map[string]int{}
	for i, m := range c.found {
		key := m.function + "\x00" + m.change()
		seen[key]++
		c.found[i].nth = seen[key]
	}
	return c.found, nil
}

func (c *changer) functionName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) != 1 {
		return fn.Name.Name
	}
	receiver := c.source(fn.Recv.List[0].Type)
	if strings.HasPrefix(receiver, "*") {
		receiver = "(" + receiver + ")"
	}
	return receiver + "." + fn.Name.Name
}

func (c *changer) source(n ast.Node) string {
	return c.text[c.tokens.Offset(n.Pos()):c.tokens.Offset(n.End())]
}

// oneLine makes source fit for a line of output.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 80 {
		s = string(r[:79]) + "…"
	}
	return s
}

func (c *changer) add(k kind, from, to token.Pos, replacement, old, new string) {
	c.found = append(c.found, mutant{
		file: c.name, line: c.tokens.Line(from), function: c.function, kind: k, old: oneLine(old), new: oneLine(new),
		start: c.tokens.Offset(from), end: c.tokens.Offset(to), replacement: replacement,
	})
}

// node adds the mutants of one node.
func (c *changer) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IfStmt:
		c.condition(n.Cond)
	case *ast.SwitchStmt:
		c.cases(n)
	case *ast.BinaryExpr:
		c.operator(n, n.OpPos, n.Op)
	case *ast.AssignStmt:
		c.operator(n, n.TokPos, n.Tok)
		if n.Tok != token.DEFINE {
			c.leaveOut(n)
		}
	case *ast.IncDecStmt, *ast.ExprStmt, *ast.DeferStmt, *ast.SendStmt, *ast.GoStmt:
		c.leaveOut(n)
	case *ast.BranchStmt:
		if n.Tok == token.CONTINUE || n.Tok == token.BREAK {
			c.leaveOut(n)
		}
	case *ast.ReturnStmt:
		c.returned(n)
	case *ast.BasicLit:
		if n.Kind == token.INT {
			c.add(constant, n.Pos(), n.End(), "("+n.Value+" + 1)", n.Value, n.Value+" + 1")
		}
	case *ast.Ident:
		if other := map[string]string{"true": "false", "false": "true"}[n.Name]; other != "" {
			c.add(constant, n.Pos(), n.End(), other, n.Name, other)
		}
	}
	return true
}

// condition changes what decides about a check as a whole.
func (c *changer) condition(e ast.Expr) {
	text := c.source(e)
	c.add(never, e.Pos(), e.End(), "false && ("+text+")", text, "")
	if b, ok := e.(*ast.BinaryExpr); ok && (b.Op == token.EQL || b.Op == token.NEQ) {
		return // its operator is swapped
	}
	c.add(negate, e.Pos(), e.End(), "!("+text+")", text, "")
}

// cases changes the conditions of a switch that has no value of its own.
func (c *changer) cases(n *ast.SwitchStmt) {
	if n.Tag != nil {
		return
	}
	for _, s := range n.Body.List {
		for _, e := range s.(*ast.CaseClause).List {
			c.condition(e)
		}
	}
}

// operator swaps the operator of an expression or an assignment.
func (c *changer) operator(n ast.Node, at token.Pos, op token.Token) {
	for _, s := range swaps[op] {
		width := len(op.String())
		old, start := c.source(n), c.tokens.Offset(n.Pos())
		i := c.tokens.Offset(at) - start
		left, right := oneLine(old[:i]), oneLine(old[i+width:])
		c.add(s.kind, at, at+token.Pos(width), s.to.String(), left+" "+op.String()+" "+right, s.to.String())
	}
}

// leaveOut keeps a statement from being run. It stays in the text, so that what
// it names counts as used.
func (c *changer) leaveOut(n ast.Node) {
	text := c.source(n)
	c.add(drop, n.Pos(), n.End(), "if false { "+text+" }", text, "")
}

// returned puts nil in the place of an error.
func (c *changer) returned(n *ast.ReturnStmt) {
	if len(n.Results) == 0 {
		return
	}
	last := n.Results[len(n.Results)-1]
	text := c.source(last)
	made := strings.HasPrefix(text, "fmt.Errorf(") || strings.HasPrefix(text, "errors.New(")
	if text == "err" || made || strings.HasPrefix(text, "err") && !strings.Contains(text, "(") {
		c.add(noError, last.Pos(), last.End(), "nil", text, "nil")
	}
}

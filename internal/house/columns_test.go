package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"

	"github.com/mattn/go-runewidth"
)

// maxColumns bounds a line, in columns: characters of Chinese and Japanese take two. A
// tab counts as one, as the linter lll counts it unless it is told otherwise.
const maxColumns = 120

// width is how many columns a line takes, whatever the locale says of characters that
// Unicode calls ambiguous.
func width(line string) int {
	c := runewidth.Condition{}
	n := strings.Count(line, "\t")
	for _, r := range line {
		n += c.RuneWidth(r)
	}
	return n
}

// columns refuses long lines. Those that a raw string makes long are allowed:
// a line break would be part of the string.
func (in *inspector) columns(name, text string, f *ast.File) {
	lines := strings.Split(text, "\n")
	raw := map[int]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if b, ok := n.(*ast.BasicLit); ok && b.Kind == token.STRING && b.Value[0] == '`' {
			from, to := in.fset.Position(b.Pos()).Line, in.fset.Position(b.End())
			for i := from; i < to.Line; i++ {
				raw[i] = true
			}
			raw[to.Line] = raw[to.Line] || width(lines[to.Line-1][:to.Column-1]) > maxColumns
		}
		return true
	})
	for i, line := range lines {
		if n := width(line); n > maxColumns && !raw[i+1] {
			in.add(fmt.Sprintf("%s:%d", name, i+1), "columns", "%d columns, at most %d", n, maxColumns)
		}
	}
}

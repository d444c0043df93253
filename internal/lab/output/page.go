package output

import (
	_ "embed"
	"html/template"
)

// What every page has: a style, and a script that draws charts.
var (
	//go:embed assets/page.css
	pageStyle string
	//go:embed assets/draw.js
	drawScript string
)

// PageStyle returns the style of a page: the common one, and its own.
func PageStyle(own string) template.CSS { return template.CSS(pageStyle + own) }

// PageScript returns the script of a page: the common one, and its own.
func PageScript(own string) template.JS { return template.JS(drawScript + own) }

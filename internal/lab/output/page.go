package output

import (
	_ "embed"
	"html/template"
)

// What every page has: its looks, and what draws charts.
var (
	//go:embed assets/page.css
	pageStyle string
	//go:embed assets/draw.js
	drawScript string
)

// PageStyle returns the looks of a page: those of all, and its own.
func PageStyle(own string) template.CSS { return template.CSS(pageStyle + own) }

// PageScript returns the script of a page: what draws charts, and its own.
func PageScript(own string) template.JS { return template.JS(drawScript + own) }

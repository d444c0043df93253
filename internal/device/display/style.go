package display

import _ "embed" // of the style

// Style is that of the device's page.
//
//go:embed page.css
var Style string

package pages

import (
	"time"

	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// What most pages are made of has short names here.
type (
	cell    = frame.Cell
	table   = frame.Table
	action  = frame.Action
	tab     = frame.Tab
	listing = frame.Listing
	thing   = frame.Thing
)

func text(s string) cell               { return frame.Text(s) }
func link(s string, to ...string) cell { return frame.Link(s, to...) }
func moment(t time.Time) cell          { return frame.Time(t) }
func num(n int) cell                   { return frame.Num(n) }

// only are the actions that whoever is signed in may do.
func only(may bool, actions ...action) []action { return frame.Only(may, actions...) }

// Package pages has the controller's pages for people: each shows what the API says
// and changes what the API lets whoever is signed in change.
//
// What lives here: what each page is about, in a file of its subject with a template
// beside it. What must not: layout, sign-in and forms, which package frame has; words
// in Japanese, which package words has; rules and rights, which are the API's.
//
// Read first: pages.go, then overview.go as the example for all others.
package pages

import (
	"embed"

	"github.com/peerload/peerload/internal/controller/pages/frame"
)

//go:embed templates
var templates embed.FS

// New returns the pages over an API. It answers the requests of the API, too.
func New(cfg frame.Config) (*frame.Frame, error) {
	f, err := frame.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := f.Templates(templates); err != nil {
		return nil, err
	}
	f.Page("GET /{$}", overview)
	return f, nil
}

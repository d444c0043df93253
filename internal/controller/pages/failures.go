package pages

import (
	"net/url"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// failures are what devices tell of that did not succeed.
func failures(v *frame.Visit) error {
	q := url.Values{}
	for _, name := range []string{"site", "about"} {
		if is := v.Query(name); is != "" {
			q.Set(name, is)
		}
	}
	rows, err := frame.Read[client.Failure](v, "/failures", q, 0)
	if err != nil {
		return err
	}
	return v.Show("failures", rows)
}

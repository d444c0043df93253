package client

import (
	"context"
	"net/http"
)

// Release is one name for the loads of several models, which are assigned and
// rolled back as one.
type Release struct {
	Meta
	// Name has letters, digits and . _ ( ) + - : "9.4(2)" is one.
	Name string `json:"name"`
	// Note for people.
	Note string `json:"note"`
	// Loads by their names, each for other models than the others.
	Loads []string `json:"loads"`
}

// ReleaseChange changes a release; nil fields stay as they are. The loads of an
// assigned one stay: that is Refused.
type ReleaseChange struct {
	Note *string `json:"note,omitempty"`
	// Loads replace those that it has. A new release that names none has those
	// whose version is its name.
	Loads *[]string `json:"loads,omitempty"`
}

// AssignRelease assigns a release at one level; "" assigns none there. Each
// device gets the load of it that is for its model. The error is Unfit if the
// release has none for a device that would get it.
func (c *Client) AssignRelease(ctx context.Context, t Target, release string, v Version) (a Assigned, err error) {
	path, err := t.path()
	if err != nil {
		return a, err
	}
	in := struct {
		Release string `json:"release"`
	}{release}
	err = c.write(ctx, http.MethodPut, path+"/release", v, in, &a)
	return a, err
}

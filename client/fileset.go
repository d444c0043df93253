package client

import (
	"context"
	"net/http"
)

// FileSet is a file set in the controller's list: what a Load has, and the directory
// that it stands in on devices.
type FileSet struct {
	Load
	Directory string `json:"directory"`
}

// FileSet returns a file set.
func (c *Client) FileSet(ctx context.Context, name string) (f FileSet, err error) {
	err = c.get(ctx, at("/filesets", name), nil, &f)
	return f, err
}

// AddFileSet streams files to the controller, which signs them as a file set for a
// directory and publishes it; otherwise it is like AddLoad. From is not used.
func (c *Client) AddFileSet(ctx context.Context, directory string, n NewLoad) (f FileSet, err error) {
	n.From = nil
	err = c.upload(ctx, "/filesets", n, directory, &f)
	return f, err
}

// RetireFileSet takes a file set out of use, or back. One that is still assigned
// somewhere is Refused.
func (c *Client) RetireFileSet(ctx context.Context, name string, retired bool, v Version) (f FileSet, err error) {
	in := struct {
		Retired bool `json:"retired"`
	}{retired}
	err = c.write(ctx, http.MethodPatch, at("/filesets", name), v, in, &f)
	return f, err
}

// FileSetChange assigns file sets at a level, or assigns them no more. A set takes the
// place of those that are there for its directory and a model that it is for, too.
type FileSetChange struct {
	Assign   []string `json:"assign,omitempty"`
	Unassign []string `json:"unassign,omitempty"`
}

// LevelSets are the file sets that a level assigns.
type LevelSets struct {
	Target   Target   `json:"target"`
	Version  Version  `json:"version"`
	FileSets []string `json:"file_sets"`
}

// ChangeFileSets changes which file sets the enterprise, a profile or a device assigns.
// Change does it, too, for a site as well, and says first what it would touch.
func (c *Client) ChangeFileSets(ctx context.Context, t Target, in FileSetChange,
	v Version) (out LevelSets, err error) {
	path, err := t.path()
	if err != nil {
		return out, err
	}
	err = c.write(ctx, http.MethodPatch, path+"/filesets", v, in, &out)
	return out, err
}

// FileSetAnswer is a file set that a device is to have, and why.
type FileSetAnswer struct {
	Directory string `json:"directory"`
	FileSet   string `json:"file_set"`
	// Level that assigns it; Others are what weaker levels assign for the directory.
	Level  string `json:"level"`
	Others []struct {
		Level   string `json:"level"`
		FileSet string `json:"file_set"`
	} `json:"others,omitempty"`
}

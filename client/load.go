package client

import (
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Load is a load in the controller's list.
type Load struct {
	Meta
	Name string `json:"name"`
	// Release is the version of the load, as its manifest states it.
	Release string `json:"release"`
	// Models that the load is for, as the model table writes them.
	Models []string `json:"models"`
	// Size of all components in bytes.
	Size       int64           `json:"size"`
	Components []LoadComponent `json:"components"`
	// Signed says that the load has a signed manifest.
	Signed bool `json:"signed"`
	// From are patterns of the versions that it may be installed from; none: from
	// any.
	From []string `json:"from,omitempty"`
	// Retired loads cannot be assigned any more.
	Retired bool `json:"retired"`
	// Missing says that the repository no longer has it.
	Missing bool `json:"missing,omitempty"`
}

// LoadComponent is one file of a load. For an unsigned load only the name is
// known.
type LoadComponent struct {
	Name   string `json:"name"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// Load returns a load.
func (c *Client) Load(ctx context.Context, name string) (l Load, err error) {
	err = c.get(ctx, at("/loads", name), nil, &l)
	return l, err
}

// Reach counts the devices that should have a load, or a file set of that name, and
// those that get it on their way to another load. Nobody needs to know the name.
func (c *Client) Reach(ctx context.Context, load string) (r Reach, err error) {
	err = c.get(ctx, at("/loads", load, "reach"), nil, &r)
	return r, err
}

// NewLoad is a load to publish.
type NewLoad struct {
	Name    string
	Version string // free text
	Models  []string
	// Replace allows other content under the same name and version.
	Replace bool
	// From are patterns of the versions that it may be installed from, in which "*"
	// stands for any text and "none" alone for a device that runs no load. Those come
	// first that are preferred on the way. None: what was said before, or any.
	From []string
	// Files are paths on this host, in the order in which devices fetch them.
	Files []string
}

// AddLoad streams files to the controller, which signs them as a load and
// publishes it. Adding the same load again changes nothing. All files are
// opened before anything is sent; if one cannot be opened, the error is that of
// package os.
func (c *Client) AddLoad(ctx context.Context, n NewLoad) (l Load, err error) {
	err = c.upload(ctx, "/loads", n, "", &l)
	return l, err
}

// upload sends the files of a load, or of a file set for a directory.
func (c *Client) upload(ctx context.Context, path string, n NewLoad, directory string, answer any) error {
	files, err := n.open()
	defer closeAll(files)
	if err != nil {
		return err
	}
	out, in := io.Pipe()
	form := multipart.NewWriter(in)
	unread := make(chan error, 1)
	go func() {
		err := n.write(form, directory, files)
		if errors.As(err, new(*os.PathError)) {
			unread <- err // before the request fails because of it
		}
		in.CloseWithError(err)
	}()
	defer out.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = c.send(ctx, request{method: http.MethodPost, path: path, version: AnyVersion,
		contentType: form.FormDataContentType(), body: out}, answer)
	if err != nil {
		select {
		case err = <-unread:
		default:
		}
	}
	return err
}

// open opens all files. If one fails, those before it are open.
func (n NewLoad) open() (files []*os.File, err error) {
	for _, path := range n.Files {
		f, err := os.Open(path)
		if err != nil {
			return files, err
		}
		files = append(files, f)
		st, err := f.Stat()
		if err == nil && st.IsDir() {
			err = &os.PathError{Op: "read", Path: path, Err: syscall.EISDIR}
		}
		if err != nil {
			return files, err
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// write writes the form: the fields, then the files.
func (n NewLoad) write(form *multipart.Writer, directory string, files []*os.File) error {
	fields := [][2]string{{"name", n.Name}, {"version", n.Version}, {"replace", strconv.FormatBool(n.Replace)}}
	for _, m := range n.Models {
		fields = append(fields, [2]string{"model", m})
	}
	if directory != "" {
		fields = append(fields, [2]string{"directory", directory})
	}
	for _, p := range n.From {
		fields = append(fields, [2]string{"from", p})
	}
	for _, f := range fields {
		if err := form.WriteField(f[0], f[1]); err != nil {
			return err
		}
	}
	for _, f := range files {
		w, err := form.CreateFormFile("file", filepath.Base(f.Name()))
		if err != nil {
			return err
		}
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
	}
	return form.Close()
}

// RegisterLoad adds a classic load, which is unsigned, to the list, so that it
// can be assigned. components are its file names, in the order of the .loads
// file; they may be left out.
func (c *Client) RegisterLoad(ctx context.Context, name string, models, components []string) (l Load, err error) {
	in := struct {
		Name       string   `json:"name"`
		Models     []string `json:"models"`
		Components []string `json:"components,omitempty"`
	}{name, models, components}
	err = c.write(ctx, http.MethodPost, "/loads/unsigned", AnyVersion, in, &l)
	return l, err
}

// RetireLoad takes a load out of use, or back: a retired one cannot be assigned
// any more. One that is still assigned somewhere is Refused.
func (c *Client) RetireLoad(ctx context.Context, name string, retired bool, v Version) (l Load, err error) {
	in := struct {
		Retired bool `json:"retired"`
	}{retired}
	err = c.write(ctx, http.MethodPatch, at("/loads", name), v, in, &l)
	return l, err
}

// SetLoadFrom says from which versions a load may be installed, as NewLoad.From; none:
// from any.
func (c *Client) SetLoadFrom(ctx context.Context, name string, from []string, v Version) (l Load, err error) {
	in := struct {
		From []string `json:"from"`
	}{append([]string{}, from...)}
	err = c.write(ctx, http.MethodPut, at("/loads", name)+"/from", v, in, &l)
	return l, err
}

// CheckedLoad is what VerifyLoads found of one load.
type CheckedLoad struct {
	Name string `json:"name"`
	// Problem is "" if every component is as signed.
	Problem string `json:"problem,omitempty"`
}

// VerifyLoads has the controller check every signature and every byte of all
// loads. problem is that of the repository as a whole, "" if there is none.
func (c *Client) VerifyLoads(ctx context.Context) (loads []CheckedLoad, problem string, err error) {
	var out struct {
		Problem string        `json:"problem"`
		Loads   []CheckedLoad `json:"loads"`
	}
	err = c.send(ctx, request{method: http.MethodPost, path: "/loads/verify", version: AnyVersion}, &out)
	return out.Loads, out.Problem, err
}

// Assignment is a load, or a release, that is assigned at one level.
type Assignment struct {
	// Load is the name of the load, "" for none at this level; Release that of
	// the release in its place.
	Load    string `json:"load"`
	Release string `json:"release,omitempty"`
	// Previous is the load that was assigned before, or PreviousRelease the
	// release, if HasPrevious.
	Previous        string `json:"previous,omitempty"`
	PreviousRelease string `json:"previous_release,omitempty"`
	HasPrevious     bool   `json:"has_previous,omitempty"`
}

// Assigned is a load that was assigned, and where.
type Assigned struct {
	Target  Target  `json:"target"`
	Version Version `json:"version"`
	Assignment
}

// AssignLoad assigns a load at one level; "" assigns none there. The error is
// Unfit if a device would get a load that is not for its model.
func (c *Client) AssignLoad(ctx context.Context, t Target, load string, v Version) (a Assigned, err error) {
	path, err := t.path()
	if err != nil {
		return a, err
	}
	in := struct {
		Load string `json:"load"`
	}{load}
	err = c.write(ctx, http.MethodPut, path+"/load", v, in, &a)
	return a, err
}

// RollBackLoad assigns the load or release that was assigned there before.
func (c *Client) RollBackLoad(ctx context.Context, t Target, v Version) (a Assigned, err error) {
	path, err := t.path()
	if err != nil {
		return a, err
	}
	err = c.write(ctx, http.MethodPost, path+"/load/roll-back", v, nil, &a)
	return a, err
}

// LoadAnswer is the load that a device should run, and why.
type LoadAnswer struct {
	// Load is "" if no level assigns one that fits: the device keeps what it has.
	Load string `json:"load"`
	// Level that assigns it, and the release that it is of, if any.
	Level   string `json:"level"`
	Release string `json:"release,omitempty"`
	// Others are what the other levels say, the strongest first; Skipped is why
	// such a load is not used.
	Others []struct {
		Level   string `json:"level"`
		Load    string `json:"load"`
		Release string `json:"release,omitempty"`
		Skipped string `json:"skipped,omitempty"`
	} `json:"others"`
	// Via is the load that the device is handed first, because Load may not be
	// installed from what it runs; "" if it is handed Load. Held is why it is handed
	// none for now, "" if it is.
	Via  string `json:"via,omitempty"`
	Held string `json:"held,omitempty"`
	// Warning is an objection to the load, "" if there is none.
	Warning string `json:"warning,omitempty"`
}

// Root returns the repository's newest root.json, which devices are given, and
// its version.
func (c *Client) Root(ctx context.Context) (raw []byte, version int64, err error) {
	var out struct {
		Version int64  `json:"version"`
		Root    []byte `json:"root"`
	}
	err = c.get(ctx, "/trust/root", nil, &out)
	return out.Root, out.Version, err
}

// RotateKey gives a role of the repository ("root", "targets", "snapshot" or
// "timestamp") a new key.
func (c *Client) RotateKey(ctx context.Context, role string) error {
	return c.write(ctx, http.MethodPost, at("/trust/keys", role)+"/rotate", AnyVersion, nil, nil)
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/load"
)

// FetchClassic fetches an unsigned load in the format of Cisco's original: the
// text NAME.loads, and beside it on the server the components that it lists. It
// has neither sizes nor digests, so nothing can be checked: the caller must
// have the user's consent. LoadSpec.Trust and Slots are not used.
//
// All comes from one server, since nothing says that another has the same
// release. If one fails the next is asked for the whole load; if all fail, the
// error has those of all.
func (d *Device) FetchClassic(ctx context.Context, s LoadSpec) (r *LoadRun, err error) {
	var errs []error
	for _, i := range d.servers.order(d.now(), s.URLs) {
		if r != nil {
			r.Close()
		}
		one := s
		one.URLs = s.URLs[i : i+1]
		var e *Error
		if r, err = d.classicOf(ctx, one); err == nil || ctx.Err() != nil || !errors.As(err, &e) || !e.Reason.Origin() {
			return r, err
		}
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// classicOf fetches a load from its only server.
func (d *Device) classicOf(ctx context.Context, s LoadSpec) (*LoadRun, error) {
	at := s.URLs[0]
	name := path.Base(at.Path)
	r := &LoadRun{spec: s, dev: d, start: time.Now(), name: name}
	f, err := d.Fetch(r.classicSpec(at, name))
	if err != nil {
		return r, err
	}
	r.Files = append(r.Files, f)
	if err := f.Wait(ctx); err != nil {
		return r, err
	}
	raw, err := f.ReadAll(load.MaxLoadsSize)
	if err != nil {
		return r, err
	}
	l, err := load.ParseLoads(raw)
	if err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	var specs []Spec
	for _, c := range l.Components {
		u := *at
		u.Path, u.RawPath = path.Join(path.Dir(at.Path), c), ""
		specs = append(specs, r.classicSpec(&u, c))
	}
	files, err := r.fetchAll(ctx, specs)
	if err != nil {
		return r, err
	}
	return r, r.commitSet(append(files, f))
}

func (r *LoadRun) classicSpec(u *url.URL, name string) Spec {
	return Spec{
		Name: name, Model: r.spec.Model, Group: r.spec.Group, Sources: []*url.URL{u},
		Target: filepath.Join(r.spec.Dir, name), Size: load.UnknownSize, Digest: slot.ExpectAny(),
		Key: u.Redacted(),
	}
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// ErrModel says that a load is not for this device's model.
var ErrModel = errors.New("the load is not for this model")

// TrustError is a refusal of the signed metadata or the manifest.
type TrustError struct{ Err error }

// Error says what was refused and what to do.
func (e *TrustError) Error() string {
	s := "not trusted: " + e.Err.Error()
	for _, a := range []struct {
		err  error
		does string
	}{
		{tuf.ErrClock, "set this device's clock"},
		{tuf.ErrExpired, "the publisher has to sign again; check this device's clock as well"},
		{tuf.ErrRolledBack, "the server, or somebody on the way, gives out an old state: tell the publisher"},
		{tuf.ErrMixed, "the server may just be changing: try again, then tell the publisher"},
		{tuf.ErrBadSignature,
			"check the URL; if the publisher has begun anew, get the new root.json from him, and not from this server"},
	} {
		if errors.Is(e.Err, a.err) {
			return s + "; " + a.does
		}
	}
	return s
}

// Unwrap returns the reason.
func (e *TrustError) Unwrap() error { return e.Err }

// LoadSpec says which load to fetch.
type LoadSpec struct {
	// URLs of the manifest, BASE/NAME.load, in the order to ask; at least one.
	// What one server does not give is asked of the next. All devices of a site
	// should begin with the same one: it names what they share.
	URLs []*url.URL
	// Trust verifies the load; it is opened for each run.
	Trust tuf.Trust
	// Model of this device, empty if not told; Group its model group.
	Model, Group string
	// Dir is where the components go.
	Dir string
	// Slots keeps the load in two slots below Dir.
	Slots bool
	// Scratch is a directory for what is not part of the load.
	Scratch string
}

// ahead is how many components hold their elections before their turn at the
// origin comes: a load of eight files waits for only one election.
const ahead = 8

// bundlePrefix begins the names of bundles of metadata in LoadSpec.Scratch.
const bundlePrefix = "bundle-"

// maxManifest bounds the bundle of metadata and manifest.
const maxManifest = tuf.MaxBundleSize

// LoadRun is a load that is being fetched or served.
type LoadRun struct {
	// Manifest is set once it is verified.
	Manifest *load.Manifest
	// Files are what this device serves to others, in order of the manifest;
	// the first is the bundle of metadata.
	Files []*File
	start time.Time
	spec  LoadSpec
	dev   *Device
	name  string
	bases []*url.URL // of the signed repository, none for a classic load
	held  []report.Final
}

// FetchLoad fetches a load: first the signed metadata and the manifest, then
// every component, each in a hierarchy of its own. It returns once all are
// verified and committed; Close ends the serving.
func (d *Device) FetchLoad(ctx context.Context, s LoadSpec) (*LoadRun, error) {
	r, err := d.verifiedRun(ctx, s)
	switch {
	case err != nil:
		return r, err
	case s.Slots:
		return r, r.intoSlots(ctx)
	}
	return r, r.intoDir(ctx)
}

// baseOf returns the directory that a URL's file is in.
func baseOf(u *url.URL) *url.URL {
	base := *u
	base.Path = path.Dir(u.Path) + "/"
	if base.Path == "//" {
		base.Path = "/"
	}
	base.RawPath, base.RawQuery = "", ""
	return &base
}

// verifiedRun begins a load: its manifest is verified and for this model.
func (d *Device) verifiedRun(ctx context.Context, s LoadSpec) (*LoadRun, error) {
	r := &LoadRun{spec: s, dev: d, start: time.Now(),
		name: strings.TrimSuffix(path.Base(s.URLs[0].Path), load.ManifestSuffix)}
	for _, u := range s.URLs {
		r.bases = append(r.bases, baseOf(u))
	}
	if err := r.manifest(ctx); err != nil {
		return r, err
	}
	if s.Model != "" && !policy.Builtin().Fits(r.Manifest.Models, s.Model) {
		return r, fmt.Errorf("%w: %s %s is for %s, this device is a %s", ErrModel,
			r.Manifest.Name, r.Manifest.Version, strings.Join(r.Manifest.Models, ", "), s.Model)
	}
	return r, nil
}

// manifest fetches metadata and manifest, once per subnet: the root makes a
// bundle of what it took from a server, and every device verifies it for
// itself.
func (r *LoadRun) manifest(ctx context.Context) error {
	publisher, err := r.spec.Trust.Open()
	if err != nil {
		return &TrustError{err}
	}
	// What killed processes left must be removed here: each process makes its
	// bundle under a name of its own.
	_ = slot.Sweep(r.dev.cfg.Files, r.spec.Scratch,
		func(name string) bool { return strings.HasPrefix(name, bundlePrefix) })
	name := r.name + load.ManifestSuffix
	f, err := r.dev.Fetch(Spec{
		Name: name, Model: r.spec.Model, Sources: r.spec.URLs, Size: load.UnknownSize, Digest: slot.ExpectAny(),
		Key:    "bundle\x00" + r.bases[0].Redacted() + "\x00" + r.name,
		Target: filepath.Join(r.spec.Scratch, fmt.Sprintf("%s%d-%s", bundlePrefix, os.Getpid(), r.name)),
		Fetch: func(ctx context.Context, from *url.URL) ([]byte, error) {
			far := &originFetcher{dev: r.dev, base: baseOf(from)}
			b, err := publisher.Bundle(ctx, far, r.name)
			switch {
			case errors.Is(err, tuf.ErrNotFound):
				// There is nothing to trust or not: it is not there.
				err = fmt.Errorf("no signed load there: %w: %w", origin.ErrNotFound, err)
			case err != nil && !far.failed(err):
				// Asking again would not make it trustworthy.
				err = fmt.Errorf("%w: %w", origin.ErrForbidden, &TrustError{err})
			}
			return b, err
		},
	})
	if err != nil {
		return err
	}
	r.Files = append(r.Files, f)
	if err := f.Wait(ctx); err != nil {
		var refused *TrustError // by this device, as root
		if errors.As(err, &refused) {
			return refused
		}
		return err
	}
	raw, err := f.ReadAll(maxManifest)
	if err != nil {
		return err
	}
	r.Manifest, err = publisher.Manifest(ctx, raw, r.name)
	if err != nil && f.Final().BytesFromOrigin == 0 {
		// A peer's copy counts only if it is genuine, unexpired and not older.
		r.dev.event(report.Event{Event: report.KindFallback, File: name, Reason: string(reason.MetadataRefused),
			Message: fmt.Sprintf("the peers' copy of the metadata is refused: %v; asking the server", err)})
		err = r.manifestOf(ctx, publisher)
	}
	if err != nil {
		return &TrustError{err}
	}
	return nil
}

// manifestOf asks the servers themselves for metadata and manifest, until one
// has what can be trusted. The error is that of the first.
func (r *LoadRun) manifestOf(ctx context.Context, publisher tuf.Publisher) (err error) {
	for _, i := range r.dev.servers.order(r.dev.now(), r.bases) {
		m, failed := publisher.Ask(ctx, &originFetcher{dev: r.dev, base: r.bases[i]}, r.name)
		if failed == nil {
			r.Manifest = m
			return nil
		}
		if err == nil {
			err = failed
		}
	}
	return err
}

// specsOf returns what to fetch for components of a signed load.
func (r *LoadRun) specsOf(cs []load.Component, dir string) []Spec {
	var out []Spec
	for _, c := range cs {
		var sources []*url.URL
		for _, base := range r.bases {
			u := *base
			u.Path += tuf.ComponentPath(c.Digest.String(), c.Name)
			sources = append(sources, &u)
		}
		out = append(out, Spec{
			Name: c.Name, Model: r.spec.Model, Group: r.spec.Group, Sources: sources,
			Target: filepath.Join(dir, c.Name), Size: c.Size, Digest: slot.Expect(c.Digest), Table: c.Table,
		})
	}
	return out
}

// intoDir fetches into one directory; the names appear together.
func (r *LoadRun) intoDir(ctx context.Context) error {
	if _, err := slot.Recover(r.dev.cfg.Files, r.spec.Dir); err != nil {
		return err
	}
	files, err := r.fetchAll(ctx, r.specsOf(r.Manifest.Components, r.spec.Dir))
	if err != nil {
		return err
	}
	return r.commitSet(files)
}

// commitSet gives all files their names, or none.
func (r *LoadRun) commitSet(files []*File) error {
	var parts []*slot.Partial
	for _, f := range files {
		if !f.Held() {
			parts = append(parts, f.Partial())
		}
	}
	if len(parts) > 0 {
		if err := slot.CommitSet(r.dev.cfg.Files, r.spec.Dir, parts); err != nil {
			return err
		}
	}
	for _, f := range files {
		f.Committed()
	}
	return nil
}

// intoSlots fetches into the slot that is not active, and switches to it once
// every component is verified.
func (r *LoadRun) intoSlots(ctx context.Context) error {
	if err := r.isLoad(); err != nil {
		return err
	}
	s, err := slot.OpenSlots(r.dev.cfg.Files, r.spec.Dir)
	if err != nil {
		return err
	}
	defer s.Close()
	l := slot.Load{Name: r.Manifest.Name, Version: r.Manifest.Version}
	byName := map[string]load.Component{}
	for _, c := range r.Manifest.Components {
		l.Components = append(l.Components, slot.Entry{Name: c.Name, Size: c.Size, Digest: c.Digest})
		byName[c.Name] = c
	}
	if a, ok := s.Active(); ok && r.holds(s.Dir(a.Slot), a.Load, l) {
		// Nothing to do: the other slot still allows to go back.
		_, err := r.fetchAll(ctx, r.specsOf(r.Manifest.Components, s.Dir(a.Slot)))
		return err
	}
	missing, err := s.Begin(l)
	if err != nil {
		return err
	}
	var want []load.Component
	for _, e := range missing {
		want = append(want, byName[e.Name])
		delete(byName, e.Name)
	}
	for _, c := range r.Manifest.Components {
		if _, kept := byName[c.Name]; kept {
			r.cached(c, filepath.Join(s.Dir(s.Inactive().Slot), c.Name))
		}
	}
	files, err := r.fetchAll(ctx, r.specsOf(want, s.Dir(s.Inactive().Slot)))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := f.Commit(); err != nil {
			return err
		}
	}
	return s.Switch()
}

// holds reports whether a slot has the very load, with every component as it
// should be.
func (r *LoadRun) holds(dir string, has, want slot.Load) bool {
	if has.Name != want.Name || has.Version != want.Version || !slices.Equal(has.Components, want.Components) {
		return false
	}
	for _, c := range r.Manifest.Components {
		spec := slot.Spec{Key: c.Digest, Geometry: load.Geometry{Size: c.Size}, Table: c.Table,
			Digest: slot.Expect(c.Digest)}
		p, err := slot.OpenHeld(r.dev.cfg.Files, filepath.Join(dir, c.Name), spec, r.dev.cfg.Slot)
		if err != nil {
			return false
		}
		_ = p.Close()
	}
	return true
}

// cached notes a component that was there before.
func (r *LoadRun) cached(c load.Component, at string) {
	r.held = append(r.held, report.Final{File: c.Name, Size: c.Size, SHA256: c.Digest.String(), Path: at,
		Source: report.SourceCache, Role: report.RoleNone, BytesFromCache: c.Size})
}

// fetchAll fetches files one after the other from the origin, with their
// elections ahead of their turn.
func (r *LoadRun) fetchAll(ctx context.Context, specs []Spec) ([]*File, error) {
	var paths []string
	for _, s := range specs {
		paths = append(paths, s.Target)
	}
	if err := slot.CheckNames(r.dev.cfg.Files, paths); err != nil {
		return nil, err
	}
	var files []*File
	begin := func() error {
		f, err := r.dev.open(specs[len(files)])
		if err != nil {
			return err
		}
		first := len(files) == 0
		if err := r.dev.begin(f, first); err != nil {
			return err
		}
		files = append(files, f)
		r.Files = append(r.Files, f)
		if !first {
			r.dev.chain(files[len(files)-2], f)
		}
		return nil
	}
	for i := range specs {
		for len(files) < len(specs) && len(files) <= i+ahead {
			if err := begin(); err != nil {
				return files, err
			}
		}
		if err := files[i].Wait(ctx); err != nil {
			return files, err
		}
	}
	return files, nil
}

// chain lets b use the origin once a does not need it any more.
func (d *Device) chain(a, b *File) {
	d.call(func(now time.Duration) {
		a.j.next = b.j
		a.j.openNext(now)
	})
}

// Final returns the report of the whole load.
func (r *LoadRun) Final() *report.Final {
	u := r.spec.URLs[0]
	if len(r.Files) > 0 {
		u = r.Files[0].j.origin() // where the first file came from
	}
	t := &report.Final{File: path.Base(u.Path), URL: origin.Shown(u), Path: r.spec.Dir, Role: report.RoleNone,
		Source: report.SourceCache, ElapsedS: time.Since(r.start).Seconds(), Unsigned: len(r.bases) == 0}
	t.Components = append(t.Components, r.held...)
	for i, f := range r.Files {
		c := f.Final()
		if i == 0 && r.Manifest != nil {
			c.File, c.Path, c.Unsigned = "metadata", "", false // it brought its signatures
		}
		t.Components = append(t.Components, *c)
	}
	for i, c := range t.Components {
		t.Size += c.Size
		t.BytesFromOrigin += c.BytesFromOrigin
		t.BytesFromPeers += c.BytesFromPeers
		t.BytesFromCache += c.BytesFromCache
		t.BytesToPeers += c.BytesToPeers
		t.Elections += c.Elections
		t.Fallbacks = append(t.Fallbacks, c.Fallbacks...)
		if c.Role == report.RoleRoot || i == 0 {
			t.Role = c.Role
		}
		if t.FirstByteS == 0 || c.FirstByteS > 0 && c.FirstByteS < t.FirstByteS {
			t.FirstByteS = c.FirstByteS
		}
	}
	if t.BytesFromOrigin > t.BytesFromCache && t.BytesFromOrigin >= t.BytesFromPeers {
		t.Source = report.SourceOrigin
	} else if t.BytesFromPeers > t.BytesFromCache {
		t.Source = report.SourcePeer
	}
	return t
}

// Close tells the peers that this device leaves, and closes all files. The
// bundle is removed.
func (r *LoadRun) Close() {
	for i, f := range r.Files {
		if i == 0 && len(r.bases) > 0 {
			_ = f.Discard()
		} else {
			_ = f.Close()
		}
	}
}

// originFetcher gives a publisher the files of a repository.
type originFetcher struct {
	dev  *Device
	base *url.URL
	last error
}

// Fetch implements tuf.Fetcher.
func (o *originFetcher) Fetch(ctx context.Context, p string, most int64) ([]byte, error) {
	u := *o.base
	u.Path += p
	b, err := o.dev.cfg.Origin.Open(ctx, origin.Request{URL: &u, Size: load.UnknownSize})
	if err != nil {
		if errors.Is(err, origin.ErrNotFound) {
			return nil, fmt.Errorf("%s: %w", origin.Shown(&u), tuf.ErrNotFound)
		}
		o.last = err
		return nil, err
	}
	defer b.Close()
	raw, err := origin.ReadAll(b, most)
	if err != nil {
		o.last = err
	}
	return raw, err
}

// failed reports whether an error of the publisher really means that the
// server could not be asked.
func (o *originFetcher) failed(err error) bool { return o.last != nil && errors.Is(err, o.last) }

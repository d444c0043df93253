// Package cnf makes the provisioning files that phones ask for: SEP<MAC>.cnf.xml
// and XMLDefault.cnf.xml, from what the controller knows, at the moment they
// are asked for.
//
// What lives here: names of files, and which answer of package domain goes into
// which. What must not: how XML is written (package provision), sockets, which
// value wins (package policy).
package cnf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/internal/controller/template"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
)

const (
	suffix = ".cnf.xml"
	// DefaultName is the file for devices that are not known.
	DefaultName = "XMLDefault" + suffix
	// DeviceTemplate and DefaultTemplate are the files of Maker.Templates.
	DeviceTemplate, DefaultTemplate = "device" + suffix, "default" + suffix
)

// Maker makes files. Its method Make is what files.Config.Generate wants.
type Maker struct {
	// Controller answers. Required.
	Controller *domain.Controller
	// Told says what the rollout tells a device that one has. nil: there are no rollouts.
	Told func(ctx context.Context, device string) (rollouts.Told, error)
	// Templates is a directory in which an administrator may put templates
	// under the names DeviceTemplate and DefaultTemplate; they are read at each
	// request. "": none. If a template leaves something out, no file is served,
	// and devices keep the one they have.
	Templates string
}

// Make makes the file of that name for a device at that address. An error
// matches fs.ErrNotExist for other names, and for a device that is not known
// and may not become so.
func (m Maker) Make(ctx context.Context, name string, client netip.Addr) ([]byte, error) {
	stem, ok := strings.CutSuffix(name, suffix)
	switch {
	case !ok:
		return nil, fs.ErrNotExist
	case name == DefaultName:
		return m.forAll(ctx)
	case !strings.HasPrefix(strings.ToUpper(stem), "SEP"):
		return nil, fs.ErrNotExist
	}
	device, err := domain.DeviceName(stem)
	if err != nil {
		return nil, fs.ErrNotExist
	}
	d, err := m.Controller.Provision(ctx, device, "", client.String())
	// On a full disk no device becomes known, and all get what unknown ones get.
	if errors.Is(err, domain.ErrNotFound) || errors.Is(err, domain.ErrRefused) || errors.Is(err, syscall.ENOSPC) {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, err
	}
	m.Controller.Asked(device, client.String())
	return m.forOne(ctx, device, d)
}

// Known makes the file of a device for its controller, which knows by it whether the
// device has another one. An error matches domain.ErrNotFound for a device that is not
// known.
func (m Maker) Known(ctx context.Context, device string) ([]byte, error) {
	d, err := m.Controller.ProvisionKnown(ctx, device)
	if err != nil {
		return nil, err
	}
	return m.forOne(ctx, device, d)
}

// forOne is the file of a device that is known.
func (m Maker) forOne(ctx context.Context, device string, d domain.Desired) ([]byte, error) {
	f := fileOf(d)
	if m.Told != nil && d.Holder != (domain.Holder{}) {
		told, err := m.Told(ctx, device)
		if err != nil {
			return nil, err
		}
		m.tell(f, d, told)
	}
	return m.render(DeviceTemplate, f)
}

// tell adds to a file what a rollout tells. A device that does not read grants runs
// whatever load is assigned: the one of the rollout is, as long as it may be
// activated.
func (m Maker) tell(f *provision.File, d domain.Desired, told rollouts.Told) {
	load := told.Load
	if g := told.Grant; g != nil {
		f.Grant = &provision.Grant{Rollout: g.Rollout, Try: g.Try, Load: g.Load, Download: provision.Span(g.Download),
			Activate: provision.Span(g.Activate)}
		if f.Grant.Activate.Contains(m.Controller.Time()) {
			load = g.Load
		}
	}
	if load != "" {
		f.Loads = loadsOf(d, load)
	}
}

// fileOf is what the file of one device says. It gives the load together with
// the model: a device of another model with the same address refuses it.
func fileOf(d domain.Desired) *provision.File {
	f := &provision.File{Levels: d.Levels}
	tellModel(f, d)
	f.Loads = loadsOf(d, d.Load.Handed())
	sets := map[string]string{}
	for _, s := range d.FileSets {
		sets[s.Directory] = s.FileSet
	}
	f.FileSets = provision.TellFileSets(sets)
	return f
}

// loadsOf is the load that a device is to run, "" for none, as its file has it.
func loadsOf(d domain.Desired, load string) []provision.Assignment {
	if load == "" {
		return nil
	}
	a := provision.Assignment{Load: load}
	// The device would refuse a model name that it does not know as its own.
	if name := provisionName(d.Model); d.Known && builtin().Fits([]string{name}, d.Model.Name) {
		a.Model = name
	}
	return []provision.Assignment{a}
}

// builtin is the table of models that devices have. It is made once: each file asks it.
var builtin = sync.OnceValue(policy.Builtin)

// tellModel adds what the device's built-in model table lacks: defaults and the
// group. It leaves out settings that the model lacks, so that both sides
// compute the same values.
func tellModel(f *provision.File, d domain.Desired) {
	own := builtin().Lookup(d.Model.Name)
	f.Levels.Model = maps.Clone(d.Model.Defaults)
	if d.Known && d.Group != own.GroupName() {
		f.Group = d.Group
	}
	l := &f.Levels
	for _, values := range []*policy.Values{&l.Model, &l.Enterprise, &l.Profile, &l.Device} {
		*values = maps.Clone(*values) // they are the controller's
		maps.DeleteFunc(*values, func(name, _ string) bool {
			return slices.ContainsFunc(d.Settings, func(s domain.EffectiveSetting) bool {
				return s.Setting == name && s.Reason != "" && !lacks(own, name)
			})
		})
	}
}

// lacks reports whether a device knows by itself that its model lacks a setting.
func lacks(m policy.Model, name string) bool {
	s, err := policy.Lookup(name)
	return err == nil && m.Lacking(s) != ""
}

func provisionName(r policy.ModelRow) string {
	if r.Provision != "" {
		return r.Provision
	}
	return r.Name
}

// forAll is the file for devices that are not known: the default load of each
// model, and the enterprise's settings.
func (m Maker) forAll(ctx context.Context) ([]byte, error) {
	d, err := m.Controller.Defaults(ctx)
	if err != nil {
		return nil, err
	}
	f := &provision.File{Default: true, Levels: policy.Levels{Enterprise: d.Enterprise}}
	for _, row := range d.Models {
		if row.Load == "" {
			continue
		}
		a := provision.Assignment{Load: row.Load, Model: provisionName(row.Model)}
		if n := row.Model.TypeNumber; n > 0 {
			a.Type = strconv.Itoa(n)
		}
		f.Loads = append(f.Loads, a)
	}
	return m.render(DefaultTemplate, f)
}

// render writes a file, by the administrator's template if there is one.
func (m Maker) render(name string, f *provision.File) ([]byte, error) {
	if m.Templates == "" {
		return f.Marshal()
	}
	path := filepath.Join(m.Templates, name)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f.Marshal()
	}
	if err != nil {
		return nil, fmt.Errorf("the template: %w", hide(err))
	}
	t, err := template.New(string(text))
	if err != nil {
		return nil, fmt.Errorf("the template %s: %w", path, err)
	}
	b, err := t.Render(f)
	if err != nil {
		return nil, fmt.Errorf("the template %s: %w", path, err)
	}
	return b, nil
}

// hide makes sure that a template that cannot be read does not look like a
// missing file.
func hide(err error) error { return errors.New(err.Error()) }

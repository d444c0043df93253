package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/load"
)

// loadObject is a load in JSON.
type loadObject struct {
	Schema     int               `json:"schema"`
	Event      string            `json:"event"`
	Name       string            `json:"name"`
	Version    string            `json:"version,omitempty"`
	Models     []string          `json:"models,omitempty"`
	Created    string            `json:"created,omitempty"`
	Size       int64             `json:"size"`
	Components []componentObject `json:"components,omitempty"`
	Changed    *bool             `json:"changed,omitempty"`
	Replaced   string            `json:"replaced,omitempty"`
	OK         *bool             `json:"ok,omitempty"`
	Problem    string            `json:"problem,omitempty"`
}

type componentObject struct {
	Name   string      `json:"name"`
	Size   int64       `json:"size"`
	SHA256 load.Digest `json:"sha256"`
}

func objectOf(event string, m *load.Manifest) loadObject {
	o := loadObject{Schema: jsonSchema, Event: event, Name: m.Name, Version: m.Version, Models: m.Models,
		Created: m.Created, Size: m.Size()}
	for _, c := range m.Components {
		o.Components = append(o.Components, componentObject{c.Name, c.Size, c.Digest})
	}
	return o
}

func loadCommand() *cobra.Command {
	return group("load", "Add, list, assign, verify and retire loads", func(r *reach) []*cobra.Command {
		return []*cobra.Command{loadAdd(r), loadList(r), loadShow(r), loadRegister(r), loadAssign(r), loadRollBack(r), loadRetire(r, true),
			loadRetire(r, false), loadVerify(r), loadRefresh(r)}
	})
}

func loadAdd(r *reach) *cobra.Command {
	var w where
	var req publish.Request
	cmd := &cobra.Command{
		Use:   "add FILE...",
		Short: "Sign files as a load and publish it",
		Long: `Sign files as a load and publish it as NAME.load.

Devices fetch the files in the order given. On first use the keys are made, in a
directory that only you can read: keep a copy of it, without the keys nothing
can be published that your devices accept. The same command again changes
nothing. Other content needs another --version, or --replace.`,
		Example: `  peerload-server load add --name pi-boot --version 2026-11 \
      --model linux-arm,linux-arm64 bootcode.bin start.elf fixup.dat`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Files = args
			if w.repo == "" {
				return r.with(func(cmd *cobra.Command, _ []string, c *client) error { return uploadLoad(r, cmd, c, req) })(cmd, args)
			}
			w.json = r.json
			repo, err := w.open(true)
			if err != nil {
				return err
			}
			req.Files, req.Created = args, time.Now()
			res, err := publish.Add(repo, req)
			if err != nil {
				return err
			}
			m := res.Manifest
			o := objectOf("load_added", m)
			o.Changed, o.Replaced = &res.Changed, res.Replaced
			did := "published"
			switch {
			case !res.Changed:
				did = "already published, nothing changed"
			case res.Replaced != "":
				did = "published in the place of version " + res.Replaced
			}
			return w.print(cmd, o, "%s version %s: %d files, %d bytes, for %s: %s as %s\n", m.Name, m.Version,
				len(m.Components), m.Size(), strings.Join(m.Models, ", "), did, filepath.Join(w.repo, m.FileName()))
		},
	}
	w.flags(cmd, true)
	f := cmd.Flags()
	f.StringVar(&req.Name, "name", "", "the load's name; devices ask for NAME.load (required)")
	f.StringVar(&req.Version, "version", "", "the load's version, free text (required)")
	f.StringSliceVar(&req.Models, "model", nil, "models that the load is for, repeated or with commas (required)")
	f.BoolVar(&req.Replace, "replace", false, "allow other content under the same name and version")
	for _, name := range []string{"name", "version", "model"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are defined above
		}
	}
	return cmd
}

func loadList(r *reach) *cobra.Command {
	var w where
	var retired bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the loads that are published",
		Example: "  peerload-server load list --repo /srv/firmware",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if w.repo == "" {
				return r.with(func(cmd *cobra.Command, _ []string, c *client) error { return listLoads(r, cmd, c, retired) })(cmd, args)
			}
			w.json = r.json
			repo, err := w.open(false)
			if err != nil {
				return err
			}
			all, err := repo.Loads()
			if err != nil {
				return err
			}
			for _, m := range all {
				if err := w.print(cmd, objectOf("load", m), "%s\t%s\t%d files\t%d bytes\t%s\n", m.Name, m.Version,
					len(m.Components), m.Size(), strings.Join(m.Models, ",")); err != nil {
					return err
				}
			}
			return nil
		},
	}
	w.flags(cmd, false)
	cmd.Flags().BoolVar(&retired, "retired", false, "retired loads too")
	return cmd
}

func loadVerify(r *reach) *cobra.Command {
	var w where
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check all that is published, as a new device would",
		Long: `Check all that is published, as a new device would: every root, the signatures
and their expiry, each manifest, and every byte of each file. Needs no keys.`,
		Example: "  peerload-server load verify --repo /srv/firmware",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if w.repo == "" {
				return r.with(func(cmd *cobra.Command, _ []string, c *client) error { return verifyLoads(r, cmd, c) })(cmd, args)
			}
			w.json = r.json
			repo, err := w.open(false)
			if err != nil {
				return err
			}
			all, err := repo.Verify(cmd.Context())
			if err != nil {
				return err
			}
			bad := 0
			for _, c := range all {
				o := loadObject{Schema: jsonSchema, Event: "load_verified", Name: c.Name}
				if c.Manifest != nil {
					o = objectOf("load_verified", c.Manifest)
				}
				ok, text := c.Problem == nil, "ok"
				if o.OK = &ok; !ok {
					bad++
					text, o.Problem = "NOT OK: "+c.Problem.Error(), c.Problem.Error()
				}
				if err := w.print(cmd, o, "%s\t%s\t%s\n", c.Name, o.Version, text); err != nil {
					return err
				}
			}
			if bad > 0 {
				return fmt.Errorf("%w: %d of %d loads; add them again", errDamaged, bad, len(all))
			}
			return nil
		},
	}
	w.flags(cmd, false)
	return cmd
}

// done is what commands print that change signatures only.
type done struct {
	Schema int    `json:"schema"`
	Event  string `json:"event"`
	Role   string `json:"role,omitempty"`
	Root   int64  `json:"root_version,omitempty"`
	Path   string `json:"path,omitempty"`
}

func loadRefresh(r *reach) *cobra.Command {
	var w where
	cmd := &cobra.Command{
		Use:   "refresh",
		Short: "Sign anew what is published, before it expires",
		Long: `Sign anew what is published, before it expires. Devices refuse what nobody has
signed for 30 days: run this weekly, from cron for example, or let
"peerload-server serve" do it daily. It needs the keys: on a controller's host
those of --data, or those of --repo.`,
		Example: "  peerload-server load refresh --repo /srv/firmware",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if w.repo == "" { // the controller does it daily; this does it now, where its keys are
				d := dataDir(r.data)
				if err := errors.Join(requireData(d, r.database()), d.owned()); err != nil {
					return err
				}
				w.repo, w.keys = d.repository(), d.keys()
			}
			w.json = r.json
			repo, err := w.open(true)
			if err != nil {
				return err
			}
			if err := repo.Refresh(); err != nil {
				return err
			}
			return w.print(cmd, done{Schema: jsonSchema, Event: "refreshed", Path: w.repo}, "%s: refreshed\n", w.repo)
		},
	}
	w.flags(cmd, true)
	return cmd
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/load"
)

// repoFlags are the flags that say which repository.
type repoFlags struct {
	repo, keys string
	json       bool
}

// flags adds the flags; the keys only where something is signed.
func (repoAt *repoFlags) flags(cmd *cobra.Command, signs bool) {
	f := cmd.Flags()
	f.StringVar(&repoAt.repo, "repo", "",
		"a bare repository, without a controller: the directory that is served, with the loads in it")
	if signs {
		f.StringVar(&repoAt.keys, "keys", "",
			"the directory of the private keys, outside --repo (default: the name of --repo with .keys behind it)")
	}
}

// open opens the repository for reading, or for signing.
func (repoAt *repoFlags) open(signs bool) (*repository.Repository, error) {
	cfg := repository.Config{Dir: repoAt.repo}
	if signs {
		cfg.Keys = repoAt.keysDir()
	}
	return repository.Open(cfg)
}

func (repoAt *repoFlags) keysDir() string {
	if repoAt.keys != "" {
		return repoAt.keys
	}
	return trimSlashes(repoAt.repo) + ".keys"
}

func trimSlashes(s string) string {
	for len(s) > 1 && os.IsPathSeparator(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// print prints an object with --json, else the text.
func (repoAt *repoFlags) print(cmd *cobra.Command, object any, format string, args ...any) error {
	if repoAt.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(object)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format, args...)
	return err
}

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
	o := loadObject{Schema: console.Schema, Event: event, Name: m.Name, Version: m.Version, Models: m.Models,
		Created: m.Created, Size: m.Size()}
	for _, c := range m.Components {
		o.Components = append(o.Components, componentObject{c.Name, c.Size, c.Digest})
	}
	return o
}

func loadCommand() *cobra.Command {
	return group("load", "Add, list, assign, verify and retire loads", func(conn *console.Flags) []*cobra.Command {
		return []*cobra.Command{
			loadAdd(conn), loadList(conn), loadShow(conn), loadRegister(conn), loadAssign(conn), loadRollBack(conn),
			loadSet(conn), loadRetire(conn, true), loadRetire(conn, false), loadVerify(conn), loadRefresh(conn)}
	})
}

func loadAdd(conn *console.Flags) *cobra.Command {
	var repoAt repoFlags
	var req publish.Request
	var from []string
	var a console.Consent
	cmd := &cobra.Command{
		Use:   "add FILE...",
		Short: "Sign files as a load and publish it",
		Long: `Sign files as a load and publish it as NAME.load.

Devices fetch the files in the order given. On first use the keys are made, in a
directory that only you can read: keep a copy of it, without the keys nothing
can be published that your devices accept. The same command again changes
nothing. Other content needs another --version, or --replace, which says what it
would touch: devices that run the load keep what they have, and others get the new
content. It cannot be undone: publish the old files again.

--from says from which versions the load may be installed; devices that run
another one get a load between that leads there, if there is one.`,
		Example: `  peerload-server load add --name pi-boot --version 2026-11 \
      --model linux-arm,linux-arm64 bootcode.bin start.elf fixup.dat`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Files = args
			if repoAt.repo == "" {
				return conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
					if req.Replace || a.Dry {
						if ok, err := a.Replaces(conn, cmd, c, req.Name); err != nil || !ok {
							return err
						}
					}
					return uploadLoad(conn, cmd, c, req, from)
				})(cmd, args)
			}
			if a.Yes || a.Dry {
				return errors.New("--yes and --dry-run are about devices, which a bare repository does not know")
			}
			if len(from) > 0 {
				return errors.New("--from is what a controller knows of a load: a bare repository has no use for it")
			}
			return addBare(conn, cmd, &repoAt, req)
		},
	}
	repoAt.flags(cmd, true)
	f := cmd.Flags()
	f.StringVar(&req.Name, "name", "", "the load's name; devices ask for NAME.load (required)")
	f.StringVar(&req.Version, "version", "", "the load's version, free text (required)")
	f.StringSliceVar(&req.Models, "model", nil, "models that the load is for, repeated or with commas (required)")
	f.BoolVar(&req.Replace, "replace", false, "allow other content under the same name and version")
	fromFlag(cmd, &from)
	a.Add(cmd)
	for _, name := range []string{"name", "version", "model"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are defined above
		}
	}
	return cmd
}

// addBare publishes a load in a repository without a controller.
func addBare(conn *console.Flags, cmd *cobra.Command, repoAt *repoFlags, req publish.Request) error {
	repoAt.json = conn.JSON
	repo, err := repoAt.open(true)
	if err != nil {
		return err
	}
	req.Created = time.Now()
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
	return repoAt.print(cmd, o, "%s version %s: %s, %s, for %s: %s as %s\n", m.Name, m.Version,
		console.FilesOf(len(m.Components)), terminal.Bytes(m.Size()), strings.Join(m.Models, ", "), did,
		filepath.Join(repoAt.repo, m.FileName()))
}

// fromFlag is the flag that says from which versions a load may be installed.
func fromFlag(cmd *cobra.Command, from *[]string) {
	cmd.Flags().StringSliceVar(from, "from", nil,
		"versions that it may be installed from, repeated or with commas, those first that are preferred on the way: "+
			"* for any text, none for a device that runs no load (default: any)")
}

func loadSet(conn *console.Flags) *cobra.Command {
	var from []string
	var a console.Consent
	cmd := &cobra.Command{Use: "set LOAD --from VERSION...", Short: "Say from which versions a load may be installed",
		Args: cobra.ExactArgs(1),
		Long: `Say from which versions a load may be installed; --from '' stands for any. The
versions are those that loads were added with, and are compared as texts: "*"
stands for any text, and nothing is older or newer than something else. A device
that runs another version is handed the load between that leads there by the
fewest steps; "device show" says which, or why it is handed none.`,
		Example: "  peerload-server load set SIP41.9-4-2 --from '9.3(*),9.4(*)'",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			if ok, err := a.Replaces(conn, cmd, c, args[0]); err != nil || !ok {
				return err
			}
			l, err := c.SetLoadFrom(cmd.Context(), args[0], from, c.IfVersion)
			if err != nil {
				return err
			}
			return conn.Show(cmd, "load_changed", l, "%s: installed from %s\n", l.Name, fromText(l.From))
		})}
	fromFlag(cmd, &from)
	a.Add(cmd)
	if err := cmd.MarkFlagRequired("from"); err != nil {
		panic(err) // the flag has just been defined
	}
	return cmd
}

// fromText says from which versions a load may be installed.
func fromText(from []string) string {
	if len(from) == 0 {
		return "any version"
	}
	return terminal.Printable(strings.Join(from, ", "))
}

func loadList(conn *console.Flags) *cobra.Command {
	var repoAt repoFlags
	var retired bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the loads that are published",
		Example: "  peerload-server load list --repo /srv/firmware",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if repoAt.repo == "" {
				return conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
					return listLoads(conn, cmd, c,
						retired)
				})(cmd, args)
			}
			repoAt.json = conn.JSON
			repo, err := repoAt.open(false)
			if err != nil {
				return err
			}
			all, err := repo.Loads()
			if err != nil {
				return err
			}
			for _, m := range all {
				if err := repoAt.print(cmd, objectOf("load", m), "%s\t%s\t%s\t%s\t%s\n", m.Name, m.Version,
					console.FilesOf(len(m.Components)), terminal.Bytes(m.Size()), strings.Join(m.Models, ",")); err != nil {
					return err
				}
			}
			return nil
		},
	}
	repoAt.flags(cmd, false)
	cmd.Flags().BoolVar(&retired, "retired", false, "retired loads too")
	return cmd
}

func loadVerify(conn *console.Flags) *cobra.Command {
	var repoAt repoFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check all that is published, as a new device would",
		Long: `Check all that is published, as a new device would: every root, the signatures
and their expiry, each manifest, and every byte of each file. Needs no keys.`,
		Example: "  peerload-server load verify --repo /srv/firmware",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if repoAt.repo == "" {
				return conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
					return verifyLoads(conn, cmd,
						c)
				})(cmd, args)
			}
			repoAt.json = conn.JSON
			repo, err := repoAt.open(false)
			if err != nil {
				return err
			}
			all, err := repo.Verify(cmd.Context())
			if err != nil {
				return err
			}
			bad := 0
			for _, c := range all {
				o := loadObject{Schema: console.Schema, Event: "load_verified", Name: c.Name}
				if c.Manifest != nil {
					o = objectOf("load_verified", c.Manifest)
				}
				ok, text := c.Problem == nil, "ok"
				if o.OK = &ok; !ok {
					bad++
					text, o.Problem = "NOT OK: "+c.Problem.Error(), c.Problem.Error()
				}
				if err := repoAt.print(cmd, o, "%s\t%s\t%s\n", c.Name, o.Version, text); err != nil {
					return err
				}
			}
			if bad > 0 {
				return fmt.Errorf("%w: %d of %d loads; add them again", errDamaged, bad, len(all))
			}
			return nil
		},
	}
	repoAt.flags(cmd, false)
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

func loadRefresh(conn *console.Flags) *cobra.Command {
	var repoAt repoFlags
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
			if repoAt.repo == "" { // the controller does it daily; this does it now, where its keys are
				d := dataDir(conn.Data)
				if err := errors.Join(requireData(d, conn.Database()), d.owned()); err != nil {
					return err
				}
				repoAt.repo, repoAt.keys = d.repository(), d.keys()
			}
			repoAt.json = conn.JSON
			if err := repoAt.refresh(cmd.Context(), conn); err != nil {
				return err
			}
			return repoAt.print(cmd, done{Schema: console.Schema, Event: "refreshed", Path: repoAt.repo}, "%s: refreshed\n",
				repoAt.repo)
		},
	}
	repoAt.flags(cmd, true)
	return cmd
}

// refresh signs anew; a replica of several does so in its turn.
func (repoAt *repoFlags) refresh(ctx context.Context, conn *console.Flags) (err error) {
	if (conn.ClusterKey != "" || conn.Objects != "") && repoAt.repo == dataDir(conn.Data).repository() {
		inst, err := openInstance(ctx, conn, slog.New(slog.NewTextHandler(os.Stderr, nil)), access{})
		if err != nil {
			return err
		}
		return errors.Join(inst.repo.Refresh(), inst.store.Close())
	}
	repo, err := repoAt.open(true)
	if err != nil {
		return err
	}
	return repo.Refresh()
}

// uploadLoad sends the files of a load to the controller, as they are read.
func uploadLoad(conn *console.Flags, cmd *cobra.Command, c *console.Connection, req publish.Request,
	from []string) error {
	if err := publish.CheckFiles(req.Files); err != nil {
		return err
	}
	l, err := c.AddLoad(cmd.Context(), client.NewLoad{Name: req.Name, Version: req.Version, Models: req.Models,
		Replace: req.Replace, From: from, Files: req.Files})
	if err != nil {
		return err
	}
	err = conn.Show(cmd, "load_added", l, "%s version %s: %s, %s, for %s: published\n",
		l.Name, l.Release, console.FilesOf(len(l.Components)), terminal.Bytes(l.Size), strings.Join(l.Models, ", "))
	if err != nil {
		return err
	}
	return warnModels(cmd, c, l.Models)
}

// warnModels says on standard error which models neither a table nor a device has:
// the load is for nothing that is known, which may be a typing error.
func warnModels(cmd *cobra.Command, c *console.Connection, models []string) error {
	for _, m := range models {
		some, err := console.Collect(c.Devices.List(cmd.Context(), client.Filter{Model: m, Limit: 1}))
		if errors.Is(err, client.NotFound) || err == nil && len(some) == 0 {
			err = warnModel(cmd, c, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func listLoads(conn *console.Flags, cmd *cobra.Command, c *console.Connection, retired bool) error {
	items, err := console.Collect(c.Loads.List(cmd.Context(), client.Filter{Retired: retired}))
	if err != nil {
		return err
	}
	return printLoads(conn, cmd, items)
}

func printLoads(conn *console.Flags, cmd *cobra.Command, items []client.Load) error {
	return console.List(conn, cmd, "load", items, "LOAD VERSION MODELS FILES SIZE STATE", func(l client.Load) []string {
		var state []string
		if !l.Signed {
			state = append(state, "unsigned")
		}
		if l.Retired {
			state = append(state, "retired")
		}
		if l.Missing {
			state = append(state, "missing")
		}
		return []string{l.Name, l.Release, strings.Join(l.Models, ","), strconv.Itoa(len(l.Components)),
			terminal.Bytes(l.Size), strings.Join(state, ",")}
	})
}

func loadShow(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "show LOAD", Short: "Show a load and its files", Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			l, err := c.Load(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if conn.JSON {
				return conn.Show(cmd, "load", l, "")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s version %s, for %s, signed %s, retired %s, installed from %s\n", l.Name,
				l.Release, strings.Join(l.Models, ", "), terminal.YesNo(l.Signed), terminal.YesNo(l.Retired), fromText(l.From))
			return console.List(conn, cmd, "component", l.Components, "FILE SIZE SHA-256",
				func(k client.LoadComponent) []string {
					return []string{k.Name, terminal.Bytes(k.Size), k.SHA256}
				})
		})}
}

func loadRegister(conn *console.Flags) *cobra.Command {
	var models []string
	cmd := &cobra.Command{Use: "register LOAD --model MODEL [FILE...]",
		Short: "Make a classic load known that nobody signs", Args: cobra.MinimumNArgs(1),
		Long: `Make a classic load known that nobody signs, so that it can be assigned. Devices
run it only where the setting "unsigned" is on. Its files are those that you put
into the directory repository yourself.`,
		Example: "  peerload-server load register SCCP41.9-4-2SR2-2S --model 7941,7961",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			l, err := c.RegisterLoad(cmd.Context(), args[0], models, args[1:])
			if err != nil {
				return err
			}
			return conn.Show(cmd, "load_registered", l, "%s is known, unsigned, for %s\n", l.Name, strings.Join(l.Models, ", "))
		})}
	cmd.Flags().StringSliceVar(&models, "model", nil, "models that it is for, repeated or with commas (required)")
	if err := cmd.MarkFlagRequired("model"); err != nil {
		panic(err) // the flag has just been defined
	}
	return cmd
}

// assignedText says in one line what is assigned where.
func assignedText(a client.Assigned) string {
	at := strings.TrimSpace(a.Target.Level + " " + a.Target.Name)
	name := func(load, release string) string {
		if release != "" {
			return fmt.Sprintf("release %q", release)
		}
		return fmt.Sprintf("%q", load)
	}
	assigned := "load " + name(a.Load, "")
	if a.Release != "" {
		assigned = name("", a.Release)
	}
	return fmt.Sprintf("%s: %s, before it %s", at, assigned, name(a.Previous, a.PreviousRelease))
}

// assign asks, and assigns where the flags say.
func assign(a *console.Consent, conn *console.Flags, cmd *cobra.Command, c *console.Connection, t *levelTarget,
	o client.Order) error {
	done, ok, err := a.Do(conn, cmd, c, t.order(o))
	if err != nil || !ok {
		return err
	}
	if done.Assigned == nil {
		return console.ShowChanged(conn, cmd, "changed", done, "")
	}
	return console.ShowChanged(conn, cmd, "load_assigned", done, terminal.Printable(assignedText(*done.Assigned))+"\n")
}

func loadAssign(conn *console.Flags) *cobra.Command {
	var t levelTarget
	var a console.Consent
	cmd := &cobra.Command{Use: "assign LOAD --enterprise | --model M | --profile P | --device D | --site S",
		Short: `Assign a load at one level; "" assigns none`,
		Args:  cobra.ExactArgs(1), Example: "  peerload-server load assign fw2 --model linux-arm",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			return assign(&a, conn, cmd, c, &t, client.Order{Load: &args[0]})
		})}
	t.flags(cmd)
	a.Add(cmd)
	return cmd
}

func loadRollBack(conn *console.Flags) *cobra.Command {
	var t levelTarget
	var a console.Consent
	cmd := &cobra.Command{Use: "roll-back --enterprise | --model M | --profile P | --device D | --site S",
		Short: "Assign the load or release that was assigned there before",
		Args:  cobra.NoArgs, Example: "  peerload-server load roll-back --model linux-arm",
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			return assign(&a, conn, cmd, c, &t, client.Order{RollBack: true})
		})}
	t.flags(cmd)
	a.Add(cmd)
	return cmd
}

func loadRetire(conn *console.Flags, retired bool) *cobra.Command {
	use, short := "retire LOAD", "Take a load out of use: it cannot be assigned any more"
	if !retired {
		use, short = "restore LOAD", "Take a retired load into use again"
	}
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			l, err := c.RetireLoad(cmd.Context(), args[0], retired, c.IfVersion)
			if err != nil {
				return err
			}
			return conn.Show(cmd, "load_changed", l, "%s: retired %s\n", l.Name, terminal.YesNo(l.Retired))
		})}
}

func verifyLoads(conn *console.Flags, cmd *cobra.Command, c *console.Connection) error {
	loads, problem, err := c.VerifyLoads(cmd.Context())
	if err != nil {
		return err
	}
	bad := 0
	err = console.List(conn, cmd, "load_verified", loads, "LOAD PROBLEM", func(l client.CheckedLoad) []string {
		return []string{l.Name, l.Problem}
	})
	for _, l := range loads {
		if l.Problem != "" {
			bad++
		}
	}
	switch {
	case err != nil:
		return err
	case problem != "":
		return fmt.Errorf("%w: %w", errDamaged, errors.New(problem))
	case bad > 0:
		return fmt.Errorf("%w: %d of %d loads; add them again", errDamaged, bad, len(loads))
	}
	return nil
}

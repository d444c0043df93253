package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/files/cnf"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/servercert"
	"github.com/peerload/peerload/internal/controller/template"
	"github.com/peerload/peerload/internal/testkit/manual"
	"github.com/peerload/peerload/internal/testkit/otheruser"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/internal/version"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/tftp"
	"github.com/peerload/peerload/trust"
)

// desk is a directory with files to publish.
type desk struct {
	t          *testing.T
	dir        string
	repo, keys string
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, dir: t.TempDir()}
	d.repo, d.keys = filepath.Join(d.dir, "base"), filepath.Join(d.dir, "base.keys")
	d.file("app.bin", "application")
	d.file("dsp.bin", "signal processor")
	return d
}

func (d *desk) file(name, content string) string {
	d.t.Helper()
	p := filepath.Join(d.dir, name)
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		d.t.Fatal(err)
	}
	return p
}

// run runs a command line, in which @ stands for the desk's directory.
func (d *desk) run(line string) (stdout string, code int, err error) {
	d.t.Helper()
	var out bytes.Buffer
	args := strings.Fields(strings.ReplaceAll(line, "@", d.dir+"/"))
	err = run(d.t.Context(), args, &out, io.Discard)
	return out.String(), status(err), err
}

// ok runs a command line that must succeed.
func (d *desk) ok(line string) string {
	d.t.Helper()
	out, code, err := d.run(line)
	if code != 0 {
		d.t.Fatalf("%s: %v", line, err)
	}
	return out
}

const add = "load add --repo @base --name fw --version 1 --model linux-arm,linux-arm64 @app.bin @dsp.bin"

func TestPublishing(t *testing.T) {
	d := newDesk(t)
	if out := d.ok(add); !strings.Contains(out, "published") || !strings.Contains(out, "2 files, 27 bytes") {
		t.Errorf("add: %s", out)
	}
	if out := d.ok(add); !strings.Contains(out, "nothing changed") {
		t.Errorf("add again: %s", out)
	}
	var o loadObject
	if err := json.Unmarshal([]byte(d.ok(add+" --json")), &o); err != nil {
		t.Fatal(err)
	}
	if o.Schema != 1 || o.Event != "load_added" || o.Changed == nil || *o.Changed || o.Size != 27 ||
		len(o.Components) != 2 ||
		o.Components[0].SHA256 != load.DigestOf([]byte("application")) {
		t.Errorf("add --json: %+v", o)
	}
	one := "load add --repo @one --name fw --version 1 --model linux-arm @app.bin"
	if out := d.ok(one); !strings.Contains(out, "fw version 1: 1 file, ") {
		t.Errorf("a load of one file: %s", out)
	}
	if out := d.ok("load list --repo @base"); !strings.HasPrefix(out, "fw\t1\t2 files\t27 bytes\tlinux-arm,linux-arm64") {
		t.Errorf("list: %s", out)
	}
	if out := d.ok("load verify --repo @base"); out != "fw\t1\tok\n" {
		t.Errorf("verify: %s", out)
	}
	d.ok("load refresh --repo @base")
	if out := d.ok("--version"); !strings.HasSuffix(out, " version "+version.Read().String()+"\n") {
		t.Errorf("version: %s", out)
	}
	if out := d.ok("trust rotate --repo @base targets"); !strings.Contains(out, "root version 2") {
		t.Errorf("rotate: %s", out)
	}
	if out := d.ok("trust export --repo @base --out @trust --json"); !strings.Contains(out, `"root_version":2`) {
		t.Errorf("export: %s", out)
	}
	if _, err := trust.New(trust.Config{Dir: d.dir + "/trust"}); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(d.keys); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("keys: %v, %v", info, err)
	}
}

func TestExitStatus(t *testing.T) {
	d := newDesk(t)
	d.ok(add)
	d.file("changed.bin", "x")
	d.file(".hidden", "x")
	d.file("empty", "")
	d.file("plain", "not a directory")
	if err := os.MkdirAll(d.dir+"/open.keys", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		want int
		says string
	}{
		{"load add", exitUsage, "arg"},
		{"load add @app.bin", exitUsage, "--name is missing"},
		{"load nonsense", exitUsage, "unknown command"},
		{"load list --repo @none", exitUsage, "no repository"},
		{"load verify --repo @none", exitUsage, "no repository"},
		{"trust export --repo @none --out @t", exitUsage, "no repository"},
		{"load add --repo @base --name fw --version 1 --model m @changed.bin", exitUsage, "fw version 1"},
		{"load add --repo @base --name fw/x --version 1 --model m @app.bin", exitUsage, "separator"},
		{"load add --repo @base --name x --version 1 --model m @empty", exitUsage, "is empty"},
		{"load add --repo @base --name x --version 1 --model m @.hidden", exitUsage, "begins with a dot"},
		{"load add --repo @base --name x --version 1 --model m @app.bin @app.bin", exitUsage, "same name"},
		{"load add --repo @base --name x --version 1 --model m @gone.bin", exitDisk, "no such file"},
		{"trust rotate --repo @base mirrors", exitUsage, "unknown role"},
		{"serve --repo @base", exitUsage, "--http"},
		{"serve --repo @base --http 127.0.0.1:99999", exitUsage, "listen"},
		{"load add --repo @plain/x --keys @k2 --name x --version 1 --model m @app.bin", exitDisk, "not a directory"},
		{"serve --repo @none --http 127.0.0.1:0", exitDisk, "no such file"},
		{"load refresh --repo @base --keys @open.keys", exitTrust, "chmod"},
		{"load refresh --repo @base --keys @fresh.keys", exitTrust, "no key for role"},
		{"load refresh --repo @base --keys @base/keys", exitTrust, "offered to everyone"},
	} {
		out, code, err := d.run(c.line)
		if code != c.want || !strings.Contains(fmt.Sprint(err), c.says) || out != "" {
			t.Errorf("%s: status %d (%v), want %d and %q", c.line, code, err, c.want, c.says)
		}
	}
	components, err := filepath.Glob(d.repo + "/components/*.app.bin")
	if err != nil || len(components) != 1 {
		t.Fatal(components, err)
	}
	if err := os.WriteFile(components[0], []byte("Application"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, code, err := d.run("load verify --repo @base"); code != exitVerify || !strings.Contains(out, "NOT OK") {
		t.Errorf("damaged component: %q, %d, %v", out, code, err)
	}
	stamp := d.repo + "/metadata/timestamp.json"
	raw, err := os.ReadFile(stamp)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stamp, bytes.Replace(raw, []byte(`"version":2`), []byte(`"version":3`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, code, err := d.run("load verify --repo @base"); code != exitTrust {
		t.Errorf("altered timestamp: %d, %v", code, err)
	}
}

// httpFetcher is the least that a device needs over HTTP.
type httpFetcher string

func (h httpFetcher) Fetch(ctx context.Context, p string, max int64) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", string(h)+p, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return io.ReadAll(io.LimitReader(resp.Body, max))
	case http.StatusNotFound:
		return nil, trust.ErrNotFound
	}
	return nil, errors.New(resp.Status)
}

// tftpFetcher likewise over TFTP.
type tftpFetcher string

func (f tftpFetcher) Fetch(ctx context.Context, p string, max int64) ([]byte, error) {
	r, err := new(tftp.Client).Get(ctx, string(f), p, 0)
	if errors.Is(err, tftp.ErrNotFound) {
		return nil, trust.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, max))
}

// TestServe publishes, serves, and verifies a load over both protocols.
func TestServe(t *testing.T) {
	d := newDesk(t)
	d.ok(add)
	d.ok("trust export --repo @base --out @trust1")
	d.ok("trust export --repo @base --out @trust2")
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"serve", "--repo", d.repo, "--keys", d.keys, "--http", "127.0.0.1:0",
			"--tftp", "127.0.0.1:0", "--json"}, in, io.Discard)
		in.CloseWithError(io.EOF)
		ended <- err
	}()
	var l listening
	if err := json.NewDecoder(out).Decode(&l); err != nil {
		t.Fatal(err)
	}
	for dir, f := range map[string]trust.Fetcher{"/trust1": httpFetcher("http://" + l.HTTP + "/"),
		"/trust2": tftpFetcher(l.TFTP)} {
		c, err := trust.New(trust.Config{Dir: d.dir + dir})
		if err != nil {
			t.Fatal(err)
		}
		b, m, err := c.BuildBundle(t.Context(), f, "fw")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(trust.PackBundle(b)); n > 8<<10 {
			t.Errorf("a bundle of %d bytes", n)
		}
		for _, want := range m.Components {
			raw, err := f.Fetch(t.Context(), trust.ComponentPath(want.Digest.String(), want.Name), want.Size)
			if err != nil || load.DigestOf(raw) != want.Digest {
				t.Errorf("%T %s: %q, %v", f, want.Name, raw, err)
			}
		}
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("serve does not end")
	}
}

// damages are what can happen to a file of the data directory.
var damages = map[string]func(path string) error{
	"missing":   os.Remove,
	"empty":     func(p string) error { return os.WriteFile(p, nil, 0o600) },
	"truncated": func(p string) error { return rewrite(p, func(b []byte) []byte { return b[:len(b)/2] }) },
	"bit flipped": func(p string) error {
		return rewrite(p, func(b []byte) []byte {
			if len(b) > 0 {
				b[len(b)/3] ^= 4
			}
			return b
		})
	},
	"longer":    func(p string) error { return rewrite(p, func(b []byte) []byte { return append(b, "\x00garbage"...) }) },
	"garbage":   func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte{0xa5, 3}, 3000), 0o600) },
	"directory": func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
	"dangling link": func(p string) error {
		return errors.Join(os.Remove(p), os.Symlink(filepath.Join(filepath.Dir(p), "nowhere"), p))
	},
	unreadable: func(p string) error { return os.Chmod(p, 0) },
}

// unreadable is a damage from which root takes none.
const unreadable = "unreadable"

func rewrite(path string, change func([]byte) []byte) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, change(b), 0o600)
}

const damagedDevice = "SEP020000000001"

// keep fills a data directory as a server leaves it.
func keep(t *testing.T, d dataDir) {
	t.Helper()
	inst, err := openData(t, d)
	if err != nil {
		t.Fatal(err)
	}
	defer inst.store.Close()
	app := filepath.Join(t.TempDir(), "app.bin")
	root, model, name := domain.Local("root"), "linux-amd64", "edge-1"
	if err := os.WriteFile(app, []byte("application"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := inst.Controller.AddLoad(t.Context(), root, publish.Request{Name: name, Version: "1",
		Models: []string{model}, Files: []string{app}}); err != nil {
		t.Fatal(err)
	}
	if _, err := inst.Controller.CreateDevice(t.Context(), root, damagedDevice,
		domain.DeviceChange{Model: &model, Load: &name}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.templates(), cnf.DeviceTemplate), []byte(template.Default), 0o600); err != nil {
		t.Fatal(err)
	}
}

// openData opens a data directory as a server does before it listens.
func openData(t *testing.T, d dataDir) (*instance, error) {
	t.Helper()
	if err := d.prepare(); err != nil {
		return nil, err
	}
	unlock, err := d.lock()
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = unlock() })
	if _, err := servercert.Open("", "", d.tls(), []string{"localhost"}); err != nil {
		return nil, err
	}
	return openInstance(t.Context(), &console.Flags{Data: string(d)}, slog.New(slog.DiscardHandler), access{})
}

// TestDamagedData: each file of the data directory, damaged in each way, keeps
// the server from nothing but what the file is for; where it cannot go on, its
// error names the file.
func TestDamagedData(t *testing.T) {
	tiers.Long(t, "it starts a controller for each damage")
	t.Parallel()
	damageData(t, func(how string) bool { return how != unreadable })
}

// TestUnreadableData is TestDamagedData for files that the server may not read.
func TestUnreadableData(t *testing.T) {
	tiers.Long(t, "it starts a controller for each damage")
	if otheruser.Runs(t) {
		damageData(t, func(how string) bool { return how == unreadable })
	}
}

// damageData damages each file of the data directory in some ways.
func damageData(t *testing.T, wanted func(how string) bool) {
	whole := dataDir(t.TempDir())
	keep(t, whole)
	var names []string
	err := filepath.WalkDir(string(whole), func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			names = append(names, strings.TrimPrefix(p, string(whole)+"/"))
		}
		return err
	})
	if err != nil || len(names) < 15 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		for how, damage := range damages {
			if !wanted(how) {
				continue
			}
			d := dataDir(filepath.Join(t.TempDir(), "data"))
			if err := os.CopyFS(string(d), os.DirFS(string(whole))); err != nil {
				t.Fatal(err)
			}
			for _, private := range []string{d.keys(), d.tls()} { // CopyFS widens the rights
				if err := filepath.WalkDir(private, func(p string, e fs.DirEntry, err error) error {
					if err == nil && !e.IsDir() {
						err = os.Chmod(p, 0o600)
					}
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
			if err := damage(filepath.Join(string(d), name)); err != nil {
				t.Fatal(name, how, err)
			}
			if err := serves(t, d); err != nil && !mayStop(name, how, err) {
				t.Errorf("%s, %s: %v", name, how, err)
			}
		}
	}
}

// mayStop says whether a server may end with that error, or not serve a device
// its file.
func mayStop(name, how string, err error) bool {
	file := filepath.Base(name)
	switch {
	case strings.HasPrefix(file, "controller.db"):
		// A database that is gone is a new one, which knows no device.
		return strings.Contains(err.Error(), "controller.db") || strings.Contains(err.Error(), "sqlite") ||
			how == "missing" || how == "empty" || how == "dangling link"
	case file == "lock":
		return strings.Contains(err.Error(), "lock")
	case strings.HasSuffix(name, cnf.DeviceTemplate):
		return strings.Contains(err.Error(), "the template")
	}
	return false
}

// serves opens a data directory and asks for a device's provisioning file.
func serves(t *testing.T, d dataDir) error {
	t.Helper()
	inst, err := openData(t, d)
	if err != nil {
		return err
	}
	defer inst.store.Close()
	who := domain.Actor{Kind: domain.ActorSystem, Name: "upkeep", Role: domain.RoleAdmin}
	_ = inst.Controller.SyncLoads(t.Context(), who) // as the server does: its error is logged
	refresh(inst.repo, slog.New(slog.DiscardHandler))
	maker := cnf.Maker{Controller: inst.Controller, Templates: d.templates()}
	b, err := maker.Make(t.Context(), damagedDevice+".cnf.xml", netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return err
	}
	if !strings.Contains(string(b), "edge-1") {
		return fmt.Errorf("the device is told %s", b)
	}
	return nil
}

// TestManual: the manual page is made from the commands.
func TestManual(t *testing.T) {
	manual.Check(t, "../../packaging/man/peerload-server.1", manual.Page(manual.OfCobra(rootCommand()), "peerload(1)"),
		*update, "go test ./cmd/peerload-server -run TestManual")
}

// TestDefaultConfiguration: the package's configuration has every flag of serve, as a
// comment.
func TestDefaultConfiguration(t *testing.T) {
	manual.Check(t, "../../packaging/server/peerload-server.env", defaultConfiguration(), *update,
		"go test ./cmd/peerload-server -run TestDefaultConfiguration")
}

// TestClusterConfiguration: the example of a replica sets what the controller knows.
func TestClusterConfiguration(t *testing.T) {
	b, err := os.ReadFile("../../packaging/cluster/peerload-server.env")
	if err != nil {
		t.Fatal(err)
	}
	set := 0
	for line := range strings.Lines(string(b)) {
		if name, _, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			set++
			if !strings.Contains(defaultConfiguration(), "\n#"+name+"=") {
				t.Errorf("the controller does not know %s", name)
			}
		}
	}
	if set < 5 {
		t.Errorf("only %d variables", set)
	}
}

func defaultConfiguration() string {
	var b strings.Builder
	b.WriteString("# The environment of peerload-server.service. Each variable stands for a flag of\n" +
		"# \"peerload-server serve\"; what is commented out shows its default. A restart of the\n# unit applies a change.\n")
	serveCommand().Flags().VisitAll(func(f *pflag.Flag) {
		if slices.Contains([]string{"help", "repo", "keys", "json"}, f.Name) { // not of a controller under systemd
			return
		}
		value := strings.Trim(f.DefValue, "[]")
		if value == "0" || value == "0s" {
			value = ""
		}
		usage := regexp.MustCompile(` \(environment: [A-Z_]+\)`).ReplaceAllString(f.Usage, "")
		fmt.Fprintf(&b, "\n%s#%s=%s\n", manual.Comment(usage), variable(f.Name), value)
	})
	b.WriteString("\n" + manual.Comment("the keys of the storage that "+variable("objects")+" names") +
		"#AWS_ACCESS_KEY_ID=\n#AWS_SECRET_ACCESS_KEY=\n")
	return b.String()
}

// TestFromEnvironment: a flag wins over its variable, and a variable that stands for
// none is refused.
func TestFromEnvironment(t *testing.T) {
	for _, c := range []struct {
		args, environ []string
		listen, fails string
	}{
		{nil, []string{"PEERLOAD_SERVE_LISTEN=127.0.0.1:1"}, "127.0.0.1:1", ""},
		{[]string{"--listen", ":2"}, []string{"PEERLOAD_SERVE_LISTEN=127.0.0.1:1"}, ":2", ""},
		{nil, []string{"PEERLOAD_SERVE_LISTN=:1"}, ":8443", "PEERLOAD_SERVE_LISTEN"},
		{nil, []string{"PEERLOAD_SERVE_DATA=/x"}, ":8443", "unknown variable"},
		{nil, []string{"PEERLOAD_SERVE_SITE_RATE=x"}, ":8443", "PEERLOAD_SERVE_SITE_RATE"},
		{nil, []string{"PEERLOAD_SERVE_TLS=foo"}, ":8443", "tls"},
		{nil, []string{"PEERLOAD_SERVER=h", "PATH=/bin"}, ":8443", ""},
	} {
		cmd := serveCommand()
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		err := fromEnvironment(cmd.Flags(), c.environ)
		if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%v: %v, want %q", c.environ, err, c.fails)
		}
		if got := cmd.Flags().Lookup("listen").Value.String(); got != c.listen {
			t.Errorf("%v %v: listens at %s, want %s", c.args, c.environ, got, c.listen)
		}
	}
}

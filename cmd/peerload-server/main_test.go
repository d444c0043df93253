package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	if out := d.ok("load list --repo @base"); !strings.HasPrefix(out, "fw\t1\t2 files\t27 bytes\tlinux-arm,linux-arm64") {
		t.Errorf("list: %s", out)
	}
	if out := d.ok("load verify --repo @base"); out != "fw\t1\tok\n" {
		t.Errorf("verify: %s", out)
	}
	d.ok("load refresh --repo @base")
	if out := d.ok("--version"); !strings.Contains(out, version()) {
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
		{"load add --repo @base --name fw --version 1 --model m @changed.bin", exitUsage, "--replace"},
		{"load add --repo @base --name fw/x --version 1 --model m @app.bin", exitUsage, "separator"},
		{"load add --repo @base --name x --version 1 --model m @empty", exitUsage, "is empty"},
		{"load add --repo @base --name x --version 1 --model m @.hidden", exitUsage, "begins with a dot"},
		{"load add --repo @base --name x --version 1 --model m @app.bin @app.bin", exitUsage, "same name"},
		{"load add --repo @base --name x --version 1 --model m @gone.bin", exitUsage, "does not exist"},
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

package rounds

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
)

// model is that of all devices, and component the one file of each load.
const (
	model     = "linux-amd64"
	component = "app.bin"
)

// controller is the server of the site: the product's, in a process of its own,
// that lives as long as the site.
type controller struct {
	site       *Site
	files, api string // URLs
	key, trust string // paths: of the site key, and of the exported root
	token      string // reads metrics
	proc       *process.Proc
	uses       []Use
	// published are the digests of all loads.
	published map[[sha256.Size]byte]bool
}

// newController starts the server and prepares it.
func newController(ctx context.Context, s *Site) (*controller, error) {
	ln, err := s.net.Listen()
	if err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(ln.Addr().String(), ":")
	if err := ln.Close(); err != nil {
		return nil, err
	}
	c := &controller{site: s, files: "http://" + host + ":6970", api: "http://" + host + ":8443", key: s.path("key"),
		trust: s.path("trust"), published: map[[sha256.Size]byte]bool{}}
	stderr := &process.Tail{}
	procs, _, err := process.StartAll(ctx, []process.Command{{Host: site.Host{}, Path: s.cfg.Server, Stderr: stderr,
		Procs: -1, Done: func([]byte) bool { return false }, Args: []string{"serve", "--data", s.path("data"), "--http",
			host + ":6970", "--listen", host + ":8443", "--tls", "off", "--tftp", "off"}}})
	if err != nil {
		return nil, err
	}
	c.proc = procs[0]
	for {
		if _, err := get(ctx, c.api+"/", ""); err == nil {
			return c, c.prepare(ctx)
		}
		if !c.proc.Running() || !pause(ctx, 100*time.Millisecond) {
			return nil, fmt.Errorf("it does not start: %s", stderr)
		}
	}
}

// prepare turns sharing on, and makes the key of the site and a token.
func (c *controller) prepare(ctx context.Context) error {
	if _, err := c.run(ctx, "enterprise", "set", "peer-sharing=on"); err != nil {
		return err
	}
	key, err := c.run(ctx, "enrolment", "add", "site", "--site-key")
	if err != nil {
		return err
	}
	password := c.site.path("password")
	if err := os.WriteFile(password, []byte(crand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	if _, err := c.run(ctx, "user", "add", "lab", "--role", "viewer", "--password-file", password); err != nil {
		return err
	}
	c.token, err = c.run(ctx, "token", "add", "lab", "--user", "lab", "--role", "viewer", "--scope", "read")
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.key, []byte(key), 0o600); err != nil {
		return err
	}
	// The keys are made with the first load, which nobody is assigned.
	if _, err := c.run(ctx, "load", "add", "--name", "none", "--version", "0", "--model", model, c.key); err != nil {
		return err
	}
	_, err = c.run(ctx, "trust", "export", "--out", c.trust)
	return err
}

// run runs a command of the server's program and returns what it prints.
func (c *controller) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.site.cfg.Server, append(args, "--data", c.site.path("data"))...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("peerload-server %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// get asks for a URL and returns the body of the answer, whatever it says.
func get(ctx context.Context, url, token string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	// No connection stays open: it would count among those of the process.
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(b), err
}

// loads is how many names of loads there are: a device fetches no other version
// of the load that it runs.
const loads = 4

// publish publishes and assigns the load of a round and returns its content's
// digest.
func (c *controller) publish(ctx context.Context, p Plan) (want [sha256.Size]byte, err error) {
	var key [32]byte
	for i := range 8 {
		key[i], key[8+i] = byte(p.Seed>>(8*i)), byte(p.Round>>(8*i))
	}
	b := make([]byte, p.Size)
	_, _ = rand.NewChaCha8(key).Read(b)
	file := c.site.path(component)
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return want, err
	}
	want = sha256.Sum256(b)
	c.published[want] = true
	name := fmt.Sprint("fw", p.Round%loads)
	_, err = c.run(ctx, "load", "add", "--name", name, "--version", fmt.Sprint(p.Round), "--model", model, file)
	if err == nil {
		_, err = c.run(ctx, "load", "assign", name, "--model", model, "--yes")
	}
	return want, err
}

// close ends the server.
func (c *controller) close() {
	if c.proc != nil {
		_ = c.proc.Kill() // it may have ended by itself
		_ = c.proc.Wait()
	}
}

package cluster

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// TestTogether: what two replicas do as one. An order that one of them gets reaches the
// device that is connected to the other, and a site has as many transfers from both of
// them as it may have; those of a replica that dies are free.
func TestTogether(t *testing.T) {
	long(t)
	tree, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := build(t, tree)
	agent := filepath.Join(programs.Build(t, []string{"peerload"}), "peerload")
	at, _, err := storesuite.PostgresFor(t, foreign.Missing).NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	a, b := newReplica(t, bin, at), newReplica(t, bin, at)
	for _, r := range []*replica{a, b} {
		r.args = append(r.args, "--site-transfers", "1")
		r.start()
	}
	c, _ := a.administrator(a.api)
	ordered(t, a, b, agent, c)
	limited(t, a, b)
}

// ordered sends an order by a replica to an agent that knows the other one alone.
func ordered(t *testing.T, a, b *replica, agent string, c *client.Client) {
	t.Helper()
	key := b.file("key", a.ok("enrolment add site --site-key"))
	b.file("none.toml", "")
	var log strings.Builder
	cmd := exec.Command(agent, "agent", "--config", filepath.Join(b.dir, "none.toml"), "--server", "http://"+b.files,
		"--controller", "https://"+b.api, "--cacert", filepath.Join(b.dir, "data/tls/cert.pem"), "--token-file", key,
		"--model", phoneModel, "--mac", "020000000001", "--address", "127.67.1.1/8", "--port", "19321", "--state",
		filepath.Join(b.dir, "state"), "--check-in", "1h")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	until(t, "the device is enrolled", func() bool {
		_, err := c.Devices.Get(t.Context(), "SEP020000000001")
		return err == nil
	})
	a.ok("order send collect-log --device SEP020000000001 --yes")
	until(t, "the device has answered the order", func() bool {
		return strings.Contains(a.ok("order list --json"), `"done":1`)
	})
}

// limited holds a transfer at one replica: the other one has no more for that site,
// until the first one dies.
func limited(t *testing.T, a, b *replica) {
	t.Helper()
	const name = "big.bin"
	for _, r := range []*replica{a, b} {
		path := filepath.Join(r.dir, "data/repository", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(path)
		if err == nil {
			err = f.Truncate(1 << 30) // far more than sockets hold
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	get := func(ctx context.Context, r *replica) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/%s", r.files, name), http.NoBody)
		if err != nil {
			return nil, err
		}
		return http.DefaultClient.Do(req)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, err := get(ctx, a)
	if err != nil || first.StatusCode != http.StatusOK {
		t.Fatal(first, err)
	}
	defer first.Body.Close() // nobody reads it: the transfer goes on
	second, err := get(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	second.Body.Close()
	if second.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a second transfer of the site, from the other replica: %s", second.Status)
	}
	a.end(syscall.SIGKILL)
	until(t, "the transfer of the replica that died is free", func() bool {
		again, err := get(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		again.Body.Close()
		return again.StatusCode == http.StatusOK
	})
}

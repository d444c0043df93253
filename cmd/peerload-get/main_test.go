package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/peerload/peerload/internal/testkit/manual"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

var update = flag.Bool("update", false, "write the manual page anew")

// TestManual: the manual page is made from the command.
func TestManual(t *testing.T) {
	c := command(nil, nil)
	_, form, _ := strings.Cut(c.Use, " ")
	manual.Check(t, "../../packaging/man/peerload-get.1", manual.Page(manual.Command{Path: "peerload-get", Form: form,
		Short: c.Short, Long: c.Long, Example: c.Example, Flags: c.Flags()}, "peerload(1)"), *update,
		"go test ./cmd/peerload-get -run TestManual")
}

// run runs the command.
func run(ctx context.Context, args ...string) (out, said string, code int) {
	var stdout, stderr bytes.Buffer
	err := command(&stdout, &stderr).Execute(ctx, args, &stdout)
	if err != nil {
		tell(&stderr, "%v", err)
	}
	return stdout.String(), stderr.String(), status(err, ctx.Err() != nil)
}

// served serves a file, and says where it is and what its digest is.
func served(t *testing.T, content []byte) (url, digest string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.bin"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(s.Close)
	return s.URL + "/app.bin", load.DigestOf(content).String()
}

// TestStatuses: each run ends with the status that says what happened, and what is not
// right is not there.
func TestStatuses(t *testing.T) {
	url, digest := served(t, bytes.Repeat([]byte("firmware"), 1000))
	to := filepath.Join(t.TempDir(), "app.bin")
	wrong := load.DigestOf(nil).String()
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"right":         {[]string{url, "--sha256", digest}, 0, ""},
		"another":       {[]string{url, "--sha256", wrong}, 3, "digest"},
		"no file":       {[]string{url + "x", "--unsigned"}, 7, ""},
		"no server":     {[]string{"http://127.0.0.1:1/x", "--unsigned", "--retry", "0"}, 4, ""},
		"no proof":      {[]string{url}, 2, "--sha256"},
		"two proofs":    {[]string{url, "--unsigned", "--sha256", digest}, 2, "exclude each other"},
		"a load":        {[]string{url + ".loads", "--unsigned", "-o", t.TempDir()}, 2, "files alone"},
		"no digest":     {[]string{url, "--sha256", "abc"}, 2, "--sha256"},
		"no header":     {[]string{url, "--unsigned", "-H", "x"}, 2, "--header"},
		"mistyped":      {[]string{url, "--unsinged"}, 2, "--unsigned"},
		"before now":    {[]string{url, "--unsigned", "--linger", "-1s"}, 2, "--linger"},
		"no place":      {[]string{url, "--unsigned", "-o", "/dev/null/x"}, 5, ""},
		"not an origin": {[]string{"ftp://h/x", "--unsigned"}, 2, "ftp"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"--state", t.TempDir(), "--peers", "off", "-o", to}, c.args...)
			out, said, code := run(t.Context(), args...)
			if code != c.code || !strings.Contains(said, c.says) {
				t.Errorf("status %d, want %d with %q: %s%s", code, c.code, c.says, out, said)
			}
			if _, err := os.Stat(to); (err == nil) != (c.code == 0) {
				t.Errorf("the file: %v", err)
			}
			_ = os.Remove(to)
		})
	}
}

// TestInterrupted: an interrupted run says so, and leaves nothing in place.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() }))
	defer s.Close()
	to := filepath.Join(t.TempDir(), "x")
	_, said, code := run(ctx, s.URL+"/x", "--unsigned", "--peers", "off", "--state", t.TempDir(), "-o", to)
	if _, err := os.Stat(to); code != 130 || err == nil {
		t.Errorf("status %d: %s", code, said)
	}
}

// TestShare: two devices get one file from the server and from each other, and what they
// print fits the schema of events.
func TestShare(t *testing.T) {
	url, digest := served(t, bytes.Repeat([]byte("firmware"), 1<<18))
	events, err := jsonschema.NewCompiler().Compile("../../docs/schema/event.json")
	if err != nil {
		t.Fatal(err)
	}
	var all [2]report.Final
	var running sync.WaitGroup
	for i := range all {
		dir := t.TempDir()
		running.Go(func() {
			out, said, code := run(t.Context(), url, "--sha256", digest, "--json", "--state", dir, "-o", dir+"/app.bin",
				"--address", "127.83.4."+strconv.Itoa(i+1)+"/8", "--port", "14083")
			if code != 0 {
				t.Errorf("status %d: %s", code, said)
			}
			for line := range strings.Lines(out) {
				v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
				if err == nil {
					err = events.Validate(v)
				}
				var e report.Event
				if uerr := json.Unmarshal([]byte(line), &e); err != nil || uerr != nil {
					t.Errorf("%s: %v, %v", line, err, uerr)
				}
				if e.Event == report.KindReport {
					all[i] = *e.Final
				}
			}
		})
	}
	running.Wait()
	if all[0].SHA256 != digest || all[1].SHA256 != digest || all[0].BytesFromPeers+all[1].BytesFromPeers == 0 {
		t.Errorf("%+v", all)
	}
}

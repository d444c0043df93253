package client_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/testkit/freshdb"
)

// controller starts a controller in this process and returns its URL and the
// token of an admin. It panics, for examples have no testing.T.
func controller() (url, token string, stop func()) {
	h, token, end := handler()
	s := httptest.NewServer(h)
	return s.URL, token, func() {
		s.Close()
		end()
	}
}

// secureController is the same with TLS. cert is the file of its certificate.
func secureController() (url, token, cert string, stop func()) {
	h, token, end := handler()
	s := httptest.NewTLSServer(h)
	dir, err := os.MkdirTemp("", "peerload-client")
	must(err)
	cert = filepath.Join(dir, "cert.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	must(os.WriteFile(cert, text, 0o644))
	return s.URL, token, cert, func() {
		s.Close()
		end()
		must(os.RemoveAll(dir))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// handler is what a controller answers requests with.
func handler() (h http.Handler, token string, stop func()) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "peerload-client")
	must(err)
	store, err := freshdb.Open(ctx, filepath.Join(dir, "controller.db"))
	must(err)
	cheap := passhash.Cost{Memory: 64, Time: 1, Threads: 1}
	all, err := services.New(ctx, services.Config{Keys: filepath.Join(dir, "keys"),
		Domain: domain.Config{Store: store, Password: cheap}})
	must(err)
	ctl := all.Controller
	srv, err := api.New(api.Config{Services: all, Spool: dir})
	must(err)
	root, admin := domain.Local("root"), domain.RoleAdmin
	_, err = ctl.CreateUser(ctx, root, "ann", domain.UserChange{Role: &admin, Password: new("correct horse battery")})
	must(err)
	t, err := ctl.CreateToken(ctx, root, "ann", domain.TokenRequest{Name: "t", Role: admin, Scopes: domain.Scopes()})
	must(err)
	return srv, t.Secret, func() { must(errors.Join(store.Close(), os.RemoveAll(dir))) }
}

// TestErrors: each refusal has its kind, and says more to people.
func TestErrors(t *testing.T) {
	url, token, stop := controller()
	defer stop()
	c, err := client.New(url, token, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := c.RegisterLoad(ctx, "fw", []string{"7961"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Devices.Create(ctx, "SEP000000000001", client.DeviceChange{Model: new("7941")}); err != nil {
		t.Fatal(err)
	}
	stranger, err := client.New(url, "plt_nobody", nil)
	if err != nil {
		t.Fatal(err)
	}
	device := client.Target{Level: "device", Name: "SEP000000000001"}
	model := client.Target{Level: "model", Name: "7941"}
	for _, want := range []struct {
		kind   client.Kind
		status int
		says   string
		call   func() error
	}{
		{client.NotFound, 404, "SEP000000000002", func() error { return second(c.Devices.Get(ctx, "SEP000000000002")) }},
		{client.Exists, 409, "device", func() error {
			return second(c.Devices.Create(ctx, "00:00:00:00:00:01", client.DeviceChange{Model: new("7941")}))
		}},
		{client.Conflict, 412, "version 1", func() error { return c.Devices.Delete(ctx, device.Name, 7) }},
		{client.Conflict, 412, "version 1", func() error { return c.Devices.Delete(ctx, device.Name, client.Unwritten) }},
		{client.Refused, 409, "7941", func() error { return second(c.AssignLoad(ctx, device, "fw", client.AnyVersion)) }},
		{client.Unfit, 409, "7941", func() error { return second(c.AssignLoad(ctx, device, "fw", client.AnyVersion)) }},
		{client.Invalid, 422, "scope", func() error {
			return second(c.Tokens.Create(ctx, "x", client.NewToken{Role: "viewer"}))
		}},
		{client.Invalid, 422, "role expected", func() error {
			return second(c.Tokens.Create(ctx, "x", client.NewToken{Role: "god"}))
		}},
		{client.Invalid, 422, "galaxy", func() error { return second(c.Settings(ctx, client.Target{Level: "galaxy"})) }},
		{client.Invalid, 422, "a model has no settings", func() error { return second(c.Settings(ctx, model)) }},
		{client.Invalid, 422, "a model has no settings", func() error {
			return second(c.ChangeSettings(ctx, model, client.SettingsChange{}, client.AnyVersion))
		}},
		{client.Unauthenticated, 401, "", func() error { return second(stranger.Enterprise(ctx)) }},
		{client.Invalid, 422, "query.kind", func() error {
			for _, err := range c.Models.List(ctx, client.Filter{Kind: "colour"}) {
				return err
			}
			return nil
		}},
	} {
		err := want.call()
		var e *client.Error
		is := errors.As(err, &e) && errors.Is(err, want.kind)
		if !is || e.Status != want.status || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%#v, not a %d of kind %s that says %q", err, want.status, want.kind, want.says)
		}
		if errors.Is(err, client.Unreachable) || errors.Is(err, client.Kind("")) {
			t.Errorf("%v is of more kinds than %s", err, want.kind)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestUnreachable: no answer is a kind of its own, and the end of the context
// another error.
func TestUnreachable(t *testing.T) {
	h := httptest.NewServer(http.NotFoundHandler())
	h.Close()
	c, err := client.New(h.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enterprise(t.Context()); !errors.Is(err, client.Unreachable) {
		t.Errorf("nobody there: %v", err)
	}
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of the handshake
	secure.StartTLS()
	defer secure.Close()
	stranger, err := client.New(secure.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = stranger.Enterprise(t.Context())
	if !errors.Is(err, client.Unreachable) || !strings.Contains(err.Error(), "tls/cert.pem") {
		t.Errorf("a certificate that is not trusted: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Enterprise(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, client.Unreachable) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestNew: what cannot work is refused at once, and no secret is repeated.
func TestNew(t *testing.T) {
	const good = "https://controller:8443"
	for _, c := range []struct{ base, token string }{
		{"", ""}, {"controller:8443", ""}, {"ftp://controller", ""}, {"://", ""}, {"https://:8443", ""},
		{good + "/api/v1", ""}, {good + "/x/api/v1/", ""}, {good + "?x=1", ""}, {good + "/?", ""}, {good + "#x", ""},
		{"https://ann:secret@controller", ""}, {"https://ann:secret@controller:port", ""}, {"ann:secret@controller", ""},
		{good, "secret\n"}, {good, "sec ret"}, {good, "secr\u00e9t"},
	} {
		_, err := client.New(c.base, c.token, nil)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q with the token %q: %v", c.base, c.token, err)
		}
	}
	var asked string
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.RequestURI
		fmt.Fprint(w, "{}")
	}))
	defer h.Close()
	for path, want := range map[string]string{"": "", "/": "", "//": "", "/a%2Fb/": "/a%2Fb"} {
		c, err := client.New(h.URL+path, "", nil)
		if err == nil {
			_, err = c.Enterprise(t.Context())
		}
		if want += "/api/v1/enterprise"; err != nil || asked != want {
			t.Errorf("below %q: %s is asked for, want %s: %v", path, asked, want, err)
		}
	}
}

// TestNames: a name stays one part of the path, whatever it holds; one that would
// change the path is refused.
func TestNames(t *testing.T) {
	var asked []string
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		fmt.Fprint(w, "{}")
	}))
	defer h.Close()
	c, err := client.New(h.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, name := range []string{"", ".", ".."} {
		target := client.Target{Level: "profile", Name: name}
		for _, err := range []error{
			second(c.Devices.Get(ctx, name)), c.Users.Delete(ctx, name, client.AnyVersion), second(c.Desired(ctx, name)),
			second(c.Settings(ctx, target)), second(c.AssignLoad(ctx, target, "", client.AnyVersion)),
		} {
			if !errors.Is(err, client.Invalid) {
				t.Errorf("the name %q: %v", name, err)
			}
		}
	}
	for _, target := range []client.Target{{}, {Level: "site", Name: "x"}, {Level: "Device", Name: "x"}} {
		for _, err := range []error{
			second(c.Settings(ctx, target)), second(c.AssignLoad(ctx, target, "", client.AnyVersion)),
			second(c.RollBackLoad(ctx, target, client.AnyVersion)),
			second(c.ChangeSettings(ctx, target, client.SettingsChange{}, client.AnyVersion)),
		} {
			if !errors.Is(err, client.Invalid) {
				t.Errorf("the level of %+v: %v", target, err)
			}
		}
	}
	if len(asked) > 0 {
		t.Errorf("asked for %q", asked)
	}
	for name, want := range map[string]string{
		"../x": "..%2Fx", "a/b": "a%2Fb", "...": "...", "\u00e9": "%C3%A9", "a?b#c%": "a%3Fb%23c%25", "\xff\n": "%FF%0A",
	} {
		_, err := c.Profiles.Get(ctx, name)
		if got := asked[len(asked)-1]; err != nil || got != "/api/v1/profiles/"+want {
			t.Errorf("the name %q: %s is asked for, %v", name, got, err)
		}
	}
}

// TestUnreadableFiles: a file that cannot be read is an error of its own, and
// nothing is sent where that is known before.
func TestUnreadableFiles(t *testing.T) {
	var asked atomic.Int32
	h := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer h.Close()
	c, err := client.New(h.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, want := range []struct {
		file string
		err  error
		most int32 // requests
	}{
		{filepath.Join(dir, "missing"), fs.ErrNotExist, 0},
		{dir, syscall.EISDIR, 0},
		{"/proc/self/mem", syscall.EIO, 1}, // it is found out while it is sent
	} {
		asked.Store(0)
		_, err := c.AddLoad(t.Context(), client.NewLoad{Name: "n", Version: "1", Files: []string{"doc.go", want.file}})
		if !errors.Is(err, want.err) || errors.Is(err, client.Unreachable) || asked.Load() > want.most {
			t.Errorf("%s: %v after %d requests, want %v", want.file, err, asked.Load(), want.err)
		}
	}
}

// TestOddAnswers: what is no answer of the API is an error, and says what came.
func TestOddAnswers(t *testing.T) {
	var status int
	var text string
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}))
	defer h.Close()
	c, err := client.New(h.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	status, text = 502, "<html>bad gateway</html>"
	_, err = c.Enterprise(t.Context())
	var e *client.Error
	says := h.URL + " answered 502"
	if !errors.As(err, &e) || e.Status != 502 || e.Kind != "" || e.RetryAfter != 30*time.Second || err.Error() != says {
		t.Errorf("a proxy's error: %#v", err)
	}
	status = 429
	text = `{"type":"urn:peerload:problem:throttled","detail":"too many","errors":[{"location":"body.x","message":"bad"}]}`
	_, err = c.Enterprise(t.Context())
	if !errors.Is(err, client.Throttled) || err.Error() != "too many; x bad" {
		t.Errorf("a problem: %v", err)
	}
	status = 422
	text = `{"type":"urn:peerload:problem:invalid","detail":"validation failed",` +
		`"errors":[{"location":"body.x","message":"bad"},{"location":"query.y","message":"worse"}]}`
	_, err = c.Enterprise(t.Context())
	if !errors.Is(err, client.Invalid) || err.Error() != "invalid: x bad; query.y worse" {
		t.Errorf("fields that are wrong: %v", err)
	}
	for _, text = range []string{"", "{", `{"settings": 7}`, `{} {}`, `{"settings": {}}<html>`} {
		if status = 200; second(c.Enterprise(t.Context())) == nil {
			t.Errorf("%q is taken for an answer", text)
		}
	}
}

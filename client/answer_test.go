package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
)

// serve starts a server and returns a client of it with a token.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(s.URL, "plt_secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRedirects: neither the token nor a body goes where an answer points to, not
// even on the same host.
func TestRedirects(t *testing.T) {
	asked := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprint(w, "{}")
	}))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", elsewhere.URL+"/login")
			w.WriteHeader(status)
		})
		for _, err := range []error{
			second(c.Enterprise(t.Context())),
			second(c.Users.Create(t.Context(), "ann", client.UserChange{Password: new("correct horse battery")})),
			c.Users.Delete(t.Context(), "ann", client.AnyVersion),
		} {
			var e *client.Error
			if !errors.As(err, &e) || e.Status != status || e.Kind != "" || !strings.Contains(err.Error(), "/login") {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
	if asked > 0 {
		t.Errorf("%d requests followed", asked)
	}
}

// TestEndlessLists: pages that come again, or bring nothing, end with an error.
func TestEndlessLists(t *testing.T) {
	for name, page := range map[string]func(after string) string{
		"the same": func(string) string { return `{"items":[{}],"next":"a"}` },
		"a circle": func(after string) string {
			return `{"items":[{}],"next":"` + map[string]string{"a": "b"}[after] + `a"}`
		},
		"empty": func(after string) string { return `{"items":[],"next":"` + after + `x"}` },
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, page(r.URL.Query().Get("after"))) })
		n, errs := 0, 0
		for _, err := range c.Devices.List(t.Context(), client.Filter{}) {
			if n++; err != nil {
				errs++
			}
			if n > 10 {
				break
			}
		}
		if errs != 1 || n > 10 {
			t.Errorf("%s: %d errors in %d steps", name, errs, n)
		}
	}
}

// TestRetryAfter: a time to wait is never negative, nor for ever.
func TestRetryAfter(t *testing.T) {
	for says, want := range map[string]time.Duration{
		"7": 7 * time.Second, "-7": 0, "0": 0, "soon": 0, "9223372036": 24 * time.Hour, "9223372036854775807": 24 * time.Hour,
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", says)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		var e *client.Error
		if _, err := c.Enterprise(t.Context()); !errors.As(err, &e) || e.RetryAfter != want {
			t.Errorf("Retry-After: %s: %v, want %v", says, e.RetryAfter, want)
		}
	}
}

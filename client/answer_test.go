package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
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
		asked := 0
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked > 10 { // so that the test ends
				fmt.Fprint(w, "{}")
				return
			}
			fmt.Fprint(w, page(r.URL.Query().Get("after")))
		})
		n, errs := 0, 0
		for _, err := range c.Devices.List(t.Context(), client.Filter{}) {
			if n++; err != nil {
				errs++
			}
		}
		if errs != 1 {
			t.Errorf("%s: %d errors in %d steps", name, errs, n)
		}
	}
}

// TestLimit: no more is asked for than is wanted.
func TestLimit(t *testing.T) {
	for limit, want := range map[int][]string{0: {"1000"}, 1: {"1"}, 1000: {"1000"}, 1200: {"1000", "200"}} {
		var asked []string
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			n := r.URL.Query().Get("limit")
			asked = append(asked, n)
			size, _ := strconv.Atoi(n)
			next := ""
			if limit > 1000 {
				next = `,"next":"a` + strconv.Itoa(len(asked)) + `"`
			}
			fmt.Fprintf(w, `{"items":[{}%s]%s}`, strings.Repeat(",{}", size-1), next)
		})
		n := 0
		for _, err := range c.Devices.List(t.Context(), client.Filter{Limit: limit}) {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(asked, want) || limit > 0 && n != limit {
			t.Errorf("of %d: asked for %v, %d came", limit, asked, n)
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

// TestEndsWithinAnswer: the end of the context is its error, wherever the answer
// stands, and whatever its cause.
func TestEndsWithinAnswer(t *testing.T) {
	for _, status := range []int{200, 404} {
		begun := make(chan struct{})
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"detail":"`))
			_ = http.NewResponseController(w).Flush()
			close(begun)
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-begun
			cancel(errors.New("enough"))
		}()
		_, err := c.Enterprise(ctx)
		var e *client.Error
		if !errors.Is(err, context.Canceled) || errors.As(err, &e) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// silent is a server that takes a request, or begins to answer, and says no more.
type silent struct{ begin bool }

func (s silent) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.begin {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(mute{r.Context()})}, nil
	}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

type mute struct{ ctx context.Context }

func (m mute) Read([]byte) (int, error) {
	<-m.ctx.Done()
	return 0, m.ctx.Err()
}

// TestNoAnswerInTime: the end of a call's own time is no end of the caller's
// context.
func TestNoAnswerInTime(t *testing.T) {
	for _, begin := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, err := client.New("http://controller", "", &http.Client{Transport: silent{begin}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Enterprise(t.Context())
			if !errors.Is(err, client.Unreachable) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("begun %v: %v", begin, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = c.Enterprise(ctx)
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.Unreachable) {
				t.Errorf("begun %v, with a deadline: %v", begin, err)
			}
		})
	}
}

// TestConnectionIsKept: an answer of many parts is read to its end, so that the
// next call finds the connection made.
func TestConnectionIsKept(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "{\"text\":%q}\n", strings.Repeat("x", 1<<20))
	})
	var kept []bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { kept = append(kept, i.Reused) },
	})
	for range 3 {
		if _, err := c.Enterprise(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if len(kept) != 3 || !kept[1] || !kept[2] {
		t.Errorf("connections kept: %v", kept)
	}
}

package client

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// FuzzAnswer: whatever answers, a call ends with what was asked for or with an
// error that has a text, and a wait that is not longer than a day.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"name":"SEP000000000001","version":3,"settings":{}}`), "", "")
	f.Add(412, []byte(`{"type":"urn:peerload:problem:conflict","detail":"changed",`+
		`"errors":[{"location":"a","message":"b"}]}`), "7", "")
	f.Add(302, []byte("<html>"), "-1", "http://u:p@h/x")
	f.Fuzz(func(t *testing.T, status int, body []byte, retry, location string) {
		c, err := New("https://controller:8443", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp := &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body)),
			Header: http.Header{"Retry-After": {retry}, "Location": {location}}}
		var d Device
		err = c.answer(resp, &d)
		if e := (*Error)(nil); errors.As(err, &e) {
			if e.Error() == "" || e.RetryAfter < 0 || e.RetryAfter > 24*time.Hour {
				t.Fatalf("%+v", e)
			}
		} else if err == nil && status >= 300 {
			t.Fatalf("status %d is no error", status)
		}
	})
}

// FuzzBaseURL: the URL of a controller is refused, or one that paths can be added
// to, without a password.
func FuzzBaseURL(f *testing.F) {
	for _, s := range []string{"https://controller:8443", "http://[::1]:80/x/", "http://u:p@h", "https://h?x", "h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		base, err := baseURL(text)
		if err != nil {
			return
		}
		u, err := url.Parse(base + prefix + "/devices")
		if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q is %q: %v, %v", text, base, u, err)
		}
		if again, err := baseURL(base); err != nil || again != base {
			t.Fatalf("%q is %q, and that %q, %v", text, base, again, err)
		}
	})
}

package proxy

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/load"
)

// FuzzTarget: whatever a client asks for, what comes of it is a URL of a server by HTTP
// without credentials that the client did not give, or nothing.
func FuzzTarget(f *testing.F) {
	f.Add("http://updates.example/fw?x=1#y", "updates.example", "192.0.2.1:5")
	f.Add("/https/updates.example/a%2fb?c", "127.0.0.1:4052", "127.0.0.1:5")
	f.Add("/http/u:p@h/", "localhost", "[::1]:5")
	f.Add("/-/status", "[::1]:4052", "")
	f.Fuzz(func(t *testing.T, text, host, remote string) {
		u, err := url.Parse(text)
		if err != nil {
			return
		}
		at, mirrored, err := target(&http.Request{URL: u, Host: host})
		if err != nil {
			return
		}
		if at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || at.Fragment != "" || mirrored && at.User != nil {
			t.Fatalf("%q at %q: %v", text, host, at)
		}
		p := &Proxy{}
		if p.admits(remote) && !strings.HasPrefix(remote, "127.") && !strings.HasPrefix(remote, "[") {
			t.Fatalf("%q is served", remote)
		}
		resp := &http.Response{Header: http.Header{"Location": {text}}, Request: &http.Request{URL: at}}
		mirrorLocation(resp)
		if to := resp.Header.Get("Location"); to != text && !strings.HasPrefix(to, "/http") {
			t.Fatalf("%q leads to %q", text, to)
		}
	})
}

// FuzzIndex: whatever the index holds, it tells of copies only, by sizes that files can
// have.
func FuzzIndex(f *testing.F) {
	raw, _ := json.Marshal(map[string]kept{"sha256-" + load.DigestOf(nil).String(): {Size: 1}})
	f.Add(raw)
	f.Add([]byte(`{"../x":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := parseIndex(raw)
		if err != nil {
			return
		}
		for name, k := range all {
			if !isCopy(name) || strings.Contains(name, "/") || k.Size < 0 || k.Size > load.MaxFileSize {
				t.Fatalf("%q: %+v", name, k)
			}
			if u := k.index(); u != nil && sharing.KindOf(u) == sharing.NoIndex {
				t.Fatalf("%s is no index", u)
			}
		}
	})
}

// FuzzAnswer: whatever a server says of sizes and places, none is negative.
func FuzzAnswer(f *testing.F) {
	f.Add(206, int64(5), "bytes 5-9/10")
	f.Add(200, int64(-1), "")
	f.Fuzz(func(t *testing.T, status int, length int64, place string) {
		a := answerOf(&http.Response{StatusCode: status, ContentLength: length,
			Header: http.Header{"Content-Range": {place}}})
		if from, end := span(place); a.Size < load.UnknownSize || from < 0 || end < from && end != 0 {
			t.Fatalf("%d: %d, %d to %d", status, a.Size, from, end)
		}
	})
}

// TestTypes: a type is guessed by the name where the origin told none.
func TestTypes(t *testing.T) {
	for name, want := range map[string]string{"/a.swu": "application/octet-stream", "/a.json": "application/json"} {
		if got := typeOf(name); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
}

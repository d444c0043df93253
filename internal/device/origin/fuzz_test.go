package origin

import (
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/load"
)

// FuzzAnswer: whatever a server answers, what comes of it begins where it was
// asked to or at the start, and has a size that a file can have; or it is an
// error.
func FuzzAnswer(f *testing.F) {
	f.Add(200, int64(10), "", `"a"`, "", "", int64(0), "")
	f.Add(206, int64(5), "bytes 5-9/10", `"a"`, "", "", int64(5), `"a"`)
	f.Add(416, int64(0), "bytes */10", `W/"a"`, "", "", int64(10), "")
	f.Add(503, int64(-1), "", "", "identity", "120", int64(0), "")
	f.Add(429, int64(-1), "", "", "gzip", "Sun, 22 Nov 2026 12:01:00 GMT", int64(0), "")
	f.Fuzz(func(t *testing.T, status int, length int64, span, tag, coding, retry string, offset int64, validator string) {
		u := &url.URL{Scheme: "http", Host: "a", Path: "/f"}
		r := Request{URL: u, Offset: max(offset, 0), Validator: strongValidator(validator), Size: load.UnknownSize}
		resp := &http.Response{StatusCode: status, ContentLength: max(length, -1), Body: http.NoBody,
			Request: &http.Request{URL: u}, Header: http.Header{"Content-Range": {span}, "Etag": {tag},
				"Content-Encoding": {coding}, "Retry-After": {retry}, "Date": {"Sun, 22 Nov 2026 12:00:00 GMT"}}}
		b, err := answer(r, resp)
		if wait := retryAfter(resp.Header); wait < 0 || wait > 24*time.Hour {
			t.Fatalf("Retry-After %q is %v", retry, wait)
		}
		switch {
		case err != nil:
			if Reason(err) == "" {
				t.Fatalf("%v has no reason", err)
			}
		case b.Offset != 0 && b.Offset != r.Offset || b.Size != load.UnknownSize && b.Size < b.Offset:
			t.Fatalf("asked from %d, got %+v", r.Offset, b)
		case b.Offset != 0 && b.Validator != "" && r.Validator != "" && b.Validator != r.Validator:
			t.Fatalf("another file goes on: %+v for %+v", b, r)
		}
	})
}

// FuzzFirstPart: whatever stands before the content of a part, no more than its
// limits is read for it, and the content begins behind an empty line.
func FuzzFirstPart(f *testing.F) {
	f.Add("--X\r\nContent-Range: bytes 0-1/2\r\n\r\nab\r\n--X--\r\n", "X")
	f.Add("preamble\n\n--\n\n", "")
	f.Fuzz(func(t *testing.T, body, boundary string) {
		in := strings.NewReader(body)
		head, content, err := firstPart(in, boundary)
		if read := len(body) - in.Len(); read > (maxPartLines+1)*maxPartLine {
			t.Fatalf("%d bytes were read", read)
		}
		if err != nil {
			return
		}
		rest, err := io.ReadAll(content)
		before := strings.TrimSuffix(body, string(rest))
		if err != nil || len(before)+len(rest) != len(body) || strings.TrimSpace(before[strings.LastIndex(
			strings.TrimSuffix(before, "\n"), "\n")+1:]) != "" {
			t.Fatalf("%q: %q, content %q, %v", body, head, rest, err)
		}
	})
}

// FuzzCandidates: a text is refused, or names servers that a device can ask,
// and means the same when it is written again.
func FuzzCandidates(f *testing.F) {
	for _, s := range []string{"10.0.0.5/fw/app.bin", "http://10.0.0.5/fw/app.bin", "tftp://h:6969/f", "[::1]:80/x",
		"h:1/f", "file:///f", "://", "http://[::1", "localhost./f", "169.254.1.1/f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Candidates(text)
		if err != nil {
			if len(err.Error()) == 0 || all != nil {
				t.Fatalf("%q: %v, %q", text, all, err)
			}
			return
		}
		if len(all) == 0 || len(all) > 2 {
			t.Fatalf("%q has %d candidates", text, len(all))
		}
		for _, u := range all {
			_ = placeOfURL(u)
			if u.Scheme != "file" && u.Host == "" {
				t.Fatalf("%q names no host: %v", text, u)
			}
			again, err := url.Parse(u.String())
			if err != nil || again.Host != u.Host || again.Path != u.Path {
				t.Fatalf("%q is written %q: %v, %v", text, u, again, err)
			}
		}
	})
}

// FuzzPlace: no form of an address of this host or of the link is reached by a
// redirect from elsewhere.
func FuzzPlace(f *testing.F) {
	for _, s := range []string{"127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:1", "169.254.169.254:80",
		"[fe80::1%eth0]:1", "0.0.0.0:1", "10.0.0.5:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		err := dialling(elsewhere)("tcp", address, nil)
		a, bad := netip.ParseAddrPort(address)
		near := bad == nil && (a.Addr().Unmap().IsLoopback() || a.Addr().Unmap().IsLinkLocalUnicast())
		if (bad != nil || near) && err == nil {
			t.Fatalf("%q is reached", address)
		}
		if dialling(here)("tcp", address, nil) != nil && strings.HasPrefix(address, "127.0.0.1:") && bad == nil {
			t.Fatalf("%q is not reached from here", address)
		}
	})
}

package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
)

// rawOrigin is a server that writes to each connection what a test says, whatever HTTP
// says of it, and closes it. say is called once for each request.
type rawOrigin struct {
	url  string
	mu   sync.Mutex
	seen []*http.Request
}

func newRawOrigin(t *testing.T, say func(n int, r *http.Request, w io.Writer)) *rawOrigin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &rawOrigin{url: "http://" + l.Addr().String()}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				o.mu.Lock()
				n := len(o.seen)
				o.seen = append(o.seen, r)
				o.mu.Unlock()
				say(n, r, c)
			}()
		}
	}()
	return o
}

// answer writes a head, and for other methods than HEAD a body.
func answer(w io.Writer, r *http.Request, head string, body []byte) {
	_, _ = io.WriteString(w, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n")
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// chunked is a body in chunks of HTTP, with a trailer.
func chunked(b []byte) []byte {
	var out bytes.Buffer
	for len(b) > 0 {
		n := min(len(b), 50_000)
		fmt.Fprintf(&out, "%x;ext=1\r\n%s\r\n", n, b[:n])
		b = b[n:]
	}
	out.WriteString("0\r\nX-Trailer: 1\r\n\r\n")
	return out.Bytes()
}

// oddAnswers are servers that do not what is usual, and how the answers begin.
var oddAnswers = map[string]func(b []byte, n int, r *http.Request, w io.Writer){
	"no Content-Length": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, "HTTP/1.1 200 OK\nConnection: close\nETag: \"a\"", b)
	},
	"HTTP/1.0": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, fmt.Sprintf("HTTP/1.0 200 OK\nContent-Length: %d\nLast-Modified: Sat, 01 Aug 2026 10:00:00 GMT",
			len(b)), b)
	},
	"HTTP/1.0 without a length": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, "HTTP/1.0 200 OK", b)
	},
	"chunks with a trailer": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, "HTTP/1.1 200 OK\nConnection: close\nTransfer-Encoding: chunked\nTrailer: X-Trailer\nETag: \"a\"",
			chunked(b))
	},
	"206 without being asked": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, fmt.Sprintf("HTTP/1.1 206 Partial Content\nConnection: close\nContent-Length: %d\n"+
			"Content-Range: bytes 0-%d/%d\nETag: \"a\"", len(b), len(b)-1, len(b)), b)
	},
	"HEAD tells another size": func(b []byte, _ int, r *http.Request, w io.Writer) {
		n := len(b)
		if r.Method == http.MethodHead {
			n += 1000
		}
		answer(w, r, fmt.Sprintf("HTTP/1.1 200 OK\nConnection: close\nContent-Length: %d\nETag: \"a\"", n), b)
	},
	"HEAD has another tag": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, fmt.Sprintf("HTTP/1.1 200 OK\nConnection: close\nContent-Length: %d\nETag: \"%s\"", len(b), r.Method),
			b)
	},
	"HEAD breaks off": func(b []byte, _ int, r *http.Request, w io.Writer) {
		if r.Method != http.MethodHead {
			answer(w, r, fmt.Sprintf("HTTP/1.1 200 OK\nConnection: close\nContent-Length: %d", len(b)), b)
		}
	},
	"another tag each time": func(b []byte, n int, r *http.Request, w io.Writer) {
		answer(w, r, fmt.Sprintf("HTTP/1.1 200 OK\nConnection: close\nContent-Length: %d\nETag: \"%d\"", len(b), n), b)
	},
	"many fields": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, fmt.Sprintf("HTTP/1.1 200 OK\nConnection: close\nContent-Length: %d\n%sETag: \"a\"", len(b),
			strings.Repeat("X-Pad: "+strings.Repeat("x", 1000)+"\n", 40)), b)
	},
	"hop-by-hop fields": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, fmt.Sprintf("HTTP/1.1 200 OK\nConnection: X-Hop\nX-Hop: 1\nKeep-Alive: timeout=1\n"+
			"Content-Length: %d\nETag: \"a\"", len(b)), b)
	},
}

// TestOddServers: whatever a server says beside the bytes, two clients in a row get
// them, whole and right, by a digest, by a rule that believes the network, and passed
// through.
func TestOddServers(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	b := content(200_000, 60)
	for name, say := range oddAnswers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newRawOrigin(t, func(n int, r *http.Request, w io.Writer) { say(b, n, r, w) })
			h := newHosts(t, 1, o.url+"/unsigned/** unsigned", o.url+"/digest sha256="+load.DigestOf(b).String())[0]
			c := h.via(t)
			for _, path := range []string{"/passed", "/digest", "/unsigned/f"} {
				for range 2 {
					resp, got, err := get(c, "GET", o.url+path)
					if err != nil || resp.StatusCode != http.StatusOK && name != "206 without being asked" || !bytes.Equal(got, b) {
						t.Errorf("%s: %v, %d bytes, %v", path, resp, len(got), err)
					}
					if err == nil && resp.Header.Get("X-Hop")+resp.Header.Get("Keep-Alive") != "" {
						t.Errorf("%s: fields of one hop passed: %v", path, resp.Header)
					}
				}
			}
		})
	}
}

// badAnswers are servers that do not send what they say.
var badAnswers = map[string]func(b []byte, n int, r *http.Request, w io.Writer){
	"it closes early": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\nETag: \"a\"", len(b)), b[:len(b)/2])
	},
	"chunks that break off": func(b []byte, _ int, r *http.Request, w io.Writer) {
		all := chunked(b)
		answer(w, r, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nETag: \"a\"", all[:len(all)/2])
	},
	"a length that is none": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, "HTTP/1.1 200 OK\nContent-Length: -5\nETag: \"a\"", b)
	},
	"two lengths": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, fmt.Sprintf("HTTP/1.1 200 OK\nContent-Length: %d\nContent-Length: 7\nETag: \"a\"", len(b)), b)
	},
	"no HTTP": func(b []byte, _ int, _ *http.Request, w io.Writer) { _, _ = w.Write(b) },
	"fields without end": func(_ []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, "HTTP/1.1 200 OK\nContent-Length: 5\nX: "+strings.Repeat("x", 1<<20), []byte("hello"))
	},
	"a place that lies": func(b []byte, _ int, r *http.Request, w io.Writer) {
		answer(w, r, fmt.Sprintf("HTTP/1.1 206 Partial Content\nConnection: close\nContent-Length: %d\n"+
			"Content-Range: bytes 5-9999999/%d\nETag: \"a\"", len(b)/2, len(b)), b[len(b)/2:])
	},
}

// TestBadServers: what a server does not send whole or does not send right is never
// taken for whole and right: the client gets an error, or no more than the server sent,
// with a length or a break that says so.
func TestBadServers(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	b := content(200_000, 61)
	for name, say := range badAnswers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newRawOrigin(t, func(n int, r *http.Request, w io.Writer) { say(b, n, r, w) })
			h := newHosts(t, 1, o.url+"/digest sha256="+load.DigestOf(b).String()+" stream")[0]
			c := h.via(t)
			for _, path := range []string{"/passed", "/digest"} {
				resp, got, err := get(c, "GET", o.url+path)
				switch {
				case err != nil, resp.StatusCode >= 500:
				case resp.StatusCode == http.StatusPartialContent: // as the server says it
					if resp.Header.Get("Content-Range") == "" {
						t.Errorf("a part that does not say so: %v", resp.Header)
					}
				case !bytes.Equal(got, b):
					t.Errorf("%s: %s, %d bytes, and no error", path, resp.Status, len(got))
				}
				if err != nil && !bytes.HasPrefix(b, got) && path == "/digest" {
					t.Errorf("%s: %d bytes of something else", path, len(got))
				}
			}
			if n, _ := h.keep.total(); n != 0 {
				t.Errorf("%d copies were kept", n)
			}
		})
	}
}

// TestCoded: what comes in a content coding passes as it is, also by a rule that
// believes the network, and so does a coding that nobody asked for.
func TestCoded(t *testing.T) {
	t.Parallel()
	b := content(200_000, 62)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(b)
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	o := newRawOrigin(t, func(_ int, r *http.Request, w io.Writer) {
		answer(w, r, fmt.Sprintf("HTTP/1.1 200 OK\nConnection: close\nContent-Encoding: gzip\nETag: \"a\"\n"+
			"Content-Length: %d",
			packed.Len()), packed.Bytes())
	})
	h := newHosts(t, 1, o.url+"/** unsigned")[0]
	resp, got, err := get(h.via(t), "GET", o.url+"/f")
	if err != nil || resp.Header.Get("Content-Encoding") != "gzip" || !bytes.Equal(got, packed.Bytes()) {
		t.Errorf("%v, %d bytes, %v", resp, len(got), err)
	}
}

// TestClientsOdd: what a client may send that two programs could read in two ways is
// refused, or reaches the server as one request. One line of hostile bytes each, on a
// connection of its own.
func TestClientsOdd(t *testing.T) {
	t.Parallel()
	b := content(100_000, 63)
	o := newRawOrigin(t, func(_ int, r *http.Request, w io.Writer) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/f" {
			answer(w, r, "HTTP/1.1 404 Not Found\nConnection: close\nContent-Length: 0", nil)
			return
		}
		answer(w, r, fmt.Sprintf("HTTP/1.1 200 OK\nConnection: close\nContent-Length: %d\nETag: \"a\"", len(b)), b)
	})
	h := newHosts(t, 1, o.url+"/** unsigned")[0]
	const last = "Connection: close\r\n\r\n"
	at := strings.TrimPrefix(o.url, "http://")
	get := func(rest string) string { return "GET " + o.url + "/f HTTP/1.1\r\nHost: " + at + "\r\n" + rest }
	mirror := func(path string) string {
		return "GET /http/" + at + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + last
	}
	for name, c := range map[string]struct {
		text     string
		statuses []int // of the answers, in order, until the proxy closes
	}{
		"both lengths": {get("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
			"GET /-/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n" + last), []int{200, 404}},
		"two lengths":              {get("Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd"), []int{400}},
		"an odd coding":            {get("Transfer-Encoding: xchunked\r\n\r\n"), []int{501}},
		"a space before a colon":   {get("Content-Length : 4\r\n\r\nabcd"), []int{400}},
		"two hosts":                {get("Host: b\r\n\r\n"), []int{400}},
		"no host":                  {"GET " + o.url + "/f HTTP/1.1\r\n\r\n", []int{400}},
		"HTTP/1.0":                 {"GET " + o.url + "/f HTTP/1.0\r\n\r\n", []int{200}},
		"another host":             {"GET " + o.url + "/f HTTP/1.1\r\nHost: other.example\r\n" + last, []int{200}},
		"two at once":              {get("\r\n") + get(last), []int{200, 200}},
		"dots in a mirror":         {mirror("/fw/../../../f"), []int{404}},
		"slashes that are escaped": {mirror("%2ff"), []int{400}},
		"a line feed in the path":  {mirror("/f%0d%0aX:%201"), []int{404}},
		"a user in a mirror":       {strings.Replace(mirror("/f"), "/http/", "/http/u@", 1), []int{400}},
		"a user":                   {strings.Replace(get(last), "http://", "http://u:p@", 1), []int{200}},
		"a body with GET":          {get("Content-Length: 5\r\nConnection: close\r\n\r\nhello"), []int{200}},
		"it expects to go on": {get("Content-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nhello"),
			[]int{200}},
		"many fields": {get("X-Pad: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"), []int{431}},
		"TRACE":       {strings.Replace(get(last), "GET", "TRACE", 1), []int{200}},
	} {
		t.Run(name, func(t *testing.T) {
			statuses := exchangeRaw(t, h, c.text)
			if !slices.Equal(statuses, c.statuses) {
				t.Errorf("answers %v, want %v", statuses, c.statuses)
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			for _, r := range o.seen {
				if strings.Contains(r.URL.Path, "smuggled") || r.Header.Get("X") != "" || r.Host != at {
					t.Errorf("the server saw %s %s of %s, %v", r.Method, r.URL, r.Host, r.Header)
				}
			}
		})
	}
}

// exchangeRaw sends bytes to a proxy and returns the statuses of its answers.
func exchangeRaw(t *testing.T, h *host, text string) (statuses []int) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.WriteString(c, text) }()
	method, _, _ := strings.Cut(text, " ")
	for in := bufio.NewReader(c); ; {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return statuses
		}
		if resp.StatusCode >= 200 {
			statuses = append(statuses, resp.StatusCode)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return statuses
		}
		resp.Body.Close()
	}
}

// TestHalfClosed: a client that says that it sends no more, and reads on, does not take
// an answer that is given up for an empty file.
func TestHalfClosed(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.gate = make(chan struct{})
	defer close(f.gate)
	b := content(1<<20, 64)
	u := f.put("/components/"+load.DigestOf(b).String()+".app.bin", b)
	h := newHosts(t, 1)[0]
	c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", u)
	if err = errors.Join(err, c.(*net.TCPConn).CloseWrite()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); resp.StatusCode == http.StatusOK && err == nil && !bytes.Equal(got, b) {
		t.Errorf("%d bytes pass for the file", len(got))
	}
}

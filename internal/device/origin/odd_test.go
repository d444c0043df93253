package origin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/load"
)

// odd answers requests with Range in one of the ways that servers in the field
// do, and requests without it with all of the content. It counts both.
type odd struct {
	t            *testing.T
	content      []byte
	answer       func(w *raw, at int)
	ranges, full atomic.Int32
}

// raw writes what net/http would not let a server send.
type raw struct {
	io.Writer
	content []byte
}

func (w *raw) send(status string, body []byte, lines ...string) {
	fmt.Fprintf(w, "HTTP/1.1 %s\r\n%s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", status,
		strings.Join(append(lines, `ETag: "v1"`), "\r\n"), len(body))
	w.Write(body)
}

// part answers with bytes from to to, not included, and the lines.
func (w *raw) part(status string, from, to int, contentRange string) {
	lines := []string{}
	if contentRange != "" {
		lines = []string{"Content-Range: " + contentRange}
	}
	w.send(status, w.content[from:to], lines...)
}

func (o *odd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		o.t.Error(err)
		return
	}
	defer conn.Close()
	defer buf.Flush()
	out := &raw{buf, o.content}
	from, ranged := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	at, _ := strconv.Atoi(strings.TrimSuffix(from, "-"))
	if !ranged {
		o.full.Add(1)
		out.send("200 OK", o.content)
		return
	}
	o.ranges.Add(1)
	o.answer(out, at)
}

// whatCameOf is how an answer to a request with Range is used.
type whatCameOf int

const (
	rest  whatCameOf = iota // it is the rest
	whole                   // it is taken as the whole file
	again                   // the whole file is asked for without Range
)

// oddAnswers are what servers were seen to answer to a request with Range for a
// file of n bytes.
func oddAnswers(n int) map[string]struct {
	want   whatCameOf
	answer func(w *raw, at int)
} {
	type row = struct {
		want   whatCameOf
		answer func(w *raw, at int)
	}
	all := map[string]row{}
	add := func(name string, want whatCameOf, answer func(w *raw, at int)) { all[name] = row{want, answer} }
	ranged := func(format string) func(w *raw, at int) {
		return func(w *raw, at int) {
			w.part("206 Partial Content", at, n, strings.NewReplacer("FROM", fmt.Sprint(at), "TO", fmt.Sprint(n-1),
				"ALL", fmt.Sprint(n)).Replace(format))
		}
	}
	add("as asked", rest, ranged("bytes FROM-TO/ALL"))
	add("unit in capitals", rest, ranged("Bytes FROM-TO/ALL"))
	add("unit with =", rest, ranged("bytes=FROM-TO/ALL"))
	add("unit with :", rest, ranged("bytes: FROM-TO/ALL"))
	add("no unit", rest, ranged("FROM-TO/ALL"))
	add("another unit", again, ranged("items FROM-TO/ALL"))
	add("length not told", rest, ranged("bytes FROM-TO/*"))
	add("another length", again, ranged("bytes FROM-TO/TO"))
	add("no Content-Range", again, ranged(""))
	add("numbers too large", again, ranged("bytes FROM-99999999999999999999/ALL"))
	// What public reports tell of, besides: pydio/pydio-core issue 400,
	// diversen/http-send-file issue 4, DataBiosphere/azul pull 2869.
	add("one beyond the end", again, ranged("bytes FROM-ALL/ALL"))
	add("no numbers", again, ranged("-0.99999998516848"))
	add("nothing as 206", again, func(w *raw, at int) { w.send("206 Partial Content", nil) })
	add("the last byte, and not even that", again, func(w *raw, at int) {
		w.send("206 Partial Content", nil, fmt.Sprintf("Content-Range: bytes %d-%d/%d", n-1, n-1, n))
	})
	add("negative", again, ranged("bytes -FROM-TO/ALL"))
	// jizhi0v0/duo-updater issue 225: the whole, or a piece of what was asked for.
	add("the whole as 206", whole, func(w *raw, at int) {
		w.part("206 Partial Content", 0, n, fmt.Sprintf("bytes 0-%d/%d", n-1, n))
	})
	// xroche/httrack pull 428: a cache that answers by whole blocks of its own.
	add("earlier bytes first", rest, func(w *raw, at int) {
		w.part("206 Partial Content", at-1000, n, fmt.Sprintf("bytes %d-%d/%d", at-1000, n-1, n))
	})
	add("later bytes only", again, func(w *raw, at int) {
		w.part("206 Partial Content", at+1, n, fmt.Sprintf("bytes %d-%d/%d", at+1, n-1, n))
	})
	add("a third at a time", rest, func(w *raw, at int) {
		to := min(n, at+n/3)
		w.part("206 Partial Content", at, to, fmt.Sprintf("bytes %d-%d/%d", at, to-1, n))
	})
	add("fewer bytes than named", again, func(w *raw, at int) {
		w.part("206 Partial Content", at, n-1, fmt.Sprintf("bytes %d-%d/%d", at, n-1, n))
	})
	add("the rest as 200", rest, func(w *raw, at int) {
		w.part("200 OK", at, n, fmt.Sprintf("bytes %d-%d/%d", at, n-1, n))
	})
	add("the whole as 200 with Content-Range", whole, func(w *raw, at int) {
		w.part("200 OK", 0, n, fmt.Sprintf("bytes 0-%d/%d", n-1, n))
	})
	add("200 with a senseless Content-Range", again, func(w *raw, at int) { w.part("200 OK", at, n, "bytes */7") })
	// rust-lang/rustup issue 4710: Range is not heeded.
	add("the whole as 200", whole, func(w *raw, at int) { w.part("200 OK", 0, n, "") })
	add("one part of multipart", rest, func(w *raw, at int) {
		body := fmt.Sprintf("\r\n--X\r\ncontent-type: a/b\r\ncontent-range: bytes %d-%d/%d\r\n\r\n%s\r\n--X--\r\n", at,
			n-1, n, w.content[at:])
		w.send("206 Partial Content", []byte(body), "Content-Type: multipart/byteranges; boundary=X")
	})
	add("multipart without a part", again, func(w *raw, at int) {
		w.send("206 Partial Content", []byte("--Y\r\n\r\n"), "Content-Type: multipart/byteranges; boundary=X")
	})
	add("multipart without end of headers", again, func(w *raw, at int) {
		w.send("206 Partial Content", []byte("--X\r\n"+strings.Repeat("a: b\r\n", 200)),
			"Content-Type: multipart/byteranges; boundary=X")
	})
	add("another content", again, func(w *raw, at int) {
		fmt.Fprintf(w, "HTTP/1.1 206 Partial Content\r\nETag: \"v2\"\r\nContent-Range: bytes %d-%d/%d\r\n\r\n", at, n-1, n)
	})
	// Public reports tell of most of these (thin-edge/thin-edge.io pull 4283 of 425,
	// lingochamp/FileDownloader issue 265 of 412, cavaliergopher/grab pull 83 of a
	// redirect that does not know Range, lhotse-speech/lhotse pull 1135 of a 416 that
	// does not tell the length).
	for _, status := range strings.Fields("204 300 301 302 304 400 402 403 404 405 406 408 410 412 416 418 421 " +
		"425 500 501 502 504 505") {
		add(status, again, func(w *raw, at int) { w.send(status+" No", nil) })
	}
	add("no HTTP", again, func(w *raw, _ int) { io.WriteString(w, "500 what?\r\n\r\n") })
	add("moved in a circle", again, func(w *raw, _ int) { w.send("301 Moved Permanently", nil, "Location: /f") })
	add("moved to no URL", again, func(w *raw, _ int) { w.send("301 Moved Permanently", nil, "Location: http://%zz/") })
	add("the status twice", again, func(w *raw, _ int) { w.send("206 Partial Content\r\nHTTP/1.1 200 OK", nil) })
	return all
}

// An answer to a request with Range is used as far as it fits; where it does
// not, the file is asked for once without. No answer makes wrong bytes, or ends
// the fetch while the server has the file.
func TestOddAnswersToRange(t *testing.T) {
	data := content(fileSize)
	const at = 100_000
	for name, tc := range oddAnswers(len(data)) {
		t.Run(name, func(t *testing.T) {
			o := &odd{t: t, content: data, answer: tc.answer}
			r := Request{URL: parseURL(t, answering(t, o.ServeHTTP)+"/f"), Offset: at, Validator: `"v1"`,
				Size: load.UnknownSize}
			got, b, err := get(newMux(t, Config{MaxRedirects: 1}), r)
			if err != nil || !bytes.Equal(got, data[b.Offset:]) || (b.Size != int64(len(data)) && name != "length not told") {
				t.Fatalf("%d bytes: %v", len(got), err)
			}
			if (b.Offset == at) != (tc.want == rest) || o.full.Load() > 0 != (tc.want == again) {
				t.Errorf("from byte %d, %d requests without Range", b.Offset, o.full.Load())
			}
			if o.full.Load() > 1 || o.ranges.Load() > 3 {
				t.Errorf("%d requests with Range, %d without", o.ranges.Load(), o.full.Load())
			}
		})
	}
}

// Where the size is known, a server need not tell it, and may not tell another.
func TestRangeOfAKnownSize(t *testing.T) {
	data := content(fileSize)
	const at = 100_000
	for size, want := range map[string]int32{"*": 0, fmt.Sprint(fileSize): 0, fmt.Sprint(fileSize + 1): 1} {
		o := &odd{t: t, content: data, answer: func(w *raw, at int) {
			w.part("206 Partial Content", at, fileSize, fmt.Sprintf("bytes %d-%d/%s", at, fileSize-1, size))
		}}
		r := Request{URL: parseURL(t, answering(t, o.ServeHTTP)+"/f"), Offset: at, Size: fileSize, Verified: true}
		got, b, err := get(newMux(t, Config{}), r)
		if err != nil || !bytes.Equal(got, data[b.Offset:]) || o.full.Load() != want {
			t.Errorf("%s: %d bytes from %d, %v, %d requests without Range", size, len(got), b.Offset, err, o.full.Load())
		}
	}
}

// A server of which each machine has its own tags is resumed where a digest says
// what is right, and begun anew where nothing does.
func TestValidatorOfEachMachine(t *testing.T) {
	data := content(1000)
	var n atomic.Int32
	base := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", fmt.Sprintf(`"machine-%d"`, n.Add(1)))
		if c := r.Header.Get("If-Range"); r.Header.Get("Range") == "" || c != "" && c != w.Header().Get("ETag") {
			w.Write(data)
			return
		}
		w.Header().Set("Content-Range", "bytes 300-999/1000")
		w.WriteHeader(206)
		w.Write(data[300:])
	})
	for verified, offset := range map[bool]int64{true: 300, false: 0} {
		r := Request{URL: parseURL(t, base), Offset: 300, Validator: `"machine-0"`, Size: 1000, Verified: verified}
		got, b, err := get(newMux(t, Config{}), r)
		if err != nil || b.Offset != offset || !bytes.Equal(got, data[offset:]) {
			t.Errorf("verified %v: %d bytes from %d: %v", verified, len(got), b.Offset, err)
		}
	}
}

// A server that ends the connection at a request with Range is asked without at
// the second time; once may be the line.
func TestServerThatEndsAtRange(t *testing.T) {
	data := content(1000)
	o := &odd{t: t, content: data, answer: func(*raw, int) {}}
	r := Request{URL: parseURL(t, answering(t, o.ServeHTTP)+"/f"), Offset: 300, Size: 1000, Verified: true}
	m := newMux(t, Config{})
	if _, _, err := get(m, r); err == nil || o.full.Load() != 0 {
		t.Errorf("the first time it was asked without Range: %v", err)
	}
	got, b, err := get(m, r)
	if err != nil || b.Offset != 0 || !bytes.Equal(got, data) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
}

// What is not the rest of the same content is not put together.
func TestShortAnswersThatDoNotFit(t *testing.T) {
	data := content(9000)
	for name, tc := range map[string]struct {
		verified bool
		answer   func(w *raw, at int)
		want     error
	}{
		"crumbs": {true, func(w *raw, at int) {
			w.part("206 Partial Content", at, at+10, fmt.Sprintf("bytes %d-%d/9000", at, at+9))
		}, ErrTruncated},
		"the file grows": {true, func(w *raw, at int) {
			w.part("206 Partial Content", at, at+2000, fmt.Sprintf("bytes %d-%d/%d", at, at+1999, 9000+at/3000))
		}, ErrTruncated},
		"it starts over": {true, func(w *raw, at int) {
			if at > 3000 {
				w.send("200 OK", w.content)
				return
			}
			w.part("206 Partial Content", at, at+2000, fmt.Sprintf("bytes %d-%d/9000", at, at+1999))
		}, ErrTruncated},
	} {
		o := &odd{t: t, content: data, answer: tc.answer}
		r := Request{URL: parseURL(t, answering(t, o.ServeHTTP)+"/f"), Offset: 1000, Size: load.UnknownSize,
			Verified: tc.verified}
		got, _, err := get(newMux(t, Config{}), r)
		if !errors.Is(err, tc.want) || !bytes.HasPrefix(data[1000:], got) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	// A first part without anything to tell that the next is of the same file.
	base := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", "bytes 0-1999/9000")
		w.WriteHeader(206)
		w.Write(data[:2000])
	})
	if got, _, err := get(newMux(t, Config{}), Request{URL: parseURL(t, base), Size: load.UnknownSize}); err == nil {
		t.Errorf("%d bytes taken for 9000", len(got))
	}
}

// An unasked part of the file is never taken for the whole.
func TestPartThatNobodyAskedFor(t *testing.T) {
	data := content(6000)
	for _, status := range []string{"200 OK", "206 Partial Content"} {
		o := &odd{t: t, content: data, answer: func(w *raw, at int) {
			w.part(status, at, 6000, fmt.Sprintf("bytes %d-5999/6000", at))
		}}
		base := answering(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				conn, buf, _ := w.(http.Hijacker).Hijack()
				defer conn.Close()
				defer buf.Flush()
				(&raw{buf, data}).part(status, 0, 2500, "bytes 0-2499/6000")
				return
			}
			o.ServeHTTP(w, r)
		})
		got, b, err := get(newMux(t, Config{}), Request{URL: parseURL(t, base), Size: load.UnknownSize})
		if err != nil || !bytes.Equal(got, data) || b.Size != 6000 {
			t.Errorf("%s: %d bytes: %v", status, len(got), err)
		}
	}
}

// A coding that nobody asked for is taken as sent where a digest decides;
// without one the error says what to do.
func TestCodingNobodyAskedFor(t *testing.T) {
	data := content(1000)
	for _, name := range []string{"gzip", "x-gzip", "aws-chunked", "binary", "none", "utf-8"} {
		base := answering(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", name)
			w.Write(data)
		})
		r := Request{URL: parseURL(t, base), Size: load.UnknownSize}
		if _, _, err := get(newMux(t, Config{}), r); err == nil || !strings.Contains(err.Error(), "--sha256") {
			t.Errorf("%s without a digest: %v", name, err)
		}
		r.Verified = true
		if got, _, err := get(newMux(t, Config{}), r); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// Other oddities of the first answer that curl lives with.
func TestOddFirstAnswers(t *testing.T) {
	data := content(5000)
	head := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(data), data)
	for name, answer := range map[string]string{
		"HTTP/1.0 without a length": "HTTP/1.0 200 OK\r\n\r\n" + string(data),
		"no reason":                 "HTTP/1.1 200\r\n" + head,
		"lines end with LF":         "HTTP/1.1 200 OK\n" + fmt.Sprintf("Content-Length: %d\n\n%s", len(data), data),
		"the length twice":          fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n", len(data)) + head,
		"early hints":               "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n" + head,
		"203":                       "HTTP/1.1 203 Non-Authoritative Information\r\n" + head,
	} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				t.Error(err)
			}
			io.WriteString(conn, answer)
		}()
		got, _, err := get(newMux(t, Config{}), Request{URL: parseURL(t, "http://"+l.Addr().String()+"/f"),
			Size: load.UnknownSize})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		l.Close()
		<-done
	}
}

// A server that asks for a long pause is not asked before it is over; one that
// asks for a short one is asked as often as the caller likes.
func TestLongPause(t *testing.T) {
	for after, want := range map[string]int32{"3000": 1, "2": 3, "": 3} {
		var asked atomic.Int32
		base := answering(t, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		m := newMux(t, Config{})
		for range 3 {
			_, _, err := get(m, Request{URL: parseURL(t, base+"/f"), Size: load.UnknownSize})
			var busy *BusyError
			if !errors.As(err, &busy) || (busy.RetryAfter > 0) != (after != "") {
				t.Errorf("%q: %v", after, err)
			}
		}
		if asked.Load() != want {
			t.Errorf("%q: asked %d times", after, asked.Load())
		}
	}
	var b busy
	now := time.Unix(1000, 0)
	u := parseURL(t, "http://10.0.0.5/f")
	b.said(u, &BusyError{RetryAfter: 24 * time.Hour}, now)
	if b.refuses(u, now.Add(longestWait-1)) == nil || b.refuses(u, now.Add(longestWait)) != nil {
		t.Error("it is not left alone for an hour")
	}
	for i := range 3 * maxBusy {
		b.said(parseURL(t, fmt.Sprintf("http://10.0.0.5:%d/f", 1+i)), &BusyError{RetryAfter: time.Minute}, now)
	}
	if len(b.until) > maxBusy {
		t.Errorf("%d servers are remembered", len(b.until))
	}
}

// nonsense is what servers, and what stands before them, were seen to answer that
// is no HTTP, and what it is taken for.
var nonsenses = map[string]struct{ answer, reason string }{
	"a line without a colon": {"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 5\r\n\r\nhello", "answer"},
	"the status twice":       {"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "answer"},
	"a status of four":       {"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", "answer"},
	"another protocol":       {"ICY 200 OK\r\n\r\nhello", "answer"},
	"a greeting":             {"SSH-2.0-server\r\n", "answer"},
	"no header at all":       {"hello, this is the file\n", "answer"},
	"TLS":                    {"\x15\x03\x01\x00\x02\x02\x46", "answer"},
	"a length in words":      {"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", "answer"},
	"two lengths":            {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "answer"},
	"another coding":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "answer"},
	"a chunk without length": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", "answer"},
	"a Location of no URL":   {"HTTP/1.1 302 Found\r\nLocation: http://%zz/\r\nContent-Length: 0\r\n\r\n", "answer"},
	"a header without end":   {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 100_000) + "\r\n\r\n", "answer"},
	// What may be another the next time.
	"no answer":   {"", "other"},
	"half a body": {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "truncated"},
}

// TestNonsense: a server that breaks HTTP does so again, which no retry mends.
func TestNonsense(t *testing.T) {
	for name, c := range nonsenses {
		for _, ahead := range []bool{false, true} {
			u := parseURL(t, answering(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, buf, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				io.WriteString(buf, c.answer)
				buf.Flush()
			})+"/f")
			m := newMux(t, Config{})
			if ahead {
				_ = m.Prepare(t.Context(), u)
			}
			b, err := m.Open(t.Context(), Request{URL: u, Size: load.UnknownSize})
			if err == nil {
				_, err = io.ReadAll(b)
				b.Close()
			}
			if Reason(err) != c.reason {
				t.Errorf("%s, connected before %v: %s, want %s: %v", name, ahead, Reason(err), c.reason, err)
			}
		}
	}
}

// TestCookies: a server that sends a client round for a cookie gets it back, and
// nobody else does, nor the next request.
func TestCookies(t *testing.T) {
	var other string
	round := func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("seen")
		switch {
		case r.URL.Path == "/away":
			http.SetCookie(w, &http.Cookie{Name: "seen", Value: "1", Path: "/"})
			http.Redirect(w, r, other+"/bare", http.StatusFound)
		case r.URL.Path == "/bare" && err == nil:
			t.Error("the cookie of another server, or of another request, came")
		case r.URL.Path == "/bare", err == nil && c.Value == "1":
			io.WriteString(w, "hello")
		default:
			http.SetCookie(w, &http.Cookie{Name: "seen", Value: "1", Path: "/", HttpOnly: true})
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}
	}
	host := answering(t, round)
	other = answering(t, round)
	m := newMux(t, Config{})
	for _, path := range []string{"/f", "/away", "/bare"} {
		b, err := m.Open(t.Context(), Request{URL: parseURL(t, host+path), Size: load.UnknownSize})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got, err := io.ReadAll(b); string(got) != "hello" {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		b.Close()
	}
}

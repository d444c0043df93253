package origin

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/peerload/peerload/load"
)

// Rows of reports in the trackers of programs with the same job. Reports of
// answers to a request with Range are rows of oddAnswers.

// A page that stands where the file should, or nothing at all, is no file: the
// answer fails by its status, before a byte of it counts.
func TestReportsOfAnswersThatAreNoFile(t *testing.T) {
	page := "<html>one moment, please</html>"
	for _, tc := range []struct {
		name, want string
		answer     http.HandlerFunc
	}{
		// gcerretani/antenati issue 21: a firewall before the server answers 202
		// with a page of its own until a browser has solved it.
		{"a page as 202", "answer", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusAccepted)
			io.WriteString(w, page)
		}},
		{"nothing as 202", "answer", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }},
		// fwupd/fwupd issue 5812: 412 to a request that has no condition.
		{"412 without a condition", "answer", func(w http.ResponseWriter, r *http.Request) {
			for name := range r.Header {
				if strings.HasPrefix(name, "If-") {
					t.Errorf("the first request has %s", name)
				}
			}
			w.WriteHeader(http.StatusPreconditionFailed)
			io.WriteString(w, page)
		}},
		// esper-hub/esper issue 10: 301 with a short page as its body; the page
		// was no image, and no bytes of it were.
		{"301 without a Location", "answer", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusMovedPermanently)
			io.WriteString(w, page)
		}},
	} {
		for _, verified := range []bool{false, true} {
			u := parseURL(t, answering(t, tc.answer)+"/f")
			got, _, err := get(newMux(t, Config{}), Request{URL: u, Size: load.UnknownSize, Verified: verified})
			if Reason(err) != tc.want || len(got) > 0 {
				t.Errorf("%s, digest %v: %d bytes, %v (%s), want %s", tc.name, verified, len(got), err, Reason(err), tc.want)
			}
		}
	}
}

// esper-hub/esper issue 10: the server moves every request to HTTPS. It is gone
// after where its certificate is trusted; where it is not, the error says that,
// and no empty file comes of it.
func TestReportOfAMoveToHTTPS(t *testing.T) {
	data := content(5000)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }))
	t.Cleanup(secure.Close)
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	plain := answering(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, secure.URL+r.URL.Path, http.StatusMovedPermanently)
	})
	for _, tc := range []struct {
		name, want string
		config     Config
	}{
		{"trusted", "", Config{CACert: pool}},
		{"not trusted", "tls", Config{}},
		{"no redirects", "answer", Config{MaxRedirects: -1}},
	} {
		got, _, err := get(newMux(t, tc.config), Request{URL: parseURL(t, plain+"/f"), Size: load.UnknownSize})
		if Reason(err) != tc.want || (err == nil) != bytes.Equal(got, data) || err != nil && len(got) > 0 {
			t.Errorf("%s: %d bytes, %v (%s), want %s", tc.name, len(got), err, Reason(err), tc.want)
		}
	}
}

// thin-edge/thin-edge.io pull 4283: a client tried each 5xx again and no 4xx.
// What a later attempt may mend is told apart from what none does.
func TestReportOfStatusesToTryAgain(t *testing.T) {
	again := map[string]bool{"busy": true, "other": true}
	for status, want := range map[int]bool{
		408: true, 425: true, 429: true, 500: true, 502: true, 503: true, 504: true,
		400: false, 401: false, 403: false, 404: false, 405: false, 406: false, 410: false, 412: false, 418: false,
		451: false, 501: false, 505: false,
	} {
		u := parseURL(t, answering(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })+"/f")
		_, _, err := get(newMux(t, Config{}), Request{URL: u, Size: load.UnknownSize})
		if err == nil || again[Reason(err)] != want {
			t.Errorf("%d: %v (%s), try again %v", status, err, Reason(err), want)
		}
	}
}

// All bytes are there, and the rest is asked for once more: answers to it that
// are no 416, and 416 that lacks what it should have. The file is not longer
// afterwards, and not lost.
func TestReportsOfResumingAWholeFile(t *testing.T) {
	const n = 5000
	data := content(n)
	for name, answer := range map[string]func(w *raw, at int){
		// lhotse-speech/lhotse pull 1135: 416 that does not tell the length.
		"416 without Content-Range": func(w *raw, _ int) { w.send("416 Range Not Satisfiable", nil) },
		"416 as it should be": func(w *raw, _ int) {
			w.send("416 Range Not Satisfiable", nil, fmt.Sprintf("Content-Range: bytes */%d", n))
		},
		// rust-lang/crates.io issue 13159: 206 with a range that ends before it begins.
		"206 from the end to the byte before": func(w *raw, at int) {
			w.send("206 Partial Content", nil, fmt.Sprintf("Content-Range: bytes %d-%d/%d", at, at-1, n))
		},
		// DataBiosphere/azul pull 2869: 206 with no range and no bytes.
		"206 with nothing": func(w *raw, _ int) { w.send("206 Partial Content", nil) },
		// rust-lang/rustup issue 4710: Range is not heeded.
		"200 with everything": func(w *raw, _ int) { w.send("200 OK", w.content) },
	} {
		for _, size := range []int64{n, load.UnknownSize} {
			o := &odd{t: t, content: data, answer: answer}
			r := Request{URL: parseURL(t, answering(t, o.ServeHTTP)+"/f"), Offset: n, Validator: `"v1"`, Size: size}
			got, b, err := get(newMux(t, Config{}), r)
			if err != nil || !bytes.Equal(got, data[b.Offset:]) {
				t.Errorf("%s, size %d: %d bytes: %v", name, size, len(got), err)
			}
			if o.full.Load() > 1 || o.ranges.Load() > 1 {
				t.Errorf("%s, size %d: %d requests with Range, %d without", name, size, o.ranges.Load(), o.full.Load())
			}
		}
	}
}

// jizhi0v0/duo-updater issue 225, rust-lang/rustup issue 4710: the connection
// breaks in mid-body, and what comes to the request for the rest begins at 0.
func TestReportsOfARestThatBeginsAtZero(t *testing.T) {
	data := content(9000)
	for _, status := range []string{"200 OK", "206 Partial Content"} {
		var n atomic.Int32
		u := parseURL(t, answering(t, func(w http.ResponseWriter, r *http.Request) {
			conn, buf, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			defer buf.Flush()
			if n.Add(1) == 1 {
				fmt.Fprintf(buf, "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 9000\r\n\r\n%s", data[:4000])
				return
			}
			lines := []string{}
			if strings.HasPrefix(status, "206") {
				lines = []string{"Content-Range: bytes 0-8999/9000"}
			}
			(&raw{buf, data}).send(status, data, lines...)
		})+"/f")
		m := newMux(t, Config{})
		have, b, err := get(m, Request{URL: u, Size: load.UnknownSize})
		if Reason(err) != "truncated" || !bytes.Equal(have, data[:4000]) {
			t.Fatalf("%s: the first time: %d bytes, %v", status, len(have), err)
		}
		got, b, err := get(m, Request{URL: u, Offset: int64(len(have)), Validator: b.Validator, Size: b.Size})
		if err != nil || !bytes.Equal(append(have[:b.Offset], got...), data) {
			t.Errorf("%s: %d bytes from %d: %v", status, len(got), b.Offset, err)
		}
	}
}

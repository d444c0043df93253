package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// raw answers with bytes of the test's own and keeps or closes the connection.
func raw(w http.ResponseWriter, head string, body []byte, hold time.Duration, r *http.Request) {
	cw := w.(*countingWriter)
	conn := cw.hijack()
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 "+head+"\r\n\r\n"); err != nil {
		return
	}
	for len(body) > 0 {
		n := min(len(body), serverPiece)
		if cw.s.pace(r.Context(), n) != nil {
			return
		}
		if _, err := conn.Write(body[:n]); err != nil {
			return
		}
		cw.s.sent(r.URL.Path, n)
		body = body[n:]
	}
	if hold > 0 {
		_ = conn.SetReadDeadline(time.Now().Add(hold))
		_, _ = conn.Read(make([]byte, 1))
	}
}

// fault is one way in which a server is bad.
type fault struct {
	name string
	// wrong answers request number n of a path; false: serve as usual.
	wrong func(w http.ResponseWriter, r *http.Request, n int) bool
	code  int
	says  string
	// slow is where a device waits for the server before it gives up.
	slow bool
	// bytes bounds the payload from the server in multiples of the file, for
	// six devices.
	bytes float64
}

var faultBody = content(20, mib)

func faults() []fault {
	always := func(f func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, r *http.Request, _ int) bool { f(w, r); return true }
	}
	type answer = func(w http.ResponseWriter, r *http.Request)
	first := func(k int, f answer) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, r *http.Request, n int) bool {
			if n < k {
				f(w, r)
			}
			return n < k
		}
	}
	length := fmt.Sprintf("200 OK\r\nContent-Length: %d", len(faultBody))
	status := func(code int, header ...string) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			fmt.Fprintln(w, "no")
		}
	}
	wrong := append([]byte{^faultBody[0]}, faultBody[1:]...)
	return []fault{
		{"truncates once", first(1, func(w http.ResponseWriter, r *http.Request) {
			raw(w, length+"\r\nETag: \"1\"\r\nAccept-Ranges: bytes", faultBody[:len(faultBody)/2], 0, r)
		}), 0, "", false, 1.1},
		{"truncates always", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, length, faultBody[:len(faultBody)/2], 0, r)
		}), 4, "before its announced length", false, 30},
		{"closes without length", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, "200 OK\r\nConnection: close", faultBody, 0, r)
		}), 0, "", false, 1.1},
		{"sends more than announced", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, length, append(faultBody[:len(faultBody):len(faultBody)], "more"...), 0, r)
		}), 0, "", false, 1.1},
		// All leave their parents when the size turns out wrong. Who then meets only devices
		// that are done and leave asks the server: seen once, on a busy machine.
		{"announces more than it has", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, fmt.Sprintf("200 OK\r\nContent-Length: %d", 2*mib), faultBody, 0, r)
		}), 0, "", false, 2.2},
		{"a range of a larger file", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, fmt.Sprintf("206 Partial Content\r\nContent-Length: %d\r\nContent-Range: bytes 0-%d/%d", mib, mib-1, 2*mib),
				faultBody, 0, r)
		}), 0, "", false, 2.2},
		{"404", always(status(404)), 7, "does not exist", false, 0},
		{"403", always(status(403)), 8, "refuses", false, 0},
		{"410", always(status(410)), 7, "", false, 0},
		{"500", always(status(500)), 4, "cannot fetch", false, 0},
		{"503 for ever", always(status(503, "Retry-After", "1")), 4, "busy", false, 0},
		{"503 once", first(1, status(503, "Retry-After", "1")), 0, "", false, 1.1},
		{"425 for ever", always(status(425)), 4, "", false, 0},
		{"425 once", first(1, status(425)), 0, "", false, 1.1},
		{"412", always(status(412)), 10, "no later attempt", false, 0},
		{"301 to nowhere", always(status(301)), 10, "no later attempt", false, 0},
		{"a malformed header", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, length+"\r\nno colon", faultBody, 0, r)
		}), 10, "no later attempt", false, 30},
		{"the status twice", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, "200 OK\r\nHTTP/1.1 "+length, faultBody, 0, r)
		}), 10, "no later attempt", false, 30},
		{"wants a cookie back", func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if _, err := r.Cookie("seen"); err != nil {
				status(302, "Location", appPath, "Set-Cookie", "seen=1")(w, r)
				return true
			}
			return false
		}, 0, "", false, 1.1},
		{"redirects in a circle", always(status(302, "Location", appPath)), 10, "", false, 0},
		{"redirects to a file", always(status(302, "Location", "file:///etc/passwd")), 10, "", false, 0},
		{"wrong content", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, length, wrong, 0, r)
		}), 3, "not the file", false, 30},
		{"wrong content once", first(1, func(w http.ResponseWriter, r *http.Request) {
			raw(w, length, wrong, 0, r)
		}), 0, "", false, 2.1},
		{"shorter", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, fmt.Sprintf("200 OK\r\nContent-Length: %d", mib/2), faultBody[:mib/2], 0, r)
		}), 3, "not the file", false, 30},
		{"empty", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, "200 OK\r\nContent-Length: 0", nil, 0, r)
		}), 3, "not the file", false, 0},
		// Those that a device waits for come last: parallel subtests go on from the last to
		// the first, and would run alone at the end.
		{"announces more and waits", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, fmt.Sprintf("200 OK\r\nContent-Length: %d", 2*mib), faultBody, time.Minute, r)
		}), 0, "", true, 1.1},
		{"stalls once", first(1, func(w http.ResponseWriter, r *http.Request) {
			raw(w, length+"\r\nETag: \"1\"\r\nAccept-Ranges: bytes", faultBody[:len(faultBody)/2], time.Minute, r)
		}), 0, "", true, 1.1},
		{"a byte a second", always(drip), 4, "stopped sending", true, 1},
		{"stalls in the middle", always(func(w http.ResponseWriter, r *http.Request) {
			raw(w, length, faultBody[:len(faultBody)/2], time.Minute, r)
		}), 4, "stopped sending", true, 30},
		{"never answers", always(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}), 4, "stopped sending", true, 0},
	}
}

// drip announces the file and sends one byte a second of it.
func drip(w http.ResponseWriter, r *http.Request) {
	conn := w.(*countingWriter).hijack()
	defer conn.Close()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	_, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(faultBody))
	for i := 0; err == nil && i < len(faultBody); i++ {
		if _, err = conn.Write(faultBody[i : i+1]); err == nil {
			<-tick.C
		}
	}
}

// site is where the devices are to meet it.
func (f fault) site(t *testing.T) *site {
	if f.slow {
		return waitingSite(t)
	}
	return newSite(t)
}

// TestFaultyOrigin runs each fault with one device and with six.
func TestFaultyOrigin(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	for _, f := range faults() {
		for _, n := range []int{1, 6} {
			t.Run(fmt.Sprintf("%s, %d devices", f.name, n), func(t *testing.T) {
				t.Parallel()
				srv := newServer(t, faultBody)
				srv.set(func(s *server) { s.fault, s.rate = f.wrong, 8*mib })
				s := f.site(t)
				srv.awaitMeeting(s, n)
				args := []string{srv.url(), "--sha256", shaOf(faultBody)}
				switch {
				case n > 1 && slices.Contains([]string{"never answers", "a byte a second", "stalls in the middle"}, f.name):
					args = append(args, "--retry", "0") // or it lasts a minute, or two
				case f.name == "stalls in the middle":
					args = append(args, "--retry", "1") // or it is waited for a minute, as where the WAN is cut
				}
				outcome(t, s.start(n, args...), f)
				ratio, requests := float64(srv.sentOf(appPath))/mib, len(srv.asked(appPath))
				t.Logf("%d requests, %.2f times the file from the server", requests, ratio)
				// A device tries three times in a row; each try follows ten redirects.
				if requests > 40*n {
					t.Errorf("%d requests of %d devices", requests, n)
				}
				if ratio > f.bytes {
					t.Errorf("the server sent %.2f times the file, bound %.1f: %v", ratio, f.bytes, srv.ranges())
				}
			})
		}
	}
}

// outcome waits for all devices and checks how they ended.
func outcome(t *testing.T, ds []*device, f fault) {
	t.Helper()
	var last float64
	for _, d := range ds {
		d.wait(f.code)
		if f.code == 0 {
			d.holds(faultBody)
			last = max(last, d.final().ElapsedS)
		} else {
			d.holdsNothing()
			last = max(last, d.took.Seconds())
			if !strings.Contains(d.lastError(), f.says) {
				t.Errorf("%s says %q, want %q in it", d.addr, d.lastError(), f.says)
			}
		}
	}
	t.Logf("last of %d ended after %.2f s: %s", len(ds), last, ds[0].lastError())
}

// TestServerAbsent: nobody listens there.
func TestServerAbsent(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	for _, scheme := range []string{"http", "tftp"} {
		for _, n := range []int{1, 6} {
			t.Run(fmt.Sprintf("%s, %d devices", scheme, n), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				outcome(t, s.start(n, fmt.Sprintf("%s://%s/app.bin", scheme, deadAddress(t)), "--sha256", shaOf(faultBody)),
					fault{code: 4, says: "check the address"})
			})
		}
	}
}

// deadAddress is one where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	return net.JoinHostPort("127.9.0.2", fmt.Sprint(freePort(t)))
}

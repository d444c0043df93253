package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestAnew: of what nothing proves, a copy is handed out only as long as the origin says
// that it is meant, and that this client may have it.
func TestAnew(t *testing.T) {
	for name, s := range map[string]struct {
		head   int // status of HEAD, 0: as GET
		fields []string
	}{
		"without a tag":           {0, nil},
		"HEAD is refused":         {http.StatusForbidden, []string{"ETag", `"a"`}},
		"HEAD is not known":       {http.StatusMethodNotAllowed, []string{"Last-Modified", "Sat, 01 Aug 2026 10:00:00 GMT"}},
		"refused, without a tag":  {http.StatusForbidden, nil},
		"refused, and a weak tag": {http.StatusForbidden, []string{"ETag", `W/"a"`}},
	} {
		var version, denied atomic.Int64
		o := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case denied.Load() > 0:
				w.WriteHeader(http.StatusForbidden)
				return
			case s.head > 0 && r.Method == http.MethodHead:
				w.WriteHeader(s.head)
				return
			}
			for i := 0; i < len(s.fields); i += 2 {
				w.Header().Set(s.fields[i], s.fields[i+1])
			}
			if version.Load() > 0 && len(s.fields) > 0 {
				w.Header().Set(s.fields[0], map[string]string{"ETag": `"b"`,
					"Last-Modified": "Sun, 02 Aug 2026 10:00:00 GMT"}[s.fields[0]])
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content(100_000, uint64(version.Load()))))
		}))
		h := newHosts(t, 1, o.URL+"/** unsigned")[0]
		for v := range int64(2) {
			version.Store(v)
			if _, got, err := get(h.via(t), "GET", o.URL+"/f"); err != nil || !bytes.Equal(got, content(100_000, uint64(v))) {
				t.Errorf("%s: version %d: %d bytes, %v", name, v, len(got), err)
			}
		}
		if n := h.Status().BytesShared; n != 200_000 {
			t.Errorf("%s: %d bytes were shared", name, n)
		}
		denied.Store(1)
		if resp, got, err := get(h.via(t), "GET", o.URL+"/f"); err != nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: denied: %v, %d bytes, %v", name, resp, len(got), err)
		}
		h.stop()
		o.Close()
	}
}

// TestUpgrade: a client that goes on with another protocol does so through the proxy.
func TestUpgrade(t *testing.T) {
	o := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(c, line)
	}))
	defer o.Close()
	h := newHosts(t, 1)[0]
	c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", o.URL)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	fmt.Fprintln(c, "hello")
	if line, err := in.ReadString('\n'); line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
}

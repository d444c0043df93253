package files

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// start serves a tree on free ports until the test ends.
func start(t *testing.T) (base, dir string, udp *net.UDPAddr) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range map[string]string{"components/" + digest + ".a.bin": "0123456789", "fw.load": "{}",
		".tmp-1": "half", "metadata/timestamp.json": "{}", "metadata/1.root.json": "{}", "sub/.git/config": "x"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, Config{Root: root, HTTP: ln, TFTP: pc}) }()
	t.Cleanup(func() {
		cancel()
		defer root.Close()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("Serve does not end")
		}
	})
	return "http://" + ln.Addr().String(), dir, pc.LocalAddr().(*net.UDPAddr)
}

// ask sends one request, whose path is taken as it is.
func ask(t *testing.T, method, base, path string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, base, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque = strings.TrimPrefix(base, "http:") + path
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestHTTP(t *testing.T) {
	base, dir, _ := start(t)
	file := "/components/" + digest + ".a.bin"
	resp, body := ask(t, "GET", base, file)
	if resp.StatusCode != 200 || body != "0123456789" || resp.Header.Get("ETag") != `"`+digest+`"` ||
		!strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("component: %v %q", resp, body)
	}
	resp, body = ask(t, "GET", base, file, "Range", "bytes=4-", "If-Range", `"`+digest+`"`)
	if resp.StatusCode != 206 || body != "456789" || resp.Header.Get("Content-Range") != "bytes 4-9/10" {
		t.Errorf("range: %v %q", resp, body)
	}
	if resp, body = ask(t, "GET", base, file, "Range", "bytes=4-", "If-Range", `"other"`); resp.StatusCode != 200 ||
		body != "0123456789" {
		t.Errorf("range of another file: %v %q", resp, body)
	}
	for _, p := range []string{"/" + file, "//components//" + digest + ".a.bin"} {
		if resp, body = ask(t, "GET", base, p); resp.StatusCode != 200 || body != "0123456789" {
			t.Errorf("GET %s: %v %q", p, resp.Status, body)
		}
	}
	if resp, body = ask(t, "HEAD", base, file); resp.StatusCode != 200 || body != "" || resp.ContentLength != 10 {
		t.Errorf("HEAD: %v %q", resp, body)
	}
	if resp, _ = ask(t, "GET", base, file, "If-None-Match", `"`+digest+`"`); resp.StatusCode != 304 {
		t.Errorf("not modified: %v", resp)
	}
	resp, _ = ask(t, "GET", base, "/metadata/timestamp.json")
	tag := resp.Header.Get("ETag")
	if resp.StatusCode != 200 || strings.HasPrefix(tag, "W/") || tag == "" ||
		resp.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("timestamp: %v", resp)
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), []byte("[]"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "metadata/timestamp.json")); err != nil {
		t.Fatal(err)
	}
	if resp, body = ask(t, "GET", base, "/metadata/timestamp.json", "If-None-Match", tag); resp.StatusCode != 200 ||
		body != "[]" {
		t.Errorf("replaced timestamp: %v %q", resp, body)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		if resp, _ = ask(t, method, base, file); resp.StatusCode != 405 {
			t.Errorf("%s: %v", method, resp)
		}
	}
	for _, p := range []string{"/", "/metadata", "/metadata/", "/none", "/.tmp-1", "/sub/.git/config", "/link",
		"/../../etc/hostname", "/..%2f..%2fetc/hostname", "/%2e%2e/etc/hostname", "/..%5c..%5cetc", "/....//etc/hostname",
		"//etc/hostname", "//../etc/hostname", "/.//tmp-1", "//.tmp-1", "/sub//.git//config", "/fw.load%00", "/./fw.load"} {
		if resp, body = ask(t, "GET", base, p); resp.StatusCode != 404 || strings.Contains(body, "half") {
			t.Errorf("GET %s: %v %q", p, resp.Status, body)
		}
	}
}

// TestTFTP asks with hand-made packets; package tftp has the rest.
func TestTFTP(t *testing.T) {
	_, _, addr := start(t)
	for name, want := range map[string][]byte{"fw.load": []byte("\x00\x03\x00\x01{}"),
		".tmp-1": []byte("\x00\x05\x00\x01"), "sub/.git/config": []byte("\x00\x05\x00\x01"),
		"link": []byte("\x00\x05\x00\x02")} {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.WriteTo([]byte("\x00\x01"+name+"\x00octet\x00"), addr); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 600)
		c.SetReadDeadline(time.Now().Add(time.Minute))
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.HasPrefix(buf[:n], want) {
			t.Errorf("%s: answered %q, want %q", name, buf[:n], want)
		}
		c.WriteTo([]byte("\x00\x04\x00\x01"), from)
	}
}

func TestServeRefuses(t *testing.T) {
	if err := Serve(t.Context(), Config{}); err == nil {
		t.Error("nothing to serve")
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := Serve(t.Context(), Config{Root: root}); err == nil {
		t.Error("nowhere to serve")
	}
}

package files

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// FuzzServe: whatever is asked, the answer is the file, a part of it as it says
// itself, or none; and never what lies outside the directory or is hidden.
func FuzzServe(f *testing.F) {
	dir := f.TempDir()
	content := []byte("0123456789abcdefghij")
	secret := []byte("nobody may read this")
	for name, b := range map[string][]byte{"tree/fw.bin": content, "tree/sub/fw.bin": content, "tree/.hidden": secret,
		"outside": secret} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("../outside", filepath.Join(dir, "tree/link")); err != nil {
		f.Fatal(err)
	}
	root, err := os.OpenRoot(filepath.Join(dir, "tree"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { root.Close() })
	h := Handler(root)
	f.Add("GET", "/fw.bin", "bytes=5-9", "", "", "")
	f.Add("HEAD", "//sub//fw.bin", "bytes=-3,1-2", "", `"x"`, "")
	f.Add("GET", "/../outside", "", "", "", "Sun, 22 Nov 2026 12:00:00 GMT")
	f.Add("POST", "/link", "bytes=0-", `W/"y", *`, "", "")
	f.Fuzz(func(t *testing.T, method, path, span, match, ifRange, since string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path}, RemoteAddr: "127.0.0.1:1", Header: http.Header{
			"Range": {span}, "If-None-Match": {match}, "If-Range": {ifRange}, "If-Modified-Since": {since}}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body := w.Body.Bytes()
		if bytes.Contains(body, secret) {
			t.Fatalf("%s %q sends what it may not", method, path)
		}
		var from, to, size int
		switch {
		case w.Code == http.StatusOK && method == http.MethodGet && !bytes.Equal(body, content):
			t.Fatalf("%q: %q", path, body)
		case w.Code == http.StatusPartialContent && w.Header().Get("Content-Range") != "" && method == http.MethodGet:
			_, err := fmt.Sscanf(w.Header().Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size)
			if err != nil || size != len(content) || to >= size || !bytes.Equal(body, content[from:to+1]) {
				t.Fatalf("%q of %q: %q is %q", span, path, w.Header().Get("Content-Range"), body)
			}
		}
	})
}

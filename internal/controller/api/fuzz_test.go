package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/load"
)

// FuzzCheckIn: the body of a check-in is invalid, or means the same when it is
// written again.
func FuzzCheckIn(f *testing.F) {
	f.Add([]byte(`{"schema":1,"time":"2026-11-22T12:00:00Z","state":"idle","percent":7,"children":["10.0.0.1"],` +
		`"files":[{"file":"a","bytes_from_peers":7,"components":[{"file":"b"}]}],"failures":[{"reason":"busy"}],"new":1}`))
	f.Add([]byte(`{"schema":1e3}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := readCheckIn(body)
		if err != nil {
			if !errors.Is(err, domain.ErrInvalid) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readCheckIn(text)
		if err != nil {
			t.Fatal(err)
		}
		// An empty list is left out, and then there is none.
		if text2, err := json.Marshal(again); err != nil || !bytes.Equal(text2, text) {
			t.Fatalf("%s came back as %s, %v", text, text2, err)
		}
	})
}

// FuzzForm: an upload is refused, or leaves files with names that a load may
// have, all below the directory that was given, of no more bytes than allowed.
func FuzzForm(f *testing.F) {
	const most = 100
	form := func(parts ...string) []byte {
		return []byte("--b\r\n" + strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\n")
	}
	const disposition = "Content-Disposition: form-data; name="
	f.Add("multipart/form-data; boundary=b", form(disposition+"name\r\n\r\nfw", disposition+"model\r\n\r\nm",
		disposition+"file; filename=a.bin\r\n\r\n0123456789"))
	f.Add("multipart/form-data; boundary=b", form(disposition+"file; filename=\"../../x\"\r\n\r\n1"))
	f.Add("text/plain", []byte("name=fw"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		into, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(into)
		u := &upload{contentType: kind, body: bytes.NewReader(body)}
		req, err := u.receive(into, most)
		if err != nil {
			return
		}
		var sum int64
		for _, name := range req.Files {
			rel, err := filepath.Rel(into, name)
			if err != nil || strings.HasPrefix(rel, "..") || load.CheckName(filepath.Base(name)) != nil {
				t.Fatalf("%q was written", name)
			}
			info, err := os.Lstat(name)
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
		}
		if sum > most || len(req.Files) > load.MaxComponents+load.MaxModels+9 {
			t.Fatalf("%d files with %d bytes", len(req.Files), sum)
		}
	})
}

// FuzzIfMatch: a version is that of its own ETag, or is refused.
func FuzzIfMatch(f *testing.F) {
	for _, s := range []string{`"7"`, "*", "", `"0"`, `W/"7"`, `"07"`, `"-1"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Match{IfMatch: text}.version()
		switch {
		case err != nil || text == "" || text == "*":
		case v == domain.Unwritten && text != etag(0), v != domain.Unwritten && etag(v) != text:
			t.Fatalf("%q is version %d", text, v)
		}
	})
}

// FuzzLanguage: whatever a browser prefers, there is a page.
func FuzzLanguage(f *testing.F) {
	f.Add("ja-JP, en;q=0.5", "")
	f.Add("", "ja")
	f.Fuzz(func(t *testing.T, accept, asked string) {
		lang := langOf(&http.Request{Header: http.Header{"Accept-Language": {accept}}}, asked)
		if signInTexts[lang].Lang != lang {
			t.Fatalf("%q, %q: %q", accept, asked, lang)
		}
	})
}

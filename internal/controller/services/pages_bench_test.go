package services_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/pages"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
)

// needs are the paths of what a page has its browser fetch.
var needs = regexp.MustCompile(`"(/assets/[^"]+)"`)

// BenchmarkFirstPage loads pages over HTTP as a browser does that has kept nothing: the
// page, then all that it needs. It prints how long that takes and how much it is.
func BenchmarkFirstPage(b *testing.B) {
	store, err := sqlite.Open(b.Context(), sqlite.Config{Path: filepath.Join(b.TempDir(), "controller.db")})
	must(b, err)
	f := newBenchFleet(b, store)
	srv, err := api.New(api.Config{Services: f.Services, Spool: b.TempDir()})
	must(b, err)
	people, err := pages.New(frame.Config{API: srv})
	must(b, err)
	h := httptest.NewServer(people)
	defer h.Close()
	role, password := domain.RoleAdmin, "correct horse battery"
	_, err = f.Controller.CreateUser(b.Context(), f.admin, "ann", domain.UserChange{Role: &role, Password: &password})
	must(b, err)
	n, err := f.Controller.Login(b.Context(), "ann", password, "127.0.0.1")
	must(b, err)
	get := func(path string) []byte {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, h.URL+path, http.NoBody)
		must(b, err)
		r.AddCookie(&http.Cookie{Name: "peerload_session", Value: n.Secret})
		resp, err := http.DefaultClient.Do(r)
		must(b, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %d", path, resp.StatusCode)
		}
		must(b, err)
		return text
	}
	for name, path := range map[string]string{"overview": "/", "devices": "/devices", "device": "/devices/" + benchName(0),
		"sites": "/sites", "site": "/sites/Site%20001", "live": "/sites/Site%20001/live", "rollouts": "/rollouts"} {
		b.Run(name, func(b *testing.B) {
			get(path) // a warm server
			size := 0
			timed(b, 100*time.Millisecond, func(int) error {
				page := get(path)
				size = len(page)
				if !bytes.Contains(page, []byte("</html>")) {
					return fmt.Errorf("%s is no page: %s", path, page)
				}
				for _, m := range needs.FindAllSubmatch(page, -1) {
					size += len(get(string(m[1])))
				}
				return nil
			})
			b.ReportMetric(float64(size)/1000, "kB/all")
			b.ReportMetric(250, "kB/bound")
		})
	}
}

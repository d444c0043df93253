package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/browser"
	"github.com/peerload/peerload/internal/testkit/foreign"
)

// heavy skips what takes a browser long, unless all tests are to run.
func heavy(t *testing.T) {
	t.Helper()
	if os.Getenv("PEERLOAD_FULL") != "1" {
		t.Skip("a browser for some minutes: ./test.sh full runs it, and PEERLOAD_FULL=1 does")
	}
}

// session opens one for a new user.
func (s *rig) session(role string) string {
	s.t.Helper()
	s.user(role)
	n, err := s.all.Controller.Login(s.t.Context(), role, password, "127.0.0.1")
	if err != nil {
		s.t.Fatal(err)
	}
	return n.Secret
}

// TestLooks loads every page in both languages, both looks and two widths: nothing is
// refused by the policy, nothing is cut off, and axe-core finds no barrier. With
// PEERLOAD_SHOTS it leaves a picture of each in that folder.
func TestLooks(t *testing.T) {
	heavy(t)
	s := newRig(t)
	s.fleetOf("")
	b := browser.Open(t, foreign.Program(t, "chromium"))
	b.Cookie(s.url, "peerload_session", s.session("admin"))
	shots, only := os.Getenv("PEERLOAD_SHOTS"), os.Getenv("PEERLOAD_SHOTS_OF")
	for _, lang := range []string{"en", "ja"} {
		for _, look := range []string{"light", "dark"} {
			b.Cookie(s.url, "peerload_language", lang)
			b.Cookie(s.url, "peerload_look", look)
			for _, px := range []int64{1280, 390} {
				b.Width(px)
				for _, path := range everyPage {
					if only != "" && !strings.HasPrefix(path, only) {
						continue
					}
					b.Go(s.url + s.path(path))
					name := fmt.Sprintf("%s %s %s %d", path, lang, look, px)
					if over := b.Overflow(); over > 0 {
						t.Errorf("%s: %d pixels are cut off", name, over)
					}
					if px == 1280 || lang == "en" {
						for _, wrong := range b.Barriers() {
							t.Errorf("%s: %s", name, wrong)
						}
					}
					for _, wrong := range b.Told() {
						t.Errorf("%s: %s", name, wrong)
					}
					if shots != "" {
						b.Shot(filepath.Join(shots, strings.NewReplacer("/", "_", " ", "-", "?", "_").Replace(name)+".png"))
					}
				}
			}
		}
	}
}

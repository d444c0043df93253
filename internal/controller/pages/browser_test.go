package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/peerload/peerload/internal/testkit/browser"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/report"
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
// PEERLOAD_SHOTS it leaves a picture of each in that folder, of every combination; else
// each pair of the three is met once.
func TestLooks(t *testing.T) {
	s := journey(t)
	b := browser.Open(t, foreign.Program(t, "chromium"))
	b.Cookie(s.url, "peerload_session", s.session("admin"))
	shots, only := os.Getenv("PEERLOAD_SHOTS"), os.Getenv("PEERLOAD_SHOTS_OF")
	for _, lang := range []string{"en", "ja"} {
		for _, look := range []string{"light", "dark"} {
			b.Cookie(s.url, "peerload_language", lang)
			b.Cookie(s.url, "peerload_look", look)
			for _, px := range []int64{1280, 390} {
				if shots == "" && (lang == "en") != ((look == "light") == (px == 1280)) {
					continue
				}
				b.Width(px)
				for _, path := range everyPage {
					if only != "" && !slices.ContainsFunc(strings.Split(only, ","),
						func(some string) bool { return strings.HasPrefix(path, some) }) {
						continue
					}
					b.Go(s.url + s.path(path))
					name := fmt.Sprintf("%s %s %s %d", path, lang, look, px)
					if over := b.Overflow(); over > 0 {
						t.Errorf("%s: %d pixels are cut off", name, over)
					}
					for _, text := range b.Squeezed() {
						t.Errorf("%s: a few letters wide: %s", name, text)
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

// TestKeyboard goes from the set-up link to a device with the keyboard alone, and sees a
// page renew itself.
func TestKeyboard(t *testing.T) {
	heavy(t)
	s := newRig(t)
	secret := must(s.all.Controller.BeginSetup(t.Context()))
	b := browser.Open(t, foreign.Program(t, "chromium"))
	b.Go(s.url + "/setup?secret=" + secret)
	focus := func(want string) {
		t.Helper()
		for range 100 {
			if browser.Run(b, chromedp.Evaluate[bool](`document.activeElement.matches("`+want+`")`)) {
				outline := browser.Run(b, chromedp.Evaluate[string](`getComputedStyle(document.activeElement).outlineStyle`))
				if outline == "none" {
					t.Errorf("the focus on %s is not seen", want)
				}
				return
			}
			browser.Run(b, chromedp.KeyEvent(kb.Tab))
		}
		t.Fatalf("no way to %s by the keyboard", want)
	}
	focus("input[name=name]")
	browser.Run(b, chromedp.KeyEvent("alice"))
	focus("input[name=password]")
	browser.Run(b, chromedp.KeyEvent(password+kb.Enter))
	browser.Run(b, chromedp.WaitVisible("#live"))
	if text := b.Text(); !strings.Contains(text, "No device is known yet") || !strings.Contains(text, "alice") {
		t.Errorf("the set-up ends with %s", text)
	}
	s.fleetOf("")
	focus(".skip")
	focus("a[href='/devices']")
	browser.Run(b, chromedp.KeyEvent(kb.Enter))
	browser.Run(b, chromedp.WaitVisible("a[href='/devices/SEP000000000002']"))
	focus("a[href='/devices/SEP000000000002']")
	browser.Run(b, chromedp.KeyEvent(kb.Enter))
	browser.Run(b, chromedp.WaitVisible("#live progress"))
	s.report("SEP000000000002", report.Device{Schema: report.Schema, State: report.StateDownloading, Active: "edge-1.0",
		Wanted: "edge-2.0", Percent: 77})
	browser.Run(b, chromedp.Poll[bool](`document.querySelector("#live").textContent.includes("77 %")`))
	focus("a[lang=ja]")
	browser.Run(b, chromedp.KeyEvent(kb.Enter))
	browser.Run(b, chromedp.WaitVisible("html[lang=ja]"))
	if told := b.Told(); len(told) > 0 {
		t.Error(told)
	}
}

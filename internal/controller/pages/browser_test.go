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

// everyEntrance are pages that somebody sees before they have signed in; the last is what
// a wrong password leads to.
var everyEntrance = []string{"/sign-in", "/setup", "/setup?secret=x", "/devices?site=Kyoto", wrongPassword}

const wrongPassword = "/sign-in wrong"

// TestLooks loads every page in both languages, both looks and two widths: nothing is
// refused by the policy, nothing is cut off, folded or unfolded, and axe-core finds no
// barrier. With PEERLOAD_SHOTS it leaves a picture of each in that folder, of every combination, or of
// those that PEERLOAD_SHOTS_AS names, as "ja dark 390,en light 1280"; else each pair of the three is met once.
// PEERLOAD_SHOTS_OF has the beginnings of the paths that are wanted, or "/" for the overview.
func TestLooks(t *testing.T) {
	s := journey(t)
	chromium := foreign.Program(t, "chromium")
	inside, outside := browser.Open(t, chromium), browser.Open(t, chromium)
	inside.Cookie(s.url, "peerload_session", s.session("admin"))
	shots, only, as := os.Getenv("PEERLOAD_SHOTS"), os.Getenv("PEERLOAD_SHOTS_OF"), os.Getenv("PEERLOAD_SHOTS_AS")
	wanted := func(path string) bool {
		return only == "" || slices.ContainsFunc(strings.Split(only, ","),
			func(some string) bool { return path == some || some != "/" && strings.HasPrefix(path, some) })
	}
	for _, lang := range []string{"en", "ja"} {
		for _, look := range []string{"light", "dark"} {
			for _, px := range []int64{1280, 390} {
				if shots == "" && (lang == "en") != ((look == "light") == (px == 1280)) {
					continue
				}
				if as != "" && !slices.Contains(strings.Split(as, ","), fmt.Sprintf("%s %s %d", lang, look, px)) {
					continue
				}
				for b, paths := range map[*browser.Browser][]string{inside: everyPage, outside: everyEntrance} {
					b.Cookie(s.url, "peerload_language", lang)
					b.Cookie(s.url, "peerload_look", look)
					b.Width(px)
					for _, path := range slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return !wanted(p) }) {
						s.open(b, path)
						s.looks(b, fmt.Sprintf("%s %s %s %d", path, lang, look, px), px == 1280 || lang == "en", shots)
					}
				}
			}
		}
	}
}

// open loads a page, or what a wrong password leads to.
func (s *rig) open(b *browser.Browser, path string) {
	s.t.Helper()
	if path != wrongPassword {
		b.Go(s.url + s.path(path))
		return
	}
	b.Go(s.url + "/sign-in")
	b.Fill("name", "admin")
	b.Fill("password", "not the password")
	b.Follow(`//main//form//button`)
}

// looks says what is wrong with the page that a browser shows, and leaves a picture of it
// if shots is a folder.
func (s *rig) looks(b *browser.Browser, name string, axe bool, shots string) {
	s.t.Helper()
	if over := b.Overflow(); over > 0 {
		s.t.Errorf("%s: %d pixels are cut off", name, over)
	}
	b.Unfold()
	if over := b.Overflow(); over > 0 {
		s.t.Errorf("%s, unfolded: %d pixels are cut off", name, over)
	}
	for _, text := range b.Squeezed() {
		s.t.Errorf("%s: a few letters wide: %s", name, text)
	}
	if axe {
		for _, wrong := range b.Barriers() {
			s.t.Errorf("%s: %s", name, wrong)
		}
	}
	for _, wrong := range b.Told() {
		s.t.Errorf("%s: %s", name, wrong)
	}
	if shots != "" {
		b.Shot(filepath.Join(shots, strings.NewReplacer("/", "_", " ", "-", "?", "_").Replace(name)+".png"))
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

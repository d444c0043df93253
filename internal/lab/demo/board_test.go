package demo

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/peerload/peerload/internal/controller/livesite"
	"github.com/peerload/peerload/internal/controller/pages"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/browser"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/report"
)

// TestBoard: the page of a demo is there for everybody on this machine, in both
// languages, and its stream tells what the devices did.
func TestBoard(t *testing.T) {
	b, err := OpenBoard("demo")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	get := func(path, language string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(b.URL, "/")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Language", language)
		a, err := http.DefaultClient.Do(r)
		if err != nil || a.StatusCode != http.StatusOK {
			t.Fatal(path, a, err)
		}
		return a
	}
	for language, want := range map[string]string{"en": "upgrades live", "ja": "アップグレードのライブ表示"} {
		a := get("/", language)
		text, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || !strings.Contains(string(text), want) || !strings.Contains(string(text), pages.BoardPath) {
			t.Errorf("%s, %v", text, err)
		}
	}
	tell := func(e report.Event) { b.Take(Event{Event: e, Device: "127.0.1.1", Model: "pi"}) }
	tell(report.Event{Event: report.KindProgress, File: "a", Bytes: 4, Size: 10, Source: report.SourceOrigin})
	tell(report.Event{Event: report.KindLog, File: "a", Message: "x"})
	tell(report.Event{Event: report.KindDone, File: "pi.load", Final: &report.Final{Components: []report.Final{{File: "a",
		Size: 10, Source: report.SourceOrigin, BytesFromOrigin: 10}}}})
	a := get(pages.BoardPath, "")
	defer a.Body.Close()
	for lines := bufio.NewScanner(a.Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var p livesite.Picture
		if err := json.Unmarshal([]byte(data), &p); err != nil || len(p.Devices) != 1 || p.Devices[0].State != "idle" ||
			p.Devices[0].Files[0].WAN != 10 || p.Devices[0].Files[0].End != "done" {
			t.Errorf("%s, %v", data, err)
		}
		return
	}
	t.Error("the stream has ended")
}

// TestBoardInBrowser shows the whole demo to a browser: its tree grows until all devices
// have their loads, and nothing is cut off or refused. With PEERLOAD_SHOTS it leaves
// live.png in that folder, the picture in docs/images.
func TestBoardInBrowser(t *testing.T) {
	if os.Getenv("PEERLOAD_FULL") != "1" {
		t.Skip("a browser watches the demo: ./test.sh full runs it, and PEERLOAD_FULL=1 does")
	}
	chromium := foreign.Program(t, "chromium")
	firmware, err := FirmwareDir(t.Context(), "")
	if err != nil {
		t.Skip(err)
	}
	board, err := OpenBoard("demo")
	if err != nil {
		t.Fatal(err)
	}
	defer board.Close()
	b := browser.Open(t, chromium)
	b.Width(1000)
	b.Cookie(board.URL, "peerload_language", "en")
	b.Cookie(board.URL, "peerload_look", "light")
	b.Go(board.URL)
	d, err := New(Config{Devices: 13, WAN: 8 * units.Mbit, Peers: true, Firmware: firmware, Base: t.TempDir(),
		Product: filepath.Join(programs.Build(t, []string{"peerload"}), "peerload"), OnEvent: board.Take})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := d.Run(t.Context())
		ended <- err
	}()
	b.Wait(`document.querySelector("#live-devices").textContent === "13"`)
	b.Wait(`document.querySelector("#live-root").textContent.includes("It downloads from the server for its subnet")`)
	b.Wait(`[...document.querySelectorAll("#live-rows tr")].filter(
		r => parseInt(r.cells[1].textContent) >= 20).length > 5`)
	b.Wait(`(() => { const t = document.querySelector("#live-time"); return t.value === t.max && t.max > t.min; })()`)
	if shots := os.Getenv("PEERLOAD_SHOTS"); shots != "" {
		b.Shot(filepath.Join(shots, "live.png"))
	}
	if over := b.Overflow(); over > 0 {
		t.Errorf("%d pixels are cut off", over)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	b.Wait(`document.querySelector("#live-done").textContent === "13"`)
	frames := browser.Run(b, chromedp.Evaluate[int](`Number(document.querySelector("#live-canvas").dataset.frames)`))
	if frames < 20 {
		t.Errorf("the tree was drawn %d times", frames)
	}
	for _, wrong := range append(b.Barriers(), b.Told()...) {
		t.Error(wrong)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

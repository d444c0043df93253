package demo

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/livesite"
	"github.com/peerload/peerload/internal/controller/pages"
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

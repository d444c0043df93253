package pages

import (
	"encoding/json"
	"net/http"

	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/report"
)

// livePage is where the script of the live page finds what it draws, and its words.
type livePage struct {
	Site, Stream, Last string
	// Back leads to the site.
	Back bool
	// Words are a JSON object.
	Words string
}

// liveSite shows the upgrades of a site while they go on.
func liveSite(v *frame.Visit) error {
	s, err := v.API.Sites.Get(v.Context(), v.Path("site"))
	if err != nil {
		return err
	}
	return showLive(v, livePage{Site: s.Name, Back: true, Stream: "/api/v1" + frame.At("sites", s.Name, "live")})
}

func showLive(v *frame.Visit, p livePage) error {
	words, err := json.Marshal(liveWords(v))
	if err != nil {
		return err
	}
	p.Last, p.Words = p.Stream+"/last", string(words)
	return v.Show("live", p)
}

// BoardPath is where the stream of a board is.
const BoardPath = "/api/live"

// Board returns the live page alone, for everybody who reaches it: that of a demo.
// stream answers at BoardPath and below.
func Board(title string, stream http.Handler) (*frame.Frame, error) {
	f, err := frame.New(frame.Config{API: stream})
	if err != nil {
		return nil, err
	}
	if err := f.Templates(templates); err != nil {
		return nil, err
	}
	f.Open("GET /{$}", func(v *frame.Visit) error {
		return showLive(v, livePage{Site: title, Stream: BoardPath})
	})
	return f, nil
}

// liveWords are what the script says, by what it is about.
func liveWords(v *frame.Visit) map[string]string {
	w := map[string]string{
		"live":     v.T("Live: what devices tell is shown as it comes."),
		"lost":     v.T("The connection is lost. It is tried again."),
		"none":     v.T("No device has told of an upgrade yet. When one begins, its trees grow here."),
		"replay":   v.T("This is the past. Live goes on meanwhile."),
		"root":     v.T("Root of this file: %s. It downloads from the server for its subnet, because: %s"),
		"followed": v.T("no other device answered at first; others follow it now"),
		"noroot":   v.T("Nobody is root of this file now."),
		"page":     v.T("%d to %d of %d {device|devices}, failures first"),
		"devices":  v.T("{device|devices}"), "done": v.T("{has|have} all of it"),
		"device": v.T("Device"), "progress": v.T("Progress"), "source": v.T("Source"), "role": v.T("Role"),
		"parent": v.T("Parent"), "why": v.T("Why"), "server": v.T("server"),
	}
	for _, role := range []string{report.RoleNone, report.RoleRoot, report.RoleParent, report.RoleLeaf,
		report.RoleDetached, report.RoleClassic} {
		w["role "+role] = wording.Say(v.JA, "role "+role)
	}
	for _, source := range []string{report.SourceNone, report.SourceOrigin, report.SourcePeer, report.SourceCache} {
		w["source "+source] = wording.Say(v.JA, "source "+source)
	}
	for _, state := range []string{report.StateIdle, report.StateDownloading, report.StateReady, report.StateInstalling,
		report.StateRebooting, report.StateTrial, report.StateRolledBack, report.StateFailed} {
		w["state "+state] = wording.Say(v.JA, "state "+state)
	}
	for _, code := range reason.All() {
		w["why "+string(code)] = wording.Why(v.JA, string(code), "")
	}
	return w
}

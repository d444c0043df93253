package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// html is a page that is being written, in one language.
type html struct {
	b  bytes.Buffer
	ja bool
}

func (h *html) say(key string) string           { return wording.Say(h.ja, key) }
func (h *html) why(code, message string) string { return wording.Why(h.ja, code, message) }

func (h *html) raw(format string, args ...any) { fmt.Fprintf(&h.b, format, args...) }

func (h *html) begin(key string, columns ...string) {
	h.raw("<h2>%s</h2>\n<table>\n", escape(h.say(key)))
	if len(columns) > 0 {
		h.raw("<tr>")
		for _, c := range columns {
			h.raw("<th>%s</th>", escape(h.say(c)))
		}
		h.raw("</tr>\n")
	}
}

// row writes cells as they are: text that came from outside must be escaped.
func (h *html) row(cells ...string) {
	h.raw("<tr>")
	for _, c := range cells {
		h.raw("<td>%s</td>", c)
	}
	h.raw("</tr>\n")
}

func (h *html) fact(key, text string) {
	if text == "" {
		text = "–"
	}
	h.row(escape(h.say(key)), escape(text))
}

func (h *html) end() { h.raw("</table>\n") }

// showPage answers a request for the device's page.
func (d *Daemon) showPage(r *http.Request) page {
	switch r.URL.Path {
	case "/":
		lang := r.URL.Query().Get("lang")
		asked := strings.ToLower(strings.TrimSpace(r.Header.Get("Accept-Language")))
		return page{http.StatusOK, "text/html", d.devicePage(lang == "ja" || lang == "" && strings.HasPrefix(asked, "ja"))}
	case "/status.json":
		b, err := json.Marshal(d.Status())
		if err == nil {
			return page{http.StatusOK, "application/json", append(b, '\n')}
		}
	}
	return page{http.StatusNotFound, "text/plain", []byte("see / and /status.json\n")}
}

// devicePage writes the device's page.
func (d *Daemon) devicePage(ja bool) []byte {
	st := d.Status()
	files := d.rec.Status().Files
	told, set, mac := d.prov.last(), d.prov.settings(), d.mac
	h := &html{ja: ja}
	lang, other, name := "en", "ja", "日本語"
	if ja {
		lang, other, name = "ja", "en", "English"
	}
	h.raw("<!DOCTYPE html>\n<html lang=\"%s\"><head><meta charset=\"utf-8\"><title>SEP%s</title>\n"+
		"<style>body{font-family:sans-serif;margin:1em}"+
		"table{border-collapse:collapse}td,th{border:1px solid #999;padding:.2em "+
		".6em;text-align:left;vertical-align:top}</style></head>\n"+
		"<body><h1>%s SEP%s</h1><p><a href=\"/?lang=%s\" lang=\"%s\">%s</a></p>\n", lang, mac, escape(h.say("title")), mac,
		other, other, name)
	h.raw("<table>\n")
	h.fact("model", st.Model)
	h.fact("mac", mac)
	h.fact("address", st.Address)
	h.fact("state", h.say("state "+st.State))
	h.fact("why", h.why(st.Reason, st.Message))
	h.fact("program", st.Program)
	if told.From == "" {
		told.From = h.say("never")
	}
	h.fact("from", told.From)
	if told.Err != "" {
		h.fact("problem", told.Err)
	}
	h.end()
	h.loads(st, d.slots)
	h.fileSets(st.FileSets)
	h.begin("peers")
	h.fact("role", h.say("role "+orNone(st.Role)))
	h.fact("root", st.Root)
	h.fact("parent", st.Parent)
	h.fact("children", strings.Join(st.Children, ", "))
	h.end()
	h.settings(set)
	h.files(files)
	h.raw("</body></html>\n")
	return h.b.Bytes()
}

func orNone(s string) string {
	if s == "" {
		return report.RoleNone
	}
	return s
}

func (h *html) loads(st report.Device, s *slot.Slots) {
	h.begin("loads")
	show := func(key string, i slot.Info, ok bool) {
		text := h.say("none")
		if ok && i.State != slot.StateEmpty {
			text = i.Name + " " + i.Version + " (" + h.say("slot "+string(i.State)) + ")"
		}
		h.fact(key, text)
	}
	a, ok := s.Active()
	show("active", a, ok)
	show("inactive", s.Inactive(), true)
	h.fact("wanted", st.Wanted)
	h.end()
}

// fileSets shows what stands beside the loads; nothing if there is none.
func (h *html) fileSets(all []report.FileSet) {
	if len(all) == 0 {
		return
	}
	h.begin("sets", "dir", "set", "wanted set", "state", "why")
	for _, s := range all {
		name := h.say("none")
		if s.Name != "" {
			name = s.Name + " " + s.Version
		}
		h.row(escape(s.Directory), escape(name), escape(dash(s.Wanted)), escape(h.say("set "+s.State)),
			escape(dash(h.why(s.Reason, s.Message))))
	}
	h.end()
}

// settings shows every effective value, where it comes from, and what the other
// levels say.
func (h *html) settings(set settings) {
	h.begin("settings", "setting", "value", "level", "others")
	for _, a := range set {
		s, err := policy.Lookup(a.Setting)
		if err != nil {
			continue
		}
		label := s.Label
		if h.ja {
			label = s.LabelJA
		}
		from := h.say("level " + a.Level.String())
		switch {
		case a.Reason != "" && h.ja:
			from += ": このモデルでは使えません"
		case a.Reason != "":
			from += ": " + a.Reason
		}
		var others []string
		for _, o := range a.Others {
			others = append(others, h.say("level "+o.Level.String())+": "+dash(s.Shown(o.Value)))
		}
		h.row(escape(label), escape(dash(s.Shown(a.Value))), escape(from), escape(strings.Join(others, ", ")))
	}
	h.end()
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// files shows for each file where its bytes come from, and why.
func (h *html) files(files []*status.File) {
	h.begin("files", "file", "progress", "role", "source", "root", "parent", "children", "why")
	for _, f := range files {
		why := h.why(whyOf(h.ja, f))
		percent := fmt.Sprintf("%d %%", f.Percent)
		if f.Final != nil && f.Final.Unsigned {
			percent += " (" + h.say("unsigned") + ")"
		}
		h.row(escape(f.File), escape(percent), escape(h.say("role "+orNone(f.Role))),
			escape(h.say("source "+orNone(f.Source))), escape(dash(f.Root)), escape(dash(f.Parent)),
			escape(dash(strings.Join(f.Children, ", "))), escape(why))
	}
	h.end()
}

// whyOf is the last decision about where the bytes of a file come from. That a
// child is done with its parent is none.
func whyOf(ja bool, f *status.File) (code, message string) {
	for _, d := range f.Decisions {
		switch d.Event {
		case report.KindRole, report.KindSource, report.KindParent, report.KindFallback, report.KindFailed:
			if d.Reason == wire.ReasonDone.String() {
				continue
			}
			code, message = d.Reason, wording.Either(ja, d.Message, d.MessageJA)
		}
	}
	return code, message
}

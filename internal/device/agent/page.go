package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/device/display"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// pagePolicy lets a browser use nothing but the style that a page has in it.
func pagePolicy() string {
	sum := sha256.Sum256([]byte(display.Style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// Bounds of the page in bytes: what is shown of one text, and at what length no more
// rows of files begin, nor of any table.
const (
	maxCell  = 300
	maxFiles = 16 << 10
	maxPage  = 24 << 10
)

// html is a page that is being written, in one language.
type html struct {
	b       bytes.Buffer
	ja      bool
	columns []string // of the table
	most    int      // length of the page at which its rows end
	left    int      // rows of the table that were left out
}

func (h *html) say(key string) string           { return wording.Say(h.ja, key) }
func (h *html) why(code, message string) string { return wording.Why(h.ja, code, message) }

func (h *html) raw(format string, args ...any) { fmt.Fprintf(&h.b, format, args...) }

// begin begins a table: of facts, each with its name, or with columns.
func (h *html) begin(key string, columns ...string) {
	h.columns, h.most, h.left = columns, maxPage, 0
	class := "facts"
	if len(columns) > 0 {
		class = "wide " + key
	}
	h.raw("<section>\n<h2>%s</h2>\n<table class=\"%s\"><tbody>\n", escape(h.say(key)), class)
	if len(columns) > 0 {
		h.raw("<tr>")
		for _, c := range columns {
			h.raw("<th scope=\"col\">%s</th>", escape(h.say(c)))
		}
		h.raw("</tr>\n")
	}
}

// row writes texts.
func (h *html) row(cells ...string) {
	if h.b.Len() > h.most {
		h.left++
		return
	}
	h.raw("<tr>")
	for i, c := range cells {
		label := ""
		if i > 0 && i < len(h.columns) {
			label = " data-l=\"" + escape(h.say(h.columns[i])) + "\""
		}
		h.raw("<td%s>%s</td>", label, h.text(c))
	}
	h.raw("</tr>\n")
}

// english are words of English in a text: two of them beside each other at least.
var english = regexp.MustCompile(`[\x21-\x7e]+( [\x21-\x7e]+)*[a-z] [a-z]([\x20-\x7e]*[\x21-\x7e])?`)

// text is a text as the page has it: what the device tells in English alone is marked as
// that on a Japanese page, for who has it read aloud.
func (h *html) text(s string) string {
	s = short(s)
	if !h.ja {
		return escape(s)
	}
	var out strings.Builder
	for at := english.FindStringIndex(s); at != nil; at = english.FindStringIndex(s) {
		out.WriteString(escape(s[:at[0]]) + `<span lang="en">` + escape(s[at[0]:at[1]]) + "</span>")
		s = s[at[1]:]
	}
	return out.String() + escape(s)
}

// short is a text as far as it is shown.
func short(s string) string {
	if len(s) <= maxCell {
		return s
	}
	return strings.ToValidUTF8(s[:maxCell], "") + "…"
}

func (h *html) fact(key, text string) { h.row(h.say(key), dash(text)) }

func (h *html) end() {
	h.raw("</tbody></table>\n")
	if h.left > 0 {
		h.raw("<p class=\"soft\">+ %d %s</p>\n", h.left, escape(h.say("more")))
	}
	h.raw("</section>\n")
}

// view is how somebody wants to see the page.
type view struct {
	ja    bool
	still bool // it does not refresh by itself
}

// viewOf is what a request asks for: by its address, else by what was chosen before,
// else by what the browser prefers.
func viewOf(r *http.Request) view {
	q := r.URL.Query()
	lang := q.Get("lang")
	if c, err := r.Cookie("lang"); lang == "" && err == nil {
		lang = c.Value
	}
	asked := strings.ToLower(strings.TrimSpace(r.Header.Get("Accept-Language")))
	return view{lang == "ja" || lang != "en" && strings.HasPrefix(asked, "ja"), q.Get("refresh") == "off"}
}

func (v view) lang() string {
	if v.ja {
		return "ja"
	}
	return "en"
}

// at is the address of the page as this view shows it.
func (v view) at() string {
	if v.still {
		return "/?lang=" + v.lang() + "&amp;refresh=off"
	}
	return "/?lang=" + v.lang()
}

// showPage answers a request for the device's page.
func (d *Daemon) showPage(r *http.Request) page {
	switch r.URL.Path {
	case "/":
		v := viewOf(r)
		p := page{status: http.StatusOK, mediaType: "text/html", body: d.devicePage(v)}
		if r.URL.Query().Has("lang") {
			p.language = v.lang()
		}
		return p
	case "/status.json":
		b, err := json.Marshal(d.Status())
		if err == nil {
			return page{status: http.StatusOK, mediaType: "application/json", body: append(b, '\n')}
		}
	}
	return page{status: http.StatusNotFound, mediaType: "text/plain", body: []byte("see / and /status.json\n")}
}

// How often the page is asked for again, in seconds: while something goes on, and else.
const (
	refreshSoon   = 3
	refreshSeldom = 30
)

// devicePage writes the device's page.
func (d *Daemon) devicePage(v view) []byte {
	st := d.Status()
	process := d.rec.Status()
	told, set := d.prov.last(), d.prov.settings()
	h := &html{ja: v.ja}
	screen := display.Of(v.ja, process, &st)
	h.head(v, d.mac, screen.File != nil || st.State == report.StateDownloading)
	if told.Err != "" {
		screen.Troubles = append(screen.Troubles, display.Trouble{What: h.say("problem"), Why: told.Err,
			ToDo: wording.Advice(v.ja, reason.BadProvisioning)})
	}
	h.screen(screen)
	h.begin("title")
	h.fact("model", st.Model)
	h.fact("mac", d.mac)
	h.fact("address", st.Address)
	h.fact("state", h.say("state "+st.State))
	if why := h.why(st.Reason, st.Message); why != "" {
		h.fact("why", why)
	}
	if told.From == "" {
		told.From = h.say("never")
	}
	h.fact("from", told.From)
	h.end()
	h.loads(st, d.slots)
	h.begin("peers")
	h.fact("role", h.say("role "+orNone(st.Role)))
	h.fact("root", st.Root)
	h.fact("parent", st.Parent)
	h.fact("children", strings.Join(st.Children, ", "))
	h.end()
	h.files(process.Files)
	h.fileSets(st.FileSets)
	h.settings(set)
	h.raw("</main>\n<footer><span>%s</span> <a href=\"/status.json\">status.json</a></footer>\n</body></html>\n",
		escape(st.Program))
	return h.b.Bytes()
}

// head writes what stands above everything.
func (h *html) head(v view, mac string, busy bool) {
	h.raw("<!DOCTYPE html>\n<html lang=\"%s\"><head><meta charset=\"utf-8\"><title>SEP%s</title>\n"+
		"<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n", v.lang(), mac)
	if !v.still {
		every := refreshSeldom
		if busy {
			every = refreshSoon
		}
		h.raw("<meta http-equiv=\"refresh\" content=\"%d\">\n", every)
	}
	other, name := view{!v.ja, v.still}, "日本語"
	if v.ja {
		name = "English"
	}
	h.raw("<style>%s</style></head>\n<body>\n<header><h1>%s SEP%s</h1>"+
		"<a href=\"%s\" lang=\"%s\">%s</a></header>\n<main>\n",
		display.Style, escape(h.say("title")), mac, other.at(), other.lang(), name)
	said, choice := h.say("wait"), h.say("stop")
	if v.still {
		said, choice = "", h.say("go on")
	}
	h.raw("<p class=\"soft\">%s <a href=\"%s\">%s</a></p>\n", escape(said), view{v.ja, !v.still}.at(), escape(choice))
}

// sharingIcon is what stands in the box of a device that shares: one that passes on to
// two.
const sharingIcon = `<path d="M24 17v8M24 25L13 33M24 25l11 8" fill="none" stroke="currentColor" stroke-width="2.5"/>` +
	`<circle cx="24" cy="13" r="5" fill="currentColor"/><circle cx="12" cy="35" r="4" fill="currentColor"/>` +
	`<circle cx="36" cy="35" r="4" fill="currentColor"/>`

// screen writes what the screen of a phone would show: first what went wrong.
func (h *html) screen(s display.Screen) {
	for _, t := range s.Troubles {
		h.raw("<section class=\"bad\" role=\"alert\"><h2>%s</h2><p>%s</p>", h.text("⚠ "+t.What), h.text(t.Why))
		if t.ToDo != "" {
			h.raw("<p><strong>%s:</strong> %s</p>", escape(h.say("to do")), escape(t.ToDo))
		}
		h.raw("</section>\n")
	}
	icon, text := "", h.say("screen classic")
	if s.Sharing {
		icon, text = sharingIcon, h.say("screen sharing")
	}
	h.raw("<section><div class=\"top\"><div><h2>%s</h2>", escape(short(s.Heading)))
	if f := s.File; f != nil {
		h.raw("<p>%s: %s</p>", escape(wording.Fill(h.say("screen component"), f.Number, f.Of)), escape(short(f.Name)))
	} else {
		h.raw("<p class=\"soft\">%s</p>", escape(short(s.Name)))
	}
	h.raw("</div><div class=\"box\"><svg width=\"48\" height=\"48\" viewBox=\"0 0 48 48\" aria-hidden=\"true\">"+
		"<rect x=\"1\" y=\"1\" width=\"46\" height=\"46\" rx=\"5\" fill=\"none\" stroke=\"currentColor\" "+
		"stroke-width=\"2\"/>%s</svg>%s</div></div>\n", icon, escape(text))
	if f := s.File; f != nil {
		h.raw("<progress max=\"1000\" value=\"%d\" aria-label=\"%s\"></progress><p>%s", f.Filled, escape(h.say("progress")),
			escape(f.Figure))
		if f.Parent {
			h.raw(" · %s", escape(wording.Fill(h.say("screen children"), f.Children)))
		}
		h.raw("</p>\n")
	}
	h.raw("</section>\n")
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
		h.row(s.Directory, name, dash(s.Wanted), h.say("set "+s.State), dash(h.why(s.Reason, s.Message)))
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
			others = append(others, h.say("level "+o.Level.String())+": "+dash(wording.Value(h.ja, s.Name, s.Shown(o.Value))))
		}
		h.row(label, dash(wording.Value(h.ja, s.Name, s.Shown(a.Value))), from, dash(strings.Join(others, ", ")))
	}
	h.end()
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// files shows for each file where its bytes come from, and why: first those that
// failed, then those under way.
func (h *html) files(files []*status.File) {
	if len(files) == 0 {
		return
	}
	order := func(f *status.File) int {
		switch {
		case f.Failed:
			return 0
		case !f.Done:
			return 1
		}
		return 2
	}
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b *status.File) int { return order(a) - order(b) })
	h.begin("files", "file", "progress", "role", "source", "root", "parent", "children", "why")
	h.most = maxFiles
	for _, f := range files {
		code, message := whyOf(h.ja, f)
		if strings.HasPrefix(message, "@@@") || strings.HasPrefix(message, "XID") {
			message = "" // a line of the console, for people who read that
		}
		why := h.why(code, message)
		percent := fmt.Sprintf("%d %%", f.Percent)
		if f.Final != nil && f.Final.Unsigned {
			percent += " (" + h.say("unsigned") + ")"
		}
		h.row(f.File, percent, h.say("role "+orNone(f.Role)), h.say("source "+orNone(f.Source)), dash(f.Root),
			dash(f.Parent), dash(strings.Join(f.Children, ", ")), dash(why))
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

package pages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"

	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// operationForms are the pages with the forms of the operations that change something.
var operationForms = map[string]string{
	"create-device": "/devices/new", "update-device": "/devices/SEP000000000001/edit",
	"create-enrolment": "/enrolments/new", "update-enterprise": "/enterprise/edit", "add-fileset": "/filesets/new",
	"create-job": "/bulk /bulk/query", "plan-job": "/bulk /bulk/query", "export-devices": "/devices",
	"add-load": "/loads/new", "register-load": "/loads/unsigned", "set-load-from": "/loads/edge-2.0/from",
	"put-models": "/models/new", "send-order": "/orders/new?all=yes /devices", "create-profile": "/profiles/new",
	"update-profile": "/profiles/lobby/edit", "create-release": "/releases/new",
	"update-release": "/releases/2026.11/edit", "create-rollout": "/rollouts/new",
	"update-rollout": "/rollouts/autumn/order/edit", "create-site": "/sites/new", "update-site": "/sites/Kyoto/edit",
	"put-template": "/templates/new", "create-token": "/tokens/new", "create-user": "/users/new",
	"update-user": "/users/admin/edit", "create-webhook": "/webhooks/new", "change-password": "/account/password",
	"replace-rollout": "/rollouts/winter/order/replace", "retry-rollout": "/rollouts/winter/order/retry",
	"skip-rollout": "/rollouts/winter/order/skip", "roll-back-rollout": "/rollouts/winter/order/roll-back",
	"abort-rollout": "/rollouts/winter/order/abort",
}

// takenOf are those parts of the body of all orders to a rollout that an order takes.
var takenOf = map[string]string{"abort-rollout": "why", "replace-rollout": "from to", "skip-rollout": "devices",
	"retry-rollout": "devices reason", "roll-back-rollout": "id"}

// fieldOf is the field of a form that says what none says under its own name.
var fieldOf = map[string]string{"create-token life_s": "days", "create-enrolment life_s": "days",
	"send-order life_s": "life", "plan.silence.rule": "silence", "events": "failed", "new": "new_password",
	"old": "old_password", "set.settings.set": "set_settings", "set.settings.unset": "set_settings",
	"change.settings.set": "set_settings", "change.settings.unset": "set_settings", "silent_s": "silent",
	"plan.waves[].percent": "waves", "plan.waves[].devices": "waves", "plan.waves[].sites": "waves",
	"auto_registration": "auto"}

// unasked says why no form asks for a part of what an operation takes.
var unasked = map[string]string{"settings.set": "the page of its settings sets them",
	"settings.unset":     "the page of its settings does",
	"create-device load": "the page of the device assigns it", "create-device release": "the page of the device does",
	"update-device load": "the page of the device assigns it", "update-device release": "the page of the device does",
	"shown": "the page of the plan sends it", "target.all": "it is so without another condition",
	"create-job name": "that of the file", "plan-job name": "that of the file", "retired": "a button says it",
	"send-order devices": "those that are selected", "send-order all": "the address says it",
	"send-order rollout": "the page of the rollout links to it", "send-order wave": "the page of the rollout does",
	"create-user disabled": "nobody makes a user who may not sign in",
	"create-token user":    "only a shell on the data directory may name another"}

// TestForms: whatever can be sent to an operation of the API has its field in a form, or a
// reason why not.
func TestForms(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("harmless")
	b := s.user("admin")
	compared := 0
	for op, names := range bodies(t) {
		page, order := operationForms[op], slices.Contains(names, "why")
		switch {
		case op == "change", op == "set-up", unpaged()[op] != "", page == "" && order: // pages of their own, or no fields
			continue
		case page == "" && !slices.Equal(names, []string{"retired"}):
			t.Errorf("%s: no form is known for %v", op, names)
			continue
		}
		fields := map[string]bool{}
		for path := range strings.FieldsSeq(page) {
			for _, name := range valuesOf(t, b.get(path).want(t, 200).text, func(n *html.Node, at html.Attribute) bool {
				return at.Key == "name" && slices.Contains([]string{"input", "select", "textarea"}, n.Data)
			}) {
				fields[name] = true
			}
		}
		for _, name := range names {
			if order && !slices.Contains(strings.Fields(takenOf[op]), name) || unasked[name]+unasked[op+" "+name] != "" {
				continue
			}
			compared++
			_, inner, _ := strings.Cut(name, ".")
			if !slices.ContainsFunc([]string{name[strings.LastIndexByte(name, '.')+1:], strings.ReplaceAll(name, ".", "_"),
				strings.ReplaceAll(inner, ".", "_"), "set_" + inner, fieldOf[name], fieldOf[op+" "+name],
				strings.TrimPrefix(name, "models[].")}, func(f string) bool { return fields[f] }) {
				t.Errorf("%s: %q has no field in a form of %s", op, name, page)
			}
		}
	}
	if compared < 100 {
		t.Errorf("%d names were compared", compared)
	}
}

// bodies are what operations of the API take, by their names.
func bodies(t *testing.T) map[string][]string {
	t.Helper()
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Schemas map[string]schema }
	}
	if err := json.Unmarshal(must(os.ReadFile("../../../docs/openapi.json")), &doc); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, methods := range doc.Paths {
		for _, raw := range methods {
			var op struct {
				ID   string `json:"operationId"`
				Body struct {
					Content map[string]struct{ Schema schema }
				} `json:"requestBody"`
			}
			_ = json.Unmarshal(raw, &op) // parameters of a path are none
			for _, c := range op.Body.Content {
				if names := c.Schema.leaves("", doc.Components.Schemas); len(names) > 0 {
					all[op.ID] = names
				}
			}
		}
	}
	return all
}

// schema is one of the API's, as far as these tests read it.
type schema struct {
	Ref        string `json:"$ref"`
	Properties map[string]schema
	Items      *schema
}

// leaves are the names of what a schema takes, with those around them before dots.
func (s schema) leaves(before string, all map[string]schema) (names []string) {
	for s.Ref != "" {
		s = all[s.Ref[strings.LastIndex(s.Ref, "/")+1:]]
	}
	for name, p := range s.Properties {
		inner := p.leaves(before+name+".", all)
		if p.Items != nil {
			inner = p.Items.leaves(before+name+"[].", all)
		}
		if name != "$schema" && inner == nil {
			inner = []string{before + name}
		}
		names = append(names, inner...)
	}
	slices.Sort(names)
	return names
}

// writes notes what pages send to an API to change something, and refuses it if it is told to.
type writes struct {
	mu     sync.Mutex
	on     bool
	refuse bool
	sent   []string // since on
}

// begin begins to note, and to refuse.
func (w *writes) begin(refuse bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on, w.refuse, w.sent = true, refuse, nil
}

// note notes a call, and reports whether it is refused. What changes nothing is not.
func (w *writes) note(r *http.Request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on || r.Method == http.MethodGet {
		return false
	}
	b, _ := io.ReadAll(r.Body) // the handler meets the same error
	r.Body = io.NopCloser(bytes.NewReader(b))
	said := string(b)
	if !json.Valid(b) && len(b) > 0 {
		said = "something else than JSON"
	}
	var headers []string
	for _, h := range []string{"If-Match", "If-None-Match"} {
		if is := r.Header.Get(h); is != "" {
			headers = append(headers, h+": "+is)
		}
	}
	dry := r.URL.Query().Get("dry_run") != "" || strings.HasSuffix(r.URL.Path, "/plan")
	w.sent = append(w.sent, strings.TrimSpace(strings.Join(append([]string{r.Method, r.URL.RequestURI(), said},
		headers...), " ")))
	return w.refuse && !dry
}

// said are the calls since begin, which ends.
func (w *writes) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = false
	var all strings.Builder
	for _, call := range w.sent {
		all.WriteString("> " + call + "\n")
	}
	return all.String()
}

// sentForm is a form of a page, as somebody sends it.
type sentForm struct {
	path   string
	files  bool
	fields []string // names and values by turns, as upload takes them
}

// filled are the forms of a page that change something. As they stand, only what must not be
// empty is filled in; else all that can be is filled in, checked or chosen anew.
func filled(t *testing.T, text string, all bool) (forms []sentForm) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" || attribute(n, "method") != "post" {
			continue
		}
		f := sentForm{path: attribute(n, "action"), files: attribute(n, "enctype") != ""}
		for c := range n.Descendants() {
			if name := attribute(c, "name"); name != "" && name != "csrf" {
				f.fill(c, name, all)
			}
		}
		forms = append(forms, f)
	}
	return forms
}

// fill fills in one field.
func (f *sentForm) fill(n *html.Node, name string, all bool) {
	is, kind := attribute(n, "value"), attribute(n, "type")
	add := func(value string) { f.fields = append(f.fields, name, value) }
	switch {
	case n.Data == "select":
		f.choose(n, name, all)
	case n.Data == "textarea" && n.FirstChild != nil:
		add(n.FirstChild.Data)
	case n.Data == "button", kind == "hidden":
		add(is)
	case kind == "checkbox", kind == "radio":
		if has(n, "checked") != all || kind == "radio" && all {
			add(is)
		}
	case kind == "file":
		if all || has(n, "required") {
			f.fields = append(f.fields, "@"+name+"/new.csv", "device,description\nSEP000000000002,By the door\n")
		}
	case is != "" || !all && !has(n, "required"):
		add(is)
	default:
		add(sample(name, kind))
	}
}

// sample is what somebody fills in.
func sample(name, kind string) string {
	switch {
	case kind == "password":
		return password + " 2"
	case kind == "number":
		return "7"
	case kind == "date":
		return "2031-02-03"
	case kind == "datetime-local", name == "at":
		return "2031-02-03T04:05"
	case kind == "url", name == "url":
		return "https://hooks.example.com/new"
	case name == "devices":
		return "SEP000000000002"
	case strings.HasSuffix(name, "-limit"), name == "retention":
		return "300k"
	}
	return "new-1"
}

// choose chooses of a list: what is chosen already, or the last.
func (f *sentForm) choose(n *html.Node, name string, all bool) {
	var options []*html.Node
	for o := range n.Descendants() {
		if o.Type == html.ElementNode && o.Data == "option" {
			options = append(options, o)
		}
	}
	if len(options) == 0 {
		return
	}
	at := max(0, slices.IndexFunc(options, func(o *html.Node) bool { return has(o, "selected") }))
	if all {
		at = len(options) - 1
	} else if has(n, "multiple") && !has(options[at], "selected") {
		return
	}
	f.fields = append(f.fields, name, attribute(options[at], "value"))
}

func has(n *html.Node, key string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// send sends a form as a browser does.
func (b *visitor) send(f sentForm) page {
	if f.files {
		return b.upload(f.path, f.fields...)
	}
	return b.post(f.path, f.fields...)
}

// TestEveryForm: what each form of each page sends to the API, as it stands and with every
// field filled in, and what comes of it if that is refused and if it is not, is in
// testdata/forms.golden.
func TestEveryForm(t *testing.T) {
	tiers.Long(t, "it sends every form")
	s := newRig(t)
	s.fleetOf("harmless")
	b := s.user("admin")
	var all strings.Builder
	seen := map[string]bool{}
	var once []string // each form of its page
	for _, path := range everyPage {
		text := b.get(s.path(path)).text
		for i, f := range filled(t, text, false) {
			if seen[f.path] || strings.HasPrefix(f.path, "/sign-out") || strings.HasPrefix(f.path, "/account/sign-out") {
				continue
			}
			seen[f.path] = true
			once = append(once, path)
			for _, f := range []sentForm{f, filled(t, text, true)[i]} {
				s.watched.writes.begin(true)
				p := b.send(f)
				fmt.Fprintf(&all, "$ refused: %s %q\n%s%d %s\n", f.path, f.fields, s.watched.writes.said(), p.code, p.path)
				if p.code >= http.StatusBadRequest {
					all.WriteString(p.outline(t, false))
				}
				b.get(s.path(path)) // for its token
			}
		}
	}
	for _, path := range slices.Compact(once) {
		for _, f := range filled(t, b.get(s.path(path)).text, false) {
			if !seen[f.path] {
				continue
			}
			delete(seen, f.path)
			s.accepted(b, f, &all)
		}
	}
	golden.Check(t, "forms", s.steady(all.String()), *update)
}

// accepted sends a form, and one that asks whether that is meant.
func (s *rig) accepted(b *visitor, f sentForm, all *strings.Builder) {
	for range 2 {
		s.watched.writes.begin(false)
		p := b.send(f)
		fmt.Fprintf(all, "$ %s %q\n%s%d %s\n", f.path, f.fields, s.watched.writes.said(), p.code, p.path)
		again := filled(s.t, p.text, false)
		i := slices.IndexFunc(again, func(f sentForm) bool { return f.path == "/changes" || f.path == "/bulk/run" })
		if i < 0 {
			return
		}
		f = again[i]
	}
}

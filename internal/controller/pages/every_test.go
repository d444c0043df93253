package pages

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/html"

	"github.com/peerload/peerload/internal/controller/refusals"
	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// everyPage are pages with something on each.
var everyPage = []string{"/", "/devices", "/devices?state=failed", "/devices?text=nothing", "/devices/new",
	"/devices/SEP000000000001", "/devices/SEP000000000002", "/devices/SEP000000000004", "/devices/SEP00000000000C",
	"/devices/SEP000000000001/edit", "/devices/SEP000000000001/delete", "/settings/device/SEP000000000001",
	"/settings/enterprise", "/assign/profile/lobby", "/sets/enterprise", "/failures", "/nothing",
	"/rollouts", "/rollouts/new", "/rollouts/autumn", "/rollouts/winter", "/rollouts/winter/devices",
	"/rollouts/autumn/order/start", "/rollouts/winter/order/pause", "/rollouts/winter/order/resume",
	"/rollouts/winter/order/abort", "/rollouts/winter/order/next", "/rollouts/winter/order/retry",
	"/rollouts/winter/order/skip", "/rollouts/winter/order/replace", "/rollouts/winter/order/roll-back",
	"/rollouts/winter/order/nothing", "/rollback/enterprise", "/rollback/device/SEP000000000001",
	"/rollback/profile/nothing", "/rollback/nothing/x", "/settings/nothing/x", "/assign/nothing/x", "/sets/nothing/x",
	"/assign/device/SEP000000000001", "/settings/profile/lobby", "/undo/1",
	"/devices?sort=site", "/devices?sort=nothing", "/sites", "/sites/new", "/sites/Kyoto",
	"/sites/Kyoto/edit", "/sites/Kyoto/live", "/sites/Kyoto/plan", "/sites/Kyoto/plan?load=edge-2.0",
	"/history", "/history?kind=failure&site=Kyoto&since=2026-01-01", "/savings",
	"/savings?by-site=on&by-load=on&by-release=on",
	"/failures?site=Kyoto&about=edge-2.0",
	"/sites/Kyoto/delete", "/profiles", "/profiles/lobby", "/profiles/lobby/edit", "/enterprise",
	"/enterprise/edit", "/models", "/models/new", "/models/7941",
	"/loads", "/loads/new", "/loads/verify", "/loads/edge-2.0", "/loads/edge-2.0/retire", "/loads/edge-2.0/from",
	"/releases", "/releases/new", "/releases/2026.11", "/releases/2026.11/edit", "/filesets", "/filesets/tones-1",
	"/filesets/new", "/orders", "/orders/new?all=yes", "/orders/new?device=SEP000000000001", "ORDER", "/bulk", "JOB",
	"JOB/undo", "/bulk/query", "/bulk/query?site=Kyoto&text=Desk", "/templates", "/templates/new", "/templates/desk",
	"/templates/desk/edit", "/templates/desk/delete", "/loads/unsigned",
	"/audit", "/users", "/users/new", "/users/admin", "/users/admin/edit", "/tokens", "/tokens/new", "/enrolments",
	"/enrolments/new", "/webhooks", "/webhooks/new", "/webhooks/pager", "/trust", "/trust/targets/rotate", "/account",
	"/account/password"}

var update = flag.Bool("update", false, "write testdata/pages.golden anew")

// volatile is what differs from run to run.
var volatile = []struct {
	is *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?( ?[A-Z]{1,4}\b| ?[+-]\d\d:?\d\d)?)?`), "DATE"},
	{regexp.MustCompile(`\b20\d\d-\d\d\b`), "MONTH"},
	{regexp.MustCompile(`\bjust now\b|\b\d+ (s|min) ago\b`), "AGO"},
	{regexp.MustCompile(`\b[0-9a-f]{16,}\b`), "HEX"},
}

// TestEveryPage: each page says and offers to an administrator, and to somebody who may only
// look, what testdata/pages.golden has.
func TestEveryPage(t *testing.T) {
	tiers.Long(t, "it looks at every page")
	s := newRig(t)
	s.fleetOf("harmless")
	var all strings.Builder
	admin, viewer := s.user("admin"), s.user("viewer")
	for _, path := range slices.Concat(everyPage, []string{"/devices/SEP000000000003", "/devices/SEP000000000005",
		"/devices/SEP000000000006", "/devices/SEP000000000007"}) {
		p, q := admin.get(s.path(path)), viewer.get(s.path(path))
		is, less := p.outline(t, path == "/"), q.outline(t, path == "/")
		if less == is {
			less = "the same\n"
		}
		fmt.Fprintf(&all, "$ %s: %d\n%s\n$ %s, viewer: %d\n%s\n", path, p.code, is, path, q.code, less)
	}
	golden.Check(t, "pages", s.steady(all.String()), *update)
}

// steady is what pages say without what differs from run to run.
func (s *rig) steady(text string) string {
	text = strings.NewReplacer(s.order, "ORDER", s.job, "JOB").Replace(text)
	for _, v := range volatile {
		text = v.is.ReplaceAllString(text, v.as)
	}
	return text
}

// TestEveryCall: a page that gets no answer to one of its questions to the API says so, and
// does not show the rest as if that were all.
func TestEveryCall(t *testing.T) {
	tiers.Long(t, "it looks at every page")
	s := newRig(t)
	s.fleetOf("harmless")
	b := s.user("admin")
	asked := int64(0)
	for _, path := range everyPage {
		s.watched.calls.Store(0)
		whole := b.get(s.path(path))
		for n := range s.watched.calls.Load() {
			s.watched.calls.Store(0)
			s.watched.refuse.Store(n + 1)
			if p := b.get(s.path(path)); p.code < 500 && whole.code < 400 && !strings.Contains(p.text, "out of order") {
				t.Errorf("%s: %d, and not a word of call %d", path, p.code, n+1)
			}
			s.watched.refuse.Store(0)
			asked++
		}
	}
	if asked < 150 {
		t.Errorf("%d calls were refused", asked)
	}
}

// strings that would run, or break out of where they stand, if a page showed them as
// anything but text.
var hostile = []string{
	`<script>alert(1)</script>`, `</script><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`,
	`'><svg onload=alert(1)>`, `<img src=x onerror=alert(1)>`, `<svg/onload=alert(1)>`, `javascript:alert(1)`,
	`JaVaScRiPt:alert(1)`, `data:text/html,<script>alert(1)</script>`, `" onmouseover="alert(1)`, `' onfocus='alert(1)`,
	"` onclick=`alert(1)", `{{.}}`, `{{template "layout"}}`, `${alert(1)}`, `<!--<script>`, `--><script>alert(1)</script>`,
	`]]><script>alert(1)</script>`, `<iframe src=javascript:alert(1)>`, `<a href=javascript:alert(1)>x</a>`,
	`<form action=//evil.example><button>x`, `<base href=//evil.example>`,
	`<meta http-equiv=refresh content=0;url=//evil>`,
	`<link rel=stylesheet href=//evil.example>`, `<style>*{display:none}</style>`, `</textarea><script>alert(1)</script>`,
	`</title><script>alert(1)</script>`, `</option></select><script>alert(1)</script>`,
	`<math><mi//xlink:href="x">`,
	`<object data=x>`, `<embed src=x>`, `<details open ontoggle=alert(1)>`, `<body onload=alert(1)>`,
	`<input autofocus onfocus=alert(1)>`, `<video><source onerror=alert(1)>`, `&lt;script&gt;alert(1)&lt;/script&gt;`,
	`&#60;script&#62;`, `\u003cscript\u003e`, `%3Cscript%3E`, `<div hx-get="/sign-out" hx-trigger="load">`,
	`<b data-all="device">`, `=HYPERLINK("//evil.example")`,
}

// TestHostileTexts shows whatever a device, a table, a load or a site can say on every
// page: as text, which makes no element and no attribute.
func TestHostileTexts(t *testing.T) {
	tiers.Long(t, "it looks at every page")
	plain, sharp := newRig(t), newRig(t)
	plain.fleetOf("harmless")
	sharp.fleetOf(groups(hostile)...)
	a, b := plain.user("admin"), sharp.user("admin")
	var shown strings.Builder
	for _, path := range everyPage {
		want, is := a.get(plain.path(path)), b.get(sharp.path(path))
		if want.code != is.code {
			t.Errorf("%s: %d, and %d with hostile texts", path, want.code, is.code)
		}
		for _, wrong := range odd(t, is.text, elements(t, want.text)) {
			t.Errorf("%s: %s", path, wrong)
		}
		shown.WriteString(html.UnescapeString(is.text))
	}
	for _, text := range hostile {
		if !strings.Contains(shown.String(), text) {
			t.Errorf("no page shows %q: it was hidden, or nothing has it", text)
		}
	}
	for _, text := range hostile { // what an address says
		for _, path := range []string{"/devices?text=", "/sign-in?next=", "/setup?secret=", "/audit?target=",
			"/orders/new?text="} {
			p := b.get(path + url.QueryEscape(text))
			for _, wrong := range odd(t, p.text, nil) {
				t.Errorf("%s%s: %s", path, text, wrong)
			}
		}
	}
}

// groups joins texts to some that devices and people may say.
func groups(texts []string) (out []string) {
	for part := range slices.Chunk(texts, 3) {
		out = append(out, strings.Join(part, " "))
	}
	return out
}

// elements are the kinds of elements of a page, with their attributes.
func elements(t *testing.T, text string) map[string]bool {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		all[n.Data] = true
		for _, at := range n.Attr {
			all[n.Data+" "+at.Key] = true
		}
	}
	return all
}

// odd is what stands in a page that no page of its kind has: known, if it is not nil,
// are its elements.
func odd(t *testing.T, text string, known map[string]bool) (wrong []string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if known != nil && !known[n.Data] || n.Data == "iframe" || n.Data == "style" || n.Data == "object" {
			wrong = append(wrong, "an element "+n.Data)
		}
		for _, at := range n.Attr {
			where := n.Data + " " + at.Key
			scheme := strings.ToLower(strings.TrimSpace(at.Val))
			switch {
			case known != nil && !known[where], strings.HasPrefix(at.Key, "on"), at.Key == "style":
				wrong = append(wrong, "an attribute "+where)
			case (at.Key == "href" || at.Key == "src" || at.Key == "action") && (strings.HasPrefix(scheme, "javascript:") ||
				strings.HasPrefix(scheme, "data:") || strings.HasPrefix(scheme, "//")):
				wrong = append(wrong, "a way out: "+at.Val)
			}
		}
		if n.Data == "script" && n.FirstChild != nil {
			wrong = append(wrong, "a script in the page: "+n.FirstChild.Data)
		}
	}
	return wrong
}

// linksOf are the paths on this server that a page links to; formsOf those to which it
// sends forms that change something.
func linksOf(t *testing.T, text string) (paths []string) {
	return valuesOf(t, text, func(n *html.Node, at html.Attribute) bool {
		return n.Data == "a" && at.Key == "href" && (strings.HasPrefix(at.Val, "/") || strings.HasPrefix(at.Val, "?"))
	})
}

func formsOf(t *testing.T, text string) (paths []string) {
	return valuesOf(t, text, func(n *html.Node, at html.Attribute) bool {
		post := func(a html.Attribute) bool { return a.Key == "method" && a.Val == "post" }
		return n.Data == "form" && at.Key == "action" && slices.ContainsFunc(n.Attr, post)
	})
}

// valuesOf are values of attributes of a page.
func valuesOf(t *testing.T, text string, is func(*html.Node, html.Attribute) bool) (values []string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		for _, at := range n.Attr {
			if n.Type == html.ElementNode && is(n, at) {
				values = append(values, at.Val)
			}
		}
	}
	return values
}

// called are the operations that pages have called in these tests, as method and path.
var called sync.Map

// watched notes what is called of an API, and refuses one call if it is told to.
type watched struct {
	http.Handler
	calls, refuse *atomic.Int64 // since when the one that is refused is counted; which, 0 for none
	writes        *writes
}

func (w watched) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	called.Store(r.Method+" "+strings.TrimPrefix(r.URL.Path, "/api/v1"), true)
	again := w.writes.note(r)
	if n := w.calls.Add(1); n == w.refuse.Load() || again {
		status, kind := http.StatusServiceUnavailable, "unavailable"
		if again {
			status, kind = http.StatusUnprocessableEntity, "invalid"
		}
		out.Header().Set("Content-Type", "application/problem+json")
		out.WriteHeader(status)
		_, _ = fmt.Fprintf(out, `{"status":%d,"type":"urn:test:%s","detail":"out of order"}`, status, kind)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/live") { // it has no end
		w.Handler.ServeHTTP(out, r)
		return
	}
	w.Handler.ServeHTTP(&overheard{ResponseWriter: out}, r)
}

// refused has the texts by which the API refused something in these tests.
var refused sync.Map

// overheard is an answer whose text is kept if it is a refusal.
type overheard struct {
	http.ResponseWriter
	status int
}

func (o *overheard) Unwrap() http.ResponseWriter { return o.ResponseWriter }

func (o *overheard) WriteHeader(status int) {
	o.status = status
	o.ResponseWriter.WriteHeader(status)
}

func (o *overheard) Write(b []byte) (int, error) {
	var problem struct {
		Detail string
		Errors []struct{ Message string }
	}
	if o.status >= http.StatusBadRequest && json.Unmarshal(b, &problem) == nil {
		refused.Store(problem.Detail, true)
		for _, e := range problem.Errors {
			refused.Store(e.Message, true)
		}
	}
	return o.ResponseWriter.Write(b)
}

// byScript says why no page calls what a script calls in a browser, where there is one.
const byScript = "the script of the live page calls it"

// unpaged are the operations that no page calls, with why.
func unpaged() map[string]string {
	all := map[string]string{}
	for why, of := range map[string]string{
		"devices call it":             "check-in follow-orders tell-live hand-over-reports answer-orders enrol",
		"command lines call it":       "sign-in redeem-sign-in ask-sign-in",
		"programs call it":            "get-openapi bulk-devices",
		"the order to change does it": "change-device-settings change-profile-settings change-enterprise-settings",
		"the order to change does so": "change-device-filesets change-profile-filesets change-enterprise-filesets",
		"the order to change assigns": "assign-device-load assign-profile-load assign-enterprise-load assign-model-load",
		"the order to change assigns it": "assign-device-release assign-profile-release assign-enterprise-release " +
			"assign-model-release",
		"the order to change goes back": "roll-back-device-load roll-back-profile-load roll-back-enterprise-load " +
			"roll-back-model-load",
		byScript:                      "follow-site get-last-upgrade",
		"the order to change deletes": "delete-device",
	} {
		for id := range strings.FieldsSeq(of) {
			all[id] = why
		}
	}
	return all
}

// TestMain runs the tests and then, if they were all of them, looks for operations of the
// API that no page has called: everything that it can do has a page, or a reason; and for
// refusals that pages cannot say in Japanese.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, some := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if flag.Lookup(some).Value.String() != "" {
			os.Exit(code)
		}
	}
	if code == 0 && !testing.Short() {
		for _, wrong := range append(uncalled(), unsaid()...) {
			fmt.Println(wrong)
			code = 1
		}
	}
	os.Exit(code)
}

// unsaid are the refusals that no page can say in Japanese.
func unsaid() (wrong []string) {
	for text := range refused.Range {
		if text := text.(string); text != "" && !refusals.Known(text) {
			wrong = append(wrong, "no words in Japanese for "+text)
		}
	}
	slices.Sort(wrong)
	return wrong
}

// uncalled are the operations without a page and without a reason, and reasons that are
// none.
func uncalled() (wrong []string) {
	var doc struct {
		Paths map[string]map[string]struct {
			ID string `json:"operationId"`
		} `json:"paths"`
	}
	b, err := os.ReadFile("../../../docs/openapi.json")
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err != nil {
		return []string{err.Error()}
	}
	known, without := map[string]bool{}, unpaged()
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if op.ID == "" {
				continue
			}
			known[op.ID] = true
			paged := false
			for at := range called.Range {
				paged = paged || means(doc.Paths, strings.ToUpper(method)+" "+path, at.(string))
			}
			switch why := without[op.ID]; {
			case !paged && why == "":
				wrong = append(wrong, "no page calls "+op.ID+", and nothing says why")
			case paged && why != "" && why != byScript:
				wrong = append(wrong, op.ID+": a page calls it, although "+why)
			}
		}
	}
	for id := range without {
		if !known[id] {
			wrong = append(wrong, id+" is no operation")
		}
	}
	slices.Sort(wrong)
	return wrong
}

// means reports whether a call is one of an operation: of two that fit it is that without
// a name.
func means[T any](paths map[string]T, operation, call string) bool {
	_, literal := paths[call[strings.IndexByte(call, ' ')+1:]]
	want, is := strings.Split(operation, "/"), strings.Split(call, "/")
	if operation == call || literal || len(want) != len(is) {
		return operation == call
	}
	for i := range want {
		if want[i] != is[i] && !strings.HasPrefix(want[i], "{") {
			return false
		}
	}
	return true
}

package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// notCovered are the operations that the client does not call; the package
// comment names them, too.
var notCovered = []string{"log-in", "change-password", "set-up",
	"enrol", "check-in", "get-openapi", "follow-orders", "answer-orders", "tell-live", "hand-over-reports",
	"follow-site", "get-last-upgrade"}

// server is an http.RoundTripper that knows the document only: it notes what a
// request has that the document has not, and answers with samples.
type server struct {
	*document
	filled bool // what requests must have
	op     *operation
	// used are the queries and headers of the operation that were seen.
	used  map[string]bool
	found []string
}

func (s *server) note(format string, args ...any) {
	s.found = append(s.found, fmt.Sprintf(format, args...))
}

// find finds the operation of a request.
func (s *server) find(r *http.Request) *operation {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), s.Servers[0].URL)
	have := strings.Split(path, "/")
	for template, item := range s.Paths {
		want := strings.Split(template, "/")
		fits := ok && len(want) == len(have)
		for i := 0; fits && i < len(want); i++ {
			fits = want[i] == have[i] || strings.HasPrefix(want[i], "{") && have[i] == url.PathEscape(anyName)
		}
		if o := item[strings.ToLower(r.Method)]; fits && o != nil {
			return o
		}
	}
	return nil
}

// RoundTrip implements http.RoundTripper.
func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if s.op = s.find(r); s.op == nil {
		return nil, fmt.Errorf("the document has no %s %s", r.Method, r.URL.Path)
	}
	in := func(where string) (names []string) {
		for _, p := range s.op.Parameters {
			if p.In == where {
				names = append(names, p.Name)
			}
		}
		return names
	}
	for q := range r.URL.Query() {
		if s.used[q] = true; !slices.Contains(in("query"), q) {
			s.note("%s takes no %s in its query", s.op.ID, q)
		}
	}
	if m := r.Header.Get("If-Match"); m != "" {
		if s.used["If-Match"] = true; !slices.Contains(in("header"), "If-Match") {
			s.note("%s compares no version", s.op.ID)
		}
	}
	if err := s.body(r); err != nil {
		s.note("%s: %v", s.op.ID, err)
	}
	return s.answer(r), nil
}

// body holds the body of a request against its schema.
func (s *server) body(r *http.Request) error {
	if s.op.RequestBody == nil || r.Body == nil {
		if s.op.RequestBody != nil || r.Body != nil {
			return errors.New("the one has a body, the other has none")
		}
		return nil
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	want := s.op.RequestBody.Content[kind].Schema
	if want == nil {
		return fmt.Errorf("it takes no %s", kind)
	}
	if kind == "application/json" {
		var v any
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
			return err
		}
		s.found = append(s.found, s.match(want, v, s.op.ID, s.filled)...)
		return nil
	}
	has := map[string]bool{}
	for form := multipart.NewReader(r.Body, params["boundary"]); ; {
		part, err := form.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		has[part.FormName()] = true
	}
	if a, b := slices.Sorted(maps.Keys(has)), slices.Sorted(maps.Keys(want.Properties)); !slices.Equal(a, b) {
		return fmt.Errorf("the form has the fields %v, not %v", a, b)
	}
	return nil
}

// success is the answer of an operation that was done.
func (o *operation) success() (status int, s *schema) {
	for code, b := range o.Responses {
		if _, err := fmt.Sscanf(code, "2%d", &status); err == nil {
			for _, c := range b.Content {
				s = c.Schema
			}
			return 200 + status, s
		}
	}
	return 0, nil
}

func (s *server) answer(r *http.Request) *http.Response {
	status, of := s.op.success()
	text := ""
	if of != nil {
		v := s.sample(of)
		if o, ok := v.(map[string]any); ok && r.URL.Query().Has("after") {
			delete(o, "next") // the last page
		}
		b, err := json.Marshal(v)
		if err != nil {
			panic(err) // it is a sample
		}
		text = string(b)
	}
	body := io.NopCloser(strings.NewReader(text))
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, Request: r}
}

// check finds where the client and a document are not of one mind.
func check(ctx context.Context, d *document) (found []string) {
	s := &server{document: d}
	c, err := client.New("http://controller", "token", &http.Client{Transport: s})
	if err != nil {
		return []string{err.Error()}
	}
	all := calls()
	for _, id := range slices.Sorted(maps.Keys(all)) {
		s.used = map[string]bool{}
		for _, s.filled = range []bool{false, true} {
			got, err := all[id](ctx, c, s.filled)
			switch {
			case err != nil:
				s.note("%s: %v", id, err)
			case s.op.ID != id:
				s.note("%s is called in the place of %s", s.op.ID, id)
			default:
				s.compare(got)
			}
			if s.op == nil || err != nil {
				break
			}
		}
		for _, p := range s.parameters(id) {
			if !s.used[p] {
				s.note("%s takes %s, which the client never sends", id, p)
			}
		}
	}
	for _, item := range d.Paths {
		for _, o := range item {
			if all[o.ID] == nil && !slices.Contains(notCovered, o.ID) {
				s.note("%s is not covered", o.ID)
			}
		}
	}
	return s.found
}

// parameters are the queries and headers of an operation.
func (d *document) parameters(id string) (names []string) {
	for _, item := range d.Paths {
		for _, o := range item {
			for _, p := range o.Parameters {
				if o.ID == id && p.In != "path" {
					names = append(names, p.Name)
				}
			}
		}
	}
	return names
}

// compare holds what the client has made of an answer, and the type of it,
// against the schema.
func (s *server) compare(got any) {
	_, of := s.op.success()
	if of == nil || got == nil {
		if of != nil || got != nil {
			s.note("%s: the one has an answer, the other has none", s.op.ID)
		}
		return
	}
	filled := reflect.New(reflect.TypeOf(got)).Elem()
	fill(filled)
	s.found = append(s.found, s.match(of, generic(got), s.op.ID, true)...)
	s.found = append(s.found, s.match(of, generic(filled.Interface()), s.op.ID, true)...)
	s.found = append(s.found, differ(s.sample(of), generic(got), s.op.ID)...)
}

func readDocument(t *testing.T) (text []byte) {
	t.Helper()
	text, err := os.ReadFile("../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestContract holds the client against docs/openapi.json: every operation with
// its method, path, queries and types.
func TestContract(t *testing.T) {
	var d document
	if err := json.Unmarshal(readDocument(t), &d); err != nil {
		t.Fatal(err)
	}
	for _, f := range check(t.Context(), &d) {
		t.Error(f)
	}
	comment, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range notCovered {
		if calls()[id] != nil || d.parameters(id) == nil && !strings.Contains(string(readDocument(t)), `"`+id+`"`) {
			t.Errorf("%s is covered, or no operation at all", id)
		}
		if !strings.Contains(string(comment), id) {
			t.Errorf("the package comment does not say that %s is not covered", id)
		}
	}
}

// tree is a document that may be broken.
type tree map[string]any

// at is what stands there.
func (t tree) at(path ...string) tree {
	for _, p := range path {
		t = t[p].(map[string]any)
	}
	return t
}

// move gives something another name, "" for none.
func (t tree) move(from, to string) {
	if to != "" {
		t[to] = t[from]
	}
	delete(t, from)
}

// takes gives an operation one parameter more.
func (t tree) takes(in, name string) {
	all, _ := t["parameters"].([]any)
	t["parameters"] = append(all, tree{"name": name, "in": in})
}

// breaks break a document at one place each, and what is then found.
var breaks = []struct {
	name   string
	breaks func(paths, schemas tree)
	says   string
}{
	{"another path", func(p, _ tree) { p.move("/overview", "/summary") }, "get-overview: "},
	{"another method", func(p, _ tree) { p.at("/users/{user}").move("patch", "put") }, "update-user: "},
	{"a longer path", func(p, _ tree) { p.move("/loads/verify", "/loads/all/verify") }, "verify-loads: "},
	{"an operation more", func(p, _ tree) { p["/colours"] = tree{"get": tree{"operationId": "list-colours"}} },
		"list-colours is not covered"},
	{"a query less", func(p, _ tree) { p.at("/overview", "get").move("parameters", "") },
		"get-overview takes no silent_s"},
	{"a query more", func(p, _ tree) { p.at("/overview", "get").takes("query", "colour") },
		"get-overview takes colour, which the client never sends"},
	{"no version", func(p, _ tree) { p.at("/users/{user}", "delete").move("parameters", "") },
		"delete-user compares no version"},
	{"a version more", func(p, _ tree) { p.at("/models/{model}", "delete").takes("header", "If-Match") },
		"delete-model takes If-Match, which the client never sends"},
	{"no body", func(p, _ tree) { p.at("/bulk", "post").move("requestBody", "") }, "bulk-devices: the one has a body"},
	{"no answer", func(p, _ tree) { p.at("/enterprise", "get")["responses"] = tree{"204": tree{}} }, "get-enterprise: "},
	{"another name", func(_, s tree) { s.at("User", "properties").move("full_name", "fullname") },
		"User has no property full_name"},
	{"more in an answer", func(_, s tree) { s.at("Overview", "properties")["colour"] = tree{"type": "string"} },
		"Overview has a property colour"},
	{"less in an answer", func(_, s tree) { s.at("HistoryEntry", "properties").move("message", "") },
		"HistoryEntry has no property message"},
	{"another kind in an answer", func(_, s tree) { s.at("Overview", "properties", "pending")["type"] = "string" },
		"get-overview: "},
	{"a time that is none", func(_, s tree) { s.at("User", "properties", "name")["format"] = "date-time" },
		"User.name is a time"},
	{"another kind in a request", func(_, s tree) { s.at("TokenOrder", "properties", "life_s")["type"] = "string" },
		"TokenOrder.life_s is string"},
	{"more in a request", func(_, s tree) { s.at("DeviceChange", "properties")["colour"] = tree{"type": "string"} },
		"DeviceChange has a property colour"},
	{"required in a request", func(_, s tree) { s.at("NewUser")["required"] = []string{"full_name"} },
		"NewUser has a property full_name"},
	{"less in a form", func(p, _ tree) {
		content := p.at("/loads", "post", "requestBody", "content", "multipart/form-data")
		content.at("schema", "properties").move("replace", "")
	}, "add-load: the form has the fields"},
}

// TestContractCanFail breaks the document at one place at a time.
func TestContractCanFail(t *testing.T) {
	tiers.Long(t, "it reads the document for each thing that it breaks")
	for _, c := range breaks {
		t.Run(c.name, func(t *testing.T) {
			var text tree
			if err := json.Unmarshal(readDocument(t), &text); err != nil {
				t.Fatal(err)
			}
			c.breaks(text.at("paths"), text.at("components", "schemas"))
			b, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			var d document
			if err := json.Unmarshal(b, &d); err != nil {
				t.Fatal(err)
			}
			found := check(t.Context(), &d)
			if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, c.says) }) {
				t.Errorf("found %q, nothing of which says %q", found, c.says)
			}
		})
	}
}

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
)

var update = flag.Bool("update", false, "write docs/openapi.json anew")

// TestDocumentFile: docs/openapi.json is what the API generates.
func TestDocumentFile(t *testing.T) {
	const file = "../../../docs/openapi.json"
	raw, err := newRig(t).srv.document().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := json.Indent(&text, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	text.WriteByte('\n')
	if *update {
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, text.Bytes()) {
		t.Errorf("docs/openapi.json is not what the API generates (%v): look at the difference after "+
			"go test ./internal/controller/api -run TestDocumentFile -update", err)
	}
}

// TestDescribedWhenCalled: what huma makes of an operation is made when it is first called,
// once, and once more for the document.
func TestDescribedWhenCalled(t *testing.T) {
	cfg := newRig(t).srv.cfg
	cfg.Registry = nil
	s, err := New(cfg) // whose document nobody has asked for
	if err != nil {
		t.Fatal(err)
	}
	described := 0
	register(s, op(http.MethodGet, "/described", "describe", "Nothing", needRead),
		func(context.Context, *struct{}) (*struct{}, error) { return nil, nil },
		detail{before: func(*huma.Operation, huma.Registry) { described++ }})
	for i, want := range []int{0, 1, 1} {
		if described != want {
			t.Errorf("after %d calls it was described %d times, not %d", i, described, want)
		}
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, Prefix+"/described", nil))
	}
	for range 2 {
		if s.document().Paths["/described"].Get == nil || described != 2 {
			t.Errorf("the document lacks it, or it was described %d times, not twice", described)
		}
	}
}

// TestDocument: what stands in a path is described, every reference leads
// somewhere, and what a device says may grow.
func TestDocument(t *testing.T) {
	s := newRig(t)
	b, err := s.srv.document().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
			Security   []map[string][]string
			Responses  map[string]any
		}
		Components struct {
			Schemas map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths {
		for method, o := range item {
			for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				found := 0
				for _, p := range o.Parameters {
					if p.In == "path" && p.Name == name[1] {
						found++
					}
				}
				if found != 1 {
					t.Errorf("%s %s describes %s %d times", method, path, name[1], found)
				}
			}
			open := path == "/logins/requests" // one begins with nothing
			if (len(o.Security) == 0) != open || o.Responses["401"] == nil {
				t.Errorf("%s %s says nothing of credentials", method, path)
			}
		}
	}
	for _, ref := range regexp.MustCompile(`"#/components/schemas/([^"]+)"`).FindAllStringSubmatch(string(b), -1) {
		if doc.Components.Schemas[ref[1]] == nil {
			t.Errorf("a reference to %s leads nowhere", ref[1])
		}
	}
	if d := string(doc.Components.Schemas["ReportDevice"]); !strings.Contains(d, `"additionalProperties":true`) {
		t.Errorf("what a device says may not grow: %.200s", d)
	}
}

// TestScopes: a token does no more than its scopes, whatever its role.
func TestScopes(t *testing.T) {
	s := newRig(t)
	text, _ := s.want(201, "POST", "/tokens", object{"name": "reader", "role": "admin", "scopes": []string{"read"}})
	tok := decode[domain.NewToken](t, text)
	if code, _, _ := s.call("GET", Prefix+"/devices", tok.Secret, nil); code != 200 {
		t.Errorf("reading: %d", code)
	}
	for _, c := range [][2]string{{"PATCH", "/devices/" + one}, {"POST", "/bulk"}, {"PATCH", "/enterprise"},
		{"GET", "/users"}, {"POST", "/loads"}, {"POST", "/tokens"}} {
		body := any(object{"name": "x", "role": "admin", "scopes": []string{"read"}})
		if c[1] != "/tokens" {
			body = object{}
		}
		if code, text, _ := s.call(c[0], Prefix+c[1], tok.Secret, body); code != 403 {
			t.Errorf("%s %s: %d %s", c[0], c[1], code, text)
		}
	}
	s.want(204, "DELETE", "/tokens/"+tok.ID, nil)
	if code, _, _ := s.call("GET", Prefix+"/devices", tok.Secret, nil); code != 401 {
		t.Errorf("revoked: %d", code)
	}
	s.want(403, "POST", "/tokens", object{"name": "for another", "user": "viewer", "role": "viewer",
		"scopes": []string{"read"}})
}

// operationOf is the operation of the document that a request is for, nil if it
// is for none.
func (s *rig) operationOf(method, path string) *huma.Operation {
	path, _, _ = strings.Cut(path, "?")
	path, ok := strings.CutPrefix(path, Prefix)
	have := strings.Split(path, "/")
	var found *huma.Operation
	least := len(have)
	for template, item := range s.srv.document().Paths {
		o := map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch,
			"DELETE": item.Delete}[method]
		want := strings.Split(template, "/")
		names := 0
		fits := ok && o != nil && len(want) == len(have)
		for i := 0; fits && i < len(want); i++ {
			if named := strings.HasPrefix(want[i], "{"); named {
				names++
			} else {
				fits = want[i] == have[i]
			}
		}
		if fits && names < least { // what is spelt out goes before what has a name in it
			found, least = o, names
		}
	}
	return found
}

// undocumented says where an answer is not what the document promises. The
// statuses of faults that every operation may have stand there for none.
func (s *rig) undocumented(method, path string, status int, h http.Header, body []byte) (found []string) {
	o := s.operationOf(method, path)
	if o == nil || status == http.StatusMethodNotAllowed {
		return nil
	}
	resp := o.Responses[strconv.Itoa(status)]
	if resp == nil && status >= 400 {
		resp = &huma.Response{Content: map[string]*huma.MediaType{"application/problem+json": {
			Schema: s.srv.document().Components.Schemas.Schema(reflect.TypeFor[huma.ErrorModel](), true, "")}}}
	}
	switch {
	case resp == nil:
		return []string{"the document has no such status"}
	case len(resp.Content) == 0:
		if len(body) > 0 {
			return []string{"the document promises no body"}
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return []string{"the answer has no type: " + err.Error()}
	}
	content := resp.Content[kind]
	if content == nil {
		return []string{"the document has no answer of type " + kind}
	}
	things := [][]byte{body}
	if kind == linesType {
		things = bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	}
	for _, b := range things {
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			return []string{err.Error()}
		}
		at, result := huma.NewPathBuffer(nil, 0), &huma.ValidateResult{}
		huma.Validate(s.srv.document().Components.Schemas, content.Schema, at, huma.ModeReadFromServer, v, result)
		for _, err := range result.Errors {
			found = append(found, err.Error())
		}
	}
	return found
}

// TestAnswersAreHeld: the comparison of answers with the document, which all
// calls of these tests make, finds what differs.
func TestAnswersAreHeld(t *testing.T) {
	s := newRig(t)
	asJSON := http.Header{"Content-Type": {"application/json"}}
	good, _ := s.want(200, "GET", "/enterprise", nil)
	change := func(old, to string) string { return strings.Replace(good, old, to, 1) }
	for name, c := range map[string]struct {
		path   string
		status int
		header http.Header
		body   string
		right  bool
	}{
		"what it answers":       {"/enterprise", 200, asJSON, good, true},
		"null for an object":    {"/enterprise", 200, asJSON, change(`"settings":{}`, `"settings":null`), false},
		"a property more":       {"/enterprise", 200, asJSON, change(`{`, `{"colour":"red",`), false},
		"another kind":          {"/enterprise", 200, asJSON, change(`"version":0`, `"version":"0"`), false},
		"a status it has not":   {"/enterprise", 202, asJSON, good, false},
		"text":                  {"/enterprise", 200, http.Header{"Content-Type": {"text/plain"}}, good, false},
		"a string as the whole": {"/openapi.json", 200, asJSON, `"e30="`, false},
		"a problem": {"/enterprise", 403, http.Header{"Content-Type": {"application/problem+json"}},
			`{"type":"urn:x","title":"t","status":403,"detail":"d"}`, true},
		"a problem as JSON": {"/enterprise", 403, asJSON, `{"status":403}`, false},
	} {
		found := s.undocumented("GET", Prefix+c.path, c.status, c.header, []byte(c.body))
		if (len(found) == 0) != c.right {
			t.Errorf("%s: found %q", name, found)
		}
	}
	if code, text := s.upload([][2]string{{"name", "fw"}, {"version", "1"}, {"model", "linux-arm"}}, "a.bin",
		"x"); code != 201 {
		t.Fatal(code, text)
	}
	// Every list and every thing of a controller that has nothing yet, or little.
	for path, item := range s.srv.document().Paths {
		if item.Get != nil && !strings.Contains(path, "{") && item.Get.OperationID != "who-am-i" {
			s.want(200, "GET", path, nil)
		}
	}
}

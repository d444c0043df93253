package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
)

var update = flag.Bool("update", false, "write docs/openapi.json anew")

// TestDocumentFile: docs/openapi.json is what the API generates.
func TestDocumentFile(t *testing.T) {
	const file = "../../../docs/openapi.json"
	raw, err := newRig(t).srv.api.OpenAPI().MarshalJSON()
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

// TestDocument: what stands in a path is described, every reference leads
// somewhere, and what a device says may grow.
func TestDocument(t *testing.T) {
	s := newRig(t)
	b, err := s.srv.api.OpenAPI().MarshalJSON()
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
			if len(o.Security) == 0 || o.Responses["401"] == nil {
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

package client_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// sometimes are fields of the client's types that a schema lacks: one type
// serves two schemas, and its comment says when the fields are there.
var sometimes = map[string][]string{
	"Device": {"state"}, "Site": {"counts"}, "Token": {"secret"}, "EnrolmentToken": {"secret"},
	"Answer": {"label", "label_ja", "element"},
}

// leftOut are properties of an answer that the client does not hand on.
func leftOut(schema string) []string {
	if strings.HasPrefix(schema, "List") { // it reads page after page
		return []string{"next", "total"}
	}
	return map[string][]string{"BulkAnswer": {"ok", "failed"}}[schema] // they count the results
}

// document is what an OpenAPI document says, as far as the client depends on it.
type document struct {
	Servers    []struct{ URL string }
	Paths      map[string]map[string]*operation
	Components struct{ Schemas map[string]*schema }
}

type operation struct {
	ID          string `json:"operationId"`
	Parameters  []struct{ Name, In string }
	RequestBody *body
	Responses   map[string]*body
}

type body struct {
	Content map[string]struct{ Schema *schema }
}

type schema struct {
	Ref             string `json:"$ref"`
	Type            types
	Format          string
	ContentEncoding string
	Items           *schema
	Properties      map[string]*schema
	Required        []string
	// Values is the schema of all other properties, nil where there are none.
	Values values `json:"additionalProperties"`
}

// types are a schema's type, or several.
type types []string

func (t *types) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(t))
	}
	*t = types{""}
	return json.Unmarshal(b, &(*t)[0])
}

type values struct{ *schema }

func (v *values) UnmarshalJSON(b []byte) error {
	if b[0] != '{' {
		return nil // true or false
	}
	return json.Unmarshal(b, &v.schema)
}

// resolve follows a reference; name is "" without one.
func (d *document) resolve(s *schema) (name string, to *schema) {
	if s.Ref == "" {
		return "", s
	}
	name = s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	return name, d.Components.Schemas[name]
}

// recurs reports whether a schema, or one of its items, is among those that it
// stands in.
func recurs(s *schema, within []string) bool {
	if s.Items != nil {
		s = s.Items
	}
	return s.Ref != "" && slices.Contains(within, s.Ref)
}

// sample is a value of a schema, with every property, but those within
// themselves.
func (d *document) sample(s *schema, within ...string) any {
	within = append(within, s.Ref)
	_, s = d.resolve(s)
	switch s.Type[0] {
	case "object":
		o := map[string]any{}
		for k, p := range s.Properties {
			if !recurs(p, within) {
				o[k] = d.sample(p, within...)
			}
		}
		if s.Values.schema != nil {
			o["key"] = d.sample(s.Values.schema, within...)
		}
		return o
	case "array":
		return []any{d.sample(s.Items, within...)}
	case "integer":
		return 7.0
	case "number":
		return 1.5
	case "boolean":
		return true
	}
	switch {
	case s.Format == "date-time":
		return moment
	case s.ContentEncoding == "base64":
		return "dGV4dA=="
	}
	return "text"
}

// match finds where a value is not of a schema. whole asks for every property,
// else for those that are required.
func (d *document) match(s *schema, v any, at string, whole bool, within ...string) (found []string) {
	within = append(within, s.Ref)
	name, s := d.resolve(s)
	if name != "" {
		at = name
	}
	wrong := func(format string, args ...any) { found = append(found, at+" "+fmt.Sprintf(format, args...)) }
	if v == nil && slices.Contains(s.Type, "null") {
		return nil
	}
	kind := s.Type[0]
	switch v := v.(type) {
	case map[string]any:
		if kind != "object" {
			wrong("is %s, not an object", kind)
			return found
		}
		for k, item := range v {
			p := s.Properties[k]
			if p == nil {
				p = s.Values.schema
			}
			if p != nil {
				found = append(found, d.match(p, item, at+"."+k, whole, within...)...)
			} else if !slices.Contains(sometimes[name], k) {
				wrong("has no property %s", k)
			}
		}
		for k, p := range s.Properties {
			asked := (whole || slices.Contains(s.Required, k)) && !recurs(p, within) && !slices.Contains(leftOut(name), k)
			if _, has := v[k]; asked && !has {
				wrong("has a property %s, which is not there", k)
			}
		}
	case []any:
		if kind != "array" {
			wrong("is %s, not an array", kind)
			return found
		}
		for _, item := range v {
			found = append(found, d.match(s.Items, item, at, whole, within...)...)
		}
	case string:
		if kind != "string" {
			wrong("is %s, not a string", kind)
		} else if _, err := time.Parse(time.RFC3339, v); err != nil && s.Format == "date-time" {
			wrong("is a time, not %q", v)
		} else if _, err := base64.StdEncoding.DecodeString(v); err != nil && s.ContentEncoding == "base64" {
			wrong("is in base64, not %q", v)
		}
	case bool:
		if kind != "boolean" {
			wrong("is %s, not true or false", kind)
		}
	case float64:
		if kind != "number" && (kind != "integer" || v != float64(int64(v))) {
			wrong("is %s, not %v", kind, v)
		}
	default:
		wrong("is %s, not %v", kind, v)
	}
	return found
}

// differ finds where two values of the same shape are not the same.
func differ(want, got any, at string) (found []string) {
	switch w := want.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		for k, v := range w {
			if gv, ok := g[k]; ok {
				found = append(found, differ(v, gv, at+"."+k)...)
			}
		}
	case []any:
		g, _ := got.([]any)
		for i := range min(len(w), len(g)) {
			found = append(found, differ(w[i], g[i], at)...)
		}
	default:
		if want != got {
			found = append(found, fmt.Sprintf("%s is %v, and the client reads %v", at, want, got))
		}
	}
	return found
}

// generic is a value as JSON has it.
func generic(v any) (out any) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		panic(err) // these are types of this package
	}
	return out
}

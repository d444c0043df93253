// Package diff says in which fields two states of a thing differ, as the audit log
// keeps it.
//
// What lives here: which fields count, and how a value is written. What must not: what
// is audited, shown or undone, which package domain says.
//
// Read FieldChange, then Between; Read is the way back.
package diff

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// FieldChange is the old and the new value of a field; nil means unset.
type FieldChange struct {
	Field string  `json:"field"`
	Old   *string `json:"old"`
	New   *string `json:"new"`
}

// unaudited are fields of no interest, or secret ones.
var unaudited = []string{"version", "created", "changed", "password_hash", "hash", "last_used", "last_login", "account"}

// Between returns the fields in which the JSON forms of two things differ, in the
// order of their names; nil is a thing that does not exist.
func Between(before, after any) []FieldChange {
	was, is := Fields(before), Fields(after)
	names := make([]string, 0, len(was)+len(is))
	for n := range was {
		names = append(names, n)
	}
	for n := range is {
		if _, ok := was[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	var changes []FieldChange
	for _, n := range names {
		o, hadOld := was[n]
		v, hasNew := is[n]
		if hadOld == hasNew && o == v {
			continue
		}
		f := FieldChange{Field: n}
		if hadOld {
			f.Old = &o
		}
		if hasNew {
			f.New = &v
		}
		changes = append(changes, f)
	}
	return changes
}

// Fields flattens a thing: settings.peer-sharing → on. Empty values are left
// out.
func Fields(v any) map[string]string {
	flat := make(map[string]string)
	if v == nil {
		return flat
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("diff: %T has no JSON form: %v", v, err)) // our own types have one
	}
	var m map[string]any
	if json.Unmarshal(b, &m) == nil {
		flatten(flat, "", m)
	}
	return flat
}

func flatten(flat map[string]string, prefix string, m map[string]any) {
	for k, v := range m {
		if prefix == "" && slices.Contains(unaudited, k) {
			continue
		}
		switch v := v.(type) {
		case nil:
		case map[string]any:
			flatten(flat, prefix+k+".", v)
		case string:
			// "" is a value of a setting; of any other field it means none.
			if v != "" || strings.HasPrefix(prefix, "settings.") {
				flat[prefix+k] = v
			}
		case bool:
			if v {
				flat[prefix+k] = "true"
			}
		default:
			b, _ := json.Marshal(v)
			if s := string(b); s != "0" && s != "[]" {
				flat[prefix+k] = s
			}
		}
	}
}

// Read gives the fields of a struct the values that Fields wrote below a prefix; its
// other fields are left as they are. It fits structs whose fields are texts, texts by
// name, and what Fields writes as JSON.
func Read(fields map[string]string, prefix string, into any) error {
	v := reflect.ValueOf(into).Elem()
	object := map[string]any{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		text, has := fields[prefix+name]
		switch t := v.Type().Field(i).Type; {
		case t.Kind() == reflect.Map:
			values := map[string]string{}
			for k, value := range fields {
				if k, ok := strings.CutPrefix(k, prefix+name+"."); ok {
					values[k] = value
				}
			}
			object[name] = values
		case !has:
		case t.Kind() == reflect.String:
			object[name] = text
		default:
			object[name] = json.RawMessage(text)
		}
	}
	b, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

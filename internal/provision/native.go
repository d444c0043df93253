package provision

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/BurntSushi/toml"

	"github.com/peerload/peerload/internal/policy"
)

// ParseTOML reads the native form: the same as in XML, with the settings by
// their own names. It is strict. Errors match ErrFile.
//
//	load = "SCCP41.9-4-2SR3-1S"     # for the device of the file, or:
//	[[loads]]                       # for all devices of a model
//	model = "CP-7941G"
//	load = "SCCP41.9-4-2SR3-1S"
//	[file-sets]                     # by their directories; without it those that are there stay
//	locale = "locale-jp-9.4"
//	[enterprise]                    # and [profile], [device]: later wins; before them [model]
//	peer-sharing = true
//	wan-limit = "200k"
//	[rollout]                       # what a rollout allows; times as in 2026-03-01T22:00:00Z
//	id = "up"
//	try = 1
//	load = "SCCP41.9-4-2SR3-1S"
//	download-from = 2026-03-01T22:00:00Z
//	download-until = 2026-03-02T04:00:00Z
func ParseTOML(b []byte) (*File, error) {
	if len(b) > MaxSize {
		return nil, badLine(0, "%d bytes are more than %d", len(b), MaxSize)
	}
	var m map[string]any
	if _, err := toml.Decode(string(b), &m); err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return nil, badLine(at.Position.Line, "%s", at.Message)
		}
		return nil, badLine(0, "%w", err)
	}
	return fromNative(m)
}

// ParseJSON reads the native form as JSON.
func ParseJSON(b []byte) (*File, error) {
	if len(b) > MaxSize {
		return nil, badLine(0, "%d bytes are more than %d", len(b), MaxSize)
	}
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err := d.Decode(&m)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows the JSON object")
		}
	}
	if err != nil {
		at := d.InputOffset()
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at = syntax.Offset
		}
		line := 1 + bytes.Count(b[:min(int64(len(b)), at)], []byte("\n"))
		return nil, badLine(line, "%w", err)
	}
	return fromNative(m)
}

func fromNative(m map[string]any) (*File, error) {
	f := &File{}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		var err error
		switch v := m[key]; key {
		case "load":
			var a Assignment
			if a.Load, err = asText(v); err == nil {
				f.Loads = append(f.Loads, a)
			}
		case "loads":
			err = f.nativeLoads(v)
		case "file-sets":
			err = f.nativeSets(v)
		case "group":
			f.Group, err = asText(v)
		case grantKey:
			err = f.nativeGrant(v)
		case "default":
			ok := false
			if f.Default, ok = v.(bool); !ok {
				err = errors.New("it is true or false")
			}
		default:
			err = f.nativeSection(key, v)
		}
		if err != nil {
			return nil, badLine(0, "%s: %w", key, err)
		}
	}
	for i := range f.Loads {
		f.Loads[i].Load = loadName(f.Loads[i].Load)
	}
	return f, f.Validate()
}

func (f *File) nativeLoads(v any) error {
	var rows []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		rows = v
	case []any:
		for _, r := range v {
			row, ok := r.(map[string]any)
			if !ok {
				return errors.New("it is a list of tables")
			}
			rows = append(rows, row)
		}
	default:
		return errors.New("it is a list of tables")
	}
	if len(rows) > MaxLoads {
		return fmt.Errorf("%d loads are more than %d", len(rows), MaxLoads)
	}
	for _, row := range rows {
		var a Assignment
		for _, key := range slices.Sorted(maps.Keys(row)) {
			text, err := asText(row[key])
			switch key {
			case "load":
				a.Load = text
			case "model":
				a.Model = text
			case "type":
				a.Type = text
			default:
				err = errors.New("there is no such key; there are load, model and type")
			}
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		f.Loads = append(f.Loads, a)
	}
	return nil
}

func (f *File) nativeSets(v any) error {
	table, ok := v.(map[string]any)
	if !ok {
		return errors.New("it is a table of file sets by their directories")
	}
	by := map[string]string{}
	for dir, raw := range table {
		name, ok := raw.(string)
		if !ok {
			return fmt.Errorf("%.40s: it is the name of a file set, in quotation marks", dir)
		}
		if name = loadName(name); name != "" {
			by[dir] = name
		}
	}
	f.FileSets = TellFileSets(by)
	return nil
}

func (f *File) nativeSection(key string, v any) error {
	i := slices.IndexFunc(sections, func(s section) bool { return s.key == key })
	if i < 0 {
		return errors.New(
			"there is no such key; there are load, loads, file-sets, default, group, rollout, model, enterprise, profile and " +
				"device")
	}
	table, ok := v.(map[string]any)
	if !ok {
		return errors.New("it is a table of settings")
	}
	values := policy.Values{}
	for name, raw := range table {
		text, err := asText(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if text == "" && !mayBeEmpty(name) {
			continue
		}
		values[name] = text
	}
	if len(values) == 0 {
		return nil
	}
	values, err := values.Normalise()
	*sections[i].of(&f.Levels) = values
	return err
}

// mayBeEmpty reports whether "" is a value of a setting, which hides that of
// weaker levels.
func mayBeEmpty(name string) bool {
	s, err := policy.Lookup(name)
	return err == nil && s.Check("") == nil
}

// asText takes a value as a setting writes it.
func asText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		if v {
			return policy.On, nil
		}
		return policy.Off, nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case json.Number:
		return v.String(), nil
	}
	return "", fmt.Errorf("%v is neither text, a number nor true or false", v)
}

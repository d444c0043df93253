package provision

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/load"
)

// TestBounds: each size of a file has its bound, in each form, and is taken up
// to it.
func TestBounds(t *testing.T) {
	loads := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "<loadInformation%d model=\"m%d\">fw</loadInformation%d>", i, i, i)
		}
		return "<device>" + b.String() + "</device>"
	}
	rows := func(n int) string {
		row := map[string]any{"load": "fw", "model": "m"}
		b, err := json.Marshal(map[string]any{"loads": slices.Repeat([]any{row}, n)})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	pad := func(s string, n int) string { return s + strings.Repeat(" ", n-len(s)) }
	deep := func(n int) string {
		return "<device>" + strings.Repeat("<a>", n-1) + strings.Repeat("</a>", n-1) + "</device>"
	}
	group := func(n int) string {
		return "<device><modelConfig><peerGroup>" + strings.Repeat("g", n) + "</peerGroup></modelConfig></device>"
	}
	model := func(n int) string {
		return `<device><loadInformation model="` + strings.Repeat("m", n) + `">fw</loadInformation></device>`
	}
	wide := func(n int) string { return "<device>" + strings.Repeat("<a/>", n-1) + "</device>" }
	nativeGroup := func(n int) string { return `{"group":"` + strings.Repeat("g", n) + `"}` }
	number := func(n string) string {
		return "<device><loadInformation" + n + ">fw</loadInformation" + n + "></device>"
	}
	nativeNumber := func(n string) string { return `{"loads":[{"load":"fw","type":"` + n + `"}]}` }
	for name, c := range map[string]struct {
		parse      func([]byte) (*File, error)
		most, over string
	}{
		"bytes of XML":           {Parse, pad("<device></device>", MaxSize), pad("<device></device>", MaxSize+1)},
		"bytes of TOML":          {ParseTOML, pad("load = \"a\"", MaxSize), pad("load = \"a\"", MaxSize+1)},
		"bytes of JSON":          {ParseJSON, pad("{}", MaxSize), pad("{}", MaxSize+1)},
		"loads of XML":           {Parse, loads(MaxLoads), loads(MaxLoads + 1)},
		"loads of JSON":          {ParseJSON, rows(MaxLoads), rows(MaxLoads + 1)},
		"elements":               {Parse, wide(MaxElements), wide(MaxElements + 1)},
		"depth":                  {Parse, deep(MaxDepth), deep(MaxDepth + 1)},
		"a group":                {Parse, group(policy.MaxModelText), group(policy.MaxModelText + 1)},
		"a group, JSON":          {ParseJSON, nativeGroup(policy.MaxModelText), nativeGroup(policy.MaxModelText + 1)},
		"a model":                {Parse, model(load.MaxTextLen), model(load.MaxTextLen + 1)},
		"a model's number":       {Parse, number("12345678"), number("123456789")},
		"a model's number, JSON": {ParseJSON, nativeNumber("12345678"), nativeNumber("123456789")},
	} {
		if _, err := c.parse([]byte(c.most)); err != nil {
			t.Errorf("%s: up to the bound: %v", name, err)
		}
		if _, err := c.parse([]byte(c.over)); !errors.Is(err, ErrFile) {
			t.Errorf("%s: beyond the bound: %v", name, err)
		}
	}
}

// TestNativeIsStrict: what the native form does not have is refused, and so is
// what could not be written.
func TestNativeIsStrict(t *testing.T) {
	for text, says := range map[string]string{
		`{} {}`:                       "follows",
		`{"load": "a"} x`:             "follows",
		`[]`:                          "cannot unmarshal",
		`{"load": ["a"]}`:             "load",
		`{"load": "../a"}`:            "name",
		`{"loads": [5]}`:              "list of tables",
		`{"loads": {}}`:               "list of tables",
		`{"loads": [{"load": null}]}`: "load",
		`{"loads": [{"name": "a"}]}`:  "no such key",
		`{"loads": [{"load": "a", "type": "x"}]}`:         "number of a model",
		`{"loads": [{"load": "a", "model": " m"}]}`:       "spaces around",
		`{"loads": [{"load": "a", "model": "m\n"}]}`:      "spaces around",
		`{"loads": [{"load": "a", "model": "a\u0001b"}]}`: "cannot be printed",
		`{"loads": [{"load": "a", "model": "a\u009fb"}]}`: "cannot be printed",
		`{"loads": [{"load": "a", "model": "a\ufffeb"}]}`: "cannot be printed",
		`{"loads": [{"load": "a", "model": "a\uffffb"}]}`: "cannot be printed",
		`{"group": "g\u007f"}`:                            "cannot be printed",
		`{"default": "yes"}`:                              "true or false",
		`{"device": "x"}`:                                 "table of settings",
		`{"device": {"timing": "fast"}}`:                  "timing",
		`{"device": {"colour": "red"}}`:                   "colour",
		`{"device": {"timing": []}}`:                      "neither text",
		`{"site": {}}`:                                    "no such key",
	} {
		if _, err := ParseJSON([]byte(text)); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
	for name, f := range map[string]*File{
		"loads":      {Loads: make([]Assignment, MaxLoads+1)},
		"a load":     {Loads: []Assignment{{Load: "a/b"}}},
		"a number":   {Loads: []Assignment{{Load: "a", Type: "-1"}}},
		"a model":    {Loads: []Assignment{{Load: "a", Model: "a\x00"}}},
		"no UTF-8":   {Loads: []Assignment{{Load: "a", Model: "a\xff"}}},
		"a group":    {Group: "g "},
		"model":      {Levels: policy.Levels{Model: policy.Values{"colour": "red"}}},
		"enterprise": {Levels: policy.Levels{Enterprise: policy.Values{policy.Timing: "fast"}}},
		"profile":    {Levels: policy.Levels{Profile: policy.Values{policy.PeerSharing: "1"}}},
		"device":     {Levels: policy.Levels{Device: policy.Values{policy.LoadServer: "ftp://x"}}},
	} {
		if err := f.Validate(); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := f.Marshal(); !errors.Is(err, ErrFile) || b != nil {
			t.Errorf("%s, written: %v", name, err)
		}
	}
	// What is written can be read: 1,024 loads of the longest names cannot.
	many := &File{}
	for i := range MaxLoads {
		name := fmt.Sprintf("%0*d", load.MaxNameLen, i)
		many.Loads = append(many.Loads, Assignment{Load: name, Model: strings.Repeat("'", load.MaxTextLen)})
	}
	if b, err := many.Marshal(); !errors.Is(err, ErrFile) || b != nil {
		t.Errorf("%d bytes were written, %v", len(b), err)
	}
}

// TestAssigned: a load for the device's model counts before one for all, and
// before one by its number.
func TestAssigned(t *testing.T) {
	other := Assignment{Load: "other", Model: "7941"}
	all := func(loads ...Assignment) File { return File{Default: true, Loads: loads} }
	one := func(loads ...Assignment) File { return File{Loads: loads} }
	for name, c := range map[string]struct {
		f           File
		model, want string
		err         error
	}{
		"by model":              {one(other, Assignment{Load: "own", Model: "7961"}), "7961", "own", nil},
		"by number":             {all(other, Assignment{Load: "own", Type: "30018"}), "7961", "own", nil},
		"of number 0":           {all(Assignment{Load: "a", Type: "0"}), "7961", "", nil},
		"a model of no number":  {all(Assignment{Load: "a", Type: "0"}), "linux-arm", "", nil},
		"of the device":         {one(Assignment{Load: "own"}), "7961", "own", nil},
		"of the device, number": {one(Assignment{Load: "own", Type: "115"}), "7961", "own", nil},
		"for all, number":       {all(Assignment{Load: "a", Type: "115"}), "7961", "", nil},
		"for all":               {all(Assignment{Load: "own"}), "7961", "own", nil},
		"none":                  {one(Assignment{Load: "", Model: "7941"}), "7961", "", nil},
		"for another":           {one(Assignment{Load: "a", Model: "7941"}), "7961", "", ErrModel},
		"for another, for all":  {all(Assignment{Load: "a", Model: "7941"}), "7961", "", nil},
	} {
		got, err := c.f.Assigned(policy.Builtin(), c.model)
		if got != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %q, %v; want %q, %v", name, got, err, c.want, c.err)
		}
	}
}

// TestLeaseBounds: of what a DHCP client has left no more is taken than can be a
// server.
func TestLeaseBounds(t *testing.T) {
	many := "opt150=" + strings.Repeat("0a000005", maxServers+1)
	listed := "opt150=" + strings.Repeat("10.0.0.5,", maxServers+1)
	for _, text := range []string{many, listed} {
		if l, err := ParseLease([]byte(text)); err != nil || len(l.Servers) != maxServers {
			t.Errorf("%.30s: %d servers, %v", text, len(l.Servers), err)
		}
	}
	for text, want := range map[string]string{
		"tftp=" + strings.Repeat("x", 255): strings.Repeat("x", 255),
		"tftp=" + strings.Repeat("x", 256): "", "tftp=a/b": "", "tftp=a b": "", "tftp=a;b": "",
		"tftp=a\x00b": "", "tftp=é": "",
		"tftp=a_b-c.D0": "a_b-c.D0",
	} {
		if l, err := ParseLease([]byte(text)); l.Name != want || (err == nil) != (want != "") {
			t.Errorf("%.30q: %q, %v", text, l.Name, err)
		}
	}
	for text, want := range map[string]string{
		"opt150=a:0:0:5": "10.0.0.5", "opt150=a:0:0:500": "", "opt150=a:0:0:x": "", "opt150=0a0000050a": "",
		"opt150=zz": "", "opt150=::1": "",
		"opt150=0x0a000005": "10.0.0.5", "opt150=fe80::1,10.0.0.5": "10.0.0.5",
	} {
		l, err := ParseLease([]byte(text))
		if want == "" && err == nil || want != "" && !slices.Equal(l.Servers, []netip.Addr{netip.MustParseAddr(want)}) {
			t.Errorf("%s: %+v, %v; want %q", text, l, err, want)
		}
	}
	if _, err := ParseLease([]byte("tftp=a\n" + strings.Repeat("#", MaxLeaseSize-7))); err != nil {
		t.Errorf("the longest lease: %v", err)
	}
	if _, err := ParseLease([]byte("tftp=a\n" + strings.Repeat("#", MaxLeaseSize-6))); !errors.Is(err, ErrLease) {
		t.Errorf("a longer lease: %v", err)
	}
}

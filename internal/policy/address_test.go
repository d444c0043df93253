package policy

import (
	"errors"
	"strings"
	"testing"
)

// TestAdmit: what is set now names a server and holds no password; what was set
// before is still read.
func TestAdmit(t *testing.T) {
	label := strings.Repeat("x", 63)
	for _, name := range []string{LoadServer, LogServer} {
		s, err := Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []string{"", "10.0.0.5", "10.0.0.5:8080", "fw.example.", "fw_1.example", "[2001:db8::1]",
			"[::1]:514", "[fe80::1%25eth0]:514", label + ".example", strings.Repeat(label+".", 3) + label[:61]} {
			if got, err := s.Admit(v); got != v || err != nil {
				t.Errorf("%s: %q becomes %q, %v", name, v, got, err)
			}
		}
		for _, v := range []string{"[::1", "::1]", "<x>", "a\"b", "a..b", ".a", "a:0", "a:65536", "a:x", "a:",
			"2001:db8::1", "[10.0.0.5]", "[fe80", "[]", "fw example", "x" + label + ".example",
			strings.Repeat(label+".", 3) + label[:62], "a,b", "bücher"} {
			if _, err := s.Admit(v); !errors.Is(err, ErrSetting) {
				t.Errorf("%s: %q is admitted", name, v)
			}
		}
	}
	s, err := Lookup(LoadServer)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"http://10.0.0.5/fw",
		"https://fw.example:8443/a/b_c-d~e,f;g=h@i%20j", "tftp://[2001:db8::1]/",
		"fw.example/ファーム"} {
		if got, err := s.Admit(" " + v); got != v || err != nil {
			t.Errorf("%q becomes %q, %v", v, got, err)
		}
	}
	for _, v := range []string{"http://[::1", "http://[::1]x", "</x>", "http://</x>", "http://a/<x>", "http://a/?x",
		"http://a/x?", "http://a/%4", "http://a/#x", "http://a/#", "http://a/%zz",
		"http://a:x/", "http:///x", "http://:80/x", "a/\\x", "ftp://a/x"} {
		if _, err := s.Admit(v); !errors.Is(err, ErrSetting) {
			t.Errorf("%q is admitted", v)
		}
	}
	for _, v := range []string{"http://bob:secret@a/x", "bob:secret@a", "http://secret@a/", "https://:secret@a",
		"http://bob:sec/ret@a/", "ftp://bob:secret@a", "http://bob:secret @a"} {
		_, err := s.Admit(v)
		if !errors.Is(err, ErrSetting) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "ret@") {
			t.Errorf("%q: %v", v, err)
		}
		if shown := s.Shown(v); strings.Contains(shown, "bob") || strings.Contains(shown, "ret@") {
			t.Errorf("%q is shown as %q", v, shown)
		}
	}
	for _, v := range []string{"", "10.0.0.5", "http://a/x@y", "fw.example:80/x@y"} {
		if got := s.Shown(v); got != v {
			t.Errorf("%q is shown as %q", v, got)
		}
	}
	if got, err := s.Normalise("http://bob:secret@a/x"); err != nil || got != "http://bob:secret@a/x" {
		t.Errorf("set before: %q, %v", got, err)
	}
	rows := ModelFile{[]ModelRow{{Name: "X", Family: "f", Defaults: map[string]string{LoadServer: "http://b:secret@a/"}}}}
	if _, err := rows.Models(); !errors.Is(err, ErrModel) || !errors.Is(err, ErrSetting) {
		t.Errorf("in a model's defaults: %v", err)
	}
	if _, err := (Values{LoadServer: "http://[::1"}).Admit(); !errors.Is(err, ErrSetting) {
		t.Errorf("in values: %v", err)
	}
}

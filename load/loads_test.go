package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// tlv is one field of a signature header.
func tlv(tag byte, v []byte) []byte {
	b := []byte{tag, 0, 0}
	binary.BigEndian.PutUint16(b[1:], uint16(len(v)))
	return append(b, v...)
}

const classicText = "# SCCP41.9-4-2SR2-2S\r\n\r\njar41sccp.9-4-2ES26.sbn\r\ncnu41.9-4-2ES26.sbn\r\n" +
	"apps41.9-4-2ES26.sbn\r\ndsp41.9-4-2ES26.sbn\r\ncvm41sccp.9-4-2ES26.sbn\r\n"

var classicNames = []string{"jar41sccp.9-4-2ES26.sbn", "cnu41.9-4-2ES26.sbn", "apps41.9-4-2ES26.sbn",
	"dsp41.9-4-2ES26.sbn", "cvm41sccp.9-4-2ES26.sbn"}

// classicSigned is a file as the 79x1 family has it, made up from
// docs/ORIGINAL.md, "Provisioning and files".
func classicSigned() []byte {
	b := tlv(1, []byte{1, 0})
	b = append(b, tlv(2, []byte{0, 0})...)
	b = append(b, tlv(tagSignature, bytes.Repeat([]byte{0xa5}, 256))...)
	b = append(b, tlv(tagFileName, []byte("SCCP41.9-4-2SR2-2S.loads\x00"))...)
	b = append(b, tagPadding, tagPadding, tagPadding)
	return append(b, classicText...)
}

func TestParseLoadsGolden(t *testing.T) {
	files := map[string][]byte{"testdata/signed.loads": classicSigned(), "testdata/plain.loads": []byte(classicText)}
	for file, b := range files {
		if os.Getenv("UPDATE_GOLDEN") == "1" {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		l, err := ParseLoads(have)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		signed := strings.Contains(file, "signed")
		if !reflect.DeepEqual(l.Components, classicNames) {
			t.Errorf("%s: components %q", file, l.Components)
		}
		if l.HasHeader != signed || (len(l.Signature) == 256) != signed ||
			(l.FileName == "SCCP41.9-4-2SR2-2S.loads") != signed {
			t.Errorf("%s: header %v, signature of %d bytes, name %q", file, l.HasHeader, len(l.Signature), l.FileName)
		}
	}
}

func TestParseLoads(t *testing.T) {
	header := append(tlv(tagSignature, []byte("sig")), tagPadding)
	for name, b := range map[string][]byte{
		"LF only":                      []byte("a.sbn\nb.sbn"),
		"no comment":                   []byte("a.sbn\r\nb.sbn\r\n"),
		"empty first line":             []byte("\r\na.sbn\r\n\r\nb.sbn\r\n"),
		"blanks around":                []byte("  a.sbn\t\r\n # note\r\nb.sbn"),
		"empty line behind the header": append(bytes.Clone(header), "\r\na.sbn\r\nb.sbn\r\n"...),
		"text right behind the header": append(tlv(tagSignature, nil), "a.sbn\r\nb.sbn\r\n"...),
	} {
		l, err := ParseLoads(b)
		if err != nil || !reflect.DeepEqual(l.Components, []string{"a.sbn", "b.sbn"}) {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
	var many strings.Builder
	for i := range MaxComponents + 1 {
		fmt.Fprintf(&many, "f%d\n", i)
	}
	for name, b := range map[string][]byte{
		"empty":               nil,
		"comments only":       []byte("# a\r\n# b\r\n"),
		"too large":           append([]byte("a\r\n"), bytes.Repeat([]byte("#\r\n"), MaxLoadsSize)...),
		"path":                []byte("../a.sbn\r\n"),
		"backslash":           []byte("..\\a.sbn\r\n"),
		"named twice":         []byte("a.sbn\r\nA.SBN\r\n"),
		"too many":            []byte(many.String()),
		"header only":         tlv(tagSignature, []byte("sig")),
		"header cut off":      {1, 0},
		"field too long":      {1, 0xff, 0xff, 'a', '\n'},
		"two signatures":      append(append(tlv(tagSignature, nil), tlv(tagSignature, nil)...), "a\n"...),
		"bad name in header":  append(tlv(tagFileName, []byte("../x.loads")), "a\n"...),
		"too many fields":     append(bytes.Repeat(tlv(3, nil), maxLoadsFields+1), "a\n"...),
		"a binary, no .loads": {0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0},
	} {
		if l, err := ParseLoads(b); !errors.Is(err, errLoads) || l != nil {
			t.Errorf("%s: got %v, want %v", name, err, errLoads)
		}
	}
}

func FuzzLoads(f *testing.F) {
	f.Add(classicSigned())
	f.Add([]byte(classicText))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLoads(b)
		if err != nil {
			if !errors.Is(err, errLoads) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if n := len(l.Components); n < 1 || n > MaxComponents {
			t.Fatalf("%d components", n)
		}
		again, err := ParseLoads([]byte(strings.Join(l.Components, "\r\n") + "\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again.Components, l.Components) {
			t.Fatalf("round trip: %q, want %q", again.Components, l.Components)
		}
	})
}

// TestLoadsBounds: a text without a header has none, whatever it begins with;
// padding may stand anywhere in a header; and each bound is taken up to it.
func TestLoadsBounds(t *testing.T) {
	for _, text := range []string{"\ta.sbn\n", "\na.sbn\n", "\r\na.sbn\r\n", "\r\r\na.sbn\r\n"} {
		l, err := ParseLoads([]byte(text))
		if err != nil || l.HasHeader || !reflect.DeepEqual(l.Components, []string{"a.sbn"}) {
			t.Errorf("%q: %+v, %v", text, l, err)
		}
	}
	padded := append(append([]byte{1, 0, 0, tagPadding, tagPadding}, tlv(tagSignature, []byte("sig"))...), "a.sbn\n"...)
	if l, err := ParseLoads(padded); err != nil || string(l.Signature) != "sig" {
		t.Errorf("padding between fields: %+v, %v", l, err)
	}
	fields := func(n int) []byte { return append(bytes.Repeat(tlv(3, nil), n), "a.sbn\n"...) }
	if l, err := ParseLoads(fields(maxLoadsFields)); err != nil || !l.HasHeader {
		t.Errorf("the most fields: %v", err)
	}
	sized := func(n int) []byte { return append([]byte("a.sbn\n"), bytes.Repeat([]byte("#"), n-6)...) }
	if _, err := ParseLoads(sized(MaxLoadsSize)); err != nil {
		t.Errorf("the most bytes: %v", err)
	}
	if _, err := ParseLoads(sized(MaxLoadsSize + 1)); !errors.Is(err, errLoads) {
		t.Errorf("a byte more: %v", err)
	}
	var most strings.Builder
	for i := range MaxComponents {
		fmt.Fprintf(&most, "f%d\n", i)
	}
	if l, err := ParseLoads([]byte(most.String())); err != nil || len(l.Components) != MaxComponents {
		t.Errorf("the most components: %v", err)
	}
}

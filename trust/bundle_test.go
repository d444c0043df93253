package trust

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestBundleBytes(t *testing.T) {
	b, err := newBundle(map[string][]byte{"metadata/timestamp.json": []byte("{}"), "fw.load": {}})
	if err != nil {
		t.Fatal(err)
	}
	const want = "504c545255535401" + "02" + "07" + "66772e6c6f6164" + "00000000" +
		"17" + "6d657461646174612f74696d657374616d702e6a736f6e" + "00000002" + "7b7d"
	good := PackBundle(b)
	if got := hex.EncodeToString(good); got != want {
		t.Errorf("packed as %s, want %s", got, want)
	}
	entry := func(p, data string) string {
		return string([]byte{byte(len(p))}) + p + string([]byte{0, 0, 0, byte(len(data))}) + data
	}
	entries := func(n int) (all string) {
		for i := range n {
			all += entry(fmt.Sprintf("%03d", i), "")
		}
		return all
	}
	for name, raw := range map[string]string{
		"empty":           "",
		"magic only":      bundleMagic,
		"other version":   "PLTRUST\x02\x00",
		"too many":        bundleMagic + "\x41" + entries(65),
		"cut off":         string(good[:len(good)-1]),
		"cut off in path": string(good[:12]),
		"something after": string(good) + "x",
		"length lies":     bundleMagic + "\x01\x01a\xff\xff\xff\xff",
		"path to above":   bundleMagic + "\x01" + entry("../a", ""),
		"absolute path":   bundleMagic + "\x01" + entry("/a", ""),
		"no path":         bundleMagic + "\x01" + entry("", ""),
		"unclean path":    bundleMagic + "\x01" + entry("a//b", ""),
		"backslash":       bundleMagic + "\x01" + entry(`a\b`, ""),
		"twice":           bundleMagic + "\x02" + entry("a", "") + entry("a", ""),
		"out of order":    bundleMagic + "\x02" + entry("b", "") + entry("a", ""),
		"too large":       bundleMagic + "\x01\x01a\x00\x3f\xff\xf2" + strings.Repeat("x", MaxBundleSize-14),
		"no UTF-8":        bundleMagic + "\x01" + entry("a\xff", ""),
		"zero byte":       bundleMagic + "\x01" + entry("a\x00", ""),
	} {
		if _, err := ParseBundle([]byte(raw)); !errors.Is(err, errBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, raw := range map[string]string{
		"the most files": bundleMagic + "\x40" + entries(64),
		"the most bytes": bundleMagic + "\x01\x01a\x00\x3f\xff\xf1" + strings.Repeat("x", MaxBundleSize-15),
	} {
		if _, err := ParseBundle([]byte(raw)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := strings.Repeat("p", 255)
	if b, err := ParseBundle([]byte(bundleMagic + "\x01" + entry(long, "x"))); err != nil || b.paths()[0] != long {
		t.Errorf("the longest path: %v", err)
	}
	if _, err := newBundle(map[string][]byte{"a": make([]byte, MaxBundleSize)}); !errors.Is(err, errBundle) {
		t.Errorf("too large to pack: %v", err)
	}
	if _, err := newBundle(map[string][]byte{"a": make([]byte, MaxBundleSize-15)}); err != nil {
		t.Errorf("the most bytes to pack: %v", err)
	}
	if _, err := newBundle(map[string][]byte{"a": make([]byte, MaxBundleSize-14)}); !errors.Is(err, errBundle) {
		t.Errorf("a byte more to pack: %v", err)
	}
	if _, err := newBundle(map[string][]byte{"../a": nil}); !errors.Is(err, errBundle) {
		t.Errorf("path to above: %v", err)
	}
	many := map[string][]byte{}
	for i := range maxBundleEntries + 1 {
		many[fmt.Sprint(i)] = nil
	}
	if _, err := newBundle(many); !errors.Is(err, errBundle) {
		t.Errorf("too many to pack: %v", err)
	}
}

func FuzzBundle(f *testing.F) {
	b, _ := newBundle(map[string][]byte{"metadata/timestamp.json": []byte("{}"), "fw.load": {}})
	f.Add(PackBundle(b))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := ParseBundle(raw)
		if err != nil {
			if !errors.Is(err, errBundle) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if !bytes.Equal(PackBundle(b), raw) {
			t.Fatal("another form of the same bundle")
		}
	})
}

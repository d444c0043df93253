package trust

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// TestBundleInsteadOfOrigin: what a client accepts from the origin it accepts
// from a bundle, with the same result, whatever root it starts from.
func TestBundleInsteadOfOrigin(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	known := s.device() // has seen version 1
	if _, err := known.version(s.origin()); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.ROOT} {
		s.must(s.repo.RotateKeys(role))
	}
	s.fw("2")
	s.add("other", "7", map[string]string{"o.bin": "o"})
	for _, builder := range []*device{s.device(), known} {
		// Built twice: the second time everything but the timestamp and the
		// manifest comes from the builder's directory.
		var packed [][]byte
		for range 2 {
			b, m, err := builder.boot().BuildBundle(t.Context(), s.origin(), "fw")
			if err != nil || m.Version != "2" {
				t.Fatal(err)
			}
			packed = append(packed, PackBundle(b))
		}
		if !bytes.Equal(packed[0], packed[1]) {
			t.Error("the same state makes different bundles")
		}
		b, err := ParseBundle(packed[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, root := range []int64{1, 2, 3, 4} {
			direct, byBundle := s.deviceAt(root).boot(), s.deviceAt(root).boot()
			s.must(direct.Refresh(t.Context(), s.origin()))
			s.must(byBundle.Refresh(t.Context(), b))
			m1, raw1, err := direct.Manifest(t.Context(), s.origin(), "fw")
			s.must(err)
			m2, raw2, err := byBundle.Manifest(t.Context(), b, "fw")
			s.must(err)
			if !bytes.Equal(raw1, raw2) || !reflect.DeepEqual(m1, m2) {
				t.Errorf("root %d: another manifest from the bundle", root)
			}
			a1, err := direct.load()
			s.must(err)
			a2, err := byBundle.load()
			s.must(err)
			if !a1.same(a2) {
				t.Errorf("root %d: another state is kept from the bundle", root)
			}
			if _, _, err := byBundle.Manifest(t.Context(), b, "other"); !errors.Is(err, ErrNotFound) {
				t.Errorf("a load that is not in the bundle: %v", err)
			}
		}
	}
}

// TestBundleTooOld: a peer's bundle counts only if it is unexpired and not
// older; then the device goes to the origin.
func TestBundleTooOld(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	b, _, err := s.device().boot().BuildBundle(t.Context(), s.origin(), "fw")
	s.must(err)
	s.fw("2")
	d := s.device()
	if _, err := d.version(s.origin()); err != nil {
		t.Fatal(err)
	}
	only(t, "older bundle", second(d.version(b)), ErrRolledBack)
	s.now = epoch.Add(45 * day)
	only(t, "expired bundle", second(s.device().version(b)), ErrExpired)
	s.must(s.repo.Refresh())
	if v, err := s.device().version(s.origin()); err != nil || v != "2" {
		t.Errorf("then the origin: %q, %v", v, err)
	}
	_, _, err = s.device().boot().BuildBundle(t.Context(), s.origin(), "none")
	only(t, "no such load", err, ErrUnknownTarget)
}

// TestManyRoots: a bundle has room for the newest roots only.
func TestManyRoots(t *testing.T) {
	s := newSite(t)
	s.fw("1")
	for range 70 {
		s.must(s.repo.RotateKeys(metadata.ROOT))
	}
	b, _, err := s.device().boot().BuildBundle(t.Context(), s.origin(), "fw")
	s.must(err)
	if n := len(b.Paths()); n != MaxBundleEntries {
		t.Errorf("%d files", n)
	}
	if v, err := s.deviceAt(30).version(b); err != nil || v != "1" {
		t.Errorf("root 30: %q, %v", v, err)
	}
	if v, err := s.device().version(s.origin()); err != nil || v != "1" {
		t.Errorf("root 1 at the origin: %q, %v", v, err)
	}
}

func TestBundleBytes(t *testing.T) {
	b, err := NewBundle(map[string][]byte{"metadata/timestamp.json": []byte("{}"), "fw.load": {}})
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
	for name, raw := range map[string]string{
		"empty":           "",
		"magic only":      bundleMagic,
		"other version":   "PLTRUST\x02\x00",
		"too many":        bundleMagic + "\x41" + strings.Repeat(entry("a", ""), 65),
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
		"too large":       bundleMagic + strings.Repeat("x", MaxBundleSize),
	} {
		if _, err := ParseBundle([]byte(raw)); !errors.Is(err, ErrBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := strings.Repeat("p", 255)
	if b, err := ParseBundle([]byte(bundleMagic + "\x01" + entry(long, "x"))); err != nil || b.Paths()[0] != long {
		t.Errorf("the longest path: %v", err)
	}
	if _, err := NewBundle(map[string][]byte{"a": make([]byte, MaxBundleSize)}); !errors.Is(err, ErrBundle) {
		t.Errorf("too large to pack: %v", err)
	}
	if _, err := NewBundle(map[string][]byte{"../a": nil}); !errors.Is(err, ErrBundle) {
		t.Errorf("path to above: %v", err)
	}
	many := map[string][]byte{}
	for i := range MaxBundleEntries + 1 {
		many[fmt.Sprint(i)] = nil
	}
	if _, err := NewBundle(many); !errors.Is(err, ErrBundle) {
		t.Errorf("too many to pack: %v", err)
	}
}

func FuzzBundle(f *testing.F) {
	b, _ := NewBundle(map[string][]byte{"metadata/timestamp.json": []byte("{}"), "fw.load": {}})
	f.Add(PackBundle(b))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := ParseBundle(raw)
		if err != nil {
			if !errors.Is(err, ErrBundle) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if !bytes.Equal(PackBundle(b), raw) {
			t.Fatal("another form of the same bundle")
		}
	})
}

// FuzzTampered alters one place of a good bundle. Whatever it is, the device
// either refuses it or ends with the very manifest that was signed.
func FuzzTampered(f *testing.F) {
	s := newSite(f)
	s.fw("1")
	s.must(s.repo.RotateKeys(metadata.ROOT))
	s.fw("2")
	b, _, err := s.device().boot().BuildBundle(context.Background(), s.origin(), "fw")
	s.must(err)
	good := PackBundle(b)
	want, err := os.ReadFile(s.base + "/fw.load")
	s.must(err)
	pin, err := os.ReadFile(s.base + "/metadata/1.root.json")
	s.must(err)
	f.Add(100, []byte("x"))
	f.Add(len(good)/2, []byte("null"))
	f.Fuzz(func(t *testing.T, at int, patch []byte) {
		if at < 0 || at > len(good) {
			return
		}
		raw := bytes.Clone(good)
		copy(raw[at:], patch)
		b, err := ParseBundle(raw)
		if err != nil {
			return
		}
		w, err := newWalk(accepted{pin: pin}, b, epoch)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.run(context.Background()); err != nil {
			return
		}
		if _, got, _, err := w.manifest(context.Background(), b, "fw"); err == nil && !bytes.Equal(got, want) {
			t.Fatal("an altered manifest is accepted")
		}
	})
}

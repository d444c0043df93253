package trust_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/testkit/publisher"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/trust"
)

// TestBundleInsteadOfOrigin: what a client accepts from the origin it accepts
// from a bundle, with the same result, whatever root it starts from.
func TestBundleInsteadOfOrigin(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	known := s.Device() // has seen version 1
	if _, err := known.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.ROOT} {
		must(t, s.Repo.RotateKeys(role))
	}
	s.Firmware("2")
	s.Add("other", "7", map[string]string{"o.bin": "o"})
	for _, builder := range []*publisher.Device{s.Device(), known} {
		// Built twice: the second time everything but the timestamp and the
		// manifest comes from the builder's directory.
		var packed [][]byte
		for range 2 {
			b, m, err := builder.Boot().BuildBundle(t.Context(), s.Origin(), "fw")
			if err != nil || m.Version != "2" {
				t.Fatal(err)
			}
			packed = append(packed, trust.PackBundle(b))
		}
		if !bytes.Equal(packed[0], packed[1]) {
			t.Error("the same state makes different bundles")
		}
		b, err := trust.ParseBundle(packed[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, root := range []int64{1, 2, 3, 4} {
			one, two := s.DeviceAt(root), s.DeviceAt(root)
			direct, byBundle := one.Boot(), two.Boot()
			must(t, direct.Refresh(t.Context(), s.Origin()))
			must(t, byBundle.Refresh(t.Context(), b))
			m1, raw1, err := direct.Manifest(t.Context(), s.Origin(), "fw")
			must(t, err)
			m2, raw2, err := byBundle.Manifest(t.Context(), b, "fw")
			must(t, err)
			if !bytes.Equal(raw1, raw2) || !reflect.DeepEqual(m1, m2) {
				t.Errorf("root %d: another manifest from the bundle", root)
			}
			if !maps.Equal(kept(t, one), kept(t, two)) {
				t.Errorf("root %d: another state is kept from the bundle", root)
			}
			if _, _, err := byBundle.Manifest(t.Context(), b, "other"); !errors.Is(err, trust.ErrNotFound) {
				t.Errorf("a load that is not in the bundle: %v", err)
			}
		}
	}
}

// TestBundleTooOld: a peer's bundle counts only if it is unexpired and not
// older; then the device goes to the origin.
func TestBundleTooOld(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	b, _, err := s.Device().Boot().BuildBundle(t.Context(), s.Origin(), "fw")
	must(t, err)
	s.Firmware("2")
	d := s.Device()
	if _, err := d.Version(s.Origin()); err != nil {
		t.Fatal(err)
	}
	only(t, "older bundle", second(d.Version(b)), trust.ErrRolledBack)
	s.Now = publisher.Epoch.Add(45 * 24 * time.Hour)
	only(t, "expired bundle", second(s.Device().Version(b)), trust.ErrExpired)
	must(t, s.Repo.Refresh())
	if v, err := s.Device().Version(s.Origin()); err != nil || v != "2" {
		t.Errorf("then the origin: %q, %v", v, err)
	}
	_, _, err = s.Device().Boot().BuildBundle(t.Context(), s.Origin(), "none")
	only(t, "no such load", err, trust.ErrUnknownTarget)
}

// TestManyRoots: a bundle has room for the newest roots only.
func TestManyRoots(t *testing.T) {
	tiers.Long(t, "it reads many roots")
	s := publisher.New(t)
	s.Firmware("1")
	for range 70 {
		must(t, s.Repo.RotateKeys(metadata.ROOT))
	}
	b, _, err := s.Device().Boot().BuildBundle(t.Context(), s.Origin(), "fw")
	must(t, err)
	if n := len(b.Paths()); n != trust.MaxBundleEntries {
		t.Errorf("%d files", n)
	}
	if v, err := s.DeviceAt(30).Version(b); err != nil || v != "1" {
		t.Errorf("root 30: %q, %v", v, err)
	}
	if v, err := s.Device().Version(s.Origin()); err != nil || v != "1" {
		t.Errorf("root 1 at the origin: %q, %v", v, err)
	}
}

// FuzzTampered alters one place of a good bundle. Whatever it is, the device
// either refuses it or ends with the very manifest that was signed.
func FuzzTampered(f *testing.F) {
	s := publisher.New(f)
	s.Firmware("1")
	must(f, s.Repo.RotateKeys(metadata.ROOT))
	s.Firmware("2")
	b, _, err := s.Device().Boot().BuildBundle(context.Background(), s.Origin(), "fw")
	must(f, err)
	good := trust.PackBundle(b)
	want, err := os.ReadFile(s.Dir + "/fw.load")
	must(f, err)
	pin, err := os.ReadFile(s.Dir + "/metadata/1.root.json")
	must(f, err)
	f.Add(100, []byte("x"))
	f.Add(len(good)/2, []byte("null"))
	f.Fuzz(func(t *testing.T, at int, patch []byte) {
		if at < 0 || at > len(good) {
			return
		}
		raw := bytes.Clone(good)
		copy(raw[at:], patch)
		b, err := trust.ParseBundle(raw)
		if err != nil {
			return
		}
		c, err := trust.New(trust.Config{Pin: pin, Now: func() time.Time { return publisher.Epoch }})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Refresh(context.Background(), b); err != nil {
			return
		}
		if _, got, err := c.Manifest(context.Background(), b, "fw"); err == nil && !bytes.Equal(got, want) {
			t.Fatal("an altered manifest is accepted")
		}
	})
}

// FuzzPin: a file is a root that trust can begin with, or it is refused as none;
// and no tree makes a device of another root accept a load.
func FuzzPin(f *testing.F) {
	s := publisher.New(f)
	s.Firmware("1")
	own, err := os.ReadFile(s.Dir + "/metadata/1.root.json")
	must(f, err)
	f.Add(own)
	f.Add(bytes.Replace(own, []byte(`"keyids"`), []byte(`"keyid"`), 1))
	f.Add([]byte(`{"signed":{"_type":"root","roles":{"root":null}},"signatures":[null]}`))
	f.Fuzz(func(t *testing.T, pin []byte) {
		c, err := trust.New(trust.Config{Pin: pin, Now: func() time.Time { return publisher.Epoch }})
		if err != nil {
			if !errors.Is(err, trust.ErrNoRoot) && len(pin) > 0 {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if err := c.Refresh(context.Background(), s.Origin()); err == nil && !sameRoot(pin, own) {
			t.Fatalf("the tree is accepted by %q", pin)
		}
	})
}

// sameRoot reports whether two roots name the same keys.
func sameRoot(a, b []byte) bool {
	var x, y struct {
		Signed struct {
			Keys map[string]any `json:"keys"`
		} `json:"signed"`
	}
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil &&
		reflect.DeepEqual(x.Signed.Keys, y.Signed.Keys)
}

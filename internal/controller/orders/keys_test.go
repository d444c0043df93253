package orders

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
)

// TestPowerCutOfKeys cuts the power while the first order key is made, and while the
// next one is: a key that was in use is there, or the one after it, which devices that
// have the first are led to.
func TestPowerCutOfKeys(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir, used := filepath.Join(base, "keys"), []keyFile{{}}
	story := func(r *faultdisk.Recorder) error {
		k := OpenKeys(dir, rand.Reader, nil)
		k.disk = durable.Writer{FS: r}
		for len(used) < 4 {
			if len(used) > 1 {
				if _, err := k.rotate(); err != nil {
					return err
				}
			}
			f, err := k.current()
			if err != nil {
				return err
			}
			used = append(used, f)
		}
		return nil
	}
	said := func() string { return strconv.Itoa(len(used) - 1) }
	faultdisk.Recorded(t, 1, base, story, said, func(t *testing.T, base, promise string) {
		k := OpenKeys(filepath.Join(base, "keys"), rand.Reader, nil)
		n, err := strconv.Atoi(promise)
		if err != nil {
			t.Fatal(err)
		}
		f, err := k.current()
		if err != nil || f.Version != n+1 && (n == 0 || !bytes.Equal(f.Seed, used[n].Seed)) {
			t.Fatalf("the key has version %d, %v; one of version %d was in use", f.Version, err, n)
		}
		if _, ok := f.lead(1); f.Version > 1 && !ok {
			t.Fatal("devices that have the first key are not led to this one")
		}
		if _, err := k.rotate(); err != nil {
			t.Fatal(errors.Join(errors.New("no next key can be made"), err))
		}
	})
}

// TestKeyFileRefused: a file that this program has not written is refused, for each
// thing that may be wrong by itself.
func TestKeyFileRefused(t *testing.T) {
	good := keyFile{Format: 1, Version: order.MaxNext + 2, Seed: make([]byte, ed25519.SeedSize),
		Next: make([][]byte, order.MaxNext)}
	for name, spoil := range map[string]func(f *keyFile){
		"":                    func(*keyFile) {},
		"another format":      func(f *keyFile) { f.Format = 2 },
		"no version":          func(f *keyFile) { f.Version, f.Next = 0, nil },
		"a short seed":        func(f *keyFile) { f.Seed = f.Seed[1:] },
		"a long seed":         func(f *keyFile) { f.Seed = append(f.Seed[:31:31], 0, 0) },
		"more steps than are": func(f *keyFile) { f.Version = len(f.Next) },
		"too many steps":      func(f *keyFile) { f.Next = append(f.Next[:1:1], f.Next...) },
	} {
		f := good
		spoil(&f)
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseKeyFile(text); (err == nil) != (name == "") || err != nil && !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// The key stays over restarts, is nobody else's, and leads on to the next ones.
func TestKeys(t *testing.T) {
	r := newRig(t)
	first := r.poll(one, order.Key{}).key
	again := r.open()
	k, err := again.Key(t.Context(), r.root)
	if err != nil || !slices.Equal(k.Public, first.Public) {
		t.Fatalf("another key after a restart: %v", err)
	}
	for range 3 {
		if _, err := again.RotateKey(t.Context(), r.root); err != nil {
			t.Fatal(err)
		}
	}
	last := r.poll(one, first).key
	if k, _ = again.Key(t.Context(), r.root); last.Version != 4 || !slices.Equal(last.Public, k.Public) {
		t.Errorf("version %d", last.Version)
	}
	if g := r.poll(one, last); g.key.Version != 4 || len(g.beats) != 1 {
		t.Errorf("%+v", g)
	}
	name := filepath.Join(r.dir, "keys", keyName)
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	refused := func(what string) {
		t.Helper()
		_, err := r.open().Key(t.Context(), r.root)
		_, err2 := r.orders.Send(t.Context(), r.root, Request{Kind: "retry", All: true}, false)
		if !errors.Is(err, ErrKey) || !errors.Is(err2, domain.ErrKeys) {
			t.Errorf("%s: %v, %v", what, err, err2)
		}
	}
	refused("readable by others")
	if err := errors.Join(os.Chmod(name, 0o600), os.Truncate(name, 9)); err != nil {
		t.Fatal(err)
	}
	refused("damaged")
}

// FuzzKeyFile: what is read as a key signs, and leads on no further than it says.
func FuzzKeyFile(f *testing.F) {
	f.Add([]byte(`{"format":1,"version":1,"seed":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="}`))
	f.Add([]byte(`{"format":1,"version":2,"seed":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","next":["AQ=="]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := parseKeyFile(text)
		if err != nil {
			if !errors.Is(err, ErrKey) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		if b, err := k.key().OpenBeat(order.SealBeat(k.private(), order.Beat{Feed: "f"})); err != nil || b.Feed != "f" {
			t.Error(err)
		}
		for v := range min(k.Version, 200) + 2 {
			if line, ok := k.lead(v); ok && v > 0 && len(line.Next) != k.Version-v {
				t.Errorf("from version %d lead %d statements to %d", v, len(line.Next), k.Version)
			}
		}
	})
}

package orders

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"path/filepath"
	"strconv"
	"testing"

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
		k := OpenKeys(dir, rand.Reader)
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
		k := OpenKeys(filepath.Join(base, "keys"), rand.Reader)
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

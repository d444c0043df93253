package orders

import (
	"bytes"
	"crypto/rand"
	"errors"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/peerload/peerload/internal/durable"
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

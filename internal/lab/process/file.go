package process

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"github.com/peerload/peerload/load"
)

// FileName is the name of the one file that all devices of a site fetch, on the
// server and on each device.
const FileName = "file.bin"

// RandomFile writes n random bytes, which no link can compress and no earlier
// run has left anywhere, and returns their SHA-256.
func RandomFile(ctx context.Context, path string, n int64) (string, error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var seed [32]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return "", err
	}
	h := sha256.New()
	src := rand.NewChaCha8(seed)
	for n > 0 && ctx.Err() == nil {
		k := min(n, 1<<20)
		if _, err := io.CopyN(io.MultiWriter(f, h), src, k); err != nil {
			return "", err
		}
		n -= k
	}
	return hex.EncodeToString(h.Sum(nil)), errors.Join(ctx.Err(), f.Close())
}

// CheckFile reads a file and says what is wrong with it, if anything is.
func CheckFile(path string, c load.Component) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is missing", c.Name)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if n != c.Size || load.Digest(h.Sum(nil)) != c.Digest {
		return fmt.Errorf("%s is not what the manifest says", c.Name)
	}
	return nil
}

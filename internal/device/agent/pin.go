package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/trust"
)

// The content of the file pinName. Anything else in its place counts as pinned,
// and so does no such file, if a slot holds a signed load: to forget takes more
// than losing a file.
const (
	pinSigned    = "This device runs signed loads only. To end that: peerload trust forget\n"
	pinForgotten = "The publisher was forgotten: unsigned loads run where they are allowed.\n"
	maxPin       = 1000
)

// pinned reports whether a device runs signed loads only: a publisher's
// directory was named or has a root now, or was or had so ever before.
func pinned(c Config, slots *slot.Slots) bool {
	b, err := readBounded(filepath.Join(c.State, pinName), maxPin)
	switch {
	case c.TrustNamed || rootThere(c.Trust):
		return true
	case err == nil:
		return string(b) != pinForgotten
	case !errors.Is(err, fs.ErrNotExist):
		return true
	}
	a, ok := slots.Active()
	signed := func(i slot.Info) bool { return i.State != slot.StateEmpty && i.Version != unsignedVersion }
	return ok && signed(a) || signed(slots.Inactive())
}

// rootThere reports whether a publisher's root is in a directory, or may be: it
// is not there only if the directory was read or there is none.
func rootThere(dir string) bool {
	if dir == "" {
		return false
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if _, err := os.Stat(dir); err != nil {
		return true
	}
	_, err := os.Lstat(filepath.Join(dir, trust.PinName))
	return !errors.Is(err, fs.ErrNotExist)
}

// pin remembers that a device is pinned. It reports whether it is. What was
// forgotten stays so until a publisher is named or there again, whatever error
// there may be.
func (d *Daemon) pin(c Config) bool {
	if !pinned(c, d.slots) {
		return false
	}
	name := filepath.Join(c.State, pinName)
	b, err := readBounded(name, maxPin)
	lost := errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDamaged) || slot.NoFile(err)
	anew := err == nil && string(b) == pinForgotten && (c.TrustNamed || rootThere(c.Trust))
	if lost || anew {
		if err := disk(d.files).Replace(name, []byte(pinSigned), 0o644); err != nil {
			d.log.Error("it cannot be remembered that this device runs signed loads only", "error", err)
		}
	}
	return true
}

// noRoot says why a device that is pinned can verify nothing, nil if it can.
func noRoot(c Config) error {
	var err error
	if c.Trust == "" {
		err = fmt.Errorf("%w: the option trust names no directory", trust.ErrNoRoot)
	} else {
		_, err = trust.New(trust.Config{Dir: c.Trust})
	}
	if err == nil {
		return nil
	}
	return &engine.TrustError{Err: fmt.Errorf("%w; this device runs signed loads only: bring the publisher's %s back, "+
		"or end that with 'peerload trust forget'", err, trust.PinName)}
}

// Forget lets the device of a configuration run unsigned loads, where its
// provisioning allows them. still says why that changes nothing yet: the
// configuration names a publisher's directory, or a root is there.
func Forget(c Config) (still []string, err error) {
	if c.TrustNamed {
		still = append(still, "the option trust is given: leave it out")
	}
	if rootThere(c.Trust) {
		still = append(still, filepath.Join(c.Trust, trust.PinName)+" is there: remove it")
	}
	if err := (durable.Writer{}).MkdirAll(c.State, 0o755); err != nil {
		return nil, err
	}
	return still, durable.Replace(filepath.Join(c.State, pinName), []byte(pinForgotten), 0o644)
}

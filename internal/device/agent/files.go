package agent

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/durable"
)

// Names in the state directory.
const (
	recordName    = "daemon.json"
	provisionName = "provision.last"
	slotsName     = "slots"
	classicName   = "classic"
	scratchName   = "scratch"
	lockName      = "daemon.lock"
	identityName  = "identity"
	// SocketName is the socket of a running daemon.
	SocketName = "agent.sock"
)

// readBounded reads a regular file of at most most bytes.
func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", name, most)
	}
	return b, err
}

// certificates reads a file of CA certificates; "" is the system's.
func certificates(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := readBounded(file, 4<<20)
	if err != nil {
		return nil, fmt.Errorf("cacert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cacert: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

// readMost reads a whole body of at most most bytes.
func readMost(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%w: more than %d bytes", origin.ErrTooMuch, most)
	}
	return b, err
}

// bootID reads the id that identifies a run of the device.
func bootID(file string) (string, error) {
	b, err := readBounded(file, 256)
	if os.IsNotExist(err) {
		return "", fmt.Errorf("%w: name a file with --boot-id whose content changes with each start of the device", err)
	}
	return string(b), err
}

// record is what survives a restart. It is small, and replaced by rename.
type record struct {
	Format int `json:"format"`
	upgrade.Record
	// Server is where the load was assigned.
	Server string `json:"server,omitempty"`
	// Provision is the name of the last good provisioning file.
	Provision string `json:"provision,omitempty"`
}

// keeper keeps the record of a state directory.
type keeper struct {
	dir string

	mu    sync.Mutex
	saved record
}

// openKeeper reads the record of a state directory.
func openKeeper(dir string) (*keeper, error) {
	r, err := readRecord(dir)
	return &keeper{dir: dir, saved: r}, err
}

// get returns the record, which is not to be changed.
func (k *keeper) get() record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.saved
}

// change alters the record and makes it durable before anything depends on it.
func (k *keeper) change(do func(*record)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.saved
	do(&r)
	if err := writeRecord(k.dir, r); err != nil {
		return fmt.Errorf("the state of the device: %w", err)
	}
	k.saved = r
	return nil
}

const (
	recordFormat = 1
	maxRecord    = 64 << 10
)

// readRecord reads the record; a missing one is new, a damaged one is an
// error, because guessing could boot a load that failed.
func readRecord(dir string) (record, error) {
	r := record{Format: recordFormat, Record: upgrade.Record{Phase: upgrade.Idle}}
	b, err := readBounded(filepath.Join(dir, recordName), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s is damaged: %w; remove it to begin anew", filepath.Join(dir, recordName), err)
	}
	if r.Format != recordFormat || !r.Phase.Known() {
		return r, fmt.Errorf("%s is of format %d and phase %q, which this program does not know",
			filepath.Join(dir, recordName), r.Format, r.Phase)
	}
	return r, nil
}

func writeRecord(dir string, r record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return durable.Write(filepath.Join(dir, recordName), append(b, '\n'), 0o644)
}

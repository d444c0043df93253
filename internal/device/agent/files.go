package agent

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/seal"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/trust"
)

// ownerOnly are the rights of files in which an address, and with it a password,
// may stand.
const ownerOnly = 0o600

// Names in the state directory.
const (
	recordName    = "daemon.json"
	provisionName = "provision.last"
	pinName       = "pin"
	slotsName     = "slots"
	setsName      = "files"
	classicName   = "classic"
	scratchName   = "scratch"
	proxyName     = "proxy"
	lockName      = "daemon.lock"
	identityName  = "identity"
	// SocketName is the socket of a running daemon.
	SocketName = "agent.sock"
)

// readBounded reads a file of at most most bytes. It waits for nobody at the
// other end of a pipe. A link to nothing is no missing file.
func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if _, lerr := os.Lstat(name); lerr == nil {
			return nil, fmt.Errorf("%w: %s is a link to nothing", errDamaged, name)
		}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%w: %s is longer than %d bytes", errDamaged, name, most)
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

// filesystem is where a device keeps its state: that of the machine, or one of a
// test that knows what a power cut leaves of it.
type filesystem interface {
	slot.FS
	durable.FS
}

// machine is the file system of the machine.
type machine struct{ slot.OS }

// CreateTemp implements durable.FS.
func (machine) CreateTemp(dir string) (durable.File, error) {
	return os.CreateTemp(dir, durable.TempPrefix)
}

// disk writes files of a file system whole or not at all.
func disk(files filesystem) durable.Writer { return durable.Writer{FS: files} }

// keeper keeps the record of a state directory.
type keeper struct {
	dir  string
	disk durable.Writer
	// begun says that there was no record, or none that could be read.
	begun bool

	mu    sync.Mutex
	saved record
}

// makeDir makes a directory of the state directory. What else has its name is
// put aside.
func (s *stateDir) makeDir(dir string) error {
	err := durable.MkdirAll(s.files, dir, 0o755)
	if err == nil {
		return nil
	}
	if err := s.damage.PutAside(s.files, dir, err); err != nil {
		return err
	}
	return durable.MkdirAll(s.files, dir, 0o755)
}

// narrow takes from everybody else the files that may hold a password: earlier
// versions of this program let all read them.
func narrow(dir string) error {
	var errs []error
	for _, n := range []string{recordName, provisionName} {
		name := filepath.Join(dir, n)
		fi, err := os.Lstat(name)
		if err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&^ownerOnly != 0 {
			errs = append(errs, os.Chmod(name, ownerOnly))
		}
	}
	return errors.Join(errs...)
}

// openKeeper reads the record of a state directory. One that is damaged, or of
// a version that this program does not know, is put aside.
func (s *stateDir) openKeeper(dir string) error {
	r, err := readRecord(dir)
	s.keep = &keeper{dir: dir, disk: disk(s.files), saved: r}
	if err == nil {
		return nil
	}
	s.keep.saved, s.keep.begun = record{Format: recordFormat, Record: upgrade.Record{Phase: upgrade.Idle}}, true
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errDamaged) || slot.NoFile(err):
		return s.damage.PutAside(s.files, filepath.Join(dir, recordName), err)
	}
	return err
}

// proved is the record of a device that has lost its own, as far as the slots
// prove it: a load that failed is not tried again by itself. The start of the
// device counts as told, because the record of it may be what was lost: a load
// on trial then has one start more.
func proved(slots *slot.Slots, boot string, now time.Time) upgrade.Record {
	r := upgrade.Record{Phase: upgrade.Idle}
	a, ok := slots.Active()
	i := slots.Inactive()
	if !ok && i.State == slot.StateEmpty {
		return r // a new device
	}
	r.BootID = boot
	for _, s := range []slot.Info{a, i} {
		if s.State == slot.StateFailed {
			r.Assigned, r.State, r.Reason = s.Name, report.StateFailed, reason.NotConfirmed
			r.Failed = append(r.Failed, upgrade.FailedLoad{Load: s.Name, Reason: reason.NotConfirmed,
				Time: now.Format(time.RFC3339)})
		}
	}
	if i.State == slot.StateFailed {
		r.State = report.StateRolledBack
	}
	return r
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
	if err := writeRecord(k.disk, k.dir, r); err != nil {
		return fmt.Errorf("the state of the device: %w", err)
	}
	k.saved = r
	return nil
}

const (
	recordFormat = 1
	maxRecord    = 64 << 10
)

// errDamaged says that a file is not what this program has written.
var errDamaged = errors.New("it cannot be read")

// readRecord reads the record. A damaged one is errDamaged.
func readRecord(dir string) (record, error) {
	b, err := readBounded(filepath.Join(dir, recordName), maxRecord)
	if err != nil {
		return newRecord(), err
	}
	return parseRecord(b)
}

// newRecord is that of a device that was never provisioned.
func newRecord() record {
	return record{Format: recordFormat, Record: upgrade.Record{Phase: upgrade.Idle}}
}

// parseRecord reads the text of a record.
func parseRecord(b []byte) (record, error) {
	r := newRecord()
	if err := errors.Join(seal.Check(b), json.Unmarshal(b, &r)); err != nil {
		return r, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if r.Format != recordFormat || !r.Phase.Known() {
		return r, fmt.Errorf("%w: format %d and phase %q are not known to this program", errDamaged, r.Format, r.Phase)
	}
	return r, nil
}

func writeRecord(to durable.Writer, dir string, r record) error {
	b, err := seal.Marshal(r)
	if err != nil {
		return err
	}
	return to.Replace(filepath.Join(dir, recordName), b, ownerOnly)
}

// The last good provisioning file begins with a line that says where it came
// from, and has the sum of that and of the rest. What a version before has
// written has none.
const keptFirst = "peerload provisioning 1 "

// packKept is a provisioning file as it is kept.
func packKept(from string, raw []byte) []byte {
	rest := append([]byte(strconv.Quote(from)+"\n"), raw...)
	return append([]byte(keptFirst+load.DigestOf(rest).String()+" "), rest...)
}

// unpackKept reads what was kept; from is "" where the file does not say it.
func unpackKept(b []byte) (from string, raw []byte, err error) {
	rest, sealed := bytes.CutPrefix(b, []byte(keptFirst))
	if !sealed {
		return "", b, nil
	}
	sum, rest, _ := bytes.Cut(rest, []byte(" "))
	if string(sum) != load.DigestOf(rest).String() {
		return "", nil, fmt.Errorf("%w: its sum is another one", errDamaged)
	}
	line, raw, _ := bytes.Cut(rest, []byte("\n"))
	if from, err = strconv.Unquote(string(line)); err != nil {
		return "", nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return from, raw, nil
}

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

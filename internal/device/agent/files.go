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
	"slices"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
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

// bootID reads what tells one run of the device from the next.
func bootID(file string) (string, error) {
	b, err := readBounded(file, 256)
	if os.IsNotExist(err) {
		return "", fmt.Errorf("%w: name a file with --boot-id whose content changes with each start of the device", err)
	}
	return string(b), err
}

// The phases of an upgrade, as they are kept. A phase is written before its
// work begins: a daemon that was killed begins the phase again.
const (
	phaseIdle     = "idle"
	phaseDownload = "download" // the load goes into the inactive slot
	phaseInstall  = "install"  // it is complete; the installer is at work
	phaseReboot   = "reboot"   // the slot is switched; the device restarts
	phaseTrial    = "trial"    // the new load runs and waits to be confirmed
	phaseRollback = "rollback" // the old slot is, or becomes, active again
)

var phases = []string{phaseIdle, phaseDownload, phaseInstall, phaseReboot, phaseTrial, phaseRollback}

// record is what survives a restart. It is small, and replaced by rename.
type record struct {
	Format int `json:"format"`
	// Phase of the upgrade to Load of Version.
	Phase   string `json:"phase"`
	Load    string `json:"load,omitempty"`
	Version string `json:"version,omitempty"`
	// Since when the phase holds, for people.
	Since string `json:"since,omitempty"`
	// Starts counts the starts of the daemon during a trial.
	Starts int `json:"starts,omitempty"`
	// BootID of the device when the slots were told of its last start.
	BootID string `json:"boot_id,omitempty"`
	// Assigned is the load that was assigned last, Server where it was said.
	Assigned string `json:"assigned,omitempty"`
	Server   string `json:"server,omitempty"`
	// Provision is the name of the last good provisioning file.
	Provision string `json:"provision,omitempty"`
	// Failed are loads not to be tried again until another is assigned.
	Failed []failedLoad `json:"failed,omitempty"`
	// State, Reason and Message are what is told of the last upgrade.
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

type failedLoad struct {
	Load   string `json:"load"`
	Reason string `json:"reason"`
	Time   string `json:"time"`
}

const (
	recordFormat = 1
	maxRecord    = 64 << 10
	maxFailed    = 16
)

// readRecord reads the record; a missing one is new, a damaged one is an
// error, because guessing could boot a load that failed.
func readRecord(dir string) (record, error) {
	r := record{Format: recordFormat, Phase: phaseIdle}
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
	if r.Format != recordFormat || !slices.Contains(phases, r.Phase) {
		return r, fmt.Errorf("%s is of format %d and phase %q, which this program does not know", filepath.Join(dir, recordName), r.Format, r.Phase)
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

// fail notes a load that is not to be tried again.
func (r *record) fail(load, reason string, now time.Time) {
	r.Failed = slices.DeleteFunc(r.Failed, func(f failedLoad) bool { return f.Load == load })
	r.Failed = append(r.Failed, failedLoad{load, reason, now.Format(time.RFC3339)})
	if n := len(r.Failed) - maxFailed; n > 0 {
		r.Failed = r.Failed[n:]
	}
}

func (r *record) failedBefore(load string) (failedLoad, bool) {
	i := slices.IndexFunc(r.Failed, func(f failedLoad) bool { return f.Load == load })
	if i < 0 {
		return failedLoad{}, false
	}
	return r.Failed[i], true
}

package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

// The controller's API, below its URL.
const (
	checkInPath = "api/v1/devices/%s/check-in"
	enrolPath   = "api/v1/enrol"
)

// reporter reports the device's state to the controller. A device generates a
// secret and enrols it with the token that it was given; after that it does not
// need the token any more.
type reporter struct {
	daemon *Daemon

	mu   sync.Mutex
	with string // the certificates that kept believes
	kept *http.Client

	repeating atomic.Bool // a report that was not taken waits to be sent again
}

// reportTimeout bounds one report.
const reportTimeout = 20 * time.Second

// errUnknown says that the controller does not know the device's secret.
var errUnknown = errors.New("the controller does not know this device")

// send sends the device's state. name is SEP and its MAC address. nil means
// that the controller has accepted the report.
func (r *reporter) send(ctx context.Context, name string, status report.Device) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	c := r.daemon.conf.get()
	client, err := r.shared(c)
	if err != nil {
		return err
	}
	secret, err := identity(r.daemon.files, c.State)
	if err != nil {
		return err
	}
	path := fmt.Sprintf(checkInPath, name)
	if _, err = post(ctx, client, c, path, secret, status); !errors.Is(err, errUnknown) {
		return err
	}
	if c.TokenFile == "" {
		return fmt.Errorf("%w: give it an enrolment token or the site key with --token-file", err)
	}
	token, err := readBounded(c.TokenFile, maxToken)
	if err != nil {
		return fmt.Errorf("token-file: %w", err)
	}
	text, err := post(ctx, client, c, enrolPath, strings.TrimSpace(string(token)), enrolment{name, c.Model, secret})
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	r.daemon.log.Info("enrolled with the controller", "controller", c.Controller)
	if err := r.daemon.pinOrderKey(text, c.Controller); err != nil {
		r.daemon.log.Warn("the order key of the enrolment is not pinned: the first connection for orders brings it",
			"error", err)
	}
	_, err = post(ctx, client, c, path, secret, status)
	return err
}

// pinOrderKey pins the order key of the answer to an enrolment. An older controller gives none.
func (d *Daemon) pinOrderKey(text []byte, controller string) error {
	if d.feed == nil {
		return nil
	}
	e, err := order.ParseEnrolled(text)
	if err != nil {
		return err
	}
	return d.feed.Enrolled(e, controller)
}

// enrolment is the request with which a device enrols.
type enrolment struct {
	Device string `json:"device"`
	Model  string `json:"model"`
	Secret string `json:"secret"`
}

// post sends a JSON text with a bearer token, and returns the beginning of the answer.
func post(ctx context.Context, client *http.Client, c Config, path, bearer string, body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.Controller, "/")+"/"+path,
		bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+bearer)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
	switch {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("%w: it answers %s: %.300s", errUnknown, res.Status, text)
	case res.StatusCode >= 300:
		return nil, fmt.Errorf("the controller answers %s: %.200s", res.Status, text)
	}
	return text, nil
}

// maxToken bounds a token or secret in a file, in bytes.
const maxToken = 4096

// parseSecret reads the file of the device's secret.
func parseSecret(b []byte) (secret string, ok bool) {
	secret = strings.TrimSpace(string(b))
	raw, err := hex.DecodeString(secret)
	return secret, err == nil && len(raw) == secretSize
}

// identity returns the device's secret, which it makes at its first use, and
// anew if it is damaged: the controller then takes it only once the device's
// identity was reset there. Only the owner may read it.
func identity(files filesystem, state string) (string, error) {
	name := filepath.Join(state, identityName)
	b, err := readBounded(name, maxToken)
	if have, ok := parseSecret(b); err == nil && ok {
		return have, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errDamaged) && !slot.NoFile(err) {
		return "", err
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		if _, err := slot.PutAside(files, name); err != nil {
			return "", err
		}
	}
	raw := make([]byte, secretSize)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	secret := hex.EncodeToString(raw)
	return secret, disk(files).Write(name, []byte(secret+"\n"), 0o600)
}

// secretSize is how many random bytes a secret has.
const secretSize = 32

// shared is the client of all requests to the controller, which so share a
// connection. It is made anew when the configuration names other certificates.
func (r *reporter) shared(c Config) (*http.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept != nil && r.with == c.CACert {
		return r.kept, nil
	}
	client, err := r.client(c)
	if err != nil {
		return nil, err
	}
	r.dropped()
	r.kept, r.with = client, c.CACert
	return client, nil
}

// dialTimeout bounds the opening of a connection to the controller; probeIdle is
// after which silence it is probed.
const dialTimeout, probeIdle = 30 * time.Second, 5 * time.Minute

// drop has the files of certificates read again, as after a reload.
func (r *reporter) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped()
}

func (r *reporter) dropped() {
	if r.kept != nil {
		r.kept.CloseIdleConnections()
		r.kept = nil
	}
}

func (r *reporter) client(c Config) (*http.Client, error) {
	pool, err := certificates(c.CACert)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	// A connection that is opened again resumes its session: fewer bytes.
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	// The controller says each minute that it lives. Go's own probes, four a minute,
	// would cost more than that.
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probeIdle,
		Interval: time.Minute, Count: 3}}
	t.DialContext = dialer.DialContext
	// A token must not follow a redirect to somebody else.
	return &http.Client{Transport: t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// report reports the device's state to the controller. What the controller does
// not accept waits for the next report.
func (d *Daemon) report(ctx context.Context) error {
	d.out.telling.Lock()
	defer d.out.telling.Unlock()
	r := d.Status()
	var err error
	if !d.orderWay.report(ctx, r) {
		err = d.reporter.send(ctx, "SEP"+d.mac, r)
	}
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn("the controller took no report", "error", err)
		}
		return err
	}
	d.out.taken(len(r.Files), len(r.Failures))
	d.calm.reported(r)
	return nil
}

// Status returns the device's state.
func (d *Daemon) Status() report.Device {
	saved := d.keep.get()
	sharing := d.prov.settings().answer(policy.PeerSharing)
	r := report.Device{
		Schema: report.Schema, Time: time.Now().Format(time.RFC3339), Model: d.conf.get().Model, Program: d.program,
		State: saved.State, Wanted: saved.Assigned, Sharing: sharing.Value, SharingFrom: sharing.Level.String(),
		Percent: d.upgrade.phaseProgress().Percent, Reason: string(saved.Reason), Message: saved.Message,
		Boot: strings.TrimSpace(saved.BootID),
	}
	if saved.Load != "" {
		r.Upgrade = &report.Upgrade{Load: saved.Load, Rollout: saved.By.Rollout, Try: saved.By.Try}
	}
	r.Files, r.Failures = d.out.some()
	if r.State == "" {
		r.State = report.StateIdle
	}
	if a, ok := d.slots.Active(); ok {
		r.Active = a.Name
	}
	r.Inactive = d.slots.Inactive().Name
	r.FileSets = d.setsReport()
	if i := d.place.current(); i != nil && i.key.sharing {
		r.Address = i.net.Addr().String()
	}
	if f := d.currentFile(); f != nil {
		r.Role, r.Root, r.Parent, r.Children = f.Role, f.Root, f.Parent, f.Children
		if r.State == report.StateDownloading {
			r.Percent = f.Percent
		}
	}
	return r
}

// outbox holds reports that the controller has not accepted yet.
type outbox struct {
	// telling is held while a report is sent: two at a time would both remove
	// what they have sent from the outbox.
	telling sync.Mutex

	mu       sync.Mutex
	files    []report.Final
	failures []report.Failure
}

// maxPending bounds what waits for the controller, of each kind.
const maxPending = 64

// failure records something that went wrong, for the controller and the page.
func (o *outbox) failure(load, file string, why reason.Code, err error) {
	o.add(failureOf(load, file, why, err))
}

// failureOf is something that went wrong, as it is reported.
func failureOf(load, file string, why reason.Code, err error) report.Failure {
	f := report.Failure{Load: load, File: file, Reason: string(why), Message: err.Error(), Phase: why.Phase()}
	var step *StepError
	if errors.As(err, &step) {
		f.Phase = strings.ToLower(string(step.Step))
	}
	var out *outputError
	if errors.As(err, &out) {
		f.Output = out.lines
	}
	return f
}

// add records a failure.
func (o *outbox) add(f report.Failure) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures = append(o.failures, f)
	o.failures = o.failures[max(0, len(o.failures)-maxPending):]
}

// file records the end of the fetching of a file or load.
func (o *outbox) file(f report.Final) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files = append(o.files, f)
	o.files = o.files[max(0, len(o.files)-maxPending):]
}

// taken drops the oldest, which the controller has. What came meanwhile stays.
func (o *outbox) taken(files, failures int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files = o.files[min(files, len(o.files)):]
	o.failures = o.failures[min(failures, len(o.failures)):]
}

// maxReported bounds the final reports in one report, components counted: what
// a controller takes at most. The rest follows with the next.
const maxReported = 128

// some are the first reports that wait, as many as one report may hold.
func (o *outbox) some() (files []report.Final, failures []report.Failure) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, f := range o.files {
		if n += 1 + len(f.Components); n > maxReported && len(files) > 0 {
			break
		}
		files = append(files, f)
	}
	return files, append([]report.Failure(nil), o.failures...)
}

// currentFile is the file that is being fetched, or else the last one of a
// load.
func (d *Daemon) currentFile() *status.File {
	var last *status.File
	for _, f := range d.rec.Status().Files {
		if last == nil || !f.Done && !f.Failed || last.Done {
			last = f
		}
	}
	return last
}

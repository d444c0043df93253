package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

// The controller's API, below its URL.
const (
	checkInPath = "api/v1/devices/%s/check-in"
	enrolPath   = "api/v1/enrol"
)

// reporter tells the controller how the device is. A device makes a secret of
// its own, and enrols it with the token that it was given; from then on it needs
// the token no more.
type reporter struct{ daemon *Daemon }

// reportTimeout bounds one report.
const reportTimeout = 20 * time.Second

// errUnknown says that the controller does not know the device's secret.
var errUnknown = errors.New("the controller does not know this device")

// send hands over how the device is. name is SEP and its MAC address. nil means
// that the report was taken.
func (r *reporter) send(ctx context.Context, name string, status report.Device) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	c := r.daemon.config()
	client, err := r.client(c)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	secret, err := identity(c.State)
	if err != nil {
		return err
	}
	path := fmt.Sprintf(checkInPath, name)
	if err = post(ctx, client, c, path, secret, status); !errors.Is(err, errUnknown) {
		return err
	}
	if c.TokenFile == "" {
		return fmt.Errorf("%w: give it an enrolment token or the site key with --token-file", err)
	}
	token, err := readBounded(c.TokenFile, maxToken)
	if err != nil {
		return fmt.Errorf("token-file: %w", err)
	}
	if err := post(ctx, client, c, enrolPath, strings.TrimSpace(string(token)), enrolment{name, c.Model, secret}); err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	r.daemon.log.Info("enrolled with the controller", "controller", c.Controller)
	return post(ctx, client, c, path, secret, status)
}

// enrolment is how a device introduces itself.
type enrolment struct {
	Device string `json:"device"`
	Model  string `json:"model"`
	Secret string `json:"secret"`
}

// post sends a text with a bearer's token.
func post(ctx context.Context, client *http.Client, c Config, path, bearer string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.Controller, "/")+"/"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+bearer)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
	switch {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w (%s)", errUnknown, res.Status)
	case res.StatusCode >= 300:
		return fmt.Errorf("the controller answers %s: %.200s", res.Status, text)
	}
	return nil
}

// maxToken bounds a token or secret in a file, in bytes.
const maxToken = 4096

// identity returns the device's secret, which it makes at its first use. Only
// the owner may read it.
func identity(state string) (string, error) {
	name := filepath.Join(state, identityName)
	b, err := readBounded(name, maxToken)
	if err == nil && len(b) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	secret := hex.EncodeToString(raw)
	return secret, durable.Write(name, []byte(secret+"\n"), 0o600)
}

func (r *reporter) client(c Config) (*http.Client, error) {
	pool, err := certificates(c.CACert)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	if pool != nil {
		t.TLSClientConfig.RootCAs = pool
	}
	// A token must not follow a redirect to somebody else.
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// report tells the controller how the device is. What it does not take waits
// for the next time.
func (d *Daemon) report(ctx context.Context) {
	d.telling.Lock()
	defer d.telling.Unlock()
	r := d.Status()
	err := d.reporter.send(ctx, "SEP"+d.mac, r)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn("the controller took no report", "error", err)
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// What came meanwhile stays.
	d.pending.files = d.pending.files[min(len(r.Files), len(d.pending.files)):]
	d.pending.failures = d.pending.failures[min(len(r.Failures), len(d.pending.failures)):]
}

// Status is how the device is.
func (d *Daemon) Status() report.Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	sharing := d.set.answer(policy.PeerSharing)
	r := report.Device{
		Schema: report.Schema, Time: stamp(), Model: d.cfg.Model, Program: d.program, State: d.saved.State,
		Wanted: d.saved.Assigned, Sharing: sharing.Value, SharingFrom: sharing.Level.String(), Percent: d.step.Percent,
		Reason: d.saved.Reason, Message: d.saved.Message, Boot: strings.TrimSpace(d.boot),
		Files: d.pending.some(), Failures: append([]report.Failure(nil), d.pending.failures...),
	}
	if r.State == "" {
		r.State = report.StateIdle
	}
	if a, ok := d.slots.Active(); ok {
		r.Active = a.Name
	}
	r.Inactive = d.slots.Inactive().Name
	if d.instance != nil && d.instance.key.sharing {
		r.Address = d.instance.net.Addr().String()
	}
	if f := d.currentFile(); f != nil {
		r.Role, r.Root, r.Parent, r.Children = f.Role, f.Root, f.Parent, f.Children
		if r.State == report.StateDownloading {
			r.Percent = f.Percent
		}
	}
	return r
}

// maxReported bounds the final reports in one report, components counted: what
// a controller takes at most. The rest follows with the next.
const maxReported = 128

// some are the first reports that wait, as many as one report may hold.
func (p *pending) some() (out []report.Final) {
	n := 0
	for _, f := range p.files {
		if n += 1 + len(f.Components); n > maxReported && len(out) > 0 {
			break
		}
		out = append(out, f)
	}
	return out
}

// currentFile is the file under way, or else the last one of a load.
func (d *Daemon) currentFile() *status.File {
	var last *status.File
	for _, f := range d.rec.Status().Files {
		if last == nil || !f.Done && !f.Failed || last.Done {
			last = f
		}
	}
	return last
}

package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/peerload/peerload/agent"
	"github.com/peerload/peerload/policy"
	"github.com/peerload/peerload/report"
)

// Controller is who a device reports to.
type Controller interface {
	// Report hands over how the device is. name is SEP and its MAC address.
	// nil means that the report was taken.
	Report(ctx context.Context, name string, r report.Device) error
}

// reportPath is where a controller takes reports, below its URL.
const reportPath = "api/v1/devices/%s/report"

// httpController is a controller that is reached over HTTP.
type httpController struct{ daemon *Daemon }

// reportTimeout bounds one report.
const reportTimeout = 20 * time.Second

// Report implements Controller.
func (h *httpController) Report(ctx context.Context, name string, r report.Device) error {
	c := h.daemon.config()
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	u := strings.TrimSuffix(c.Controller, "/") + "/" + fmt.Sprintf(reportPath, name)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.TokenFile != "" {
		token, err := readBounded(c.TokenFile, 4096)
		if err != nil {
			return fmt.Errorf("token-file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	client, err := h.client(c)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
	switch {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return fmt.Errorf("the controller does not know this device (%s): give it a token with --token-file", res.Status)
	case res.StatusCode >= 300:
		return fmt.Errorf("the controller answers %s: %.200s", res.Status, text)
	}
	return nil
}

func (h *httpController) client(c Config) (*http.Client, error) {
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
	r := d.Status()
	err := d.control.Report(ctx, "SEP"+d.mac, r)
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
		Schema: report.Schema, Time: stamp(), Model: d.cfg.Model, Program: d.program, State: d.record_.State,
		Wanted: d.record_.Assigned, Sharing: sharing.Value, SharingFrom: sharing.Level.String(), Percent: d.step.Percent,
		Reason: d.record_.Reason, Message: d.record_.Message, Boot: strings.TrimSpace(d.boot),
		Files: append([]report.Final(nil), d.pending.files...), Failures: append([]report.Failure(nil), d.pending.failures...),
	}
	if r.State == "" {
		r.State = report.StateIdle
	}
	if a, ok := d.slots.Active(); ok {
		r.Active = a.Name
	}
	r.Inactive = d.slots.Inactive().Name
	if d.site != nil && d.site.key.sharing {
		r.Address = d.site.net.Addr().String()
	}
	if f := d.currentFile(); f != nil {
		r.Role, r.Root, r.Parent, r.Children = f.Role, f.Root, f.Parent, f.Children
		if r.State == report.StateDownloading {
			r.Percent = f.Percent
		}
	}
	return r
}

// currentFile is the file under way, or else the last one of a load.
func (d *Daemon) currentFile() *agent.FileStatus {
	var last *agent.FileStatus
	for _, f := range d.rec.Status().Files {
		if last == nil || !f.Done && !f.Failed || last.Done {
			last = f
		}
	}
	return last
}

package webhooks_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/rollouts/jobs"
	"github.com/peerload/peerload/internal/controller/webhook"
	"github.com/peerload/peerload/internal/controller/webhooks"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// got is a message that a receiver has got.
type got struct {
	id, at, signature, body string
}

// receiver is a server that takes messages, or not.
type receiver struct {
	*httptest.Server
	messages chan got
	mu       sync.Mutex
	status   []int // of the next messages; then 204
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{messages: make(chan got, 100)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s, %v", q.Method, err)
		}
		status := http.StatusNoContent
		r.mu.Lock()
		if len(r.status) > 0 {
			status, r.status = r.status[0], r.status[1:]
		}
		r.mu.Unlock()
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		h := q.Header
		r.messages <- got{h.Get("Webhook-Id"), h.Get("Webhook-Timestamp"), h.Get("Webhook-Signature"), string(body)}
	}))
	t.Cleanup(r.Close)
	return r
}

// rig is a fleet with webhooks and their queue.
type rig struct {
	*realmsuite.Fleet
	t     *testing.T
	ctl   *domain.Controller
	hooks *webhooks.Service
	queue *jobs.Queue
}

func newRig(t *testing.T, pauses ...time.Duration) *rig {
	r := &rig{Fleet: realmsuite.New(t), t: t}
	cfg := r.Config
	cfg.Failed = func(ctx context.Context, tx domain.Tx, failed []domain.FailedDevice) error {
		return r.hooks.DevicesFailed(ctx, tx, failed)
	}
	var err error
	if r.queue, err = jobs.Open(t.Context(), r.Store); err != nil {
		t.Fatal(err)
	}
	if r.ctl, err = domain.New(cfg); err != nil {
		t.Fatal(err)
	}
	if r.hooks, err = webhooks.New(webhooks.Config{Controller: r.ctl, Queue: r.queue, Pauses: pauses}); err != nil {
		t.Fatal(err)
	}
	return r
}

// work works the queue until the test ends.
func (r *rig) work() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error)
	go func() {
		none := func(context.Context, keeper.Job) error { return nil }
		ended <- r.queue.Run(ctx, none, r.hooks.Deliver, slog.New(slog.DiscardHandler))
	}()
	r.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) add(q webhooks.NewWebhook) webhooks.Webhook {
	r.t.Helper()
	q.AllowHTTP = true
	v, err := r.hooks.Add(r.t.Context(), r.Admin, q)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// list is the only webhook.
func (r *rig) list() webhooks.Webhook {
	r.t.Helper()
	l, err := r.hooks.List(r.t.Context(), r.Admin, domain.Page{})
	if err != nil || len(l.Items) != 1 {
		r.t.Fatal(l, err)
	}
	return l.Items[0]
}

// fails has a device report that it failed, or not.
func (r *rig) says(state string) {
	r.t.Helper()
	a := domain.Actor{Kind: domain.ActorDevice, Name: realmsuite.Own, Role: domain.RoleDevice, From: "10.2.0.7"}
	d := report.Device{Schema: report.Schema, State: state, Active: "a1", Wanted: "b1"}
	if state != report.StateIdle {
		d.Reason = "installer"
		d.Failures = []report.Failure{{Load: "b1", Reason: "installer", Phase: "install", Output: "no room"}}
	}
	if err := r.ctl.Report(r.t.Context(), a, d); err != nil {
		r.t.Fatal(err)
	}
}

// verify checks a message as a receiver does.
func verify(t *testing.T, m got, secret string) (v struct {
	Type string
	Data map[string]any
}) {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(key) != 32 {
		t.Fatalf("the secret %q: %v", secret, err)
	}
	sum := hmac.New(sha256.New, key)
	fmt.Fprintf(sum, "%s.%s.%s", m.id, m.at, m.body)
	if want := "v1," + base64.StdEncoding.EncodeToString(sum.Sum(nil)); m.signature != want || m.id == "" {
		t.Errorf("message %q has signature %s, want %s", m.id, m.signature, want)
	}
	if err := json.Unmarshal([]byte(m.body), &v); err != nil {
		t.Error(err)
	}
	return v
}

// until waits for what the queue brings about.
func (r *rig) until(what string, is func(v webhooks.Webhook) bool) webhooks.Webhook {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	hang := time.NewTimer(2 * time.Minute)
	defer hang.Stop()
	for {
		if v := r.list(); is(v) {
			return v
		}
		select {
		case <-tick.C:
		case <-hang.C:
			r.t.Fatalf("never: %s: %+v", what, r.list())
		}
	}
}

// TestTold: a device that fails and a rollout that changes are told of, signed, to who
// wants it; what is no news is not told.
func TestTold(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	r, to := newRig(t), newReceiver(t)
	v := r.add(webhooks.NewWebhook{Name: "chat", URL: to.URL})
	if v.Secret == "" || len(v.Events) != 2 {
		t.Fatalf("%+v", v)
	}
	r.says(report.StateIdle)
	r.says(report.StateFailed)
	r.work()
	m := verify(t, <-to.messages, v.Secret)
	if m.Type != webhook.DeviceFailed || m.Data["device"] != realmsuite.Own || m.Data["site"] != realmsuite.Kyoto ||
		m.Data["output"] != "no room" || m.Data["phase"] != "install" || m.Data["load"] != "b1" {
		t.Errorf("%+v", m)
	}
	err := r.ctl.Update(t.Context(), r.Ken, func(tx domain.Tx, _ domain.Note) error { // whoever does it
		return r.hooks.RolloutChanged(t.Context(), tx, rollout.Running, domain.Rollout{Record: rollout.Record{ID: "r1",
			State: rollout.Paused, Why: "too many failed"}, Ask: domain.RolloutAsk{Load: "b1"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	m = verify(t, <-to.messages, v.Secret)
	if m.Type != webhook.RolloutChanged || m.Data["id"] != "r1" || m.Data["state"] != "paused" ||
		m.Data["before"] != "running" || m.Data["why"] != "too many failed" || m.Data["load"] != "b1" {
		t.Errorf("%+v", m)
	}
	now := r.until("both were delivered", func(v webhooks.Webhook) bool { return v.Sent == 2 })
	if now.Pending+now.Dead != 0 || now.LastError != "" || now.LastSent.IsZero() || now.Secret != "" {
		t.Errorf("%+v", now)
	}
	// A webhook that is for something else hears nothing, nor does one that is removed.
	if err := r.hooks.Remove(t.Context(), r.Admin, "chat"); err != nil {
		t.Fatal(err)
	}
	r.add(webhooks.NewWebhook{Name: "ops", URL: to.URL, Events: []string{webhook.RolloutChanged}})
	r.says(report.StateIdle)
	r.says(report.StateFailed)
	if v := r.list(); v.Pending != 0 {
		t.Errorf("%+v", v)
	}
}

// TestRetried: a message that is not taken is tried again, as the same, until it is.
func TestRetried(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	r, to := newRig(t, 0, 0, 0), newReceiver(t)
	v := r.add(webhooks.NewWebhook{Name: "chat", URL: to.URL, Events: []string{webhook.DeviceFailed}})
	to.status = []int{http.StatusInternalServerError, http.StatusFound}
	r.says(report.StateRolledBack)
	r.work()
	ids := map[string]bool{}
	for range 3 {
		m := <-to.messages
		verify(t, m, v.Secret)
		ids[m.id] = true
	}
	now := r.until("it was delivered", func(v webhooks.Webhook) bool { return v.Sent == 1 })
	if len(ids) != 1 || now.Pending+now.Dead != 0 || now.LastError != "" || len(to.messages) != 0 {
		t.Errorf("%d messages; %+v", len(ids), now)
	}
}

// TestDead: a message that nobody takes is given up, told of, and tried anew when
// somebody says so.
func TestDead(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	r, to := newRig(t, 0, 0), newReceiver(t)
	r.add(webhooks.NewWebhook{Name: "chat", URL: to.URL})
	to.status = []int{500, 500, 500}
	r.says(report.StateFailed)
	r.work()
	v := r.until("it is dead", func(v webhooks.Webhook) bool { return v.Dead == 1 })
	if v.Pending != 0 || v.Sent != 0 || v.LastError != "status 500" || len(to.messages) != 3 {
		t.Errorf("%+v, %d tries", v, len(to.messages))
	}
	o, err := r.ctl.Overview(t.Context(), r.Admin, "", time.Hour)
	if err != nil || o.DeadMessages != 1 {
		t.Errorf("the overview tells of %d, %v", o.DeadMessages, err)
	}
	if o, err = r.ctl.Overview(t.Context(), r.Ken, "", time.Hour); err != nil || o.DeadMessages != 0 {
		t.Errorf("it tells Ken of %d, %v", o.DeadMessages, err)
	}
	if c, err := r.hooks.Count(t.Context()); err != nil || c != (webhooks.Counts{Webhooks: 1, Dead: 1}) {
		t.Errorf("%+v, %v", c, err)
	}
	l, err := r.hooks.Messages(t.Context(), r.Admin, "chat", webhook.Dead, domain.Page{})
	if err != nil || len(l.Items) != 1 || l.Items[0].Tries != 3 || l.Items[0].Error != "status 500" ||
		!l.Items[0].Next.IsZero() {
		t.Errorf("%+v, %v", l.Items, err)
	}
	if n, err := r.hooks.Retry(t.Context(), r.Admin, "chat"); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	r.until("it is delivered after all", func(v webhooks.Webhook) bool { return v.Sent == 1 && v.Dead == 0 })
}

// TestRebuild: what waits is delivered although the queue has lost it.
func TestRebuild(t *testing.T) {
	t.Parallel()
	r, to := newRig(t), newReceiver(t)
	r.add(webhooks.NewWebhook{Name: "chat", URL: to.URL})
	now := r.ctl.Time()
	err := r.Store.Update(t.Context(), func(tx domain.Tx) error {
		return tx.Deliveries().Put(t.Context(), &domain.Delivery{Delivery: webhook.Delivery{ID: "m", Webhook: "chat",
			State: webhook.Pending, Body: "{}", Next: now}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.hooks.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.work()
	if m := <-to.messages; m.id != "m" {
		t.Errorf("%+v", m)
	}
}

// TestNotFollowed: a message goes to its URL and nowhere else, and not to what only
// the host itself can mean.
func TestNotFollowed(t *testing.T) {
	r, to := newRig(t), newReceiver(t)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a message was sent elsewhere")
	}))
	defer other.Close()
	leads := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer leads.Close()
	for name, c := range map[string][2]string{"redirect": {leads.URL, "status 307"},
		"link": {"http://169.254.169.254/latest", "no receiver is at such an address"},
		"any":  {"http://0.0.0.0:1/", "no receiver is at such an address"}, "gone": {"http://127.0.0.1:1/", "no answer"}} {
		r.add(webhooks.NewWebhook{Name: name, URL: c[0]})
		got, err := r.hooks.Test(t.Context(), r.Admin, name)
		if err != nil || got.OK || !strings.Contains(got.Error, c[1]) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	v := r.add(webhooks.NewWebhook{Name: "good", URL: to.URL})
	got, err := r.hooks.Test(t.Context(), r.Admin, "good")
	if err != nil || !got.OK {
		t.Fatalf("%+v, %v", got, err)
	}
	if m := verify(t, <-to.messages, v.Secret); m.Type != webhook.Test || m.Data["webhook"] != "good" {
		t.Errorf("%+v", m)
	}
}

// TestRefused: what cannot be a webhook is refused with what to do, and nothing is made.
func TestRefused(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("x", 2000)
	good := webhooks.NewWebhook{Name: "chat", URL: "https://chat.example/in"}
	for says, spoil := range map[string]func(q *webhooks.NewWebhook){
		"lower-case letters":      func(q *webhooks.NewWebhook) { q.Name = "Chat" },
		"1 to 64":                 func(q *webhooks.NewWebhook) { q.Name = "" },
		"a URL such as":           func(q *webhooks.NewWebhook) { q.URL = "chat.example" },
		"without a user":          func(q *webhooks.NewWebhook) { q.URL = "https://me:secret@chat.example" },
		"without a user and #":    func(q *webhooks.NewWebhook) { q.URL = "https://chat.example/#x" },
		"a URL such as https:":    func(q *webhooks.NewWebhook) { q.URL = "https://chat.example/" + long },
		"a URL such as https://c": func(q *webhooks.NewWebhook) { q.URL = "file:///etc/passwd" },
		"--allow-http":            func(q *webhooks.NewWebhook) { q.URL = "http://chat.example/" },
		"device.failed":           func(q *webhooks.NewWebhook) { q.Events = []string{"device.fialed"} },
	} {
		q := good
		spoil(&q)
		if _, err := r.hooks.Add(t.Context(), r.Admin, q); !errors.Is(err, domain.ErrInvalid) ||
			!strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	r.add(good)
	if _, err := r.hooks.Add(t.Context(), r.Admin, good); !errors.Is(err, domain.ErrExists) {
		t.Errorf("twice: %v", err)
	}
	for i := range webhooks.MaxHooks - 1 {
		r.add(webhooks.NewWebhook{Name: fmt.Sprint("h", i), URL: good.URL})
	}
	if _, err := r.hooks.Add(t.Context(), r.Admin, webhooks.NewWebhook{Name: "more", URL: good.URL}); !errors.Is(err,
		domain.ErrRefused) {
		t.Errorf("one more: %v", err)
	}
	if err := r.hooks.Remove(t.Context(), r.Admin, "none"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	l, err := r.ctl.Audit(t.Context(), r.Admin, domain.AuditFilter{Target: "webhook chat"}, domain.Page{})
	text, _ := json.Marshal(l.Items)
	if err != nil || len(l.Items) != 1 || strings.Contains(string(text), "whsec_") {
		t.Errorf("the audit log has %s, %v", text, err)
	}
}

// TestBounds: messages that wait do not fill the disk, and what was dropped is counted.
func TestBounds(t *testing.T) {
	r := newRig(t)
	r.add(webhooks.NewWebhook{Name: "chat", URL: "https://chat.example/in"})
	err := r.Store.Update(t.Context(), func(tx domain.Tx) error {
		var all []domain.Delivery
		for i := range webhooks.MaxPending - 1 {
			all = append(all, domain.Delivery{Delivery: webhook.Delivery{ID: fmt.Sprintf("m%04d", i), Webhook: "chat",
				State: webhook.Pending}})
		}
		return tx.Deliveries().PutAll(t.Context(), all)
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_780_000_000, 0)
	var together []domain.FailedDevice
	for _, since := range []time.Time{now, now, now.Add(-time.Hour), now} {
		together = append(together, domain.FailedDevice{Device: domain.Device{Name: realmsuite.Own},
			State: domain.DeviceState{Since: since, Reported: now, Last: report.Device{State: report.StateFailed}}})
	}
	err = r.Store.Update(t.Context(), func(tx domain.Tx) error {
		return errors.Join(r.hooks.DevicesFailed(t.Context(), tx, together), r.hooks.DevicesFailed(t.Context(), tx, nil))
	})
	if v := r.list(); err != nil || v.Pending != webhooks.MaxPending || v.Dropped != 2 {
		t.Errorf("%d wait, %d dropped of three that are new: %v", v.Pending, v.Dropped, err)
	}
	r.says(report.StateFailed)
	if v := r.list(); v.Pending != webhooks.MaxPending || v.Dropped != 3 {
		t.Errorf("%d wait, %d dropped", v.Pending, v.Dropped)
	}
}

// TestRealm: who is limited to a site has nothing to do with webhooks.
func TestRealm(t *testing.T) {
	r, to := newRig(t), newReceiver(t)
	r.add(webhooks.NewWebhook{Name: "chat", URL: to.URL})
	realmsuite.Add(r.Samples, "chat")
	realmsuite.Add(r.Samples, webhooks.NewWebhook{Name: "new", URL: "https://chat.example/in"})
	realmsuite.Run(t, r.Fleet, func(cfg domain.Config) any {
		c, err := domain.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s, err := webhooks.New(webhooks.Config{Controller: c, Queue: r.queue})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, "Count", "Deliver", "DevicesFailed", "Rebuild", "RolloutChanged")
	if _, err := r.hooks.List(t.Context(), r.Ken, domain.Page{}); !errors.Is(err, domain.ErrForbidden) {
		t.Errorf("he may list them: %v", err)
	}
}

func TestConfig(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]webhooks.Config{"nothing": {}, "no queue": {Controller: r.ctl},
		"no controller":   {Queue: r.queue},
		"a negative time": {Controller: r.ctl, Queue: r.queue, Pauses: []time.Duration{-1}}} {
		if _, err := webhooks.New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

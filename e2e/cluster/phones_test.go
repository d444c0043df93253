package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/provision"
	"github.com/peerload/peerload/report"
)

const (
	phonesAtMost = 500
	phoneModel   = "linux-amd64"
	// phoneRests is how long a device rests between two check-ins.
	phoneRests = time.Second
)

// phones are devices that fetch their provisioning files, run what these say, and
// report, until they are stopped.
type phones struct {
	all    []*phone
	at     func() (api, files string) // where one asks next
	web    *http.Client
	acked  atomic.Int64
	failed atomic.Int64
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// phone is one of them. What is written in the loop is read once it has ended.
type phone struct {
	name, secret, runs string
	// told counts its reports, acked is the last that was acknowledged.
	told, acked int
	rolled      bool // it was handed a load by a rollout
}

// enrol makes phones known, and has them report. All of them run a load at first.
func enrol(t *testing.T, key, runs string, n int, p *phones) *phones {
	t.Helper()
	for i := range n {
		p.all = append(p.all, &phone{name: fmt.Sprintf("SEP02%010X", i), secret: fmt.Sprintf("%032x", i+1), runs: runs})
	}
	ctx, stop := context.WithCancel(t.Context())
	p.stop = stop
	for _, one := range p.all {
		body := fmt.Sprintf(`{"device":%q,"model":%q,"secret":%q}`, one.name, phoneModel, one.secret)
		at, _ := p.at()
		if err := p.post(ctx, at, "/enrol", key, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, one := range p.all {
		p.done.Go(func() { p.live(ctx, one) })
	}
	t.Cleanup(p.end)
	return p
}

// end stops all, and waits for what they have begun.
func (p *phones) end() {
	p.stop()
	p.done.Wait()
}

// live is the life of one.
func (p *phones) live(ctx context.Context, one *phone) {
	tick := time.NewTicker(phoneRests)
	defer tick.Stop()
	for {
		if err := p.checkIn(ctx, one); err != nil {
			p.failed.Add(1) // it tries again, as a device does
		} else {
			p.acked.Add(1)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// checkIn fetches the provisioning file, runs what it says, and reports.
func (p *phones) checkIn(ctx context.Context, one *phone) error {
	at, files := p.at()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+files+"/"+one.name+".cnf.xml", http.NoBody)
	if err != nil {
		return err
	}
	text, err := p.do(r)
	if err != nil {
		return err
	}
	file, err := provision.Parse(text)
	if err != nil {
		return err
	}
	if g := file.Grant; g != nil && g.Download.Contains(time.Now()) && g.Activate.Contains(time.Now()) {
		one.runs, one.rolled = g.Load, true
	}
	one.told++
	says := report.Device{Schema: report.Schema, Model: phoneModel, Active: one.runs, Wanted: one.runs,
		State: report.StateIdle, Boot: "1", Program: fmt.Sprintf("peerload %d", one.told)}
	body, err := json.Marshal(says)
	if err != nil {
		return err
	}
	n := one.told
	if err := p.post(ctx, at, "/devices/"+one.name+"/check-in", one.secret, body); err != nil {
		return err
	}
	one.acked = n
	return nil
}

func (p *phones) post(ctx context.Context, at, path, bearer string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+at+api.Prefix+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	r.Header.Set("Content-Type", "application/json")
	_, err = p.do(r)
	return err
}

var errStatus = errors.New("refused")

func (p *phones) do(r *http.Request) ([]byte, error) {
	resp, err := p.web.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%w: %s %s: %s", errStatus, r.URL, resp.Status, text)
	}
	return text, err
}

// kept compares what each was acknowledged with what a controller knows of it: at least
// that, and at most what it has sent.
func (p *phones) kept(t *testing.T, c *client.Client) {
	t.Helper()
	known := map[string]client.Device{}
	for d, err := range c.Devices.List(t.Context(), client.Filter{Model: phoneModel}) {
		if err != nil {
			t.Fatal(err)
		}
		known[d.Name] = d
	}
	for _, one := range p.all {
		d, ok := known[one.name]
		n := 0
		if ok && d.State != nil {
			_, _ = fmt.Sscanf(d.State.Last.Program, "peerload %d", &n) // 0 is too few
		}
		if n < one.acked || n > one.told {
			t.Errorf("%s was acknowledged report %d of %d, and is known by %d", one.name, one.acked, one.told, n)
		}
	}
	t.Logf("%d reports were acknowledged, %d times a device had to try again", p.acked.Load(), p.failed.Load())
}

// more waits until each has reported once more, at an average.
func (p *phones) more(t *testing.T, when string) {
	t.Helper()
	from := p.acked.Load()
	until(t, when+" devices report on", func() bool { return p.acked.Load() >= from+int64(len(p.all)) })
}

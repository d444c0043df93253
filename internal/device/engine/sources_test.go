package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// several is an origin of several hosts, which answer as their names say.
type several struct {
	content []byte
	asked   []string // host@offset
}

func (o *several) Prepare(context.Context, *url.URL) error { return nil }

func (o *several) Open(ctx context.Context, r origin.Request) (*origin.Body, error) {
	host := r.URL.Hostname()
	o.asked = append(o.asked, fmt.Sprintf("%s@%d", r.URL.Host, r.Offset))
	end := error(nil)
	b := o.content
	switch host {
	case "gone":
		return nil, origin.ErrNotFound
	case "refuses":
		return nil, origin.ErrForbidden
	case "busy":
		return nil, &origin.BusyError{}
	case "away":
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(5 * time.Second):
			return nil, origin.ErrUnreachable
		}
	case "stalls":
		b, end = b[:len(b)/2], origin.ErrStalled
	case "trickles":
		b, end = b[:5], origin.ErrStalled
	case "ends":
		b, end = b[:len(b)/2], origin.ErrTruncated
	case "wrong":
		b = append(bytes.Clone(b[:len(b)/2]), make([]byte, len(b)-len(b)/2)...)
	}
	body := io.MultiReader(bytes.NewReader(b[min(r.Offset, int64(len(b))):]), failing{end})
	return &origin.Body{ReadCloser: io.NopCloser(body), Offset: r.Offset, Size: int64(len(o.content)),
		Validator: `"` + host + `"`}, nil
}

// failing is a body that fails, or one without bytes.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

// spread returns the site's file as one that several hosts have.
func (s *site) spread(d *testDevice, o *several, hosts ...string) Spec {
	spec := s.spec(d, true)
	spec.Sources = nil
	for _, h := range hosts {
		spec.Sources = append(spec.Sources, &url.URL{Scheme: "http", Host: h, Path: "/app.bin"})
	}
	synctest.Wait()
	o.content = s.content
	d.cfg.Origin = o
	return spec
}

// TestNextServer: whatever the first server does, the second is asked in the
// same attempt, for what is lacking; and the next file begins with it.
func TestNextServer(t *testing.T) {
	const size, half = 400_000, 3 * 65536 // of the chunks that come before the middle
	for host, from := range map[string]int{
		"gone": 0, "refuses": 0, "busy": 0, "away": 0, "stalls": half, "trickles": 0, "ends": half, "wrong": half,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, size, 0)
			defer s.end()
			d, o := s.join(), &several{}
			synctest.Wait() // it runs, and looks at its configuration when something happens
			fallbacks := 0
			d.cfg.Report = func(e report.Event) {
				if e.Event == report.KindFallback {
					fallbacks++
				}
			}
			f, err := d.Fetch(s.spread(d, o, host, "well"))
			if err != nil {
				t.Fatal(err)
			}
			d.file = f
			fin := s.finish(d)
			want := []string{host + "@0", fmt.Sprintf("well@%d", from)}
			if !slices.Equal(o.asked, want) || fin.URL != "http://well/app.bin" || fallbacks != 1 ||
				len(fin.Fallbacks) != 1 || fin.Fallbacks[0].From != "http://"+host+"/app.bin" {
				t.Errorf("%s: asked %v, want %v; from %s, %d notes, %+v", host, o.asked, want, fin.URL, fallbacks, fin.Fallbacks)
			}
			_ = f.Close()
			again := s.spread(d, o, host, "well")
			again.Target = filepath.Join(d.dir, "again.bin")
			if f, err = d.Fetch(again); err != nil {
				t.Fatal(err)
			}
			d.file = f
			if err := f.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			first := "well@0"
			if host == "gone" || host == "refuses" { // that was about the file
				first = host + "@0"
			}
			if o.asked[2] != first {
				t.Errorf("%s: the second file begins with %s", host, o.asked[2])
			}
		})
	}
}

// TestNoServer: if no server has the whole file it fails, for the reason of the
// one that might have had it.
func TestNoServer(t *testing.T) {
	for _, c := range []struct {
		hosts []string
		why   wire.Reason
		names string
	}{
		{[]string{"trickles"}, wire.ReasonOriginStalled, "trickles"},
		{[]string{"trickles", "trickles"}, wire.ReasonOriginStalled, "trickles"},
		{[]string{"trickles", "gone"}, wire.ReasonOriginStalled, "trickles"},
		{[]string{"away", "trickles"}, wire.ReasonOriginStalled, "trickles"},
		{[]string{"trickles", "away"}, wire.ReasonOriginStalled, "trickles"},
		{[]string{"away", "gone"}, wire.ReasonOriginNotFound, "gone"},
		{[]string{"away", "away"}, wire.ReasonOriginUnreachable, "away"},
		{[]string{"busy", "gone"}, wire.ReasonOriginBusy, "busy"},
		{[]string{"wrong", "away"}, wire.ReasonOriginWrong, "wrong"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, 400_000, 0)
			defer s.end()
			d := s.join()
			f, err := d.Fetch(s.spread(d, &several{}, c.hosts...))
			if err != nil {
				t.Fatal(err)
			}
			d.file = f
			var e *Error
			if err := f.Wait(t.Context()); !errors.As(err, &e) || e.Reason != c.why || e.URL != "http://"+c.names+"/app.bin" {
				t.Errorf("%v: %v, want %v of %s", c.hosts, err, c.why, c.names)
			}
			// A source of what never came would be a lie.
			if fin := f.Final(); (fin.Source == report.SourceNone) != (fin.BytesFromOrigin == 0) {
				t.Errorf("%v: %d bytes came from %s", c.hosts, fin.BytesFromOrigin, fin.Source)
			}
			// What the others said is told too.
			said := map[string]string{"gone": "not found", "busy": "busy", "trickles": "stalled", "wrong": "wrong"}
			for _, h := range c.hosts {
				if err := f.Wait(t.Context()); !strings.Contains(err.Error(), said[h]) {
					t.Errorf("%v: %v does not tell what %s said", c.hosts, err, h)
				}
			}
		})
	}
}

// TestLookingElsewhereIsShort: after a server that does not answer, the others
// are asked for a short time only, so that the root resigns before its followers
// leave it; the next attempt begins with one that was not asked.
func TestLookingElsewhereIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 100_000, 0)
		defer s.end()
		d, o := s.join(), &several{}
		synctest.Wait()
		spec := s.spread(d, o, "away", "away:1", "away:2", "away:3")
		failed := time.Duration(0)
		d.cfg.Report = func(e report.Event) {
			if e.Event == report.KindFallback && failed == 0 && strings.Contains(e.Message, "left alone") {
				failed = d.now()
			}
		}
		begun := d.now()
		f, err := d.Fetch(spec)
		if err != nil {
			t.Fatal(err)
		}
		d.file = f
		if err := f.Wait(t.Context()); err == nil {
			t.Fatal("it came")
		}
		took := failed - begun
		if took > origin.RootStallTimeout+elsewhere+time.Second || took >= d.cfg.Protocol.Transfer.Progress {
			t.Errorf("the first attempt took %v", took)
		}
		if want := []string{"away@0", "away:1@0", "away:2@0", "away:3@0"}; !slices.Equal(o.asked[:4], want) {
			t.Errorf("asked %v, want %v", o.asked, want)
		}
	})
}

// TestOrderOfServers: those that failed lately come last, the one whose failure
// is the longest ago first; a server that served again, or long after, counts
// like any other.
func TestOrderOfServers(t *testing.T) {
	var sources []*url.URL
	for _, u := range []string{"http://a/f", "tftp://a/f", "http://b/f"} {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, parsed)
	}
	var s servers
	check := func(now time.Duration, want ...int) {
		t.Helper()
		if got := s.order(now, sources); !slices.Equal(got, want) {
			t.Errorf("at %v: %v, want %v", now, got, want)
		}
	}
	check(0, 0, 1, 2)
	s.fail(0, sources[0])
	check(1, 1, 2, 0)
	s.fail(time.Minute, sources[1])
	check(time.Minute, 2, 0, 1)
	s.fail(2*time.Minute, sources[2])
	check(2*time.Minute, 0, 1, 2)
	s.serve(sources[2])
	check(2*time.Minute, 2, 0, 1)
	check(demoted+1, 0, 2, 1)
	s.fail(2*demoted, sources[2])
	check(2*demoted, 0, 1, 2)
	if len(s.failed) != 1 {
		t.Errorf("%d failures are kept", len(s.failed))
	}
}

// noting is an origin that notes which requests say that another device of the site
// downloads.
type noting struct {
	Downloader
	mu     sync.Mutex
	shared []bool
}

func (o *noting) Open(ctx context.Context, r origin.Request) (*origin.Body, error) {
	o.mu.Lock()
	o.shared = append(o.shared, r.Shared)
	o.mu.Unlock()
	return o.Downloader.Open(ctx, r)
}

// TestShared: on a slow line a device compares the server with its peers. It says that the
// line is shared, and the root does not.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 2<<20, 50<<10)
		defer s.end()
		var asked [2]*noting
		for i := range asked {
			src, err := origin.New(origin.Config{LimitRate: s.rate})
			if err != nil {
				t.Fatal(err)
			}
			asked[i] = &noting{Downloader: src}
			s.fetch(s.joinFrom(asked[i]), true)
		}
		var by [2][2]int // requests of the root and of the other one, that say no and yes
		for i, d := range s.devices {
			other := 0
			if s.finish(d).Role != report.RoleRoot {
				other = 1
			}
			for _, yes := range asked[i].shared {
				n := 0
				if yes {
					n = 1
				}
				by[other][n]++
			}
		}
		if by[0][0] == 0 || by[0][1] > 0 || by[1][0] > 0 || by[1][1] == 0 {
			t.Errorf("the root asked %d times alone and %d times beside others, the other device %d and %d times",
				by[0][0], by[0][1], by[1][0], by[1][1])
		}
	})
}

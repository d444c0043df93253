package livesite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/live"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

var errEnough = errors.New("enough")

func service(t *testing.T, cfg Config) *Service {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func of(t *testing.T, cfg domain.Config) *Service {
	t.Helper()
	c, err := domain.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return service(t, Config{Controller: c})
}

func deviceActor(name string) domain.Actor {
	return domain.Actor{Kind: domain.ActorDevice, Role: domain.RoleDevice, Name: name}
}

func pack(t *testing.T, states ...live.State) []byte {
	t.Helper()
	b, err := live.Pack(states)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRealm: who is limited to a site sees no other one.
func TestRealm(t *testing.T) {
	f := realmsuite.New(t)
	realmsuite.Run(t, f, func(cfg domain.Config) any { return of(t, cfg) }, "Take", "Run", "Watched", "Follow")
	s := of(t, f.Config)
	for site, want := range map[string]error{realmsuite.Kyoto: errEnough, realmsuite.Osaka: domain.ErrNotFound,
		"nowhere": domain.ErrNotFound} {
		err := s.Follow(t.Context(), f.Ken, site, "", func(*Event) error { return errEnough })
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", site, err, want)
		}
		if _, err := s.Last(t.Context(), f.Ken, site); (err == nil) != (want == errEnough) {
			t.Errorf("the last upgrade of %s: %v", site, err)
		}
	}
}

// TestWhomADeviceSpeaksFor: itself and those that it carries for, and nobody who is no
// device speaks at all; what is malformed is refused.
func TestWhomADeviceSpeaksFor(t *testing.T) {
	f := realmsuite.New(t)
	s := of(t, f.Config)
	b := pack(t, live.State{Device: realmsuite.Own}, live.State{Device: realmsuite.Outside},
		live.State{Device: "SEP0000000000FF"})
	if err := s.Take(t.Context(), f.Admin, nil, b); !errors.Is(err, domain.ErrForbidden) {
		t.Errorf("an administrator: %v", err)
	}
	if err := s.Take(t.Context(), deviceActor(realmsuite.Own), nil, []byte("x")); !errors.Is(err, domain.ErrInvalid) {
		t.Errorf("noise: %v", err)
	}
	if err := s.Take(t.Context(), deviceActor(realmsuite.Own), []string{"SEP0000000000FF"}, b); err != nil {
		t.Fatal(err)
	}
	if got := s.site(realmsuite.Kyoto).devices(); !reflect.DeepEqual(got, []string{realmsuite.Own}) {
		t.Errorf("Kyoto: %v", got)
	}
	if got := s.site(realmsuite.Osaka).devices(); len(got) != 0 {
		t.Errorf("Osaka: %v", got)
	}
	if err := s.Take(t.Context(), deviceActor(realmsuite.Own), []string{realmsuite.Outside}, b); err != nil {
		t.Fatal(err)
	}
	if got := s.site(realmsuite.Osaka).devices(); !reflect.DeepEqual(got, []string{realmsuite.Outside}) {
		t.Errorf("Osaka: %v", got)
	}
}

// view is what somebody draws from a stream.
type view struct {
	devices map[string]Node
	last    string
}

func (v *view) take(t *testing.T, e *Event) {
	t.Helper()
	if e == nil {
		return
	}
	v.last = e.ID
	var p Picture
	if err := json.Unmarshal(e.Data, &p); err != nil {
		t.Fatal(err)
	}
	if e.Kind == Snapshot {
		v.devices = map[string]Node{}
	}
	for _, d := range p.Devices {
		v.apply(d)
	}
}

func (v *view) apply(d Node) {
	if d.Gone {
		delete(v.devices, d.Device)
		return
	}
	old := v.devices[d.Device]
	files := d.Files
	if old.Load == d.Load && !d.Fresh {
		d.Files = append([]NodeFile{}, old.Files...)
	} else {
		d.Files = nil
	}
	d.Fresh = false
next:
	for _, f := range files {
		for i := range d.Files {
			if d.Files[i].File == f.File {
				d.Files[i] = f
				continue next
			}
		}
		d.Files = append(d.Files, f)
	}
	v.devices[d.Device] = d
}

// random is what one of the devices tells.
func random(r *rand.Rand) live.State {
	s := live.State{Device: fmt.Sprintf("SEP%012X", r.IntN(6)), Load: []string{"one", "two"}[r.IntN(2)],
		Phase: []string{"idle", "downloading"}[r.IntN(2)]}
	for _, i := range r.Perm(4)[:r.IntN(3)] {
		s.Files = append(s.Files, live.File{Name: fmt.Sprint(i), Size: 9, Have: r.Int64N(10)})
	}
	return s
}

// TestStream: whoever breaks off in the middle and goes on by the last id, or with one
// that nobody knows, draws what a fresh snapshot tells, whatever has happened meanwhile;
// and the last upgrade, replayed, ends there too.
func TestStream(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			st := newSite("Kyoto", "e", time.Now)
			v := &view{devices: map[string]Node{}}
			for range 40 {
				switch r.IntN(8) {
				case 0:
					time.Sleep(2 * time.Minute) // in the bubble: what comes next is another upgrade
				case 1:
					st.forget(fmt.Sprintf("SEP%012X", r.IntN(6)))
				case 2:
					st.mu.Lock()
					st.flush()
					if st.heavy = maxWeight + 1; r.IntN(2) > 0 {
						st.thin()
					}
					st.heavy = 0
					for _, c := range st.changes {
						st.heavy += c.weight()
					}
					st.mu.Unlock()
				case 3:
					v.last = []string{v.last, "", "e-7", "x-1", "e-99999999999"}[r.IntN(5)]
				}
				w, _ := st.enter(0)
				for _, e := range st.since(w, v.last) {
					v.take(t, &e)
				}
				for range r.IntN(5) {
					st.take("c", []live.State{random(r)})
					time.Sleep(time.Duration(r.IntN(2)) * time.Second) // in the bubble
				}
				if r.IntN(2) == 0 { // it saw some of them before it broke off
					synctest.Wait()
					for n := r.IntN(len(w.events) + 1); n > 0; n-- {
						e := <-w.events
						v.take(t, &e)
					}
				}
				st.leave(w)
			}
			w, _ := st.enter(0)
			for _, e := range st.since(w, v.last) {
				v.take(t, &e)
			}
			st.leave(w)
			fresh, again := &view{}, &view{devices: map[string]Node{}}
			e := st.since(w, "")
			fresh.take(t, &e[0])
			if !reflect.DeepEqual(flat(v), flat(fresh)) {
				t.Fatalf("seed %d: drawn %v, snapshot %v", seed, flat(v), flat(fresh))
			}
			replay := st.replay()
			if replay.Begun.IsZero() {
				return
			}
			for _, p := range append([]Picture{replay.Before}, replay.Changes...) {
				for _, d := range p.Devices {
					again.apply(d)
				}
			}
			if !reflect.DeepEqual(flat(again), flat(fresh)) {
				t.Fatalf("seed %d: replayed %v, snapshot %v", seed, flat(again), flat(fresh))
			}
		})
	}
}

// flat is a view without the difference between no file and none.
func flat(v *view) map[string]string {
	out := map[string]string{}
	for name, d := range v.devices {
		out[name] = fmt.Sprintf("%+v", d)
	}
	return out
}

// TestOneStream: however many look, they get the same events; nobody who reads slowly
// holds the others up, and what he has missed he gets when he asks again.
func TestOneStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite("Kyoto", "e", time.Now)
		r := rand.New(rand.NewPCG(1, 2))
		var all []*watcher
		for range 100 {
			w, _ := st.enter(0)
			all = append(all, w)
		}
		slow, _ := st.enter(0)
		for range maxWaiting + 1 {
			st.take("c", []live.State{{Device: "SEP000000000001", Load: fmt.Sprint(r.Int64()), Phase: "downloading"}})
			time.Sleep(time.Second) // in the bubble
			synctest.Wait()
			first := <-all[0].events
			for _, w := range all[1:] {
				if e := <-w.events; e.ID != first.ID || &e.Data[0] != &first.Data[0] {
					t.Fatalf("%s, %s: not the same event", e.ID, first.ID)
				}
			}
		}
		n := 0
		for range slow.events {
			n++
		}
		if n != maxWaiting || len(st.watchers) != 100 {
			t.Errorf("who reads nothing has %d events waiting", n)
		}
	})
}

// TestRate: nobody looks: nothing; else at most 4 kB/s and 2 % of the line, whoever
// tells it, and what is told when somebody comes or goes.
func TestRate(t *testing.T) {
	f := realmsuite.New(t)
	s := of(t, f.Config)
	rate := func() int {
		w, _ := s.Watched(t.Context(), realmsuite.Own)
		return w.Rate
	}
	own := pack(t, live.State{Device: realmsuite.Own})
	if err := s.Take(t.Context(), deviceActor(realmsuite.Own), nil, own); err != nil {
		t.Fatal(err)
	}
	if rate() != 0 {
		t.Errorf("nobody looks, and %d bytes a second are to come", rate())
	}
	_, news := s.Watched(t.Context(), realmsuite.Own)
	st := s.site(realmsuite.Kyoto)
	for line, want := range map[int64]int{0: 4000, 1 << 30: 4000, 100_000: 2000, 1000: minRate} {
		w, err := s.enter(st, line)
		if err != nil || rate() != want {
			t.Errorf("a line of %d: %d bytes a second, want %d, %v", line, rate(), want, err)
		}
		s.leave(st, w)
	}
	select {
	case <-news:
	default:
		t.Error("nobody was told that somebody looks")
	}
	w, err := s.enter(st, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		st.take(fmt.Sprint(i), nil)
	}
	if rate() != 800 { // with the device itself
		t.Errorf("five tell %d bytes a second each", rate())
	}
	s.leave(st, w)
}

// TestKept: while nobody looks, a thin line has no more than its share of what is kept.
func TestKept(t *testing.T) {
	f := realmsuite.New(t)
	for line, want := range map[int64]int{0: 0, 100_000: 0, 1500: 30, 100: minRate} {
		s := of(t, f.Config)
		change := domain.SiteChange{WANRate: &line}
		if _, err := s.ctl.UpdateSite(t.Context(), f.Admin, realmsuite.Kyoto, change, 0); err != nil {
			t.Fatal(err)
		}
		if w, _ := s.Watched(t.Context(), realmsuite.Own); w.Kept != want {
			t.Errorf("a line of %d: %d bytes a second, want %d", line, w.Kept, want)
		}
	}
}

// TestRestart: after an orderly end another process shows what the first one did; what
// is damaged is as if nothing had been kept.
func TestRestart(t *testing.T) {
	f := realmsuite.New(t)
	dir := t.TempDir() + "/live"
	c, err := domain.New(f.Config)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Controller: c, Dir: dir}
	run := func(s *Service) (end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx)
		}()
		return func() { cancel(); <-done }
	}
	snapshot := func(s *Service) string {
		text := ""
		err := s.Follow(t.Context(), f.Admin, realmsuite.Kyoto, "x-1", func(e *Event) error {
			if e == nil {
				return nil
			}
			text = e.Kind + string(e.Data[strings.Index(string(e.Data), `"devices"`):])
			return errEnough
		})
		if !errors.Is(err, errEnough) {
			t.Fatal(err)
		}
		return text
	}
	first := service(t, cfg)
	end := run(first)
	b := pack(t, live.State{Device: realmsuite.Own, Load: "one", Phase: "downloading", Files: []live.File{{Name: "a",
		Size: 10, Have: 5}}})
	if err := first.Take(t.Context(), deviceActor(realmsuite.Own), nil, b); err != nil {
		t.Fatal(err)
	}
	want := snapshot(first)
	end()
	second := service(t, cfg)
	got := snapshot(second)
	told := regexp.MustCompile(`,"old":"[^"]+"`)
	if told.ReplaceAllString(got, "") != want || !strings.Contains(got, `"have":5`) || !told.MatchString(got) {
		t.Errorf("%s, want %s, as of before the restart", got, want)
	}
	if err := second.Take(t.Context(), deviceActor(realmsuite.Own), nil, b); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(second); got != want {
		t.Errorf("%s after it was told again, want %s", got, want)
	}
	if r, err := second.Last(t.Context(), f.Admin, realmsuite.Kyoto); err != nil || len(r.Changes) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := parseKept([]byte(`{"now":[{"d":""}]}`)); err == nil {
		t.Error("a state of no device is read")
	}
	if err := second.read(newSite("another", "e", time.Now)); err != nil {
		t.Errorf("nothing was kept, and that is an error: %v", err)
	}
}

// TestLookedAt: where somebody looks, what is kept on disk is renewed while an upgrade goes
// on, too.
func TestLookedAt(t *testing.T) {
	st := newSite("Kyoto", "e", time.Now)
	st.take("", []live.State{{Device: "a", Phase: "downloading"}})
	if _, ok := st.kept(false); ok {
		t.Error("it is written, and nobody looks")
	}
	w, _ := st.enter(0)
	if text, ok := st.kept(false); !ok || !strings.Contains(string(text), "downloading") {
		t.Errorf("somebody looks, and kept is %s", text)
	}
	st.leave(w)
}

// TestBound: what is kept of all sites is bounded, and those that were quiet for longest
// go first.
func TestBound(t *testing.T) {
	tiers.Long(t, "it plays a large site")
	f := realmsuite.New(t)
	s := of(t, f.Config)
	now := time.Unix(1_800_000_000, 0)
	for i := range 10 {
		st := newSite(fmt.Sprint(i), "e", func() time.Time { return now })
		now = now.Add(time.Hour)
		var many []live.State
		for d := range 35_000 {
			many = append(many, live.State{Device: fmt.Sprint(d), Phase: "downloading"})
		}
		st.take("c", many)
		st.mu.Lock()
		st.flush()
		st.mu.Unlock()
		s.sites[st.name] = st
	}
	s.bound()
	for i := range 10 {
		if kept := !s.sites[fmt.Sprint(i)].replay().Begun.IsZero(); kept != (i >= 2) {
			t.Errorf("site %d: kept %v", i, kept)
		}
	}
}

// TestWordy: a device that tells in long words what changes all the time does not have
// more kept than any other one.
func TestWordy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newSite("Kyoto", "e", time.Now)
		long := strings.Repeat("w", live.MaxName-3)
		for have := range int64(1500) {
			s := live.State{Device: "SEP000000000001", Phase: "downloading"}
			for i := range live.MaxFiles {
				s.Files = append(s.Files, live.File{Name: fmt.Sprint(long, i), Size: 1500, Have: have, Role: long, Source: long,
					Reason: long, Root: long, Parents: []string{long, long, long, long}})
			}
			st.take("c", []live.State{s})
			time.Sleep(time.Second) // in the bubble
			synctest.Wait()
		}
		kept := 0
		for _, c := range st.changes {
			for _, s := range c.states {
				for _, f := range s.Files {
					kept += len(f.Name) + len(f.Role+f.Source+f.Reason+f.Root) + len(strings.Join(f.Parents, ""))
				}
			}
		}
		if kept == 0 || kept > maxWeight*wordy {
			t.Errorf("%d bytes of words are kept", kept)
		}
	})
}

func FuzzParseKept(f *testing.F) {
	f.Add([]byte(`{"site":"a","now":[{"d":"SEP001122334455"}],"changes":[{"states":[{"d":"x"}],"gone":["y"]}]}`), "e-0")
	f.Fuzz(func(t *testing.T, text []byte, after string) {
		k, err := parseKept(text)
		if err != nil {
			return
		}
		st := newSite("a", "e", time.Now)
		st.restore(k)
		st.replay()
		if w, _ := st.enter(0); len(st.since(w, after)) > max(1, len(k.Changes)) {
			t.Fatalf("%q: more events than there were", after)
		}
	})
}

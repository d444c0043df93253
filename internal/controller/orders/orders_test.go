package orders

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/report"
)

const one, two, three = "SEP000000000001", "SEP000000000002", "SEP000000000003"

// rig is a controller on a real database, with a clock that can be set forward.
type rig struct {
	*testing.T
	ctl    *domain.Controller
	orders *Service
	dir    string
	ahead  atomic.Int64 // of the clock, in nanoseconds
	root   domain.Actor
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, dir: t.TempDir(), root: domain.Local("root")}
	store, err := freshdb.Open(t.Context(), filepath.Join(r.dir, "controller.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	r.ctl, err = domain.New(domain.Config{Store: store,
		Now: func() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	r.orders = r.open()
	key, err := r.ctl.CreateEnrolment(t.Context(), r.root, domain.EnrolmentRequest{Name: "site", SiteKey: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{one, two, three} {
		if err := r.ctl.Enrol(t.Context(), domain.EnrolRequest{Device: name, Model: "linux-arm", Token: key.Secret,
			Secret: secretOf(name)}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) open() *Service {
	r.Helper()
	s, err := New(Config{Controller: r.ctl, Keys: filepath.Join(r.dir, "keys"), Random: rand.Reader})
	if err != nil {
		r.Fatal(err)
	}
	return s
}

func secretOf(name string) string { return "a secret that only has " + name }

func (r *rig) device(name string) domain.Actor {
	r.Helper()
	a, err := r.ctl.ActorByDevice(r.Context(), name, secretOf(name), "10.0.0.1")
	if err != nil {
		r.Fatal(err)
	}
	return a
}

func (r *rig) send(q Request) Sent {
	r.Helper()
	out, err := r.orders.Send(r.Context(), r.root, q, false)
	if err != nil {
		r.Fatal(err)
	}
	return out
}

// got is what a feed has brought a device.
type got struct {
	key    order.Key
	beats  []order.Beat
	orders []order.Order
}

// poll reads a feed that does not wait, as a device with that key.
func (r *rig) poll(name string, have order.Key) (g got) {
	r.Helper()
	g.key = have
	err := r.orders.Feed(r.Context(), r.device(name), order.Hello{KeyVersion: have.Version},
		func(l order.Line) error { return g.take(l, name, r.ctl.Time()) })
	if err != nil {
		r.Fatal(err)
	}
	return g
}

func (g *got) take(l order.Line, name string, now time.Time) (err error) {
	switch {
	case l.Key != nil:
		g.key, err = order.ParseKey(l.Key)
	case l.Next != nil:
		for _, s := range l.Next {
			if g.key, err = g.key.Next(s); err != nil {
				return err
			}
		}
	case l.Beat != nil:
		b, err := g.key.OpenBeat(l.Beat)
		g.beats = append(g.beats, b)
		return err
	default:
		o, err := g.key.Open(l.Order, name, now)
		g.orders = append(g.orders, o)
		return err
	}
	return err
}

func (r *rig) answer(from, name, id string, outcome order.Outcome, text string) order.Acks {
	r.Helper()
	sealed, err := order.NewSecret(secretOf(name)).Seal(order.Result{Order: id, Device: name, Outcome: outcome,
		Text: text})
	if err != nil {
		r.Fatal(err)
	}
	acks, err := r.orders.Answer(r.Context(), r.device(from), [][]byte{sealed})
	if err != nil {
		r.Fatal(err)
	}
	for _, a := range acks.Acks {
		if !order.NewSecret(secretOf(name)).Acked(sealed, a.Code) || a.Order != id || a.Device != name {
			r.Errorf("an acknowledgement that is none: %+v", a)
		}
	}
	return acks
}

func (r *rig) standings(id string) map[string]int {
	r.Helper()
	t, err := r.orders.Get(r.Context(), r.root, id)
	if err != nil {
		r.Fatal(err)
	}
	return t.Standings
}

func (r *rig) expect(id string, want map[string]int) {
	r.Helper()
	if got := r.standings(id); !reflect.DeepEqual(got, want) {
		r.Errorf("%v, not %v", got, want)
	}
}

// An order reaches its devices and nobody else, until they have answered.
func TestSend(t *testing.T) {
	r := newRig(t)
	sent := r.send(Request{Kind: "check-in", Devices: []string{two, "00:00:00:00:00:01", one}})
	if sent.Reach.Devices != 2 || sent.Order.Devices != 2 || !slices.Equal(sent.Reach.Some, []string{one, two}) {
		t.Errorf("%+v", sent)
	}
	id := sent.Order.ID
	r.expect(id, map[string]int{"waiting": 2})
	g := r.poll(one, order.Key{})
	if len(g.beats) != 1 || len(g.orders) != 1 || g.orders[0].ID != id || g.orders[0].Kind != order.CheckIn ||
		!slices.Equal(g.orders[0].Targets, []string{one}) || g.orders[0].Number != 1 ||
		g.orders[0].Feed != g.beats[0].Feed {
		t.Fatalf("%+v", g)
	}
	if g := r.poll(three, g.key); len(g.orders) != 0 {
		t.Errorf("another device gets %+v", g.orders)
	}
	r.answer(one, one, id, order.Done, "")
	r.expect(id, map[string]int{"waiting": 1, "done": 1})
	if again := r.poll(one, g.key); len(again.orders) != 0 {
		t.Errorf("after its answer it gets %+v", again.orders)
	}
	// One that hands over the answer of another: the code counts, not who brings it.
	r.answer(one, two, id, order.Failed, "why\x00\nnot")
	r.answer(two, two, id, order.Done, "later")
	r.expect(id, map[string]int{"failed": 1, "done": 1})
	l, err := r.orders.Devices(t.Context(), r.root, id, "failed", domain.Page{})
	if err != nil || len(l.Items) != 1 || l.Items[0].Text != "why \nnot" || l.Items[0].Answered.IsZero() {
		t.Errorf("%+v, %v", l, err)
	}
	entries, err := r.ctl.Audit(t.Context(), r.root, domain.AuditFilter{Action: "order.send"}, domain.Page{})
	if err != nil || len(entries.Items) != 1 || entries.Items[0].Target != "order "+id {
		t.Errorf("%+v, %v", entries, err)
	}
}

// A result that the device's secret has not sealed changes nothing and is not
// acknowledged; one of an order that nobody knows is.
func TestForgedAnswer(t *testing.T) {
	r := newRig(t)
	id := r.send(Request{Kind: "retry", Devices: []string{one}}).Order.ID
	forged, err := order.NewSecret(secretOf(two)).Seal(order.Result{Order: id, Device: one, Outcome: order.Done})
	if err != nil {
		t.Fatal(err)
	}
	odd, err := order.NewSecret(secretOf(one)).Seal(order.Result{Order: id, Device: one, Outcome: "waiting"})
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := order.NewSecret("x").Seal(order.Result{Order: id, Device: "SEP00000000000F", Outcome: order.Done})
	if err != nil {
		t.Fatal(err)
	}
	acks, err := r.orders.Answer(t.Context(), r.device(two), [][]byte{forged, odd, nobody, {1}, nil})
	if err != nil || len(acks.Acks) != 0 {
		t.Errorf("%+v, %v", acks, err)
	}
	r.expect(id, map[string]int{"waiting": 1})
	if acks := r.answer(one, one, "0", order.Done, ""); len(acks.Acks) != 1 {
		t.Error("a device keeps a result for ever")
	}
	_, err = r.orders.Answer(t.Context(), r.device(one), make([][]byte, MaxResults+1))
	if !errors.Is(err, domain.ErrInvalid) {
		t.Error(err)
	}
}

// A device that is heard of by its answer was seen then.
func TestLastSeen(t *testing.T) {
	r := newRig(t)
	if err := r.ctl.Report(t.Context(), r.device(one), report.Device{Schema: 1, State: report.StateIdle}); err != nil {
		t.Fatal(err)
	}
	r.ahead.Store(int64(10 * time.Minute))
	id := r.send(Request{Kind: "retry", Devices: []string{one}}).Order.ID
	r.answer(two, one, id, order.Done, "")
	d, err := r.ctl.Device(t.Context(), r.root, one)
	if err != nil || d.State.LastSeen.Sub(d.State.Reported) < 9*time.Minute {
		t.Errorf("seen %v, reported %v, %v", d.State.LastSeen, d.State.Reported, err)
	}
}

// What is refused, and that nothing is sent then.
func TestRefused(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	for name, q := range map[string]Request{
		"no kind":          {All: true},
		"another kind":     {Kind: "chek-in", All: true},
		"nobody":           {Kind: "retry"},
		"all and some":     {Kind: "retry", All: true, Model: "linux-arm"},
		"named and found":  {Kind: "retry", Devices: []string{one}, Site: "x"},
		"named and all":    {Kind: "retry", Devices: []string{one}, All: true},
		"no device":        {Kind: "retry", Devices: []string{"x"}},
		"a long life":      {Kind: "retry", All: true, Life: 8 * 86400},
		"a moment":         {Kind: "retry", All: true, At: now},
		"a past moment":    {Kind: "reset-together", All: true, At: now.Add(-time.Minute)},
		"a moment too far": {Kind: "reset-together", All: true, At: now.Add(2 * time.Hour)},
		"many lines":       {Kind: "collect-log", All: true, Lines: order.MaxLines + 1},
		"lines of nothing": {Kind: "retry", All: true, Lines: 1},
	} {
		if _, err := r.orders.Send(t.Context(), r.root, q, false); !errors.Is(err, domain.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := domain.SentOrderFilter{Kind: "chek-in"}
	if _, err := r.orders.List(t.Context(), r.root, "", other, domain.Page{}); !errors.Is(err, domain.ErrInvalid) {
		t.Errorf("a list of another kind: %v", err)
	}
	if _, err := r.orders.Send(t.Context(), r.root, Request{Kind: "retry", Text: "none"}, false); !errors.Is(err,
		domain.ErrRefused) {
		t.Errorf("no device: %v", err)
	}
	if _, err := r.orders.Send(t.Context(), r.root, Request{Kind: "retry", Model: "none"}, false); !errors.Is(err,
		domain.ErrNotFound) {
		t.Errorf("no model: %v", err)
	}
	if _, err := r.orders.Send(t.Context(), r.root, Request{Kind: "retry", Devices: []string{"SEP00000000000F"}},
		false); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("an unknown device: %v", err)
	}
	dry, err := r.orders.Send(t.Context(), r.root, Request{Kind: "retry", All: true}, true)
	if err != nil || !dry.DryRun || dry.Reach.Devices != 3 || dry.Order.ID != "" {
		t.Errorf("%+v, %v", dry, err)
	}
	l, err := r.orders.List(t.Context(), r.root, "", domain.SentOrderFilter{}, domain.Page{})
	if err != nil || l.Total != 0 {
		t.Errorf("%d orders were sent, %v", l.Total, err)
	}
}

// TestListOfSite: a site has the orders that went to a device of it.
func TestListOfSite(t *testing.T) {
	r := newRig(t)
	for device, site := range map[string]string{one: "Kyoto", two: "Uji", "": "Nara"} {
		if _, err := r.ctl.CreateSite(t.Context(), r.root, site, domain.SiteChange{}); err != nil {
			t.Fatal(err)
		}
		if device == "" {
			continue
		}
		if _, err := r.ctl.UpdateDevice(t.Context(), r.root, device, domain.DeviceChange{Site: &site}, 0); err != nil {
			t.Fatal(err)
		}
	}
	first := r.send(Request{Kind: "check-in", Devices: []string{one, three}}).Order.ID
	r.ahead.Add(int64(time.Second))
	both := r.send(Request{Kind: "retry", All: true}).Order.ID
	kyoto := domain.Actor{Kind: domain.ActorUser, Name: "ken", User: "ken", Account: "k1", Role: domain.RoleOperator,
		Realm: domain.RealmOf([]string{"Kyoto"})}
	r.ahead.Add(int64(time.Second))
	sent, err := r.orders.Send(t.Context(), kyoto, Request{Kind: "restart", All: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	own := sent.Order.ID
	for _, c := range []struct {
		by    domain.Actor
		site  string
		kind  string
		want  []string
		error error
	}{
		{r.root, "", "", []string{first, both, own}, nil},
		{r.root, "Kyoto", "", []string{first, both, own}, nil},
		{r.root, "Kyoto", "retry", []string{both}, nil},
		{r.root, "Uji", "", []string{both}, nil},
		{r.root, "Nara", "", nil, nil},
		{r.root, "Kioto", "", nil, domain.ErrNotFound},
		{kyoto, "Kyoto", "", []string{own}, nil},
		{kyoto, "Uji", "", nil, domain.ErrNotFound},
	} {
		l, err := r.orders.List(t.Context(), c.by, c.site, domain.SentOrderFilter{Kind: c.kind}, domain.Page{})
		var ids []string
		for _, o := range l.Items {
			ids = append(ids, o.ID)
		}
		if !errors.Is(err, c.error) || !slices.Equal(ids, c.want) || l.Total != len(c.want) {
			t.Errorf("%s sees of site %q, kind %q: %v, %d in all, not %v; %v", c.by.Name, c.site, c.kind, ids, l.Total, c.want,
				err)
		}
	}
}

// Each use case asks for its right.
func TestRights(t *testing.T) {
	r := newRig(t)
	id := r.send(Request{Kind: "retry", All: true}).Order.ID
	viewer := domain.Actor{Kind: domain.ActorUser, Name: "v", Role: domain.RoleViewer}
	operator := domain.Actor{Kind: domain.ActorUser, Name: "o", Role: domain.RoleOperator}
	reader := operator
	reader.Scopes = []domain.Scope{domain.ScopeRead}
	calls := map[string]func(a domain.Actor) error{
		"send": func(a domain.Actor) error {
			_, err := r.orders.Send(t.Context(), a, Request{Kind: "retry", All: true}, false)
			return err
		},
		"cancel": func(a domain.Actor) error { _, err := r.orders.Cancel(t.Context(), a, id); return err },
		"rotate": func(a domain.Actor) error { _, err := r.orders.RotateKey(t.Context(), a); return err },
		"list": func(a domain.Actor) error {
			_, err := r.orders.List(t.Context(), a, "", domain.SentOrderFilter{}, domain.Page{})
			return err
		},
		"get": func(a domain.Actor) error { _, err := r.orders.Get(t.Context(), a, id); return err },
		"devices": func(a domain.Actor) error {
			_, err := r.orders.Devices(t.Context(), a, id, "", domain.Page{})
			return err
		},
		"key": func(a domain.Actor) error { _, err := r.orders.Key(t.Context(), a); return err },
		"feed": func(a domain.Actor) error {
			return r.orders.Feed(t.Context(), a, order.Hello{}, func(order.Line) error { return nil })
		},
		"answer": func(a domain.Actor) error { _, err := r.orders.Answer(t.Context(), a, nil); return err },
	}
	for name, c := range map[string]struct {
		actor domain.Actor
		may   string
	}{
		"nobody":   {domain.Actor{}, ""},
		"viewer":   {viewer, "list get devices key"},
		"reader":   {reader, "list get devices key"},
		"device":   {r.device(one), "feed answer"},
		"operator": {operator, "list get devices key send cancel"},
	} {
		for what, call := range calls {
			err := call(c.actor)
			may := slices.Contains(strings.Fields(c.may), what)
			refused := errors.Is(err, domain.ErrForbidden) || errors.Is(err, domain.ErrUnauthenticated)
			if refused == may {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

// What is cancelled, or has expired, is not sent any more; an answer that comes all
// the same is what has happened.
func TestEnds(t *testing.T) {
	r := newRig(t)
	first := r.send(Request{Kind: "retry", Devices: []string{one, two}}).Order.ID
	r.answer(two, two, first, order.Done, "")
	if _, err := r.orders.Cancel(t.Context(), r.root, first); err != nil {
		t.Fatal(err)
	}
	r.expect(first, map[string]int{"done": 1, "cancelled": 1})
	if _, err := r.orders.Cancel(t.Context(), r.root, first); !errors.Is(err, domain.ErrRefused) {
		t.Errorf("cancelled twice: %v", err)
	}
	if _, err := r.orders.Cancel(t.Context(), r.root, "none"); !errors.Is(err, domain.ErrNotFound) {
		t.Error(err)
	}
	second := r.send(Request{Kind: "restart", Devices: []string{one}, Life: 60}).Order.ID
	r.ahead.Store(int64(time.Minute))
	if g := r.poll(one, order.Key{}); len(g.orders) != 0 {
		t.Errorf("it gets %+v", g.orders)
	}
	r.expect(second, map[string]int{"expired": 1})
	if err := r.orders.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.expect(second, map[string]int{"expired": 1})
	r.answer(one, one, second, order.Late, "")
	r.answer(one, one, first, order.Done, "")
	r.expect(first, map[string]int{"done": 2})
	r.expect(second, map[string]int{"late": 1})
	r.ahead.Store(int64(kept + 2*time.Hour))
	if err := r.orders.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.orders.Get(t.Context(), r.root, first); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("it is kept for ever: %v", err)
	}
}

// A feed that waits brings an order that comes meanwhile, one of another process
// too, and a key that is made meanwhile.
func TestFeed(t *testing.T) {
	r := newRig(t)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	go r.orders.Run(ctx, slog.New(slog.DiscardHandler))
	a := r.device(one)
	lines := make(chan order.Line)
	ended := make(chan error, 1)
	go func() {
		ended <- r.orders.Feed(ctx, a, order.Hello{Wait: 60}, func(l order.Line) error {
			select {
			case lines <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var g got
	next := func() {
		t.Helper()
		if err := g.take(<-lines, one, r.ctl.Time()); err != nil {
			t.Fatal(err)
		}
	}
	next() // the key
	next() // a beat
	id := r.send(Request{Kind: "retry", All: true}).Order.ID
	next()
	other := r.open()
	sent, err := other.Send(ctx, r.root, Request{Kind: "check-in", Devices: []string{one}}, false)
	if err != nil {
		t.Fatal(err)
	}
	next()
	if len(g.orders) != 2 || g.orders[0].ID != id || g.orders[1].ID != sent.Order.ID || g.orders[1].Number != 2 {
		t.Fatalf("%+v", g)
	}
	k, err := other.RotateKey(ctx, r.root)
	if err != nil {
		t.Fatal(err)
	}
	r.send(Request{Kind: "retry", Devices: []string{one}})
	next()
	next()
	if g.key.Version != 2 || !slices.Equal(g.key.Public, k.Public) || len(g.orders) != 3 {
		t.Errorf("%+v", g)
	}
	end()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A device that comes back again and again holds no more than its share of feeds, and
// one whose identity was reset holds none.
func TestFeedsOfOne(t *testing.T) {
	r := newRig(t)
	s, err := New(Config{Controller: r.ctl, Keys: filepath.Join(r.dir, "keys"), Random: rand.Reader,
		Beat: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	a := r.device(one)
	ended := make(chan int, 9)
	begin := func(n int) {
		begun := make(chan struct{}, 1)
		go func() {
			err := s.Feed(t.Context(), a, order.Hello{Wait: 60}, func(order.Line) error {
				select {
				case begun <- struct{}{}:
				default:
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			ended <- n
		}()
		<-begun
	}
	for n := range maxOfDevice + 1 {
		begin(n)
	}
	if n := <-ended; n != 0 {
		t.Errorf("feed %d made room, not the oldest", n)
	}
	if err := r.ctl.ResetIdentity(t.Context(), r.root, one); err != nil {
		t.Fatal(err)
	}
	for range maxOfDevice {
		<-ended
	}
	if len(s.wait.mine) != 0 || s.wait.feeds != 0 {
		t.Errorf("%d feeds are left of %d devices", s.wait.feeds, len(s.wait.mine))
	}
}

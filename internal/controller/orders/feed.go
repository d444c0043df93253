package orders

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
)

const (
	// lookEvery is how often it is looked for orders of other processes, while there
	// are feeds; whoever is told of them looks each toldEvery times only.
	lookEvery = 500 * time.Millisecond
	toldEvery = 20
	// BeatEvery is how often a feed says that it lives.
	BeatEvery = time.Minute
	// FeedLife is how long a feed lasts at most: what changes between a device and its
	// controller is noticed then.
	FeedLife = time.Hour
	// MaxFeeds bounds the feeds of one process.
	MaxFeeds = 20_000
	// maxOfDevice bounds those of one device: the oldest makes room, as it is the one
	// that a device which was switched off has left behind.
	maxOfDevice = 2
)

// waiting knows what is open, for all feeds of this process.
type waiting struct {
	kick chan struct{}

	mu    sync.Mutex
	by    map[string][]open // by device
	news  chan struct{}     // closed when something changes
	end   chan struct{}     // closed when Run has ended
	feeds int
	mine  map[string][]*feed // by device
	// mark is what was open when it was last looked at.
	mark string
	// told says that somebody tells of orders of other processes.
	told atomic.Bool
}

func newWaiting() *waiting {
	return &waiting{kick: make(chan struct{}, 1), by: map[string][]open{}, news: make(chan struct{}),
		end: make(chan struct{}), mine: map[string][]*feed{}}
}

// changed has what is open looked at now. With all, every feed looks again even if
// nothing else is open.
func (w *waiting) changed(all bool) {
	if all {
		w.mu.Lock()
		w.mark = ""
		w.mu.Unlock()
	}
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// of returns what is open for devices, and what is closed when that changes.
func (w *waiting) of(devices []string) (all []open, news <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range devices {
		all = append(all, w.by[d]...)
	}
	return all, w.news
}

// answered forgets what a device has answered.
func (w *waiting) answered(id, device string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var rest []open
	for _, o := range w.by[device] {
		if o.order.ID != id {
			rest = append(rest, o)
		}
	}
	if w.by[device] = rest; len(rest) == 0 {
		delete(w.by, device)
	}
}

// enter counts a feed, unless there are too many. The first one has everything
// looked at. The oldest of a device that has too many ends.
func (w *waiting) enter(device string, f *feed) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.feeds >= MaxFeeds {
		return false
	}
	own := append(w.mine[device], f)
	if len(own) > maxOfDevice {
		own[0].end()
		own = own[1:]
	}
	w.mine[device] = own
	if w.feeds++; w.feeds == 1 {
		w.mark = ""
		select {
		case w.kick <- struct{}{}:
		default:
		}
	}
	return true
}

func (w *waiting) leave(device string, f *feed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.feeds--
	own := slices.DeleteFunc(w.mine[device], func(o *feed) bool { return o == f })
	if w.mine[device] = own; len(own) == 0 {
		delete(w.mine, device)
	}
}

// Told has it looked now for orders of other processes. Until Untold, it is looked less
// often without that.
func (s *Service) Told() {
	s.wait.told.Store(true)
	s.wait.changed(false)
}

// Untold says that nobody tells of orders of other processes now.
func (s *Service) Untold() { s.wait.told.Store(false) }

// Run looks for orders, those of other processes too, until ctx ends. Then all feeds
// end, so that a server does not wait for them. It is called once.
func (s *Service) Run(ctx context.Context, log *slog.Logger) {
	defer close(s.wait.end)
	if _, err := s.keys.current(); err != nil {
		log.Error("orders cannot be signed; all else works", "error", err)
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	said := ""
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s.wait.told.Load() && n%toldEvery != 0 {
				continue
			}
		case <-s.wait.kick:
		}
		err := s.look(ctx)
		if err == nil || ctx.Err() != nil {
			said = ""
			continue
		}
		if err.Error() != said {
			said = err.Error()
			log.Warn("which orders are open was not read", "error", err)
		}
	}
}

// look reads what is open, if that has changed, and tells the feeds.
func (s *Service) look(ctx context.Context) error {
	s.wait.mu.Lock()
	feeds, before := s.wait.feeds, s.wait.mark
	s.wait.mu.Unlock()
	if feeds == 0 {
		return nil
	}
	var mark string
	by := map[string][]open{}
	err := s.ctl.View(ctx, domain.Actor{}, func(tx domain.Tx) error {
		mark = "."
		clear(by)
		orders, err := domain.Collect(ctx, tx.SentOrders(), domain.SentOrderFilter{OpenAt: s.ctl.Time()})
		if err != nil {
			return err
		}
		for _, o := range orders {
			mark += fmt.Sprintf("%s %d,", o.ID, o.Version)
		}
		if mark == before {
			return nil
		}
		for _, o := range orders {
			f := domain.OrderDeviceFilter{Order: o.ID, Standing: domain.OrderWaiting}
			devices, err := domain.Collect(ctx, tx.OrderDevices(), f)
			if err != nil {
				return err
			}
			for _, d := range devices {
				by[d.Device] = append(by[d.Device], open{o, d.Device})
			}
		}
		return nil
	})
	if err != nil || mark == before {
		return err
	}
	s.wait.mu.Lock()
	defer s.wait.mu.Unlock()
	s.wait.by, s.wait.mark = by, mark
	close(s.wait.news)
	s.wait.news = make(chan struct{})
	return nil
}

// feed is one that is under way.
type feed struct {
	service *Service
	desk    *desk
	devices []string
	version int // of the key that the other side has
	send    func(order.Line) error
	end     context.CancelFunc
	told    order.Watch // the last one
	// stamps are those that devices have said, or were told of, by device.
	stamps map[string]order.Stamp
}

// Feed sends a device its orders, and a beat every BeatEvery, until ctx ends or the
// feed is as old as the device has asked for: then it asks for another. send hands over
// one line. An error matches ErrForbidden or ErrUnavailable, or is that of send.
func (s *Service) Feed(ctx context.Context, a domain.Actor, h order.Hello, send func(order.Line) error) error {
	if a.Kind != domain.ActorDevice || a.Role != domain.RoleDevice {
		return fmt.Errorf("%w: only a device has orders", domain.ErrForbidden)
	}
	identity, err := s.identity(ctx, a.Name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followers, err := s.mandated(ctx, a.Name, h.Mandates)
	if err != nil {
		return err
	}
	f := &feed{service: s, desk: newDesk(s.ctl.Random(8)), devices: devices(a.Name, followers), version: h.KeyVersion,
		send: send, end: cancel, stamps: stampsOf(a.Name, h, followers)}
	if !s.wait.enter(a.Name, f) {
		return fmt.Errorf("%w: too many devices wait for orders here", domain.ErrUnavailable)
	}
	defer s.wait.leave(a.Name, f)
	end := time.NewTimer(min(FeedLife, time.Duration(max(0, min(h.Wait, 1<<20)))*time.Second))
	defer end.Stop()
	err = f.serve(ctx, a, h, followers, identity, end.C)
	if ctx.Err() != nil {
		return nil // another feed took its place, or the device is gone: whatever that cut short
	}
	return err
}

// serve sends all that there is to be sent, until ctx or the feed ends.
func (f *feed) serve(ctx context.Context, a domain.Actor, h order.Hello, followers []mandated, identity string,
	end <-chan time.Time) error {
	s := f.service
	if err := f.beat(); err != nil {
		return err
	}
	if h.Wait <= 0 || followers != nil { // it does not wait until Run looks
		if err := s.look(ctx); err != nil {
			return err
		}
	}
	if err := f.cover(ctx, followers); err != nil {
		return err
	}
	_ = s.heardOf(ctx, a, followers) // orders do not wait for a database that takes nothing
	if err := f.changed(ctx); err != nil {
		return err
	}
	return f.follow(ctx, a.Name, identity, end)
}

// follow sends what comes, until ctx or the feed ends.
func (f *feed) follow(ctx context.Context, device, identity string, end <-chan time.Time) error {
	s := f.service
	beat := time.NewTicker(s.beat)
	defer beat.Stop()
	stamp := time.NewTicker(order.StampEvery)
	defer stamp.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	looks, err := f.watch(ctx, device, true)
	if err != nil {
		return err
	}
	for {
		all, news := s.wait.of(f.devices)
		next, err := f.orders(ctx, all)
		if err != nil {
			return err
		}
		wake.Stop()
		if !next.IsZero() {
			wake.Reset(next.Sub(s.ctl.Time()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			return nil
		case <-stamp.C:
			if err := f.changed(ctx); err != nil {
				return err
			}
		case <-s.wait.end:
			return nil
		case <-news:
		case <-looks:
			if looks, err = f.watch(ctx, device, false); err != nil {
				return err
			}
		case <-wake.C:
		case <-beat.C:
			now, err := s.identity(ctx, device)
			if err != nil || now != identity {
				return err // it was reset: the device must show who it is
			}
			if err := f.beat(); err != nil {
				return err
			}
		}
	}
}

// watch tells the other side how much it is to tell of upgrades, if that is not what it
// was told last, and returns what is closed when it may be something else. What the
// controller was told by way of an earlier feed may be forgotten.
func (f *feed) watch(ctx context.Context, device string, first bool) (<-chan struct{}, error) {
	if f.service.watched == nil {
		return nil, nil
	}
	w, looks := f.service.watched(ctx, device)
	w.Again = first
	if !first && w == f.told {
		return looks, nil
	}
	f.told = order.Watch{Rate: w.Rate, Kept: w.Kept}
	return looks, f.send(order.Line{Watch: &w})
}

// Carries are the devices whose orders come by way of another one now, itself included.
func (s *Service) Carries(device string) (all []string) {
	s.wait.mu.Lock()
	defer s.wait.mu.Unlock()
	for _, f := range s.wait.mine[device] {
		all = append(all, f.devices...)
	}
	return all
}

// identity names the identity that a device has now, "" for none.
func (s *Service) identity(ctx context.Context, device string) (id string, err error) {
	err = s.ctl.View(ctx, domain.Actor{}, func(tx domain.Tx) error {
		f := domain.CredentialFilter{Kind: domain.CredentialDevice, Subject: device}
		l, err := tx.Credentials().List(ctx, f, domain.Page{Limit: 1})
		if err == nil && len(l.Items) > 0 {
			id = l.Items[0].ID
		}
		return err
	})
	return id, err
}

// lead sees to it that the other side has the key in use.
func (f *feed) lead(k keyFile) error {
	if f.version == k.Version {
		return nil
	}
	line, ok := k.lead(f.version)
	f.version = k.Version
	if !ok {
		return nil // it has a key that no statement leads from: it refuses all, and says so
	}
	return f.send(line)
}

func (f *feed) beat() error {
	sealed, err := f.seal()
	if err != nil {
		return err
	}
	return f.send(order.Line{Beat: sealed})
}

// seal makes a beat of now, which the other side has the key for.
func (f *feed) seal() ([]byte, error) {
	k, err := f.service.keys.current()
	if err != nil {
		return nil, err
	}
	if err := f.lead(k); err != nil {
		return nil, err
	}
	b := order.Beat{Time: f.service.ctl.Time(), Feed: f.desk.feed, Last: f.desk.number}
	return order.SealBeat(k.private(), b), nil
}

// orders sends what is due, and returns when to look again.
func (f *feed) orders(ctx context.Context, all []open) (next time.Time, err error) {
	now := f.service.ctl.Time()
	if f.desk.repeats(now, all) {
		if all, err = f.service.unanswered(ctx, all); err != nil {
			return next, err
		}
	}
	due, next := f.desk.due(now, all)
	if len(due) == 0 {
		return next, nil
	}
	k, err := f.service.keys.current()
	if err != nil {
		return next, err
	}
	if err := f.lead(k); err != nil {
		return next, err
	}
	for _, o := range due {
		sealed, err := order.Seal(k.private(), o)
		if err != nil {
			return next, err
		}
		if err := f.send(order.Line{Order: sealed}); err != nil {
			return next, err
		}
	}
	return next, nil
}

// unanswered leaves out what another process has seen answered.
func (s *Service) unanswered(ctx context.Context, all []open) (rest []open, err error) {
	keys := make([]string, 0, len(all))
	for _, o := range all {
		keys = append(keys, o.key())
	}
	err = s.ctl.View(ctx, domain.Actor{}, func(tx domain.Tx) error {
		rest = nil
		rows, err := tx.OrderDevices().GetAll(ctx, keys)
		for _, o := range all {
			if rows[o.key()].Standing == domain.OrderWaiting {
				rest = append(rest, o)
			}
		}
		return err
	})
	return rest, err
}

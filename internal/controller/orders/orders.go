package orders

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/parse"
)

const (
	// DefaultLife of an order: long enough for a device that restarts meanwhile, and
	// too short to surprise somebody the next day.
	DefaultLife = time.Hour
	// MaxDevices bounds the devices of one order that is sent.
	MaxDevices = 100_000
	// together is how soon a reset is if nobody says when: all devices have the order
	// by then.
	together = 30 * time.Second
	// defaultLines of a log.
	defaultLines = 200
	// kept is how long orders that have expired are kept, for people.
	kept = 90 * 24 * time.Hour
)

// Config configures a Service.
type Config struct {
	// Controller has the devices. Required.
	Controller *domain.Controller
	// Keys are the directory of the controller's keys. Required.
	Keys string
	// Shared keeps the keys of several replicas the same. nil: there are none.
	Shared Shared
	// Random makes keys. Required.
	Random io.Reader
	// Beat is how often a feed says that it lives. 0 means BeatEvery, by which devices
	// judge: another one is for measurements.
	Beat time.Duration
	// Stamp is that of the provisioning file which a device would be given now. nil:
	// devices look by themselves.
	Stamp func(ctx context.Context, device string) (order.Stamp, error)
	// Watched is how much a device that keeps a connection is to tell of upgrades while
	// they go on, and what is closed when that may have changed. nil: nothing.
	Watched func(ctx context.Context, device string) (order.Watch, <-chan struct{})
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.Controller == nil || c.Keys == "" || c.Random == nil || c.Beat < 0 {
		return errors.New("orders: no controller, no directory of keys, no random numbers, or a negative time")
	}
	return nil
}

// Service has the use cases. Its methods may be called by several goroutines, and
// several controllers may share one database.
type Service struct {
	ctl  *domain.Controller
	keys *Keys
	wait *waiting
	beat time.Duration
	// stamp is Config.Stamp.
	stamp func(ctx context.Context, device string) (order.Stamp, error)
	// watched is Config.Watched.
	watched func(ctx context.Context, device string) (order.Watch, <-chan struct{})
}

// New returns the use cases. The order key is made when it is first used.
func New(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Service{ctl: cfg.Controller, keys: OpenKeys(cfg.Keys, cfg.Random, cfg.Shared), wait: newWaiting(),
		beat: cmp.Or(cfg.Beat, BeatEvery), stamp: cfg.Stamp, watched: cfg.Watched}, nil
}

// Request asks for an order. It names devices, or finds them: fields that are ""
// find all, and all others must match. To find every device All must be set.
type Request struct {
	Kind    string   `json:"kind"`
	Devices []string `json:"devices,omitempty" maxItems:"10000"`
	Site    string   `json:"site,omitempty"`
	Model   string   `json:"model,omitempty"`
	Profile string   `json:"profile,omitempty"`
	State   string   `json:"state,omitempty"`
	Active  string   `json:"active,omitempty"`
	Text    string   `json:"text,omitempty"`
	// NoProfile, Registration, Load, Release, Failed and Silent find devices as a list of
	// them does.
	NoProfile    bool   `json:"no_profile,omitempty" doc:"devices that have no profile"`
	Registration string `json:"origin,omitempty" enum:"administrator,auto-registered,enrolled"`
	Load         string `json:"load,omitempty" maxLength:"255" doc:"assigned at the level of the device"`
	Release      string `json:"release,omitempty" maxLength:"64" doc:"assigned at the level of the device"`
	Failed       bool   `json:"failed,omitempty" doc:"devices that tell of a failure: of their upgrade or of a file set"`
	Silent       int64  `json:"silent_s,omitempty" minimum:"0" maximum:"315360000" doc:"devices that have not reported for so long; 0: all"`
	All          bool   `json:"all,omitempty"`
	// Rollout finds the devices of a rollout, Wave those of one of its waves, from 1.
	Rollout string `json:"rollout,omitempty" maxLength:"64"`
	Wave    int    `json:"wave,omitempty" minimum:"0" maximum:"100" doc:"of the rollout, from 1; 0 or left out: all"`
	// At is the moment of reset-together; zero means in half a minute.
	At time.Time `json:"at,omitzero"`
	// Life in seconds until it expires; 0 means an hour.
	Life int64 `json:"life_s,omitempty" minimum:"0"`
	// Lines of collect-log; 0 means 200.
	Lines int `json:"lines,omitempty" minimum:"0"`
}

// Sent is an order that was sent, or would be, and whom it reaches.
type Sent struct {
	// DryRun says that nothing was sent.
	DryRun bool             `json:"dry_run"`
	Order  domain.SentOrder `json:"order"`
	Reach  domain.Reach     `json:"reach"`
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{domain.ErrInvalid}, args...)...)
}

// finds reports whether a request finds devices, rather than to name them.
func (r Request) finds() bool {
	return r.Rollout != "" || r.filters()
}

// filters reports whether it finds them by what is known of each.
func (r Request) filters() bool {
	return r.Site+r.Model+r.Profile+r.State+r.Active+r.Text+r.Registration+r.Load+r.Release != "" || r.NoProfile ||
		r.Failed || r.Silent != 0
}

// filter is what the fields find devices by.
func (r Request) filter(now time.Time) domain.DeviceFilter {
	f := domain.DeviceFilter{Site: r.Site, Model: r.Model, Profile: r.Profile, State: r.State, Active: r.Active,
		Text: r.Text, NoProfile: r.NoProfile, Registration: r.Registration, Load: r.Load, Release: r.Release,
		Failed: r.Failed}
	if r.Silent > 0 {
		f.Silent = now.Add(-time.Duration(r.Silent) * time.Second)
	}
	return f
}

// checkKind says which kinds there are, if this is none of them.
func checkKind(kind string) error {
	if err := choice.Value("the kind", kind, order.Words()); err != nil {
		return fmt.Errorf("%w: %w", domain.ErrInvalid, err)
	}
	return nil
}

// order makes the order of a request.
func (r Request) order(now time.Time) (o domain.SentOrder, err error) {
	if err := checkKind(r.Kind); err != nil {
		return o, err
	}
	switch named := len(r.Devices) > 0; {
	case !named && !r.finds() && !r.All:
		return o, invalid("the order is for nobody: name devices, find them by a condition such as a site or a " +
			"state, or say that it is for all")
	case r.Wave != 0 && r.Rollout == "":
		return o, invalid("a wave is one of a rollout: name it")
	case named && (r.finds() || r.All), r.finds() && r.All:
		return o, invalid("an order is for devices that it names, for those that it finds, or for all: leave out the others")
	}
	life := DefaultLife
	if r.Life > 0 {
		life = time.Duration(min(r.Life, 1<<31)) * time.Second
	}
	now = now.Truncate(time.Second)
	o = domain.SentOrder{Kind: r.Kind, Issued: now, Expires: now.Add(life), Lines: r.Lines}
	if life > order.MaxLife {
		return o, invalid("an order lives for %v at most", parse.Duration(order.MaxLife))
	}
	kind := order.Kind(r.Kind)
	switch {
	case kind == order.ResetTogether:
		o.Moment = now.Add(together)
		if !r.At.IsZero() {
			o.Moment = r.At.UTC().Truncate(time.Second)
		}
		if o.Moment.Before(now) || !o.Moment.Before(o.Expires) {
			return o, invalid("the moment of %s is from now on, and before it expires (%s)", kind,
				o.Expires.Format(time.RFC3339))
		}
	case !r.At.IsZero():
		return o, invalid("only %s has a moment: leave it out", order.ResetTogether)
	}
	switch {
	case kind == order.CollectLog && r.Lines == 0:
		o.Lines = defaultLines
	case kind == order.CollectLog && r.Lines > order.MaxLines, kind != order.CollectLog && r.Lines != 0:
		return o, invalid("only %s has lines, 1 to %d: give so many, or leave them out", order.CollectLog, order.MaxLines)
	}
	return o, nil
}

// Send sends an order, or with dry says whom it would reach. The actor must be one
// who may change devices.
func (s *Service) Send(ctx context.Context, a domain.Actor, r Request, dry bool) (out Sent, err error) {
	if err := a.Check(domain.ScopeDevices); err != nil {
		return out, err
	}
	out.DryRun = dry
	if out.Order, err = r.order(s.ctl.Time()); err != nil {
		return out, err
	}
	if _, err := s.keys.current(); err != nil {
		return out, err
	}
	out.Order.By, out.Order.Account = a.Name, a.Account
	if dry {
		err = s.ctl.View(ctx, a, func(tx domain.Tx) (err error) {
			_, err = s.reached(ctx, tx, a, r, &out)
			return err
		})
		return out, err
	}
	out.Order.ID = s.id()
	out.Order.Created, out.Order.Changed = s.ctl.Time(), s.ctl.Time()
	// Whom it reaches is found and written in one: meanwhile a device could go to a
	// site that is not the sender's.
	err = s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		devices, err := s.reached(ctx, tx, a, r, &out)
		if err != nil {
			return err
		}
		o := out.Order
		if err := tx.SentOrders().Put(ctx, &o); err != nil {
			return err
		}
		out.Order.Version = o.Version
		note("order.send", "order "+o.ID, nil, o)
		return tx.OrderDevices().PutAll(ctx, devices)
	})
	if err == nil {
		s.wait.changed(true)
	}
	return out, err
}

// reached finds whom an order reaches, in a transaction.
func (s *Service) reached(ctx context.Context, tx domain.Tx, a domain.Actor, r Request,
	out *Sent) ([]domain.OrderDevice, error) {
	rows, err := s.find(ctx, tx, a, r)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%w: the order would reach no device: name others, or find them in another way",
			domain.ErrRefused)
	}
	out.Order.Version, out.Order.Devices, out.Reach = 0, len(rows), reach(rows)
	devices := make([]domain.OrderDevice, 0, len(rows))
	for _, d := range rows {
		devices = append(devices, domain.OrderDevice{Meta: domain.Meta{Created: out.Order.Created,
			Changed: out.Order.Created}, Order: out.Order.ID, Device: d.Name, Site: site(d), Standing: domain.OrderWaiting})
	}
	return devices, nil
}

// id makes an id that orders by time.
func (s *Service) id() string {
	return fmt.Sprintf("%016x%s", s.ctl.Time().UnixMicro(), s.ctl.Random(4))
}

// site is the one that a device belongs to.
func site(d domain.DeviceRow) string {
	if d.Site != "" || d.State == nil {
		return d.Site
	}
	return d.State.Site
}

func reach(rows []domain.DeviceRow) domain.Reach {
	r := domain.NoReach()
	for _, d := range rows {
		r.Add(d.Name, d.Model, site(d))
	}
	return r
}

// Tally is an order, and how many of its devices have which standing.
type Tally struct {
	domain.SentOrder
	Standings map[string]int `json:"standings"`
}

// standings are all that a device of an order can have.
func standings() []string {
	return []string{domain.OrderWaiting, domain.OrderExpired, domain.OrderCancelled, string(order.Done),
		string(order.Failed), string(order.Refused), string(order.Unsupported), string(order.Late)}
}

func (s *Service) tally(ctx context.Context, tx domain.Tx, o domain.SentOrder) (Tally, error) {
	t := Tally{o, map[string]int{}}
	for _, w := range standings() {
		l, err := tx.OrderDevices().List(ctx, domain.OrderDeviceFilter{Order: o.ID, Standing: w}, domain.Page{Limit: 1})
		if err != nil {
			return t, err
		}
		if l.Total > 0 {
			t.Standings[w] = l.Total
		}
	}
	if n := t.Standings[domain.OrderWaiting]; n > 0 && !s.ctl.Time().Before(o.Expires) {
		t.Standings[domain.OrderExpired] += n // as it is written soon
		delete(t.Standings, domain.OrderWaiting)
	}
	return t, nil
}

// List returns orders, the oldest first; of a site, those that went to a device of it.
func (s *Service) List(ctx context.Context, a domain.Actor, site string, f domain.SentOrderFilter,
	p domain.Page) (l domain.List[Tally], err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return l, err
	}
	if f.Kind != "" {
		if err := checkKind(f.Kind); err != nil {
			return l, err
		}
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		if site != "" {
			if _, err := domain.SiteNamed(ctx, tx, site); err != nil {
				return err
			}
			f.Realm = domain.RealmOf([]string{site})
		}
		all, err := tx.SentOrders().List(ctx, f, p)
		l = domain.List[Tally]{Items: []Tally{}, Next: all.Next, Total: all.Total}
		for _, o := range all.Items {
			t, err := s.tally(ctx, tx, o)
			if err != nil {
				return err
			}
			l.Items = append(l.Items, t)
		}
		return err
	})
	return l, err
}

// Get returns an order.
func (s *Service) Get(ctx context.Context, a domain.Actor, id string) (t Tally, err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return t, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		o, err := sent(ctx, tx, id)
		if err != nil {
			return err
		}
		t, err = s.tally(ctx, tx, o)
		return err
	})
	return t, err
}

func sent(ctx context.Context, tx domain.Tx, id string) (domain.SentOrder, error) {
	o, err := tx.SentOrders().Get(ctx, id)
	if errors.Is(err, domain.ErrNotFound) {
		err = fmt.Errorf("%w: order %q", domain.ErrNotFound, id)
	}
	return o, err
}

// Devices returns how the devices of an order have answered.
func (s *Service) Devices(ctx context.Context, a domain.Actor, id, standing string,
	p domain.Page) (l domain.List[domain.OrderDevice], err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return l, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		if _, err := sent(ctx, tx, id); err != nil {
			return err
		}
		l, err = tx.OrderDevices().List(ctx, domain.OrderDeviceFilter{Order: id, Standing: standing}, p)
		return err
	})
	return l, err
}

// Cancel takes an order back from devices that have not answered. A device that has
// got it meanwhile may still carry it out, and answers.
func (s *Service) Cancel(ctx context.Context, a domain.Actor, id string) (t Tally, err error) {
	if err := a.Check(domain.ScopeDevices); err != nil {
		return t, err
	}
	err = s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		o, err := sent(ctx, tx, id)
		if err != nil {
			return err
		}
		if !o.Cancelled.IsZero() || !s.ctl.Time().Before(o.Expires) {
			return fmt.Errorf("%w: order %s has expired, or was cancelled before", domain.ErrRefused, id)
		}
		before := o
		o.Cancelled, o.Changed = s.ctl.Time(), s.ctl.Time()
		if err := tx.SentOrders().Put(ctx, &o); err != nil {
			return err
		}
		note("order.cancel", "order "+id, before, o)
		if err := s.close(ctx, tx, id, domain.OrderCancelled); err != nil {
			return err
		}
		t, err = s.tally(ctx, tx, o)
		return err
	})
	if err == nil {
		s.wait.changed(true)
	}
	return t, err
}

// close gives the devices of an order that still wait another standing.
func (s *Service) close(ctx context.Context, tx domain.Tx, id, standing string) error {
	for {
		f := domain.OrderDeviceFilter{Order: id, Standing: domain.OrderWaiting}
		l, err := tx.OrderDevices().List(ctx, f, domain.Page{Limit: domain.MaxPage})
		if err != nil || len(l.Items) == 0 {
			return err
		}
		for i := range l.Items {
			l.Items[i].Standing, l.Items[i].Changed = standing, s.ctl.Time()
		}
		if err := tx.OrderDevices().PutAll(ctx, l.Items); err != nil {
			return err
		}
	}
}

// Prune closes what has expired, and removes what was kept long enough.
func (s *Service) Prune(ctx context.Context) error {
	system := domain.Actor{Kind: domain.ActorSystem, Name: "upkeep", From: "local", Role: domain.RoleAdmin}
	now := s.ctl.Time()
	return s.ctl.Update(ctx, system, func(tx domain.Tx, _ domain.Note) error {
		for o, err := range domain.Each(ctx, tx.SentOrders(), domain.SentOrderFilter{ExpiredBy: now}) {
			if err != nil {
				return err
			}
			if o.Expires.Before(now.Add(-kept)) {
				err = tx.SentOrders().Delete(ctx, o.ID, 0)
			} else {
				err = s.close(ctx, tx, o.ID, domain.OrderExpired)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// KeyState is the order key in use, without its secret half.
type KeyState struct {
	Version int    `json:"version"`
	Public  []byte `json:"public"`
}

// Key returns the order key in use.
func (s *Service) Key(_ context.Context, a domain.Actor) (KeyState, error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return KeyState{}, err
	}
	f, err := s.keys.current()
	if err != nil {
		return KeyState{}, err
	}
	return KeyState{f.Version, f.key().Public}, nil
}

// ToPin is the order key for a device that enrols, as order.ParseKey reads it; nil while
// the key cannot be used: the device then pins it at its first feed.
func (s *Service) ToPin() json.RawMessage {
	f, err := s.keys.current()
	if err != nil {
		return nil
	}
	text, err := f.key().Marshal()
	if err != nil {
		return nil
	}
	return text
}

// RotateKey makes the next order key. Devices learn it with their next connection,
// by a statement of the key that they have pinned.
func (s *Service) RotateKey(ctx context.Context, a domain.Actor) (k KeyState, err error) {
	if err := a.Check(domain.ScopeAccess); err != nil {
		return k, err
	}
	err = s.ctl.Update(ctx, a, func(_ domain.Tx, note domain.Note) error {
		if k.Version == 0 { // the transaction may be run again
			next, err := s.keys.rotate()
			if err != nil {
				return err
			}
			k = KeyState{next.Version, next.Public}
		}
		note("order-key.rotate", fmt.Sprintf("order key %d", k.Version), nil, k)
		return nil
	})
	if err == nil {
		s.wait.changed(true)
	}
	return k, err
}

package rollouts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/forecast"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
)

// Config configures a Service.
type Config struct {
	// Controller has the devices, loads and the audit log. Required.
	Controller *domain.Controller
	// Kept is where rollouts are, in the controller's store. Required.
	Kept *Store
	// Forecast says what a plan takes. nil: one of this service's own.
	Forecast *forecast.Service
	// HTTP asks external checks. nil: one that follows no redirects.
	HTTP *http.Client
	// Log is told of what goes wrong by itself. nil: nothing is logged.
	Log *slog.Logger
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.Controller == nil || c.Kept == nil {
		return errors.New("rollouts: no controller or no store")
	}
	return nil
}

// Service has the use cases of rollouts. It may be used by several goroutines.
type Service struct {
	cfg  Config
	ctl  *domain.Controller
	kept *Store
}

// NewService returns a service.
func NewService(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: checkTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Forecast == nil {
		cfg.Forecast = forecast.New(cfg.Controller)
	}
	return &Service{cfg: cfg, ctl: cfg.Controller, kept: cfg.Kept}, nil
}

// keeper drives rollouts within a transaction, for orders and jobs: they hand no
// device a load, so it does not matter which step leads there.
func (s *Service) keeper(tx domain.Tx) *keeper.Keeper {
	return keeper.New(within{s.kept, tx}, rollout.Straight)
}

// stepper likewise drives devices, by the steps that lead from load to load.
func (s *Service) stepper(ctx context.Context, tx domain.Tx) (*keeper.Keeper, error) {
	next, err := s.ctl.NextStep(ctx, tx)
	return keeper.New(within{s.kept, tx}, next), err
}

// Change makes or changes a draft; what is nil stays.
type Change struct {
	// Load and Release: one of them.
	Load    *string               `json:"load,omitempty" maxLength:"255" doc:"the load to bring; or a release"`
	Release *string               `json:"release,omitempty" maxLength:"64" doc:"the release to bring: each device gets the load of it that is for its model"`
	Target  *domain.RolloutTarget `json:"target,omitempty" doc:"the devices: those that match all that is given"`
	Check   *string               `json:"check,omitempty" maxLength:"1000" doc:"URL of the external check, for waves whose opener it is; empty for none"`
	Plan    *Plan                 `json:"plan,omitempty"`
}

// View is a rollout as people see it.
type View struct {
	ID string `json:"id"`
	// Version counts what people have ordered; it is that of If-Match.
	Version int64         `json:"version"`
	State   rollout.State `json:"state" enum:"draft,awaiting-approval,scheduled,running,paused,finished,aborted,rolled-back"`
	// Since when the state holds, By whom ("" for the rollout itself), and Why.
	Since   time.Time         `json:"since"`
	By      string            `json:"by"`
	Why     string            `json:"why"`
	Created time.Time         `json:"created"`
	Authors []string          `json:"authors" doc:"who made the plan: none of them approves it"`
	Ask     domain.RolloutAsk `json:"ask"`
	Plan    Plan              `json:"plan"`
	// Listed says that the devices of the target are known and held.
	Listed bool `json:"listed"`
	// Open is how many waves are open.
	Open   int                  `json:"open"`
	Waves  []rollout.WaveRecord `json:"waves"`
	Counts rollout.Counts       `json:"counts"`
	// LeftOut and Reasons count devices that take no part, and that failed or were
	// skipped.
	LeftOut map[string]int `json:"left_out"`
	Reasons map[string]int `json:"reasons"`
	Checked *Checked       `json:"checked,omitempty"`
	Links   Links          `json:"links"`
	// Replaced are loads that gave way to others.
	Replaced []rollout.Replacement `json:"replaced"`
}

// Checked is the last answer of the external check.
type Checked struct {
	At     time.Time `json:"at"`
	Answer string    `json:"answer"`
}

// Links are other rollouts that belong to one.
type Links struct {
	Undoes   string `json:"undoes,omitempty" doc:"the rollout that this one takes back"`
	UndoneBy string `json:"undone_by,omitempty" doc:"the rollout that takes this one back"`
}

// viewOf is a rollout as people see it.
func viewOf(r domain.Rollout) View {
	c := r.Record
	v := View{ID: c.ID, Version: r.Orders, State: c.State, Since: c.Since, By: c.By, Why: c.Why, Created: c.Created,
		Authors: c.Authors, Ask: r.Ask, Plan: planOf(c.Plan), Listed: c.Listed, Open: c.Open, Waves: c.Waves,
		Counts: c.Totals(), LeftOut: c.LeftOut, Reasons: c.Reasons, Links: Links{r.Undoes, r.UndoneBy},
		Replaced: c.Replaced}
	if v.Waves == nil {
		v.Waves = []rollout.WaveRecord{}
	}
	if v.LeftOut == nil {
		v.LeftOut = map[string]int{}
	}
	if v.Reasons == nil {
		v.Reasons = map[string]int{}
	}
	if v.Replaced == nil {
		v.Replaced = []rollout.Replacement{}
	}
	if !r.Answered.IsZero() {
		v.Checked = &Checked{r.Answered, r.Answer}
	}
	return v
}

// Created is a rollout with the secret that signs the questions to its external
// check. It is shown when that is named, and not again.
type Created struct {
	View
	Secret string `json:"check_secret,omitempty" doc:"signs the questions to the external check; shown once"`
}

// MaxIDLen bounds the id of a rollout.
const MaxIDLen = 64

// checkID takes 1 to MaxIDLen of letters, digits and ._()+- , the first a letter
// or digit.
func checkID(id string) error {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if id == "" || len(id) > MaxIDLen || !strings.Contains(plain, id[:1]) || strings.Trim(id, plain+"._()+-") != "" {
		return fmt.Errorf("%w: the id of a rollout has 1 to %d letters, digits and . _ ( ) + - and begins with one of the "+
			"first two, such as 9.4(2)-kyoto", domain.ErrInvalid, MaxIDLen)
	}
	return nil
}

// person is who an actor is: somebody and a token of theirs are the same.
func person(a domain.Actor) string {
	if a.User != "" {
		return a.User
	}
	return a.Name
}

// Create makes a draft. Nothing happens to any device.
func (s *Service) Create(ctx context.Context, a domain.Actor, id string, change Change) (out Created, err error) {
	if err := s.may(a, domain.ScopeDevices); err != nil {
		return out, err
	}
	if err := checkID(id); err != nil {
		return out, err
	}
	if change.Plan == nil {
		change.Plan = &Plan{}
	}
	if change.Target == nil {
		change.Target = &domain.RolloutTarget{}
	}
	err = s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		r := domain.Rollout{Orders: 1}
		if r.Record, err = rollout.NewRecord(s.ctl.Time(), id, person(a), rollout.Default()); err != nil {
			return said(err)
		}
		r.Record.Wrote(person(a), a.Account)
		if err := s.apply(ctx, tx, a, &r, change, &out); err != nil {
			return err
		}
		if err := tx.Rollouts().Put(ctx, &r); errors.Is(err, domain.ErrExists) {
			return fmt.Errorf("%w: rollout %q; ids are not used twice, for its devices stay on record", domain.ErrExists, id)
		} else if err != nil {
			return err
		}
		note("rollout.create", target(id), nil, drafted(r))
		out.View = viewOf(r)
		return nil
	})
	return out, err
}

// target is that of an entry of the audit log.
func target(id string) string { return "rollout " + id }

// draft is what the audit log has of one.
type draft struct {
	Ask  domain.RolloutAsk `json:"ask"`
	Plan Plan              `json:"plan"`
}

func drafted(r domain.Rollout) draft { return draft{r.Ask, planOf(r.Record.Plan)} }

// apply changes a draft.
func (s *Service) apply(ctx context.Context, tx domain.Tx, a domain.Actor, r *domain.Rollout, change Change,
	out *Created) error {
	if change.Load != nil || change.Release != nil {
		r.Ask.Load, r.Ask.Release = "", ""
	}
	for from, to := range map[*string]*string{change.Load: &r.Ask.Load, change.Release: &r.Ask.Release} {
		if from != nil {
			*to = *from
		}
	}
	if (r.Ask.Load == "") == (r.Ask.Release == "") {
		return invalid("a rollout brings a load or a release: name one of them")
	}
	if err := s.ctl.Assignable(ctx, tx, r.Ask.Load, r.Ask.Release); err != nil {
		return err
	}
	if change.Target != nil {
		if err := s.checkTarget(ctx, tx, a, change.Target); err != nil {
			return err
		}
		r.Ask.Target = *change.Target
	}
	if change.Plan != nil {
		plan, err := change.Plan.machine()
		if err != nil {
			return err
		}
		m := rollout.New(r.Record, rollout.Straight)
		if _, err := m.Step(s.ctl.Time(), rollout.Edit{By: person(a), ID: a.Account, Plan: plan}); err != nil {
			return said(err)
		}
		r.Record = m.Record()
	}
	if change.Check != nil && *change.Check != r.Ask.Check {
		if err := checkURL(*change.Check); err != nil {
			return err
		}
		r.Ask.Check, r.Secret = *change.Check, ""
		if r.Ask.Check != "" {
			r.Secret = s.ctl.Random(secretBytes)
			out.Secret = r.Secret
		}
	}
	external := func(w rollout.Wave) bool { return w.Gate.Opener == rollout.ByExternal }
	if w := r.Record.Plan.Waves; slices.ContainsFunc(w[:len(w)-1], external) && r.Ask.Check == "" {
		return invalid("a wave waits for an external check: name its URL")
	}
	return nil
}

// Edit changes a draft. version is that which the caller has read, 0 for any.
func (s *Service) Edit(ctx context.Context, a domain.Actor, id string, change Change,
	version int64) (out Created, err error) {
	if err := s.may(a, domain.ScopeDevices); err != nil {
		return out, err
	}
	err = s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		out = Created{}
		r, err := find(ctx, tx, id, version)
		if err != nil {
			return err
		}
		if r.Record.State != rollout.Draft {
			return refused("rollout %s is %s: only a draft is changed; make another rollout", id, r.Record.State)
		}
		if r.Undoes != "" && (change.Load != nil || change.Release != nil || change.Target != nil) {
			return refused("rollout %s takes back %s: its devices and their loads are given", id, r.Undoes)
		}
		before := drafted(r)
		if r.Undoes == "" {
			err = s.apply(ctx, tx, a, &r, change, &out)
		} else {
			err = s.applyUndo(a, &r, change)
		}
		if err != nil {
			return err
		}
		r.Orders++
		note("rollout.update", target(id), before, drafted(r))
		out.View = viewOf(r)
		return tx.Rollouts().Put(ctx, &r)
	})
	return out, err
}

// applyUndo changes the plan of a rollout that takes back another one.
func (s *Service) applyUndo(a domain.Actor, r *domain.Rollout, change Change) error {
	if change.Plan == nil {
		return nil
	}
	plan, err := change.Plan.machine()
	if err != nil {
		return err
	}
	m := rollout.New(r.Record, rollout.Straight)
	if _, err := m.Step(s.ctl.Time(), rollout.Edit{By: person(a), ID: a.Account, Plan: plan}); err != nil {
		return said(err)
	}
	r.Record = m.Record()
	return nil
}

// find reads a rollout and compares its version; 0 is any.
func find(ctx context.Context, tx domain.Tx, id string, version int64) (domain.Rollout, error) {
	r, err := tx.Rollouts().Get(ctx, id)
	if errors.Is(err, domain.ErrNotFound) {
		return r, fmt.Errorf("%w: rollout %.64q", domain.ErrNotFound, id)
	}
	if err == nil {
		err = domain.CheckVersion(r.Orders, version)
	}
	return r, err
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", domain.ErrInvalid, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", domain.ErrRefused, fmt.Errorf(format, args...))
}

// said makes an error of the machine one of the domain.
func said(err error) error {
	switch {
	case errors.Is(err, rollout.ErrState), errors.Is(err, rollout.ErrRefused):
		return &refusal{err}
	case errors.Is(err, keeper.ErrNotFound):
		return fmt.Errorf("%w: %w", domain.ErrNotFound, err)
	}
	return err
}

// refusal is what the machine refuses, in the words of the domain.
type refusal struct{ err error }

// Error says once that it is refused.
func (r *refusal) Error() string {
	return domain.ErrRefused.Error() + ": " + strings.Replace(r.err.Error(), rollout.ErrRefused.Error()+": ", "", 1)
}

// Unwrap implements errors.Is, for both.
func (r *refusal) Unwrap() []error { return []error{domain.ErrRefused, r.err} }

// Get returns a rollout.
func (s *Service) Get(ctx context.Context, a domain.Actor, id string) (v View, err error) {
	if err := s.may(a, domain.ScopeRead); err != nil {
		return v, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		r, err := find(ctx, tx, id, 0)
		v = viewOf(r)
		return err
	})
	return v, err
}

// List lists rollouts by their ids; of a site, those that have a device of it.
func (s *Service) List(ctx context.Context, a domain.Actor, site string, f domain.RolloutFilter,
	p domain.Page) (l domain.List[View], err error) {
	if err := s.may(a, domain.ScopeRead); err != nil {
		return l, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		if site != "" {
			if _, err := domain.SiteNamed(ctx, tx, site); err != nil {
				return err
			}
			f.Realm = domain.RealmOf([]string{site})
		}
		all, err := tx.Rollouts().List(ctx, f, p)
		l = domain.List[View]{Items: []View{}, Next: all.Next, Total: all.Total}
		for _, r := range all.Items {
			l.Items = append(l.Items, viewOf(r))
		}
		return err
	})
	return l, err
}

// Devices lists the devices of a rollout.
func (s *Service) Devices(ctx context.Context, a domain.Actor, f domain.RolloutDeviceFilter,
	p domain.Page) (l domain.List[rollout.Row], err error) {
	if err := s.may(a, domain.ScopeRead); err != nil {
		return l, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		if _, err := find(ctx, tx, f.Rollout, 0); err != nil {
			return err
		}
		all, err := tx.RolloutDevices().List(ctx, f, p)
		l = domain.List[rollout.Row]{Items: []rollout.Row{}, Next: all.Next, Total: all.Total}
		for _, d := range all.Items {
			l.Items = append(l.Items, d.Row)
		}
		return err
	})
	return l, err
}

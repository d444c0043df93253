package bulk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/bulk/table"
	"github.com/peerload/peerload/internal/controller/domain"
)

const (
	// stepRows is how many rows one transaction writes: others have to wait for it,
	// some tens of milliseconds.
	stepRows = 500
	// MaxJobs bounds the jobs that are kept, with their rows. The oldest that have
	// ended go first, and cannot be undone any more.
	MaxJobs = 100
)

// Config configures a Service.
type Config struct {
	// Controller has the rules, and its database the jobs. Required.
	Controller *domain.Controller
	// Now returns the time. nil means time.Now.
	Now func() time.Time
	// Every is how often Run looks for jobs that are due, or that another process
	// has left. 0 means a second.
	Every time.Duration
	// Log is told of steps that fail. nil: nobody is.
	Log *slog.Logger
}

// Validate says what is missing or out of range.
func (c Config) Validate() error {
	if c.Controller == nil || c.Every < 0 {
		return errors.New("bulk: no controller, or Every is negative")
	}
	return nil
}

// Service has the use cases of jobs. Its methods may be called by several
// goroutines.
type Service struct {
	cfg  Config
	wake chan struct{}
	// written are steps that were written and are read back next, coming those that are
	// written after the next one.
	written near[domain.JobStep]
	coming  near[judgedStep]
}

// New returns a service.
func New(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg, wake: make(chan struct{}, 1)}, nil
}

// itself is who keeps jobs. What they do to devices, their makers do, in a batch.
var itself = domain.Actor{Kind: domain.ActorSystem, Name: "bulk jobs", From: "local", Role: domain.RoleAdmin}

func (s *Service) view(ctx context.Context, fn func(domain.Tx) error) error {
	return s.cfg.Controller.View(ctx, itself, fn)
}

func (s *Service) update(ctx context.Context, fn func(domain.Tx) error) error {
	return s.cfg.Controller.Update(ctx, itself, func(tx domain.Tx, _ domain.Note) error { return fn(tx) })
}

// Plan says what a job would do.
type Plan struct {
	Name   string           `json:"name"`
	Counts domain.JobCounts `json:"counts"`
	// Rows in the order of the table, each with what would become of it.
	Rows []domain.JobRow `json:"rows"`
	// Shown stands for what is shown here: see Request.
	Shown string `json:"shown"`
}

// Plan says what would become of each row if the job ran now. It changes nothing.
func (s *Service) Plan(ctx context.Context, a domain.Actor, r Request) (p Plan, err error) {
	if err := a.Check(domain.ScopeDevices); err != nil {
		return p, err
	}
	err = s.view(ctx, func(tx domain.Tx) error {
		batch, err := s.cfg.Controller.Batch(ctx, tx, a)
		if err != nil {
			return err
		}
		p = Plan{Name: r.name()}
		if p.Rows, err = r.rows(ctx, batch); err != nil {
			return err
		}
		p.Shown = shownOf(p.Rows)
		for part := range slices.Chunk(p.Rows, stepRows) {
			if _, _, err := verdicts(ctx, batch, part, r.JobOptions); err != nil {
				return err
			}
		}
		return nil
	})
	for i, row := range p.Rows {
		p.Rows[i] = row.Shown()
		p.Counts.Add("", row.Outcome)
	}
	p.Counts.Rows = len(p.Rows)
	return p, err
}

// Create makes a job. Run carries it out.
func (s *Service) Create(ctx context.Context, a domain.Actor, r Request) (j domain.Job, err error) {
	if err := a.Check(domain.ScopeDevices); err != nil {
		return j, err
	}
	now := s.now()
	if !r.At.IsZero() && r.At.Before(now.Truncate(time.Second)) { // the second in which it was asked for is still now
		return j, invalid("a job begins from now on, not at %s: leave the time out to begin at once",
			r.At.UTC().Format(time.RFC3339))
	}
	err = s.update(ctx, func(tx domain.Tx) error {
		batch, err := s.cfg.Controller.Batch(ctx, tx, a)
		if err != nil {
			return err
		}
		rows, err := r.rows(ctx, batch)
		if err == nil {
			err = r.asShown(rows)
		}
		if err != nil {
			return err
		}
		j = domain.Job{Meta: domain.Meta{Created: now, Changed: now}, Name: r.name(), State: domain.JobWaiting,
			At: r.At.UTC().Truncate(time.Microsecond), By: batch.By(), JobOptions: r.JobOptions}
		j.Counts.Rows = len(rows)
		if j.Sites, err = sitesOf(ctx, batch.Tx(), rows); err != nil {
			return err
		}
		if j.ID, err = batch.Note(ctx, "bulk.run", fmt.Sprintf("bulk job of %d rows: %s", len(rows), j.Name)); err != nil {
			return err
		}
		var steps []domain.JobStep
		for part := range slices.Chunk(rows, stepRows) {
			steps = append(steps, domain.JobStep{Meta: j.Meta, Job: j.ID, N: len(steps), Rows: part})
		}
		j.Steps = len(steps)
		if err := tx.Jobs().Put(ctx, &j); err != nil {
			return err
		}
		if err := tx.JobSteps().PutAll(ctx, steps); err != nil {
			return err
		}
		return dropOld(ctx, tx)
	})
	if err == nil {
		s.tell()
	}
	return shown(a, j), err
}

// sitesOf are the sites that the devices of rows belong to, and those that the rows
// name, in order. What is not there is left out.
func sitesOf(ctx context.Context, tx domain.Tx, rows []domain.JobRow) ([]string, error) {
	named := map[string]bool{}
	for part := range slices.Chunk(rows, stepRows) {
		var names, silent []string
		for _, r := range part {
			names = append(names, r.Device)
			if r.Change.Site != nil {
				named[*r.Change.Site] = true
			}
		}
		devices, err := tx.Devices().GetAll(ctx, names)
		if err != nil {
			return nil, err
		}
		for name, d := range devices {
			if named[d.Site] = true; d.Site == "" {
				silent = append(silent, name)
			}
		}
		states, err := tx.States().GetAll(ctx, silent)
		if err != nil {
			return nil, err
		}
		for _, st := range states {
			named[st.Site] = true
		}
	}
	there, err := tx.Sites().GetAll(ctx, slices.Collect(maps.Keys(named)))
	return slices.Sorted(maps.Keys(there)), err
}

// shown is a job as somebody sees it: not with sites that are not his.
func shown(a domain.Actor, j domain.Job) domain.Job {
	j.Sites = slices.DeleteFunc(slices.Clone(j.Sites), func(site string) bool { return !a.Realm.Has(site) })
	return j
}

// dropOld removes the oldest jobs that have ended, of more than MaxJobs.
func dropOld(ctx context.Context, tx domain.Tx) error {
	l, err := tx.Jobs().List(ctx, domain.JobFilter{}, domain.Page{Limit: domain.MaxPage})
	if err != nil {
		return err
	}
	surplus := l.Total - MaxJobs
	for _, j := range l.Items {
		if surplus <= 0 {
			return nil
		}
		if j.State.Active() {
			continue
		}
		if err := tx.Jobs().Delete(ctx, j.ID, 0); err != nil {
			return err
		}
		surplus--
	}
	return nil
}

// now is the time as the store keeps it.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// tell wakes Run.
func (s *Service) tell() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Job returns a job.
func (s *Service) Job(ctx context.Context, a domain.Actor, id string) (j domain.Job, err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return j, err
	}
	err = s.view(ctx, func(tx domain.Tx) error {
		j, err = find(ctx, a.Within(tx), id)
		return err
	})
	return shown(a, j), err
}

func find(ctx context.Context, tx domain.Tx, id string) (domain.Job, error) {
	j, err := tx.Jobs().Get(ctx, id)
	if errors.Is(err, domain.ErrNotFound) {
		return j, fmt.Errorf("%w: job %q", domain.ErrNotFound, clean(id))
	}
	return j, err
}

// Jobs lists jobs, the oldest first; of a site, those that have it among theirs.
func (s *Service) Jobs(ctx context.Context, a domain.Actor, site string,
	p domain.Page) (l domain.List[domain.Job], err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return l, err
	}
	err = s.view(ctx, func(tx domain.Tx) error {
		tx = a.Within(tx)
		if site == "" {
			l, err = tx.Jobs().List(ctx, domain.JobFilter{}, p)
			return err
		}
		if _, err := domain.SiteNamed(ctx, tx, site); err != nil {
			return err
		}
		l, err = domain.ListOnly(ctx, tx.Jobs(), domain.JobFilter{}, p, // MaxJobs at most, beside those under way
			func(j domain.Job) (bool, error) { return slices.Contains(j.Sites, site), nil })
		return err
	})
	for i, j := range l.Items {
		l.Items[i] = shown(a, j)
	}
	return l, err
}

// Rows lists the rows of a job in the order of the table, by the steps that hold
// them: a page has the rows of a step. bad lists only those with a problem.
func (s *Service) Rows(ctx context.Context, a domain.Actor, id string, bad bool,
	p domain.Page) (l domain.List[domain.JobRow], err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return l, err
	}
	err = s.view(ctx, func(tx domain.Tx) error {
		tx = a.Within(tx)
		j, err := find(ctx, tx, id)
		if err != nil {
			return err
		}
		l = domain.List[domain.JobRow]{Items: []domain.JobRow{}, Total: j.Counts.Rows}
		for p.Limit = 1; len(l.Items) == 0; p.After = l.Next { // a step without such rows is no page
			steps, err := tx.JobSteps().List(ctx, domain.JobStepFilter{Job: id}, p)
			if err != nil {
				return err
			}
			for _, step := range steps.Items {
				if err := told(ctx, a, tx, step.Rows); err != nil {
					return err
				}
				for _, r := range step.Rows {
					if !bad || r.Problem != "" {
						l.Items = append(l.Items, r.Shown())
					}
				}
			}
			if l.Next = steps.Next; l.Next == "" {
				return nil
			}
		}
		return nil
	})
	return l, err
}

// told takes what rows say of devices that their maker sees no more, since the job
// was made, from what he is told.
func told(ctx context.Context, a domain.Actor, tx domain.Tx, rows []domain.JobRow) error {
	if !a.Realm.Limited() {
		return nil
	}
	var names []string
	for _, r := range rows {
		if len(r.Changes) > 0 {
			names = append(names, r.Device)
		}
	}
	seen, err := tx.Devices().GetAll(ctx, names)
	for i, r := range rows {
		if _, ok := seen[r.Device]; !ok && len(r.Changes) > 0 {
			rows[i].Changes, rows[i].Problem = nil, ""
		}
	}
	return err
}

// Export returns the devices of a query as a table, which imports again to no
// change.
func (s *Service) Export(ctx context.Context, a domain.Actor, q Query) (t *table.Table, err error) {
	if err := a.Check(domain.ScopeDevices); err != nil {
		return nil, err
	}
	err = s.view(ctx, func(tx domain.Tx) error {
		batch, err := s.cfg.Controller.Batch(ctx, tx, a)
		if err != nil {
			return err
		}
		t = &table.Table{Columns: table.Columns()}
		return q.each(ctx, batch, func(d domain.Device) error {
			if len(t.Rows) == table.MaxRows {
				return invalid("the query finds more than %d devices: narrow it", table.MaxRows)
			}
			t.Rows = append(t.Rows, rowOf(d.Shown(), len(t.Rows)+2))
			return nil
		})
	})
	return t, err
}

// rowOf is a device as a row of a table. What it has not is unset, but for the
// model, which no device can lose.
func rowOf(d domain.Device, line int) table.Row {
	row := table.Row{Line: line, Device: d.Name}
	add := func(column, value string) {
		row.Cells = append(row.Cells, table.Cell{Column: column, Value: value, Unset: value == ""})
	}
	if d.Model != "" {
		add(table.Model, d.Model)
	}
	add(table.Profile, d.Profile)
	add(table.Site, d.Site)
	add(table.Description, d.Description)
	if d.Load.Release == "" {
		add(table.Load, d.Load.Load)
	} else {
		add(table.Release, d.Load.Release)
	}
	for _, name := range table.Columns() {
		if value, ok := d.Settings[name]; ok {
			row.Cells = append(row.Cells, table.Cell{Column: name, Value: value})
		} else if table.Setting(name) {
			add(name, "")
		}
	}
	return row
}

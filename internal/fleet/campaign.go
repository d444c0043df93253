package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/peerload/peerload/internal/controller/bulk"
	"github.com/peerload/peerload/internal/controller/bulk/table"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/heap"
	"github.com/peerload/peerload/internal/pgserver"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

const (
	// perSite is how many devices a site has, at an average.
	perSite = 200
	// perStep is how many rows the fleet is written by where nothing is measured.
	perStep = 1000
	// silentFor is the time after which a device counts as silent.
	silentFor = time.Hour
)

var (
	models   = []string{"7941", "7961"}
	reported = []string{"CP-7941G", "CP-7961G"}
	loads    = []string{"SIP41", "SIP61"}
	profiles = []string{"Branch", "Lobby", ""}
	states   = []string{report.StateIdle, report.StateIdle, report.StateIdle, report.StateDownloading, report.StateFailed}
)

// fleet is a controller with its devices.
type fleet struct {
	services.Services
	o     options
	store *postgres.Store
	admin domain.Actor
	out   io.Writer
	dir   string
}

// campaign runs the phases.
func campaign(ctx context.Context, o options, out io.Writer) (err error) {
	heap.Loosen(os.Getenv)
	at := o.database
	if at == "" {
		pg, err := pgserver.StartWith(pgserver.Settings{Fsync: o.fsync, Buffers: o.buffers()})
		if err != nil {
			return err
		}
		defer pg.Stop() // what it kept is removed, and nobody needs it
		if at, _, err = pg.NewDatabase(); err != nil {
			return err
		}
	}
	f := &fleet{o: o, admin: domain.Local("root"), out: out}
	if f.store, err = postgres.Open(ctx, postgres.Config{URL: at}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.store.Close()) }()
	if f.dir, err = os.MkdirTemp("", "peerload-fleet-"); err != nil {
		return err
	}
	defer os.RemoveAll(f.dir)
	f.Services, err = services.New(ctx, services.Config{Keys: f.dir, Domain: domain.Config{Store: f.store}})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d devices at %d sites, seed %d\n\n| what | figure | bound | met |\n|---|--:|--:|---|\n", o.devices,
		f.sites(), o.seed)
	for _, p := range o.phases {
		phase := map[string]func(context.Context) error{"sites": f.base, "import": f.imported, "heard": f.heard,
			"reads": f.reads, "rollout": f.rollout, "reports": f.reports}[p]
		if err := phase(ctx); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// atMost prints a figure beside the most that it may be, and atLeast likewise.
func (f *fleet) atMost(what string, figure, bound float64, unit string) {
	f.row(what, figure, fmt.Sprintf("≤ %s %s", written(bound), unit), unit, figure <= bound)
}

func (f *fleet) atLeast(what string, figure, bound float64, unit string) {
	f.row(what, figure, fmt.Sprintf("≥ %s %s", written(bound), unit), unit, figure >= bound)
}

func (f *fleet) row(what string, figure float64, bound, unit string, met bool) {
	says := "yes"
	if !met {
		says = "**no**"
	}
	fmt.Fprintf(f.out, "| %s | %s %s | %s | %s |\n", what, written(figure), unit, bound, says)
}

// told prints a figure that has no bound.
func (f *fleet) told(what string, figure float64, unit string) {
	fmt.Fprintf(f.out, "| %s | %s %s | | |\n", what, written(figure), unit)
}

// written writes a figure with three digits at least, of which those above the point
// are never rounded.
func written(figure float64) string {
	if figure >= 100 {
		return strconv.FormatFloat(figure, 'f', 0, 64)
	}
	return strconv.FormatFloat(figure, 'g', 3, 64)
}

func (f *fleet) sites() int { return max(f.o.devices/perSite, 1) }

func name(i int) string   { return fmt.Sprintf("SEP%012X", i+1) }
func secret(i int) string { return fmt.Sprintf("secret-of-%08d-0123456789abcdef", i) }
func site(n int) string   { return fmt.Sprintf("Site %05d", n) }
func address(n int) string {
	return fmt.Sprintf("10.%d.%d.7", n/250%250, n%250)
}

// device is what follows from the seed for a device.
type device struct {
	n, model, site, state int
	profile               string
	named                 bool          // its row names its site
	silent                bool          // never heard of
	ago                   time.Duration // since it was heard of
}

// device returns the nth.
func (f *fleet) device(n int) device {
	r := rand.New(rand.NewPCG(f.o.seed, uint64(n)))
	d := device{n: n, model: r.IntN(len(models)), site: r.IntN(f.sites()), state: r.IntN(len(states)),
		profile: profiles[r.IntN(len(profiles))], named: r.IntN(4) == 0, silent: r.IntN(7) == 0}
	// Each reports once an hour; one in fifty has been away for up to a week.
	if d.ago = time.Duration(r.Int64N(int64(silentFor) * 9 / 10)); r.IntN(50) == 0 {
		d.ago = silentFor + time.Duration(r.Int64N(int64(7*24*time.Hour)))
	}
	return d
}

// says is what a device says the nth time.
func (d device) says(n int) report.Device {
	return report.Device{Schema: report.Schema, Model: reported[d.model], Wanted: loads[d.model],
		Active: []string{loads[0], loads[1], "old"}[(d.n+n)%3], State: states[(d.state+n)%len(states)], Boot: "1",
		Address: address(d.site), Program: "peerload 1.0"}
}

// imported imports the devices: tables of as many rows as one may have.
func (f *fleet) imported(ctx context.Context) error {
	begun, used := time.Now(), processor()
	most := 0.0
	for from := 0; from < f.o.devices; from += table.MaxRows {
		rows := &bytes.Buffer{}
		rows.WriteString("device,model,profile,site,description,peer-sharing\n")
		to := min(from+table.MaxRows, f.o.devices)
		for i := from; i < to; i++ {
			d := f.device(i)
			at := ""
			if d.named {
				at = site(d.site)
			}
			fmt.Fprintf(rows, "%s,%s,%s,%s,\"Phone %d, room %d\",on\n", name(i), models[d.model], d.profile, at, i, i%997)
		}
		first := time.Now()
		if err := f.job(ctx, rows.Bytes(), to-from); err != nil {
			return err
		}
		f.told(fmt.Sprintf("import: table of %d rows beside %d", to-from, from), time.Since(first).Seconds(), "s")
		most = max(most, resident())
	}
	took := time.Since(begun).Seconds()
	f.atMost(fmt.Sprintf("import of %d rows, checked first and read back", f.o.devices), took,
		150*float64(f.o.devices)/1e6, "s")
	f.told("of it processor time of the controller", (processor() - used).Seconds(), "s")
	f.told("memory of the controller after a table", most, "MB")
	l, err := f.Controller.Devices(ctx, f.admin, domain.DeviceFilter{}, domain.Page{Limit: 1})
	if err == nil && l.Total != f.o.devices {
		err = fmt.Errorf("%d devices of %d are there", l.Total, f.o.devices)
	}
	return err
}

// base makes what devices belong to: sites, profiles and loads.
func (f *fleet) base(ctx context.Context) error {
	begun := time.Now()
	defer func() { f.told("making sites, profiles and loads", time.Since(begun).Seconds(), "s") }()
	for n := range f.sites() {
		_, err := f.Controller.CreateSite(ctx, f.admin, site(n), domain.SiteChange{Networks: &[]string{
			fmt.Sprintf("10.%d.%d.0/24", n/250%250, n%250)}})
		if err != nil {
			return err
		}
	}
	for _, p := range profiles[:2] {
		_, err := f.Controller.CreateProfile(ctx, f.admin, p, domain.ProfileChange{Settings: domain.SettingsChange{
			Set: policy.Values{policy.PeerSharing: policy.On}}})
		if err != nil {
			return err
		}
	}
	for i, l := range loads {
		_, err := f.Controller.RegisterLoad(ctx, f.admin, domain.UnsignedLoad{Name: l, Models: models[i : i+1]})
		if err == nil {
			_, err = f.Controller.AssignLoad(ctx, f.admin, domain.ModelTarget(models[i]), l, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// job takes a table to its end.
func (f *fleet) job(ctx context.Context, rows []byte, n int) error {
	j, err := f.Jobs.Create(ctx, f.admin, bulk.Request{Name: "fleet.csv", Table: rows,
		JobOptions: domain.JobOptions{Create: true}})
	for more := err == nil; more && err == nil; {
		more, err = f.Jobs.Step(ctx, j.ID)
	}
	if err != nil {
		return err
	}
	if j, err = f.Jobs.Job(ctx, f.admin, j.ID); err != nil {
		return err
	}
	if j.State != domain.JobDone || j.Counts.Created != n || j.Verified != j.Steps {
		return fmt.Errorf("a job of %d rows is %s: %d made, %d of %d steps read back, %s", n, j.State, j.Counts.Created,
			j.Verified, j.Steps, j.Problem)
	}
	return nil
}

// heard writes what devices have said, and their secrets.
func (f *fleet) heard(ctx context.Context) error {
	begun := time.Now()
	for part := range slices.Chunk(seq(f.o.devices), perStep) {
		err := f.store.Update(ctx, func(tx domain.Tx) error { return f.said(ctx, tx, part, begun.UTC()) })
		if err != nil {
			return err
		}
	}
	// As the server's own upkeep does some time after a large import.
	if _, err := f.store.Writes.ExecContext(ctx, "VACUUM ANALYZE"); err != nil {
		return err
	}
	f.told("preparing what devices have said, not a part of the campaign", time.Since(begun).Seconds(), "s")
	return nil
}

func (f *fleet) said(ctx context.Context, tx domain.Tx, part []int, now time.Time) error {
	var all []domain.DeviceState
	var secrets []domain.Credential
	for _, n := range part {
		d := f.device(n)
		sum := sha256.Sum256([]byte(secret(n)))
		secrets = append(secrets, domain.Credential{Meta: domain.Meta{Created: now}, ID: fmt.Sprintf("%016x", n),
			Kind: domain.CredentialDevice, Subject: name(n), Hash: hex.EncodeToString(sum[:])})
		if d.silent {
			continue
		}
		at := now.Add(-d.ago)
		all = append(all, domain.DeviceState{Meta: domain.Meta{Created: at, Changed: at}, Device: name(n), Last: d.says(0),
			From: "127.0.0.1", Site: site(d.site), LastSeen: at, Reported: at, Since: at,
			Traffic: domain.Traffic{FromOrigin: int64(n), FromPeers: int64(n) * 20}})
	}
	return errors.Join(tx.States().PutAll(ctx, all), tx.Credentials().PutAll(ctx, secrets))
}

func seq(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

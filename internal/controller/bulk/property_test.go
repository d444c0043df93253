package bulk_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/peerload/peerload/internal/controller/bulk"
	"github.com/peerload/peerload/internal/controller/bulk/table"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// drawChange draws what a row may say, valid for every model of the rig's loads.
func drawChange(t *rapid.T, of string) (c domain.DeviceChange) {
	pick := func(what string, from ...string) *string {
		if v := rapid.SampledFrom(append(from, "nothing")).Draw(t, of+what); v != "nothing" {
			return &v
		}
		return nil
	}
	c.Description = pick("description", "", "=1+1", "-", "'", "a,b;\"c\"", "日本語 \u3000", " x ", "＝1", "'=x")
	c.Profile = pick("profile", "", "Branch", "lobby")
	c.Site = pick("site", "", "Kyoto", "Osaka")
	if c.Load = pick("load", "", "any"); c.Load == nil {
		c.Release = pick("release", "9.4(2)", "")
	}
	for name, values := range map[string][]string{policy.PeerSharing: {"on", "off"}, policy.LoadServer: {"", "10.0.0.1"},
		policy.WANLimit: {"48k", "0"}} {
		switch v := pick(name, append(values, "unset")...); {
		case v == nil:
		case *v == "unset":
			c.Settings.Unset = append(c.Settings.Unset, name)
		default:
			if c.Settings.Set == nil {
				c.Settings.Set = policy.Values{}
			}
			c.Settings.Set[name] = *v
		}
	}
	return c
}

// drawFleet gives the rig devices of all kinds.
func drawFleet(t *rapid.T, r *rig) {
	for i := range rapid.IntRange(1, 6).Draw(t, "devices") {
		name := fmt.Sprintf("SEP%012X", i+1)
		c := domain.DeviceChange{Model: ptr(rapid.SampledFrom([]string{"7941", "7961"}).Draw(t, name+"model"))}
		_, err := r.ctl.CreateDevice(r.ctx, r.admin, name, c)
		r.ok(err)
		r.set(name, drawChange(t, name))
		r.set(name, drawChange(t, name+" again")) // what was assigned before is kept, too
	}
}

// clear removes all devices.
func (r *rig) clear() {
	for name := range r.devices() {
		r.ok(r.ctl.DeleteDevice(r.ctx, r.admin, name, 0))
	}
}

// TestImportExport: a table of all devices is no change to them, brings back what was
// changed since, and makes the same devices where there are none.
func TestImportExport(t *testing.T) {
	tiers.Long(t, "it runs hundreds of jobs")
	r := newRig(t)
	rapid.Check(t, func(t *rapid.T) {
		r.clear()
		drawFleet(t, r)
		before := r.devices()
		exported := r.export()
		q := bulk.Request{Table: exported, JobOptions: domain.JobOptions{Create: true}}
		if j := r.run(q); j.State != domain.JobDone || j.Counts.Unchanged != len(before) {
			t.Fatalf("%s is %+v %+v", exported, j, r.rows(j.ID))
		}
		r.set("SEP000000000001", drawChange(t, "since"))
		if j := r.run(q); j.State != domain.JobDone || !bytes.Equal(r.export(), exported) {
			t.Fatalf("%s brings back\n%s", exported, r.export())
		}
		r.clear()
		if j := r.run(q); j.State != domain.JobDone || !bytes.Equal(r.export(), exported) {
			t.Fatalf("%s makes\n%s %+v %+v", exported, r.export(), j, r.rows(j.ID))
		}
	})
}

// TestUndoRun: a job that was undone has changed nothing, wherever it was.
func TestUndoRun(t *testing.T) {
	tiers.Long(t, "it runs hundreds of jobs")
	r := newRig(t)
	rapid.Check(t, func(t *rapid.T) {
		r.clear()
		drawFleet(t, r)
		before := r.devices()
		q := bulk.Request{Table: drawTable(t), JobOptions: domain.JobOptions{Create: true,
			SkipBad: rapid.Bool().Draw(t, "skip")}}
		p, err := r.Plan(r.ctx, r.admin, q)
		r.ok(err)
		j, err := r.Create(r.ctx, r.admin, q)
		r.ok(err)
		for range rapid.IntRange(0, 6).Draw(t, "steps") {
			_, err := r.Step(r.ctx, j.ID)
			r.ok(err)
		}
		if j, err = r.Job(r.ctx, r.admin, j.ID); err != nil {
			t.Fatal(err)
		}
		if j.State == domain.JobDone && j.Counts != p.Counts {
			t.Fatalf("planned %+v, done %+v", p.Counts, j.Counts)
		}
		if j.State != domain.JobRefused {
			j = r.undo(j.ID)
		}
		if got := r.devices(); !reflect.DeepEqual(got, before) {
			t.Fatalf("%s was undone to\n%+v, not\n%+v: %+v", q.Table, got, before, j)
		}
	})
}

// drawTable draws a table of which some rows may be bad.
func drawTable(t *rapid.T) []byte {
	out := &table.Table{Columns: table.Columns()}
	for i := range 8 {
		row := table.Row{Line: i + 2, Device: fmt.Sprintf("SEP%012X", i+1)}
		add := func(column string, value *string) {
			if value != nil {
				row.Cells = append(row.Cells, table.Cell{Column: column, Value: *value, Unset: *value == ""})
			}
		}
		c := drawChange(t, row.Device+" row")
		add(table.Model, ptr(rapid.SampledFrom([]string{"7941", "7961", "7961", "79610"}).Draw(t, row.Device+" its model")))
		add(table.Description, c.Description)
		add(table.Profile, c.Profile)
		add(table.Site, c.Site)
		add(table.Load, c.Load)
		add(table.Release, c.Release)
		for name, value := range c.Settings.Set {
			row.Cells = append(row.Cells, table.Cell{Column: name, Value: value})
		}
		for _, name := range c.Settings.Unset {
			add(name, ptr(""))
		}
		out.Rows = append(out.Rows, row)
	}
	var b bytes.Buffer
	if err := table.WriteCSV(&b, out); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// forgetful is a store that loses a setting of a device while devices are written.
type forgetful struct {
	domain.Store
	device, lose string
}

func (f forgetful) Update(ctx context.Context, fn func(domain.Tx) error) error {
	return f.Store.Update(ctx, func(tx domain.Tx) error { return fn(forgetfulTx{tx, f.device, f.lose}) })
}

type forgetfulTx struct {
	domain.Tx
	device, lose string
}

func (f forgetfulTx) Devices() domain.Table[domain.Device, domain.DeviceFilter] {
	return forgetfulTable{f.Tx.Devices(), f.device, f.lose}
}

type forgetfulTable struct {
	domain.Table[domain.Device, domain.DeviceFilter]
	device, lose string
}

func (f forgetfulTable) PutAll(ctx context.Context, all []domain.Device) error {
	for i := range all {
		if all[i].Name == f.device {
			delete(all[i].Settings, f.lose)
		}
	}
	return f.Table.PutAll(ctx, all)
}

// TestReadBack: CSCsh98792. What was not written as asked is found, told, and takes
// back the job.
func TestReadBack(t *testing.T) {
	for _, skip := range []bool{false, true} {
		r := newRig(t)
		r.Service = r.service(forgetful{r.store, phone2, policy.PeerSharing})
		q := csv(table3)
		q.SkipBad = skip
		j := r.run(q)
		if skip && (j.State != domain.JobDone || len(r.devices()) != 3) ||
			!skip && (j.State != domain.JobRefused || len(r.devices()) != 0) {
			t.Errorf("skip %v: %+v, %d devices", skip, j, len(r.devices()))
		}
		if !strings.Contains(j.Problem, "line 3: written and read back") ||
			!strings.Contains(j.Problem, policy.PeerSharing) {
			t.Errorf("skip %v: it says %q", skip, j.Problem)
		}
	}
}

// TestReadBackTogether: whichever of two processes writes which step of a job, each step
// is read back.
func TestReadBackTogether(t *testing.T) {
	tiers.Long(t, "it writes 2,001 rows eight times")
	lines := []string{"device,model,peer-sharing"}
	for i := range 2001 {
		lines = append(lines, fmt.Sprintf("SEP%012X,7961,on", i+2))
	}
	for seed := range uint64(8) {
		r := newRig(t)
		chance := rand.New(rand.NewPCG(seed, 0))
		row := chance.IntN(len(lines)-1) + 1
		wrong := strings.Split(lines[row], ",")[0]
		var two []*bulk.Service
		for range 2 {
			two = append(two, r.service(forgetful{r.store, wrong, policy.PeerSharing}))
		}
		j, err := two[0].Create(r.ctx, r.admin, csv(lines...))
		r.ok(err)
		for more := true; more; {
			more, err = two[chance.IntN(2)].Step(r.ctx, j.ID)
			r.ok(err)
		}
		j, err = r.Job(r.ctx, r.admin, j.ID)
		r.ok(err)
		if want := fmt.Sprintf("line %d: written and read back", row+1); !strings.Contains(j.Problem, want) ||
			j.State != domain.JobRefused || len(r.devices()) != 0 {
			t.Errorf("seed %d: %+v, %d devices; want %q", seed, j, len(r.devices()), want)
		}
	}
}

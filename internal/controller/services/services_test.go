package services_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/bulk"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/orders"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/controller/webhook"
	"github.com/peerload/peerload/internal/controller/webhooks"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/report"
)

// TestConfig: what is missing, or is for New to set, is refused, each by itself.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	store, err := freshdb.Open(t.Context(), filepath.Join(dir, "controller.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	good := services.Config{Keys: dir, Domain: domain.Config{Store: store}}
	if _, err := services.New(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	told := func(context.Context, domain.Tx, string) error { return nil }
	for name, spoil := range map[string]func(c *services.Config){
		"no store":          func(c *services.Config) { c.Domain.Store = nil },
		"no keys":           func(c *services.Config) { c.Keys = "" },
		"a negative time":   func(c *services.Config) { c.Beat = -time.Second },
		"who hears removal": func(c *services.Config) { c.Domain.Removed = told },
		"who hears reports": func(c *services.Config) {
			c.Domain.Reported = func(context.Context, domain.Tx, []string) error { return nil }
		},
		"who hears of failures": func(c *services.Config) {
			c.Domain.Failed = func(context.Context, domain.Tx, []domain.FailedDevice) error { return nil }
		},
	} {
		c := good
		if spoil(&c); c.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
		if _, err := services.New(t.Context(), c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestNameAgain: a user is not another one who had the name before. What that one has
// sent, made and drafted is not theirs, and what waits to be done in that one's name
// is not done in theirs.
func TestNameAgain(t *testing.T) {
	const phone, password = "SEP0000000000A1", "correct horse battery"
	ctx, now := t.Context(), time.Now()
	store, err := freshdb.Open(ctx, filepath.Join(t.TempDir(), "controller.db"))
	ok(t, err)
	t.Cleanup(func() { store.Close() })
	s, err := services.New(ctx, services.Config{Keys: t.TempDir(), Domain: domain.Config{Store: store,
		Now: func() time.Time { return now }, Password: passhash.Cost{Memory: 8, Time: 1, Threads: 1}}})
	ok(t, err)
	admin, site, model := domain.Local("root"), "Kyoto", "7961"
	_, err = s.Controller.CreateSite(ctx, admin, site, domain.SiteChange{})
	ok(t, err)
	_, err = s.Controller.CreateDevice(ctx, admin, phone, domain.DeviceChange{Site: &site, Model: &model})
	ok(t, err)
	fw := "fw"
	_, err = s.Controller.RegisterLoad(ctx, admin, domain.UnsignedLoad{Name: fw, Models: []string{model}})
	ok(t, err)
	newKen := func() (session, token domain.Actor) {
		role, secret := domain.RoleOperator, password
		_, err := s.Controller.CreateUser(ctx, admin, "ken", domain.UserChange{Role: &role, Password: &secret,
			Sites: &[]string{site}})
		ok(t, err)
		in, err := s.Controller.Login(ctx, "ken", password, "127.0.0.1")
		ok(t, err)
		session, _, err = s.Controller.ActorBySession(ctx, in.Secret, "127.0.0.1")
		ok(t, err)
		tok, err := s.Controller.CreateToken(ctx, admin, "ken", domain.TokenRequest{Name: "t", Role: role,
			Scopes: domain.Scopes()})
		ok(t, err)
		token, err = s.Controller.ActorByToken(ctx, tok.Secret, "127.0.0.1")
		ok(t, err)
		return session, token
	}
	ken, token := newKen()
	said := "of the first ken"
	var sent []string
	for _, a := range []domain.Actor{ken, token} {
		o, err := s.Orders.Send(ctx, a, orders.Request{Kind: string(order.CheckIn), Devices: []string{phone}}, false)
		ok(t, err)
		sent = append(sent, o.Order.ID)
	}
	job, err := s.Jobs.Create(ctx, ken, bulk.Request{Query: &bulk.Query{}, At: now.Add(time.Hour),
		Set: domain.DeviceChange{Description: &said}})
	ok(t, err)
	_, err = s.Rollouts.Create(ctx, ken, "draft", rollouts.Change{Load: &fw, Target: &domain.RolloutTarget{Site: site}})
	ok(t, err)
	sees := func(a domain.Actor) (n int) {
		t.Helper()
		l, err := s.Orders.List(ctx, a, "", domain.SentOrderFilter{}, domain.Page{})
		ok(t, err)
		for _, id := range sent {
			switch _, err := s.Orders.Get(ctx, a, id); {
			case err == nil:
				n++
			case !errors.Is(err, domain.ErrNotFound):
				t.Error(err)
			}
		}
		if l.Total != n {
			t.Errorf("%s lists %d orders and finds %d", a.Name, l.Total, n)
		}
		for _, err := range []error{drop(s.Jobs.Job(ctx, a, job.ID)), drop(s.Rollouts.Get(ctx, a, "draft"))} {
			switch {
			case err == nil:
				n++
			case !errors.Is(err, domain.ErrNotFound):
				t.Error(err)
			}
		}
		return n
	}
	if session, own := sees(ken), sees(token); session != 4 || own != 2 {
		t.Errorf("ken sees %d of 4, his token %d: it has sent 1, and the draft is the user's", session, own)
	}
	ok(t, s.Controller.DeleteUser(ctx, admin, "ken", 0))
	again, itsToken := newKen()
	if session, own := sees(again), sees(itsToken); session+own != 0 {
		t.Errorf("another ken sees %d of what the first one has made, his token %d", session, own)
	}
	now = now.Add(2 * time.Hour)
	for more := true; more; {
		more, err = s.Jobs.Step(ctx, job.ID)
		ok(t, err)
	}
	done, err := s.Jobs.Job(ctx, admin, job.ID)
	if err != nil || done.State != domain.JobRefused || !strings.Contains(done.Problem, "user ken is gone") {
		t.Errorf("the job of the first ken is %s: %s, %v", done.State, done.Problem, err)
	}
}

// TestWebhooksHear: webhooks are told of a device that fails, and of a rollout.
func TestWebhooksHear(t *testing.T) {
	const phone = "SEP0000000000A1"
	ctx, admin, model, fw := t.Context(), domain.Local("root"), "7961", "fw"
	store, err := freshdb.Open(ctx, filepath.Join(t.TempDir(), "controller.db"))
	ok(t, err)
	t.Cleanup(func() { store.Close() })
	s, err := services.New(ctx, services.Config{Keys: t.TempDir(), Domain: domain.Config{Store: store}})
	ok(t, err)
	_, err = s.Controller.CreateDevice(ctx, admin, phone, domain.DeviceChange{Model: &model})
	ok(t, err)
	_, err = s.Controller.RegisterLoad(ctx, admin, domain.UnsignedLoad{Name: fw, Models: []string{model}})
	ok(t, err)
	_, err = s.Webhooks.Add(ctx, admin, webhooks.NewWebhook{Name: "chat", URL: "https://chat.invalid/"})
	ok(t, err)
	ok(t, s.Controller.Report(ctx, domain.Actor{Kind: domain.ActorDevice, Name: phone, Role: domain.RoleDevice,
		From: "10.0.0.7"}, report.Device{Schema: report.Schema, State: report.StateFailed, Wanted: fw, Reason: "installer",
		Failures: []report.Failure{{Load: fw, Reason: "installer", Phase: "install"}}}))
	_, err = s.Rollouts.Create(ctx, admin, "up", rollouts.Change{Load: &fw, Target: &domain.RolloutTarget{All: true}})
	ok(t, err)
	_, err = s.Rollouts.Order(ctx, admin, "up", rollouts.ToStart, rollouts.Instruction{}, 0, false)
	ok(t, err)
	told, err := s.Webhooks.Messages(ctx, admin, "chat", webhook.Pending, domain.Page{})
	ok(t, err)
	var events []string
	for _, m := range told.Items {
		events = append(events, m.Event)
	}
	slices.Sort(events)
	if want := []string{webhook.DeviceFailed, webhook.RolloutChanged}; !slices.Equal(events, want) {
		t.Errorf("told of %v, want %v", events, want)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func drop[T any](_ T, err error) error { return err }

// TestOrderOfAnotherReplica: an order that is sent at one replica reaches a device that
// is connected to another one.
func TestOrderOfAnotherReplica(t *testing.T) {
	const phone = "SEP0000000000A1"
	at, _, err := storesuite.PostgresFor(t, foreign.Missing).NewDatabase()
	ok(t, err)
	var both [2]services.Services
	for i := range both {
		store, err := postgres.Open(t.Context(), postgres.Config{URL: at})
		ok(t, err)
		t.Cleanup(func() { store.Close() })
		both[i], err = services.New(t.Context(), services.Config{Keys: t.TempDir(), Domain: domain.Config{Store: store}})
		ok(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan bool)
		go func() { defer close(ended); both[i].Run(ctx) }()
		t.Cleanup(func() { stop(); <-ended })
	}
	model := "7961"
	_, err = both[0].Controller.CreateDevice(t.Context(), domain.Local("root"), phone, domain.DeviceChange{Model: &model})
	ok(t, err)
	device := domain.Actor{Kind: domain.ActorDevice, Name: phone, Role: domain.RoleDevice, From: "10.0.0.7"}
	came, connected := make(chan []byte, 1), make(chan bool, 1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- both[0].Orders.Feed(ctx, device, order.Hello{Wait: 600}, func(l order.Line) error {
			if l.Beat != nil {
				connected <- true
			}
			if l.Order != nil {
				came <- l.Order
			}
			return nil
		})
	}()
	<-connected
	_, err = both[1].Orders.Send(t.Context(), domain.Local("root"), orders.Request{Kind: string(order.CheckIn),
		Devices: []string{phone}}, false)
	ok(t, err)
	<-came
	stop()
	ok(t, <-ended)
}

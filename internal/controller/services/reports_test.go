package services_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/report"
)

// commits counts the transactions that write.
type commits struct {
	domain.Store
	sync.Mutex
	n int
}

func (c *commits) Update(ctx context.Context, fn func(domain.Tx) error) error {
	c.Lock()
	c.n++
	c.Unlock()
	return c.Store.Update(ctx, fn)
}

var errHook = errors.New("the hook fails")

// TestReportsTogether: reports that come while another is written are committed
// together. Each device is answered for itself: one that is not known, and one whose
// report cannot be written, is told so, and spoils nobody else's.
func TestReportsTogether(t *testing.T) {
	db, err := freshdb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store := &commits{Store: db}
	const devices, bad = 40, "SEP000000000007"
	held, first := make(chan struct{}), make(chan struct{})
	var once sync.Once
	reported := func(_ context.Context, _ domain.Tx, names []string) error {
		once.Do(func() { close(first); <-held }) // until all others wait
		if slices.Contains(names, bad) {
			return errHook
		}
		return nil
	}
	ctl, err := domain.New(domain.Config{Store: store, Reported: reported})
	if err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return fmt.Sprintf("SEP%012X", i) }
	err = db.Update(t.Context(), func(tx domain.Tx) error {
		var all []domain.Device
		for i := range devices {
			all = append(all, domain.Device{Name: name(i), Model: "CP-7961G"})
		}
		return tx.Devices().PutAll(t.Context(), all)
	})
	if err != nil {
		t.Fatal(err)
	}
	errs := make([]error, devices+1) // the last one is not known
	var wg sync.WaitGroup
	send := func(i int) {
		a := domain.Actor{Kind: domain.ActorDevice, Name: name(i), Role: domain.RoleDevice, From: "10.0.0.7"}
		wg.Go(func() { errs[i] = ctl.Report(t.Context(), a, report.Device{Schema: 1, State: report.StateIdle}) })
	}
	send(0)
	<-first
	for i := 1; i <= devices; i++ {
		send(i)
	}
	close(held)
	wg.Wait()
	for i, err := range errs {
		switch {
		case i == devices && !errors.Is(err, domain.ErrNotFound), name(i) == bad && !errors.Is(err, errHook),
			i < devices && name(i) != bad && err != nil:
			t.Errorf("%s: %v", name(i), err)
		}
	}
	err = db.View(t.Context(), func(tx domain.Tx) error {
		states, err := domain.Collect(t.Context(), tx.States(), domain.StateFilter{})
		if len(states) != devices-1 {
			t.Errorf("%d states", len(states))
		}
		h, e := tx.History().List(t.Context(), domain.HistoryFilter{Device: bad}, domain.Page{})
		if e != nil || h.Total != 0 {
			t.Errorf("of what was not written the history has %+v, %v", h, e)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if store.n > 3*devices {
		t.Errorf("%d transactions for %d reports", store.n, devices+1)
	}
}

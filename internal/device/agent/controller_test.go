package agent

import (
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/report"
)

// TestRealController: a device enrols with the site key of a real controller,
// and what it reports is read back there.
func TestRealController(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, "controller.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.provision(sharing("L1", ""))
	ctl, err := domain.New(domain.Config{Store: store, Repository: d.repo, Password: domain.PasswordCost{Memory: 64, Time: 1, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	api, err := api.New(api.Config{Control: ctl, Spool: dir, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api)
	defer srv.Close()
	root := domain.Local("root")
	key, err := ctl.CreateEnrolment(t.Context(), root, domain.EnrolmentRequest{Name: "site", SiteKey: true})
	if err != nil {
		t.Fatal(err)
	}
	cfg := newSite(t).config(d, "CP-7961G")
	cfg.Controller, cfg.TokenFile = srv.URL, filepath.Join(dir, "key")
	write(t, cfg.TokenFile, key.Secret)
	r := start(t, cfg)
	r.runs("L1")
	until(t, "the controller knows that L1 runs", func() bool {
		row, err := ctl.Device(t.Context(), root, "SEP"+cfg.MAC)
		return err == nil && row.State != nil && row.State.Last.Active == "L1" && row.State.Last.State == report.StateIdle &&
			row.State.Last.Sharing == "on" && len(row.State.Files) > 0
	})
}

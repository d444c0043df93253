package main

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// TestServeOnPostgres: the whole controller on a real PostgreSQL, named by the
// environment: set-up, loads, provisioning, a kill, lost connections, and the
// way to SQLite and back.
func TestServeOnPostgres(t *testing.T) {
	pg, err := storesuite.StartPostgres()
	if errors.Is(err, storesuite.ErrNoPostgres) {
		foreign.Missing(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Stop(); err != nil {
			t.Error(err)
		}
	})
	at, name, err := pg.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	o := newOffice(t)
	o.env = append(o.env, envDatabase+"="+at)
	o.start()
	if _, err := os.Stat(o.path("data/controller.db")); err == nil {
		t.Error("there is an SQLite database, too")
	}
	_, secret, _ := strings.Cut(o.at.Setup, "secret=")
	resp, err := o.http.PostForm(o.at.API+"/setup",
		map[string][]string{"secret": {secret}, "name": {"alice"}, "password": {"correct horse battery"}})
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	o.ok("enterprise set peer-sharing=on")
	o.ok("profile add lobby wan-limit=200k")
	o.ok("device add " + mac + " --model 7941 --profile lobby peer-sharing=off")
	o.ok("load add --name fw1 --version 1 --model 7941 @app.bin @dsp.bin")
	o.ok("load add --name fw2 --version 2 --model 7941 @dsp.bin @app.bin")
	o.ok("load assign fw1 --model 7941")
	o.ok("load assign fw2 --device " + sep)
	o.provisioned(t)
	if err := pg.Kill(name); err != nil { // as a restart of the database's server does
		t.Fatal(err)
	}
	o.provisioned(t)
	if err := o.stop(syscall.SIGKILL); err == nil {
		t.Error("killed, and yet it ended well")
	}
	o.start()
	if o.at.Setup != "" {
		t.Error("a set-up link although there is an administrator")
	}
	o.provisioned(t)
	if out := o.ok("report audit --json"); !strings.Contains(out, "load.assign") {
		t.Errorf("the audit log: %s", out)
	}
	// To SQLite, and from there into another database.
	o.ok("backup @all.jsonl")
	other, _, err := pg.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	o.ok("restore @all.jsonl --data @elsewhere --database " + other)
	here := o.ok("device show " + sep + " --json")
	if there := o.ok("device show " + sep + " --json --data @elsewhere --database " + other); there != here {
		t.Errorf("%s\nrestored as\n%s", here, there)
	}
	o.env = append(o.env, envDatabase+"=")
	o.ok("restore @all.jsonl --data @sqlite")
	if there := o.ok("device show " + sep + " --json --data @sqlite"); there != here {
		t.Errorf("%s\nin SQLite\n%s", here, there)
	}
	if _, code, errs := o.sh("device", "list",
		"--database", "postgres://127.0.0.1:1/none?user=nobody"); code != exitReach {
		t.Errorf("without a server: %d %s", code, errs)
	}
}

package cluster

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/pgserver"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// imported is how many rows the import has.
const imported = 20_000

// cluster is the worked example of packaging/cluster, with devices.
type cluster struct {
	t          *testing.T
	a, b       *replica
	pg         *pgserver.Server
	storage    *storage
	api, files string // of HAProxy
	c          *client.Client
	phones     *phones
}

// TestCluster: the worked example of packaging/cluster. A replica is killed in the
// middle of an import and of a rollout while 500 devices report, PostgreSQL restarts,
// and the disk of the object storage is full: nothing that was acknowledged is lost.
func TestCluster(t *testing.T) {
	long(t)
	c := newCluster(t)
	c.a.ok("load add --name fw1 --version 1 --model " + phoneModel + " @app.bin")
	c.a.ok("load assign fw1 --model " + phoneModel)
	key := strings.TrimSpace(c.a.ok("enrolment add site --site-key"))
	web := c.phones.web
	c.phones = enrol(t, key, "fw1", phonesAtMost, &phones{web: web,
		at: func() (string, string) { return c.api, c.files }})
	c.killedInAnImport()
	c.fullStorage()
	c.killedInARollout()
	c.phones.more(t, "at the end")
	c.phones.end()
	c.phones.kept(t, c.c)
	if out := c.b.ok("report audit --json --last 20"); strings.Contains(out, "127.0.0.9") {
		t.Errorf("the balancer is taken for who sent it: %s", out)
	}
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	haproxy := foreign.Program(t, "haproxy")
	c := &cluster{t: t, storage: newStorage(t), pg: storesuite.PostgresFor(t, foreign.Missing)}
	at, _, err := c.pg.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := build(t, tree)
	for _, r := range []**replica{&c.a, &c.b} {
		*r = newReplica(t, bin, at, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret",
			console.EnvObjects+"="+c.storage.url)
		(*r).args = append((*r).args, "--balancer", "127.0.0.9/32")
		(*r).file("app.bin", strings.Repeat("application ", 1000))
		(*r).start()
	}
	c.balance(haproxy)
	var web *http.Client
	c.c, web = c.a.administrator(c.api)
	c.phones = &phones{web: web}
	return c
}

// balance runs HAProxy with the file of the example before the replicas.
func (c *cluster) balance(haproxy string) {
	c.t.Helper()
	c.api, c.files = free(c.t), free(c.t)
	cmd := exec.Command(haproxy, "-db", "-f", "../../packaging/cluster/haproxy.cfg")
	cmd.Env = append(os.Environ(), "CLUSTER_API="+c.api, "CLUSTER_FILES="+c.files, "CLUSTER_BALANCER=127.0.0.9",
		"CLUSTER_CONNECTIONS=4000", "REPLICA_A_API="+c.a.api, "REPLICA_B_API="+c.b.api, "REPLICA_A_FILES="+c.a.files,
		"REPLICA_B_FILES="+c.b.files)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if c.t.Failed() {
			c.t.Log(log.String())
		}
	})
	until(c.t, "HAProxy listens", func() bool {
		conn, err := net.Dial("tcp", c.api)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// killedInAnImport kills a replica while rows are written, then restarts the database.
func (c *cluster) killedInAnImport() {
	t := c.t
	t.Helper()
	job, err := c.c.CreateJob(t.Context(), client.JobRequest{Name: "rows.csv", Table: []byte(table(imported)),
		JobOptions: client.JobOptions{Create: true}})
	if err != nil {
		t.Fatal(err)
	}
	state := func() client.Job {
		got, err := c.c.Job(t.Context(), job.ID)
		if err != nil {
			return client.Job{} // who answered is gone
		}
		return got
	}
	until(t, "the import runs", func() bool { return state().Counts.Created > 0 })
	c.a.end(syscall.SIGKILL)
	if j := state(); j.State == "done" {
		t.Error("the import had ended when the replica was killed")
	}
	if err := c.pg.Halt(); err != nil {
		t.Fatal(err)
	}
	if err := c.pg.Resume(); err != nil {
		t.Fatal(err)
	}
	c.phones.more(t, "without a replica, after the database was restarted,")
	until(t, "the import ends", func() bool { return state().State == "done" })
	if j := state(); j.Counts.Created != imported {
		t.Errorf("the import has made %d devices of %d: %+v", j.Counts.Created, imported, j)
	}
	n := 0
	for _, err := range c.c.Devices.List(t.Context(), client.Filter{Model: "7941"}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != imported {
		t.Errorf("%d devices of %d", n, imported)
	}
	c.a.start()
}

// fullStorage has no room for a load: that is said, nothing is changed, and once there
// is room it works.
func (c *cluster) fullStorage() {
	t := c.t
	t.Helper()
	c.a.file("big.bin", strings.Repeat("firmware ", 100_000))
	before := c.published()
	empty := c.storage.fill()
	const add = "load add --name fw2 --version 2 --model " + phoneModel + " @big.bin"
	if _, code, errs := c.a.sh(add); code == 0 || !strings.Contains(errs, "full") {
		t.Errorf("published on a full disk: status %d: %s", code, errs)
	}
	if after := c.published(); after != before {
		t.Errorf("a load that had no room has changed what is published:\n%s\n%s", before, after)
	}
	c.phones.more(t, "while the storage is full,")
	empty()
	c.a.ok(add)
	if out := c.b.ok("load verify"); strings.Count(out, "  -\n") != 2 {
		t.Errorf("verified: %s", out)
	}
}

// published is what both replicas say of loads, and what they serve of the first.
func (c *cluster) published() string {
	c.t.Helper()
	text := &strings.Builder{}
	for _, r := range []*replica{c.a, c.b} {
		resp, err := http.Get("http://" + c.files + "/fw1.load")
		if err != nil {
			c.t.Fatal(err)
		}
		resp.Body.Close()
		fmt.Fprintf(text, "%s%s%d\n", r.ok("load list"), r.ok("load verify"), resp.StatusCode)
	}
	return text.String()
}

// killedInARollout kills the other replica while devices get a load, and all of them
// get there.
func (c *cluster) killedInARollout() {
	t := c.t
	t.Helper()
	c.a.ok("rollout create up --load fw2 --model " + phoneModel + " --wave 20% --wave 100%")
	c.a.ok("rollout start up --yes")
	status := func() client.Rollout {
		r, err := c.c.Rollout(t.Context(), "up")
		if err != nil {
			return client.Rollout{} // who answered is gone
		}
		return r
	}
	until(t, "the rollout has some devices", func() bool { return status().Counts.Done > 0 })
	c.b.end(syscall.SIGKILL)
	if r := status(); r.Counts.Done == phonesAtMost {
		t.Error("the rollout had ended when the replica was killed")
	}
	c.phones.more(t, "in the rollout, without a replica,")
	c.b.start()
	until(t, "the rollout is done", func() bool { return status().State == "finished" })
	if r := status(); r.Counts.Done != phonesAtMost || r.Counts.Failed != 0 {
		t.Errorf("%s: %+v", r.State, r.Counts)
	}
	n := 0
	for d, err := range c.c.Devices.List(t.Context(), client.Filter{Active: "fw2"}) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Load.Load != "fw2" {
			t.Errorf("%s runs the load, and is not assigned it: %+v", d.Name, d.Load)
		}
		n++
	}
	if n != phonesAtMost {
		t.Errorf("%d devices run the load of the rollout, of %d", n, phonesAtMost)
	}
}

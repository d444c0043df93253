package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// aHost stands for what a host of docs/SCALE.md has beside the programs: the service
// manager, sudo, and a terminal in which a server goes on running.
const aHost = `
server=
trap 'kill $server; wait' EXIT
serve() {
	peerload-server serve --listen 127.0.0.1:0 --http 127.0.0.1:0 --tftp off "$@" > serve.out 2>&1 & server=$!
	n=0
	until grep -q setup serve.out; do
		n=$((n+1))
		[ $n -lt 400 ] && kill -0 $server || { cat serve.out; exit 99; }
		sleep 0.05
	done
}
stop() { kill $server; wait $server; }
systemctl() { case "$1 $2" in 'stop peerload-server') stop ;; 'start peerload-server') serve ;; *) exit 98 ;; esac; }
sudo() { [ "$1 $2" = '-u peerload' ]; shift 2; "$@"; }
`

// TestScaleGuide runs the commands of docs/SCALE.md in one shell: a replica with a
// database, one whose loads are in object storage, and one that leaves SQLite.
func TestScaleGuide(t *testing.T) {
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("PEERLOAD_FULL=1 runs it: it builds the controller and starts it four times")
	}
	pg := storesuite.PostgresFor(t, foreign.Missing)
	foreign.Program(t, "openssl")
	first, _, err := pg.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := pg.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, data := filepath.Join(dir, "cluster.key"), filepath.Join(dir, "data")
	here := strings.NewReplacer("/etc/peerload/cluster.key", key, "/var/lib/peerload-server", data,
		"--database … --cluster-key … --name …",
		"--database '"+first+"' --cluster-key "+key+" --name controller.example.com", "=… AWS", "=key AWS", "KEY=…",
		"KEY=secret", "https://s3.example.com:9000", newStorage(t).endpoint, "peerload-server serve", "serve")
	blocks := guideBlocks(t, "../../docs/SCALE.md", 3)
	at := func(n int, database string) string {
		return here.Replace(strings.ReplaceAll(blocks[n], "postgres://peerload@db/peerload", "'"+database+"'"))
	}
	objects := regexp.MustCompile("--objects ('.*')").FindStringSubmatch(at(1, first))
	if objects == nil {
		t.Fatal("the guide does not name an object storage")
	}
	edit := regexp.MustCompile("systemctl edit peerload-server +# Environment=")
	script := strings.Join([]string{aHost, "export PEERLOAD_DATA=" + data + " PEERLOAD_CLUSTER_KEY=" + key +
		" PEERLOAD_DATABASE='" + first + "'", at(0, first), "peerload-server device add 02:00:00:00:00:01 --model 7961",
		"stop; export PEERLOAD_DATA=" + data + "-2 PEERLOAD_OBJECTS=" + objects[1], at(1, first), "echo app > app.bin",
		"peerload-server load add --name fw1 --version 1 --model 7961 app.bin; peerload-server load verify; stop",
		"test -z \"$(find $PEERLOAD_DATA/repository -type f)\"; peerload-server device list",
		"unset PEERLOAD_DATABASE PEERLOAD_CLUSTER_KEY PEERLOAD_OBJECTS; export PEERLOAD_DATA=" + data + "-3; serve",
		"peerload-server device add 02:00:00:00:00:02 --model 7961",
		edit.ReplaceAllString(strings.ReplaceAll(at(2, second), data, data+"-3"), "export "),
		"peerload-server device list"}, "\n")
	out := inOneShell(t, dir, script)
	for _, want := range []string{"SEP020000000001", "fw1", "SEP020000000002", "devices: 1\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the guide's commands do not print %q:\n%s", want, out)
		}
	}
}

// guideBlocks are the commands of a document, which must be so many blocks. Those of a
// language of their own are not of commands.
func guideBlocks(t *testing.T, document string, n int) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		if m[1] == "" {
			blocks = append(blocks, m[2])
		}
	}
	if len(blocks) != n {
		t.Fatalf("%s has %d blocks of commands, and the test knows %d", document, len(blocks), n)
	}
	return blocks
}

// inOneShell runs a script with the controller's program, and returns what it printed.
func inOneShell(t *testing.T, dir, script string) string {
	t.Helper()
	tree, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-u", "-c", script)
	cmd.Dir, cmd.WaitDelay = dir, 10*time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that its trap ends the server
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(build(t, tree))+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	return string(out)
}

// environment reads a file of the example as the service manager does.
func environment(t *testing.T, name string) (env []string) {
	t.Helper()
	text, err := os.ReadFile("../../packaging/cluster/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			env = append(env, line)
		}
	}
	return env
}

// TestExampleOfProxy: HAProxy accepts the file of packaging/cluster with the values that
// stand beside it.
func TestExampleOfProxy(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	check := func(env []string) ([]byte, error) {
		cmd := exec.Command(foreign.Program(t, "haproxy"), "-c", "-f", "../../packaging/cluster/haproxy.cfg")
		cmd.Env = append(os.Environ(), env...)
		return cmd.CombinedOutput()
	}
	env := environment(t, "cluster.env")
	if out, err := check(env); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for i := range env {
		if out, err := check(append(append([]string{}, env[:i]...), env[i+1:]...)); err == nil {
			t.Errorf("%s is not needed: %s", env[i], out)
		}
	}
}

// TestExampleOfReplica: a replica starts with the values of packaging/cluster and
// publishes a load. Only where the database, the secret and the storage are is changed.
func TestExampleOfReplica(t *testing.T) {
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("PEERLOAD_FULL=1 runs it: it builds the controller")
	}
	at, _, err := storesuite.PostgresFor(t, foreign.Missing).NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "cluster.key")
	readme, err := os.ReadFile("../../packaging/cluster/README.md")
	if err != nil {
		t.Fatal(err)
	}
	makes := regexp.MustCompile("secret of the replicas with `([^`]*)`").FindSubmatch(readme)
	if makes == nil {
		t.Fatal("the example does not say how the secret is made")
	}
	key, err := exec.Command("sh", "-c", string(makes[1])).Output()
	if err == nil {
		err = os.WriteFile(secret, key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	storage := newStorage(t)
	text := strings.Join(environment(t, "peerload-server.env"), "\n")
	for was, is := range map[string]string{"postgres://peerload@10.0.0.20/peerload": at,
		"/etc/peerload/cluster.key": secret, "https://10.0.0.21:9000": storage.endpoint} {
		if strings.Count(text, was) != 1 {
			t.Errorf("%s stands %d times in the example", was, strings.Count(text, was))
		}
		text = strings.Replace(text, was, is, 1)
	}
	tree, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	r := newReplica(t, build(t, tree), "", strings.Split(text, "\n")...)
	r.args = []string{"serve", "--json", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tftp", "off"}
	r.start()
	r.file("app.bin", "application")
	r.ok("load add --name fw1 --version 1 --model 7961 @app.bin")
	if out := r.ok("load verify"); !strings.Contains(out, "fw1") {
		t.Errorf("%s", out)
	}
	stored := false
	if err := filepath.WalkDir(storage.disk, func(path string, _ os.DirEntry, err error) error {
		stored = stored || strings.Contains(path, "timestamp.json")
		return err
	}); err != nil || !stored {
		t.Errorf("what was published is not in the storage: %v", err)
	}
}

package cluster

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/testkit/programs"
)

// replica is a controller in a process of its own, on a data directory of its own.
type replica struct {
	t   *testing.T
	dir string
	bin string
	env []string
	// args are those that it was started with, its addresses among them, so that it comes
	// back where it was.
	args []string
	cmd  *exec.Cmd
	log  *bytes.Buffer
	// api and files are where it listens; fingerprint is that of its certificate.
	api, files string
}

// build builds the controller's program; overlay puts files over those of the tree.
func build(t *testing.T, tree string, args ...string) (bin string) {
	t.Helper()
	if err := programs.Sources("peerload-server"); err != nil {
		t.Fatal(err)
	}
	bin = filepath.Join(t.TempDir(), "peerload-server")
	cmd := exec.Command("go", append(append([]string{"build"}, args...), "-o", bin, "./cmd/peerload-server")...)
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// newReplica is a replica that does not run yet.
func newReplica(t *testing.T, bin, database string, env ...string) *replica {
	t.Helper()
	r := &replica{t: t, dir: t.TempDir(), bin: bin}
	r.file("secret", "a secret that all replicas have got")
	r.file("password", "correct horse battery\n")
	r.env = append(os.Environ(), console.EnvData+"="+filepath.Join(r.dir, "data"), console.EnvController+"=",
		console.EnvToken+"=", console.EnvCA+"=", console.EnvDatabase+"="+database,
		console.EnvClusterKey+"="+filepath.Join(r.dir, "secret"), "XDG_CONFIG_HOME="+r.dir)
	r.env = append(r.env, env...)
	api, files := free(t), free(t)
	r.args = []string{"serve", "--json", "--name", "127.0.0.1", "--listen", api, "--http", files, "--tftp", "off"}
	return r
}

func (r *replica) file(name, text string) string {
	r.t.Helper()
	p := filepath.Join(r.dir, name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// start starts it, and waits until it listens.
func (r *replica) start() {
	r.t.Helper()
	r.log = &bytes.Buffer{}
	cmd := exec.Command(r.bin, r.args...)
	cmd.Env, cmd.Stderr = r.env, r.log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = cmd
	r.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		cmd.Wait()
		r.t.Fatalf("the replica did not start: %v\n%s", err, r.log)
	}
	var at struct{ API, HTTP string }
	if err := json.Unmarshal(line, &at); err != nil {
		r.t.Fatal(err)
	}
	r.api, r.files = strings.TrimPrefix(at.API, "https://"), at.HTTP
}

// end sends it a signal, and waits until it has ended.
func (r *replica) end(signal os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(signal); err != nil {
		r.t.Fatal(err)
	}
	err := r.cmd.Wait()
	if killed := signal == syscall.SIGKILL; (err != nil) != killed {
		r.t.Fatalf("%v: it ended with %v\n%s", signal, err, r.log)
	}
}

// sh runs a command on its data directory; what starts with @ is a file in its
// directory.
func (r *replica) sh(line string) (stdout string, code int, stderr string) {
	r.t.Helper()
	cmd := exec.Command(r.bin, strings.Fields(strings.ReplaceAll(line, "@", r.dir+"/"))...)
	cmd.Env = r.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // its status tells
	return out.String(), cmd.ProcessState.ExitCode(), errs.String()
}

// ok runs a command that must succeed.
func (r *replica) ok(line string) string {
	r.t.Helper()
	out, code, errs := r.sh(line)
	if code != 0 {
		r.t.Fatalf("%s: status %d: %s", line, code, errs)
	}
	return out
}

// administrator makes one, and returns a client of an API of the cluster.
func (r *replica) administrator(at string) (c *client.Client, web *http.Client) {
	r.t.Helper()
	r.ok("user add alice --role admin --password-file @password")
	token := strings.TrimSpace(r.ok("token add t --user alice --role admin --scope read,devices,loads"))
	pem, err := os.ReadFile(filepath.Join(r.dir, "data/tls/cert.pem"))
	if err != nil {
		r.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	// As many connections as there are devices: each has its own.
	web = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots},
		MaxIdleConnsPerHost: phonesAtMost}}
	c, err = client.New("https://"+at, token, web)
	if err != nil {
		r.t.Fatal(err)
	}
	return c, web
}

// free is an address at which nobody listens.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// until waits until something is so.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 6000 {
		if is() {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatalf("not yet: %s", what)
}

// table is a CSV table of devices.
func table(rows int) string {
	text := &strings.Builder{}
	text.WriteString("device,model\n")
	for i := range rows {
		fmt.Fprintf(text, "SEP%012X,7941\n", i+1)
	}
	return text.String()
}

// long skips a test that takes minutes.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("PEERLOAD_FULL=1 is missing: it kills replicas of a cluster for minutes")
	}
}

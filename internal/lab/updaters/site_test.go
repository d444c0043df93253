package updaters

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/fileserver"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// devices of each site, and the rate of its line.
const (
	devices = 8
	wan     = 10 * units.Mbit
)

// lab is a site whose devices run a recipe.
type lab struct {
	t      *testing.T
	ctx    context.Context
	site   *site.Namespaces
	server *fileserver.Server
	host   string // of the server, with its port
	root   string // what the server serves
	dir    string // of the devices
	bin    string // of the product
	hosts  []*device
}

// device is one device of a lab.
type device struct {
	lab  *lab
	host site.Host
	dir  string
	// place tells the proxy where its peers are, listen where its clients are.
	place, listen string
	mu            sync.Mutex
	stop          func()
}

// atProxy is where a proxy listens in the recipes.
const atProxy = "127.0.0.1:4052"

// newLab is a site with a server, and no proxy yet.
func newLab(t *testing.T, bin string) *lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	l := &lab{t: t, ctx: ctx, root: t.TempDir(), dir: t.TempDir(), bin: bin}
	var err error
	l.site, err = site.NewNamespaces(site.NamespaceConfig{Devices: devices, WAN: wan, LAN: 100 * units.Mbit})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = l.site.Close() })
	ln, err := l.site.Listen()
	if err != nil {
		t.Fatal(err)
	}
	if l.server, err = fileserver.Serve(ln, l.root, l.site.Shaper()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.server.Close() })
	l.host = ln.Addr().(*net.TCPAddr).AddrPort().String()
	l.host = strings.TrimSuffix(strings.TrimPrefix(l.server.URL("x"), "http://"), "/x")
	for i := range devices {
		d := &device{lab: l, host: l.site.Host(i), dir: filepath.Join(l.dir, fmt.Sprint(i)), stop: func() {},
			place: "--interface " + site.InterfaceName, listen: atProxy}
		if err := os.Mkdir(d.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		l.hosts = append(l.hosts, d)
		t.Cleanup(func() { d.kill() })
	}
	return l
}

// put puts a file on the server.
func (l *lab) put(name string, b []byte) {
	l.t.Helper()
	at := filepath.Join(l.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, b, 0o644)); err != nil {
		l.t.Fatal(err)
	}
}

// command is a shell command on a device.
func (d *device) command(text string, env ...string) *exec.Cmd {
	text = strings.NewReplacer("updates.example", d.lab.host, "mender --no-syslog",
		"mender --no-syslog -c mender.conf -b none -d "+d.dir+"/mender", "rauc info", "rauc --conf=system.conf info",
		"rauc install", "rauc --conf=system.conf install", atProxy, d.listen).
		Replace(text)
	cmd := exec.CommandContext(d.lab.ctx, "sh", "-ec", text)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(d.lab.bin)+":"+os.Getenv("PATH"), "LC_ALL=C", "GOMAXPROCS=1")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// proxy starts the proxy of a device by the line of a recipe, and waits until it
// listens.
func (d *device) proxy(line string) error {
	line = "exec " + strings.TrimSpace(line) + " --listen " + atProxy + " " + d.place
	cmd := d.command(line + " --state state --no-sync")
	out, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := d.host.Run(cmd.Start); err != nil {
		return err
	}
	listens, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		said := ""
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if said += lines.Text() + "\n"; strings.Contains(lines.Text(), "proxy on ") {
				listens <- ""
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		select {
		case listens <- said:
		default:
		}
	}()
	d.mu.Lock()
	d.stop = func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	d.mu.Unlock()
	if said := <-listens; said != "" {
		return fmt.Errorf("the proxy does not start: %s", said)
	}
	return nil
}

// kill ends the proxy of a device as a lost power supply would.
func (d *device) kill() {
	d.mu.Lock()
	stop := d.stop
	d.stop = func() {}
	d.mu.Unlock()
	stop()
}

// run runs the client's part of a recipe on a device.
func (d *device) run(text string, env ...string) error {
	cmd := d.command(text, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := d.host.Run(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, out.String())
	}
	return nil
}

// rootHas waits until the devices have so many bytes from the server, and returns the
// one that has most; nil if that never comes.
func (l *lab) rootHas(ctx context.Context, bytes int64) *device {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if l.server.Tally.Total() >= bytes {
			return slices.MaxFunc(l.hosts, func(a, b *device) int {
				return cmp.Compare(l.server.Tally.Bytes(a.host.Addr), l.server.Tally.Bytes(b.host.Addr))
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// recipe is one section of the guide.
type recipe struct {
	proxy, client string
	blocks        map[string]string // of other kinds
}

// readRecipe reads a section of docs/UPDATERS.md.
func readRecipe(t *testing.T, name string) (r recipe) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/UPDATERS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+name+"\n")
	if !ok {
		t.Fatalf("the guide has no section %s", name)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	r.blocks = map[string]string{}
	for _, b := range regexp.MustCompile("(?s)\n```(\\w+)\n(.*?)```").FindAllStringSubmatch(section, -1) {
		switch {
		case b[1] != "sh":
			r.blocks[b[1]] = b[2]
		case r.proxy == "":
			r.proxy = b[2]
		default:
			r.client = b[2]
		}
	}
	if !strings.HasPrefix(r.proxy, "peerload proxy") || r.client == "" {
		t.Fatalf("the section %s has no proxy or no client", name)
	}
	return r
}

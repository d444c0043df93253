package updaters

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/fileserver"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/load"
)

// TestRAUCInstalls: two devices install a bundle through their proxies, by the recipe as
// it stands, and take one copy: one of the plain format, which a RAUC without streaming
// downloads first, and one that RAUC streams, where the machine can. They are on loopback:
// the kernel has nbd in the first namespace of the network alone.
func TestRAUCInstalls(t *testing.T) {
	long(t)
	for _, p := range []string{"rauc", "mksquashfs", "openssl", "dbus-run-session"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%v: PEERLOAD_FOREIGN_FULL=1 .ci/foreign.sh installs it", err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	streams := raucStreams(t)
	t.Run("plain", func(t *testing.T) {
		if streams == "" {
			t.Skip("this RAUC streams all that has a URL, and no plain bundle")
		}
		raucInstalls(t, "plain")
	})
	t.Run("streaming", func(t *testing.T) {
		if lacking := append(kernelLacks(t.Context()), streams); strings.Join(lacking, "") != "" {
			t.Skipf("RAUC cannot stream here: %s", strings.Join(lacking, "; "))
		}
		raucInstalls(t, "verity")
	})
}

// raucInstalls has two devices install a bundle of a format.
func raucInstalls(t *testing.T, format string) {
	t.Helper()
	l := loopbackLab(t, 2)
	r := readRecipe(t, "RAUC, streaming")
	payload := withManifest(l, makeBundle(l, format))
	for _, d := range l.hosts {
		if err := d.proxy(r.proxy); err != nil {
			t.Fatal(err)
		}
	}
	u := updater{prepare: raucSlots, check: installed}
	// A service of each device is on a bus of its own; it ends with the client.
	r.client = "dbus-run-session -- env DBUS_STARTER_BUS_TYPE=session sh -ec '\n" +
		"rauc --conf=system.conf service --override-boot-slot=A >service.log 2>&1 &\n" +
		"until rauc --conf=system.conf status >/dev/null 2>&1; do kill -0 $!; done\n" + r.client + "kill $!'"
	u.runAll(t, l, r, nil)
	copies := float64(l.server.Tally.Total()) / float64(payload)
	t.Logf("RAUC installs a bundle of the format %s: %.3f copies", format, copies)
	if copies > 1.05 {
		t.Errorf("the server sent %.3f copies to two devices", copies)
	}
}

// kernelLacks is what this kernel lacks for streaming.
func kernelLacks(ctx context.Context) (all []string) {
	for _, m := range []struct{ module, file string }{{"nbd", "/dev/nbd0"}, {"dm-verity", "/dev/mapper/control"}} {
		if !hasModule(ctx, m.module) {
			all = append(all, "the kernel has no "+m.module)
		} else if _, err := os.Stat(m.file); err != nil {
			all = append(all, err.Error())
		}
	}
	return all
}

// hasModule reports whether the kernel has a module, in it or loaded. One that can be
// loaded, which a dry run tells, is loaded as a device does at its start.
func hasModule(ctx context.Context, name string) bool {
	in := "/sys/module/" + strings.ReplaceAll(name, "-", "_")
	if _, err := os.Stat(in); err == nil {
		return true
	}
	return exec.CommandContext(ctx, "modprobe", "--dry-run", name).Run() == nil &&
		exec.CommandContext(ctx, "modprobe", name).Run() == nil
}

// raucStreams says why RAUC does not stream, "" if it does: what it does with a URL it
// says before it asks a server, here one that refuses.
func raucStreams(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	l := &lab{t: t, ctx: t.Context(), dir: dir}
	l.publishing("emailProtection")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	cmd := exec.CommandContext(t.Context(), "rauc", "--keyring="+filepath.Join(dir, "cert.pem"), "info",
		"http://"+ln.Addr().String()+"/none.raucb")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return "RAUC finds a bundle where no server is"
	case bytes.Contains(out, []byte("streaming bundle")):
		return ""
	case bytes.Contains(out, []byte("downloading bundle")):
		return "this RAUC is built without streaming: it downloads"
	}
	return "this RAUC takes no URL: " + strings.TrimSpace(string(out))
}

// loopbackLab is a site whose devices are on loopback.
func loopbackLab(t *testing.T, n int) *lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	bin := filepath.Join(programs.Build(t, []string{"peerload"}), "peerload")
	free := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}
	l := &lab{t: t, ctx: ctx, root: t.TempDir(), dir: t.TempDir(), bin: bin}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		l.server, err = fileserver.Serve(ln, l.root, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.server.Close() })
	l.host = ln.Addr().String()
	_, port, _ := net.SplitHostPort(free())
	for i := range n {
		d := &device{lab: l, host: site.Host{}, dir: filepath.Join(l.dir, fmt.Sprint(i)), stop: func() {}, listen: free(),
			place: fmt.Sprintf("--address 127.83.%d.1/8 --port %s", i+1, port)}
		if err := os.Mkdir(d.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		l.hosts = append(l.hosts, d)
		t.Cleanup(func() { d.kill() })
	}
	return l
}

// withManifest publishes a bundle with the manifest of a load that has it, and returns its
// size.
func withManifest(l *lab, b []byte) int64 {
	l.t.Helper()
	l.put("fw/app.raucb", b)
	c, err := load.Describe("app.raucb", bytes.NewReader(b), int64(len(b)))
	var text []byte
	if err == nil {
		m := &load.Manifest{Name: "app", Version: "1", Models: []string{"board"}, Components: []load.Component{c}}
		text, err = m.Marshal()
	}
	if err != nil {
		l.t.Fatal(err)
	}
	l.put("fw/app.load", text)
	return int64(len(b))
}

// raucSlots gives a device two slots, which are files, and what the recipe says of
// system.conf.
func raucSlots(d *device, r recipe) ([]string, error) {
	at := func(name string) string { return filepath.Join(d.dir, name) }
	conf := strings.NewReplacer("/etc/rauc/cert.pem", at("cert.pem"), "/var/lib/rauc/status", at("status"),
		"/mnt/rauc", at("mnt"), "bootloader=noop", "bootloader=noop\nmax-bundle-download-size=1073741824",
		"/dev/mmcblk0p2", at("a.img"), "/dev/mmcblk0p3", at("b.img")).Replace(r.blocks["ini"])
	return nil, errors.Join(
		copyFile(filepath.Join(d.lab.dir, "cert.pem"), at("cert.pem")), os.Mkdir(at("mnt"), 0o755),
		os.WriteFile(at("system.conf"), []byte(conf), 0o644), os.WriteFile(at("a.img"), make([]byte, size), 0o644),
		os.WriteFile(at("b.img"), make([]byte, size), 0o644))
}

// installed compares the slot that was installed with the file that all get.
func installed(d *device) error {
	b, err := os.ReadFile(filepath.Join(d.dir, "b.img"))
	if err == nil && sha256.Sum256(b) != sha256.Sum256(random(size, 1)) {
		said, _ := os.ReadFile(filepath.Join(d.dir, "service.log"))
		err = fmt.Errorf("the slot has %d other bytes: %s", len(b), said)
	}
	return err
}

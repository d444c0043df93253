package updaters

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/labtest"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
)

// inside runs a test in namespaces.
var inside = labtest.Isolation{Isolated: site.Isolated, Isolate: site.Isolate}

// updater is one program with its recipe.
type updater struct {
	name     string
	programs []string
	// publish puts what is fetched on the server, and says how many bytes a device
	// downloads.
	publish func(l *lab) int64
	// prepare readies a device, and returns variables of its environment.
	prepare func(d *device, r recipe) (env []string, err error)
	// check looks at what a device got.
	check func(d *device) error
}

// size of what is fetched, in bytes: 1.2 s of the line, or what PEERLOAD_ARTEFACT says.
var size = func() int {
	if n, err := strconv.Atoi(os.Getenv("PEERLOAD_ARTEFACT")); err == nil && n > 0 {
		return n
	}
	return 1_500_000
}()

// random is n bytes that no link compresses, the same each time.
func random(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// app is the one file of the simple recipes.
func app(l *lab) int64 {
	b := random(size, 1)
	l.put("fw/app.bin", b)
	l.put("fw/SHA256SUMS", fmt.Appendf(nil, "%x  app.bin\n", sha256.Sum256(b)))
	return int64(size)
}

func isApp(d *device) error {
	b, err := os.ReadFile(filepath.Join(d.dir, "app.bin"))
	if err == nil && !bytes.Equal(b, random(size, 1)) {
		err = fmt.Errorf("app.bin has %d other bytes", len(b))
	}
	return err
}

func nothing(*device, recipe) ([]string, error) { return nil, nil }

var updaters = []updater{
	{"curl", []string{"curl"}, app, nothing, isApp},
	{"wget", []string{"wget"}, app, nothing, isApp},
	{"apt", []string{"apt-get", "dpkg-deb", "xz"}, archive, aptRoot, hasPackages},
}

// TestRecipes: each recipe works as it stands, and takes one copy over the WAN.
func TestRecipes(t *testing.T) {
	each(t, func(t *testing.T, u updater, r recipe, l *lab) {
		payload := u.publish(l)
		for _, d := range l.hosts {
			if err := d.proxy(r.proxy); err != nil {
				t.Fatal(err)
			}
		}
		u.runAll(t, l, r, nil)
		l.account(t, u.name, payload, 1.05)
	})
}

// TestRootKilled: the proxy of the root dies in the middle, and is started again as a
// service manager does. The others take another root, which continues. Its own client
// tries again, or goes its own way.
func TestRootKilled(t *testing.T) {
	long(t)
	each(t, func(t *testing.T, u updater, r recipe, l *lab) {
		payload := u.publish(l)
		for _, d := range l.hosts {
			if err := d.proxy(r.proxy); err != nil {
				t.Fatal(err)
			}
		}
		u.runAll(t, l, r, func(ctx context.Context) {
			if root := l.rootHas(ctx, payload/5); root != nil { // of the first of three packages, perhaps
				root.kill()
				if err := root.proxy(r.proxy); err != nil {
					t.Error(err)
				}
			} else {
				t.Error("no root had a part of it")
			}
		})
		// One copy, and what was on its way: about a chunk for each connection and file.
		l.account(t, u.name+", root killed", payload, 1.05+8*load.MinChunkSize/float64(payload))
	})
}

// TestProxyDead: devices whose proxy is not there go their own way, the others share.
func TestProxyDead(t *testing.T) {
	long(t)
	each(t, func(t *testing.T, u updater, r recipe, l *lab) {
		payload := u.publish(l)
		const dead = 2
		for _, d := range l.hosts[dead:] {
			if err := d.proxy(r.proxy); err != nil {
				t.Fatal(err)
			}
		}
		u.runAll(t, l, r, nil)
		l.account(t, u.name+", two without a proxy", payload, dead+1.05)
	})
}

// TestAlone: the updaters without Peerload, for comparison.
func TestAlone(t *testing.T) {
	long(t)
	each(t, func(t *testing.T, u updater, r recipe, l *lab) {
		payload := u.publish(l)
		u.runAll(t, l, r, nil)
		l.account(t, u.name+" alone", payload, devices+0.2)
	})
}

// long skips a test that takes more time than ./test.sh has.
func long(t *testing.T) {
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("PEERLOAD_FULL=1 runs it")
	}
}

// each runs a test for each updater, on a site of its own.
func each(t *testing.T, test func(t *testing.T, u updater, r recipe, l *lab)) {
	tiers.Long(t, "it starts many processes")
	bin := inside.RunProduct(t)
	if bin == "" {
		return
	}
	all := updaters
	if os.Getenv("PEERLOAD_FULL") != "" {
		all = append(slices.Clone(all), more...)
	}
	for i, u := range all {
		t.Run(u.name, func(t *testing.T) {
			for _, p := range u.programs {
				if _, err := exec.LookPath(p); err != nil && i >= len(updaters) {
					t.Skipf("%v: PEERLOAD_FOREIGN_FULL=1 .ci/foreign.sh installs it", err)
				}
				foreign.Program(t, p)
			}
			test(t, u, readRecipe(t, u.name), newLab(t, bin))
		})
	}
}

// runAll runs the client of a recipe on all devices at once, and checks what they got.
func (u updater) runAll(t *testing.T, l *lab, r recipe, meanwhile func(context.Context)) {
	t.Helper()
	ctx, done := context.WithCancel(l.ctx)
	var wg, beside sync.WaitGroup
	if meanwhile != nil {
		beside.Go(func() { meanwhile(ctx) })
	}
	began := time.Now()
	for i, d := range l.hosts {
		wg.Go(func() {
			env, err := u.prepare(d, r)
			if err == nil {
				err = d.run(r.client, env...)
			}
			if err == nil {
				err = u.check(d)
			}
			if err != nil {
				t.Errorf("device %d: %v", i+1, err)
			}
		})
	}
	wg.Wait()
	t.Logf("%s: the last of %d devices after %.1f s", t.Name(), len(l.hosts), time.Since(began).Seconds())
	done()
	beside.Wait()
}

// account compares what the server has sent with what one device downloads.
func (l *lab) account(t *testing.T, what string, payload int64, most float64) {
	t.Helper()
	copies := float64(l.server.Tally.Total()) / float64(payload)
	wire, _ := l.site.Wire()
	t.Logf("%s: %.3f copies, %d bytes over the line", what, copies, wire.Down)
	if copies > most {
		t.Errorf("%s: the server sent %.3f copies, at most %.2f are right; by device %v", what, copies, most,
			l.server.Tally.ByAddress())
	}
}

// packages of the archive.
var packages = []string{"one", "two", "three"}

// archive publishes three packages as Debian does.
func archive(l *lab) int64 {
	l.t.Helper()
	var index strings.Builder
	total := int64(0)
	for i, name := range packages {
		deb := makeDeb(l.t, name, random(size/len(packages), byte(10+i)))
		l.put("pool/"+name+".deb", deb)
		total += int64(len(deb))
		fmt.Fprintf(&index, "Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <n@example.org>\n"+
			"Filename: pool/%s.deb\nSize: %d\nSHA256: %x\nDescription: for a test\n\n", name, name, len(deb),
			sha256.Sum256(deb))
	}
	// So that the index is worth sharing, as that of an archive is.
	for i := range 600 {
		fmt.Fprintf(&index, "Package: filler-%d\nVersion: 1\nArchitecture: all\nMaintainer: N <n@example.org>\nFilename: "+
			"pool/filler-%d.deb\nSize: 1\nSHA256: %x\nDescription: x\n\n", i, i, sha256.Sum256(fmt.Append(nil, i)))
	}
	plain := []byte(index.String())
	xz := exec.Command("xz", "-c")
	xz.Stdin = bytes.NewReader(plain)
	packed, err := xz.Output()
	if err != nil {
		l.t.Fatal(err)
	}
	at := "dists/stable/main/binary-all/"
	release := "Origin: test\nSuite: stable\nCodename: stable\nArchitectures: all\nComponents: main\n" +
		"Acquire-By-Hash: yes\nDate: " + time.Now().UTC().Format(time.RFC1123) + "\n"
	for _, h := range []struct {
		name string
		sum  func([]byte) string
	}{{"MD5Sum", func(b []byte) string { return fmt.Sprintf("%x", md5.Sum(b)) }},
		{"SHA256", func(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }}} {
		release += h.name + ":\n"
		for name, b := range map[string][]byte{"Packages": plain, "Packages.xz": packed} {
			release += fmt.Sprintf(" %s %d main/binary-all/%s\n", h.sum(b), len(b), name)
			l.put(at+"by-hash/"+h.name+"/"+h.sum(b), b)
			l.put(at+name, b)
		}
	}
	l.put("dists/stable/Release", []byte(release))
	return total + int64(len(packed))
}

// makeDeb makes a package that has nothing but one file.
func makeDeb(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	control := "Package: " + name + "\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <n@example.org>\n" +
		"Description: for a test\n"
	err := errors.Join(os.MkdirAll(filepath.Join(dir, "t/DEBIAN"), 0o755), os.MkdirAll(filepath.Join(dir, "t/opt"), 0o755),
		os.WriteFile(filepath.Join(dir, "t/DEBIAN/control"), []byte(control), 0o644),
		os.WriteFile(filepath.Join(dir, "t/opt", name), content, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	deb := filepath.Join(dir, name+".deb")
	if out, err := exec.Command("dpkg-deb", "-Znone", "-b", filepath.Join(dir, "t"), deb).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// aptRoot gives a device an apt of its own, with the blocks of the recipe.
func aptRoot(d *device, r recipe) ([]string, error) {
	at := func(name string) string { return filepath.Join(d.dir, name) }
	conf := strings.ReplaceAll(r.blocks["apt"], "/usr/local/lib/peerload-apt", at("detect"))
	conf += fmt.Sprintf("Dir \"%s/\";\nDir::State::status \"%s\";\nDir::Bin::Methods \"/usr/lib/apt/methods\";\n"+
		"APT::Architecture \"amd64\";\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n"+
		"Dir::Etc::Parts \"none\";\nDir::Etc::Trusted \"none\";\nDir::Etc::TrustedParts \"none\";\n", d.dir,
		at("dpkg-status"))
	sources := "deb [trusted=yes] http://" + d.lab.host + " stable main\n"
	err := errors.Join(os.WriteFile(at("apt.conf"), []byte(conf), 0o644),
		os.WriteFile(at("detect"), []byte(r.blocks["script"]), 0o755), os.WriteFile(at("dpkg-status"), nil, 0o644),
		os.MkdirAll(at("etc/apt"), 0o755), os.MkdirAll(at("var/lib/apt/lists/partial"), 0o755),
		os.MkdirAll(at("var/cache/apt/archives/partial"), 0o755), os.MkdirAll(at("var/log/apt"), 0o755),
		os.WriteFile(at("etc/apt/sources.list"), []byte(sources), 0o644))
	return []string{"APT_CONFIG=" + at("apt.conf")}, err
}

// hasPackages compares the packages that apt has downloaded.
func hasPackages(d *device) error {
	for _, name := range packages {
		got, err := os.ReadFile(filepath.Join(d.dir, "var/cache/apt/archives", name+"_1_all.deb"))
		if err != nil {
			return err
		}
		want, err := os.ReadFile(filepath.Join(d.lab.root, "pool", name+".deb"))
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s has other bytes", name)
		}
	}
	return nil
}

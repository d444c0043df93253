// Package labtest has what the tests of the laboratory share: a simulated
// device, whose behaviour is known, and running a test again in namespaces.
//
// What must not live here: a site, or anything that measures one.
package labtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/trust"
)

// What the environment of a test's further processes carries: how a device is
// to be played, and where the programs of the product are.
const (
	deviceEnv  = "PEERLOAD_LAB_TEST_DEVICE"
	productEnv = "PEERLOAD_LAB_TEST_PRODUCT"
)

// Main is the TestMain of a package whose tests use Play.
func Main(m *testing.M) {
	if how := os.Getenv(deviceEnv); how != "" && len(os.Args) > 2 && os.Args[1] == "get" {
		if err := playDevice(how, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "device:", err)
			os.Exit(4)
		}
		return
	}
	// Under the race detector every process that ends would sleep for a second.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// Play has the test program play a device until the test ends, and returns its
// path, to be run as peerload. It knows these ways: "good" downloads and says
// so; "wrong" alters one byte of the file; "absent" fails; "root" says that it
// is root first.
func Play(t *testing.T, how string) (program string) {
	t.Helper()
	t.Setenv(deviceEnv, how)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// Isolation is package site's: Isolated, and Isolate. They are passed in, since
// that package's own tests use this one.
type Isolation struct {
	Isolated func() bool
	Isolate  func(ctx context.Context, args ...string) (status int, err error)
}

// Run runs the calling test again inside Isolate and reports whether this is
// the inner run. Where the system allows no namespaces the test is skipped.
func (i Isolation) Run(t *testing.T) bool {
	t.Helper()
	if i.Isolated() {
		return true
	}
	args := []string{"-test.run=^" + t.Name() + "$"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	status, err := i.Isolate(context.Background(), args...)
	if err != nil {
		t.Skip(err)
	}
	if status != 0 {
		t.Errorf("the isolated run ended with status %d", status)
	}
	return false
}

// Bench is Run for a benchmark: it returns in the inner run only, which prints
// the result of three rounds.
func (i Isolation) Bench(b *testing.B) {
	b.Helper()
	if i.Isolated() {
		return
	}
	status, err := i.Isolate(b.Context(), "-test.run=^$", "-test.bench=^"+b.Name()+"$", "-test.benchtime=3x")
	if err != nil {
		b.Skip(err)
	}
	if status != 0 {
		b.Fatalf("the isolated run ended with status %d", status)
	}
	b.SkipNow()
}

// RunProduct is Run for a test that needs the program peerload, which it
// builds; it returns its path in the inner run, "" in the outer one.
func (i Isolation) RunProduct(t *testing.T) string {
	t.Helper()
	if dir := i.RunPrograms(t, "peerload"); dir != "" {
		return filepath.Join(dir, "peerload")
	}
	return ""
}

// RunPrograms is Run for a test that needs programs of the product, which it
// builds; it returns their directory in the inner run, "" in the outer one.
func (i Isolation) RunPrograms(t *testing.T, names ...string) (dir string) {
	t.Helper()
	if testing.Short() {
		t.Skip("real devices in network namespaces take their time")
	}
	if i.Isolated() {
		return os.Getenv(productEnv)
	}
	dir = programs.Build(t, names)
	t.Setenv(productEnv, dir)
	i.Run(t)
	return ""
}

// playDevice plays `peerload get` with these arguments.
func playDevice(how string, args []string) error {
	flag := func(name string) string {
		if i := slices.Index(args, name); i >= 0 {
			return args[i+1]
		}
		return ""
	}
	out := json.NewEncoder(os.Stdout)
	say := func(ev report.Event) {
		if ev.File == "" {
			ev.File = filepath.Base(flag("-o"))
		}
		ev.Schema, ev.Time = report.Schema, time.Now().Format(time.RFC3339Nano)
		_ = out.Encode(ev)
	}
	if base, ok := strings.CutSuffix(args[0], load.ManifestSuffix); ok {
		return playLoad(how, args[0], base[:strings.LastIndex(base, "/")], flag("-o"), say)
	}
	say(report.Event{Event: report.KindStart, URL: args[0]})
	if how == "absent" {
		return fmt.Errorf("no server at %s", args[0])
	}
	if how == "root" {
		say(report.Event{Event: report.KindRole, Role: report.RoleRoot})
	}
	dialer := net.Dialer{}
	if p, err := netip.ParsePrefix(flag("--address")); err == nil {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.Addr(), 0))
	}
	client := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
	resp, err := client.Get(args[0])
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if how == "wrong" {
		b[len(b)/2] ^= 1
	}
	if err := os.WriteFile(flag("-o"), b, 0o600); err != nil {
		return err
	}
	say(report.Event{Event: report.KindCommitted, Bytes: int64(len(b))})
	say(report.Event{Event: report.KindDone, Final: &report.Final{BytesFromOrigin: int64(len(b)), Elections: 1}})
	return nil
}

// playLoad downloads a whole load; as "root" it says so of every component.
func playLoad(how, url, base, dir string, say func(report.Event)) error {
	get := func(url string) ([]byte, error) {
		resp, err := http.Get(url)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	text, err := get(url)
	if err != nil {
		return err
	}
	m, err := load.ParseManifest(text)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, c := range m.Components {
		role := report.RoleClassic
		if how == "root" {
			role = report.RoleRoot
		}
		say(report.Event{Event: report.KindRole, File: c.Name, Role: role, Source: report.SourceOrigin, Percent: 50})
		b, err := get(base + "/" + trust.ComponentPath(c.Digest.String(), c.Name))
		if err != nil {
			return err
		}
		if how == "wrong" {
			b[0] ^= 1
		}
		if err := os.WriteFile(filepath.Join(dir, c.Name), b, 0o600); err != nil {
			return err
		}
		say(report.Event{Event: report.KindCommitted, File: c.Name, Percent: 100})
	}
	return nil
}

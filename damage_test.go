package peerload_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/otheruser"
	"github.com/peerload/peerload/internal/testkit/parallel"
	"github.com/peerload/peerload/load"
)

func TestMain(m *testing.M) {
	parallel.Tests(16)
	os.Exit(m.Run())
}

// Whatever has happened to whichever file that an interrupted run has left, the
// next run commits the very content, and leaves nothing else in the directory
// but what it has put aside.
func TestLeftoversDamaged(t *testing.T) {
	damageLeftovers(t, func(what string) bool { return what != "unreadable" })
}

// TestLeftoversUnreadable is TestLeftoversDamaged for files that nobody may read.
func TestLeftoversUnreadable(t *testing.T) {
	if otheruser.Runs(t) {
		damageLeftovers(t, func(what string) bool { return what == "unreadable" })
	}
}

// damageLeftovers damages each file in some ways.
func damageLeftovers(t *testing.T, wanted func(what string) bool) {
	content := strings.Repeat("firmware ", 20_000)
	url := files(t, map[string]string{"/app.bin": content})
	digest := load.DigestOf([]byte(content))
	write := func(b []byte) func(string) error {
		return func(name string) error { return os.WriteFile(name, b, 0o644) }
	}
	mutations := map[string]func(name string, b []byte) error{
		"as it was": func(name string, b []byte) error { return write(b)(name) },
		"missing":   func(string, []byte) error { return nil },
		"empty":     func(name string, _ []byte) error { return write(nil)(name) },
		"truncated": func(name string, b []byte) error { return write(b[:len(b)/2])(name) },
		"longer":    func(name string, b []byte) error { return write(append(b, make([]byte, 5<<20)...))(name) },
		"flipped": func(name string, b []byte) error {
			b = append(bytes.Clone(b), 0)
			b[len(b)/2] ^= 1
			return write(b[:max(1, len(b)-1)])(name)
		},
		"newer":     func(name string, b []byte) error { return write(append([]byte("PLIX\x00\x02"), b...))(name) },
		"directory": func(name string, _ []byte) error { return os.MkdirAll(filepath.Join(name, "in it"), 0o755) },
		"dangling":  func(name string, _ []byte) error { return os.Symlink("/nowhere/at/all", name) },
		"unreadable": func(name string, b []byte) error {
			return errors.Join(write(b)(name), os.Chmod(name, 0))
		},
	}
	for i, name := range []string{"out/.app.bin.part", "out/.app.bin.part.idx", "out/.app.bin.part.lock",
		"out/app.bin", "state/id", "state/status"} {
		for j, what := range slices.Sorted(maps.Keys(mutations)) {
			// A short run damages each file in some ways, by turns.
			if !wanted(what) || testing.Short() && (i+j)%3 != 0 {
				continue
			}
			for i, proof := range []peerload.Proof{peerload.SHA256(digest), peerload.Unsigned()} {
				t.Run(fmt.Sprintf("%s %s, proof %d", name, what, i), func(t *testing.T) {
					t.Parallel()
					r := alone(t, url+"/app.bin")
					r.Output, r.Proof = r.Output+"/", proof
					interrupt(t, filepath.Join(r.Output, "app.bin"), []byte(content), digest)
					at := filepath.Join(filepath.Dir(r.State), name)
					b, _ := os.ReadFile(at)
					if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.RemoveAll(at),
						mutations[what](at, b)); err != nil {
						t.Fatal(err)
					}
					_, err := peerload.Fetch(t.Context(), r)
					if name == "out/app.bin" && what == "directory" { // not for this program to decide
						if !errors.Is(err, peerload.ErrDisk) {
							t.Errorf("a directory of that name: %v", err)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					onlyThere(t, r.Output, content)
				})
			}
		}
	}
}

// onlyThere wants the content, and nothing beside it but what was put aside.
func onlyThere(t *testing.T, dir, content string) {
	t.Helper()
	holds(t, filepath.Join(dir, "app.bin"), content)
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range left {
		if e.Name() != "app.bin" && !strings.HasSuffix(e.Name(), ".damaged") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// interrupt leaves a partial file with one chunk, as a run that was killed does.
func interrupt(t *testing.T, target string, content []byte, digest load.Digest) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := slot.Spec{Key: digest, Digest: slot.Expect(digest), Geometry: load.Geometry{Size: int64(len(content))}}
	p, err := slot.OpenPartial(slot.OS{}, target, spec, slot.Config{})
	if err == nil {
		err = errors.Join(p.WriteChunk(0, content[:load.MinChunkSize]), p.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

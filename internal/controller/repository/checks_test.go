package repository_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/testkit/publisher"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

const stamp = "metadata/timestamp.json"

// TestConfig: a repository has a directory, and signs nothing without one for
// its keys.
func TestConfig(t *testing.T) {
	if _, err := repository.Open(repository.Config{Keys: t.TempDir()}); err == nil {
		t.Error("no directory was taken")
	}
	s := publisher.New(t)
	s.Firmware("1")
	reader, err := repository.Open(repository.Config{Dir: s.Dir, Now: func() time.Time { return s.Now }})
	must(t, err)
	if all, err := reader.Verify(t.Context()); err != nil || len(all) != 1 || all[0].Problem != nil {
		t.Errorf("reading without keys: %v, %v", all, err)
	}
	m, err := reader.Loads()
	must(t, err)
	for name, err := range map[string]error{
		"Init": reader.Init(), "Refresh": reader.Refresh(),
		"RotateKeys": reader.RotateKeys(metadata.ROOT), "Add": reader.Add(m[0], nil),
	} {
		if !errors.Is(err, repository.ErrKeys) || !strings.Contains(err.Error(), "no directory of keys") {
			t.Errorf("%s without keys: %v", name, err)
		}
	}
	before := s.Tree()
	must(t, s.Repo.Init())
	if after := s.Tree(); !bytes.Equal(after[stamp], before[stamp]) {
		t.Error("to make what is there already has signed anew")
	}
	t.Chdir(s.Dir)
	if _, err := repository.Open(repository.Config{Dir: "."}); err != nil {
		t.Errorf("reading from within: %v", err)
	}
	none, err := repository.Open(repository.Config{Dir: filepath.Join(t.TempDir(), "none")})
	must(t, err)
	if _, _, err := none.ExportRoot(); !errors.Is(err, repository.ErrNoRepository) {
		t.Errorf("the root of nothing: %v", err)
	}
	if err := s.Repo.RotateKeys("mirrors"); err == nil || !strings.Contains(err.Error(), "unknown role") {
		t.Errorf("a role that there is not: %v", err)
	}
}

// TestBrokenState: a repository whose files do not belong together, or are no
// metadata, is told and not written over.
func TestBrokenState(t *testing.T) {
	snapshot, targets := tuf.MetadataPath(metadata.SNAPSHOT, 2), tuf.MetadataPath(metadata.TARGETS, 2)
	null := []byte(`{"signed":null,"signatures":null}`)
	for name, c := range map[string]struct {
		file string
		text func(s *publisher.Publisher, raw []byte) []byte // nil: remove it
	}{
		"a timestamp that names no snapshot": {stamp, func(_ *publisher.Publisher, raw []byte) []byte {
			return bytes.ReplaceAll(raw, []byte(`"snapshot.json"`), []byte(`"other.json"`))
		}},
		"a snapshot that names no targets": {snapshot, func(_ *publisher.Publisher, raw []byte) []byte {
			return bytes.ReplaceAll(raw, []byte(`"targets.json"`), []byte(`"other.json"`))
		}},
		"no snapshot":           {snapshot, nil},
		"no targets":            {targets, nil},
		"a timestamp of null":   {stamp, func(*publisher.Publisher, []byte) []byte { return null }},
		"a snapshot that is no": {snapshot, func(*publisher.Publisher, []byte) []byte { return []byte("<html>") }},
	} {
		s := publisher.New(t)
		s.Firmware("1")
		at := filepath.Join(s.Dir, c.file)
		raw, err := os.ReadFile(at)
		must(t, err)
		if c.text == nil {
			must(t, os.Remove(at))
		} else {
			must(t, os.WriteFile(at, c.text(s, raw), 0o644))
		}
		before := s.Tree()
		for call, err := range map[string]error{
			"Refresh": s.Repo.Refresh(), "RotateKeys": s.Repo.RotateKeys(metadata.ROOT), "Init": s.Repo.Init(),
		} {
			if err == nil {
				t.Errorf("%s: %s went through", name, call)
			} else if !errors.Is(err, trust.ErrMalformed) && !strings.Contains(err.Error(), "breaks the parser") {
				t.Errorf("%s: %s: %v", name, call, err)
			}
		}
		after := s.Tree()
		if len(after) != len(before) || !bytes.Equal(after[stamp], before[stamp]) {
			t.Errorf("%s: the tree was changed", name)
		}
	}
}

// TestChangedComponent: each part of what a manifest says of a file is compared
// with the file.
func TestChangedComponent(t *testing.T) {
	s := publisher.New(t)
	text := strings.Repeat("x", load.MinChunkSize+1)
	for name, change := range map[string]func(*load.Component){
		"digest": func(c *load.Component) { c.Digest[0] ^= 1 },
		"table":  func(c *load.Component) { c.Table[1][0] ^= 1 },
		"size":   func(c *load.Component) { c.Size-- },
	} {
		c, err := load.Describe("a.bin", strings.NewReader(text), int64(len(text)))
		must(t, err)
		change(&c)
		if name == "size" {
			c.Table = c.Table[:1]
		}
		m := &load.Manifest{Name: "fw", Version: "1", Models: []string{"m"}, Components: []load.Component{c}}
		err = s.Repo.Add(m, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil })
		if !errors.Is(err, repository.ErrChanged) {
			t.Errorf("another %s: %v", name, err)
		}
		if l, err := s.Repo.Loads(); err != nil || len(l) > 0 {
			t.Errorf("another %s: published %v, %v", name, l, err)
		}
	}
}

// TestWritesThatFail: whichever file of a publication cannot be written, the
// publication fails, devices go on with the state before, and the next one works.
func TestWritesThatFail(t *testing.T) {
	tiers.Long(t, "it fails at each step")
	twin := publisher.New(t)
	twin.Firmware("1")
	before := twin.Tree()
	m := twin.Add("fw", "2", map[string]string{"app.bin": "app 2"})
	var files []string
	for p := range twin.Tree() {
		if _, there := before[p]; !there || p == "fw.load" || p == stamp {
			files = append(files, p)
		}
	}
	if len(files) != 6 {
		t.Fatalf("a publication writes %v", files)
	}
	open := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("app 2")), nil }
	for _, p := range files {
		s := publisher.New(t)
		s.Firmware("1")
		at := filepath.Join(s.Dir, p)
		if err := os.Rename(at, at+".away"); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		must(t, os.MkdirAll(filepath.Join(at, "in the way"), 0o755))
		if err := s.Repo.Add(m, open); err == nil {
			t.Errorf("%s was not written, and that went through", p)
		}
		must(t, os.RemoveAll(at))
		if err := os.Rename(at+".away", at); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if v, err := s.Device().Version(s.Origin()); err != nil || v != "1" {
			t.Errorf("%s was not written: devices get %q, %v", p, v, err)
		}
		for f := range s.Tree() {
			if strings.Contains(f, ".tmp-") {
				t.Errorf("%s was not written: %s is left", p, f)
			}
		}
		must(t, s.Repo.Add(m, open))
		if v, err := s.Device().Version(s.Origin()); err != nil || v != "2" {
			t.Errorf("after %s could be written: %q, %v", p, v, err)
		}
		if all, err := s.Repo.Verify(t.Context()); err != nil || len(all) != 1 || all[0].Problem != nil {
			t.Errorf("after %s could be written: %v, %v", p, all, err)
		}
	}
}

// TestTooManyLoads: no file is published that devices would refuse for its size.
func TestTooManyLoads(t *testing.T) {
	tiers.Long(t, "it publishes thousands of loads")
	s := publisher.New(t)
	s.Firmware("1")
	at := filepath.Join(s.Dir, tuf.MetadataPath(metadata.TARGETS, 2))
	raw, err := os.ReadFile(at)
	must(t, err)
	targets, err := metadata.Targets().FromBytes(raw)
	must(t, err)
	entry := targets.Signed.Targets["fw.load"]
	size := len(raw)
	for i := 0; size < tuf.MaxTargetsSize-100; i++ {
		name := fmt.Sprintf("fw%06d.load", i)
		targets.Signed.Targets[name] = entry
		size += 150
		if size >= tuf.MaxTargetsSize-100 {
			raw, err = targets.ToBytes(false)
			must(t, err)
			size = len(raw)
		}
	}
	if size > tuf.MaxTargetsSize {
		t.Fatalf("the test's own file has %d bytes", size)
	}
	must(t, os.WriteFile(at, raw, 0o644))
	before := s.Tree()
	c, err := load.Describe("a.bin", strings.NewReader("a"), 1)
	must(t, err)
	m := &load.Manifest{Name: strings.Repeat("long", 40), Version: "1", Models: []string{"m"},
		Components: []load.Component{c}}
	err = s.Repo.Add(m, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("a")), nil })
	if err == nil || !strings.Contains(err.Error(), "too many loads") {
		t.Errorf("%v", err)
	}
	if after := s.Tree(); !bytes.Equal(after[stamp], before[stamp]) {
		t.Error("something was published")
	}
}

// TestRefreshRenews: what has less than half of its life left is signed anew, the
// root only where its key is, and nothing earlier than it must.
func TestRefreshRenews(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		after                   time.Duration
		root, targets, snapshot int64 // versions then
		offline                 bool
	}{{day, 1, 2, 2, false}, {44 * day, 1, 2, 2, false}, {46 * day, 1, 2, 3, false}, {182 * day, 1, 2, 3, false},
		{183 * day, 2, 3, 3, false}, {183 * day, 1, 3, 3, true}} {
		s := publisher.New(t)
		s.Firmware("1")
		key, err := filepath.Glob(filepath.Join(s.Keys, "root.*.pem"))
		must(t, err)
		if c.offline {
			must(t, os.Remove(key[0]))
		}
		s.Now = s.Now.Add(c.after)
		must(t, s.Repo.Refresh())
		f := s.Tree()
		for role, want := range map[string]int64{
			metadata.ROOT: c.root, metadata.TARGETS: c.targets, metadata.SNAPSHOT: c.snapshot,
		} {
			if f[tuf.MetadataPath(role, want)] == nil || f[tuf.MetadataPath(role, want+1)] != nil {
				t.Errorf("after %v (root key away: %v): %s is not at version %d", c.after, c.offline, role, want)
			}
		}
		if v, err := s.Device().Version(s.Origin()); err != nil || v != "1" {
			t.Errorf("after %v: %q, %v", c.after, v, err)
		}
		left, err := s.Repo.RootLife()
		if want := 365*day - c.after; c.root == 1 && (err != nil || left != want) || c.root == 2 && left != 365*day {
			t.Errorf("after %v the root has %v left, %v", c.after, left, err)
		}
	}
}

// TestKeysAreKeys: what stands in the directory of keys is an ed25519 key in PEM
// form, or nothing is signed; other files are passed over.
func TestKeysAreKeys(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	found, err := filepath.Glob(filepath.Join(s.Keys, "timestamp.*.pem"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	good, err := os.ReadFile(found[0])
	must(t, err)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(other)
	must(t, err)
	text := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	block, _ := pem.Decode(good)
	for name, b := range map[string][]byte{
		"empty": nil, "no PEM": []byte("key"), "a certificate": text("CERTIFICATE", block.Bytes),
		"no key": text("PRIVATE KEY", []byte("x")), "another kind of key": text("PRIVATE KEY", der),
		"too long": append(bytes.Repeat([]byte("\n"), 4<<10), good...),
	} {
		must(t, os.WriteFile(found[0], b, 0o600))
		before := s.Tree()
		if err := s.Repo.Refresh(); err == nil || name != "too long" && !errors.Is(err, repository.ErrKeys) {
			t.Errorf("%s: %v", name, err)
		}
		if got := s.Tree()[stamp]; !bytes.Equal(got, before[stamp]) {
			t.Errorf("%s: something was signed", name)
		}
	}
	must(t, os.WriteFile(found[0], good, 0o600))
	must(t, os.WriteFile(filepath.Join(s.Keys, "timestamp.note.txt"), nil, 0o600))
	must(t, s.Repo.Refresh())
	// A missing key is told by its role, with what to do.
	for role, says := range map[string]string{"targets": "role targets", "root": "root.*.pem back"} {
		k, err := filepath.Glob(filepath.Join(s.Keys, role+".*.pem"))
		must(t, err)
		must(t, os.Rename(k[0], k[0]+".away"))
		sign := func() error { return s.Repo.RotateKeys(role) }
		if role != metadata.ROOT {
			sign = s.Repo.Refresh
			s.Now = s.Now.Add(300 * 24 * time.Hour) // all is due
		}
		if err := sign(); !errors.Is(err, repository.ErrKeys) || !strings.Contains(err.Error(), says) {
			t.Errorf("without the key of %s: %v", role, err)
		}
		s.Now = publisher.Epoch
		must(t, os.Rename(k[0]+".away", k[0]))
	}
}

// TestRotationRetiresKeys: after a rotation the old key is gone and signs
// nothing that devices accept.
func TestRotationRetiresKeys(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		old, err := filepath.Glob(filepath.Join(s.Keys, role+".*.pem"))
		if err != nil || len(old) != 1 {
			t.Fatal(old, err)
		}
		text, err := os.ReadFile(old[0])
		must(t, err)
		must(t, s.Repo.RotateKeys(role))
		now, err := filepath.Glob(filepath.Join(s.Keys, role+".*.pem"))
		if err != nil || len(now) != 1 || now[0] == old[0] {
			t.Errorf("keys of %s: %v, before the rotation %v, %v", role, now, old, err)
		}
		// Even beside the new one, the old key is not taken.
		must(t, os.WriteFile(old[0], text, 0o600))
		must(t, os.Rename(now[0], now[0]+".away"))
		if role != metadata.ROOT {
			s.Now = s.Now.Add(300 * 24 * time.Hour) // all is due
			if err := s.Repo.Refresh(); !errors.Is(err, repository.ErrKeys) {
				t.Errorf("the old key of %s signs: %v", role, err)
			}
			s.Now = publisher.Epoch
		}
		must(t, os.Rename(now[0]+".away", now[0]))
		must(t, os.Remove(old[0]))
		s.Firmware("of " + role)
		if v, err := s.Device().Version(s.Origin()); err != nil || v != "of "+role {
			t.Errorf("after the rotation of %s: %q, %v", role, v, err)
		}
	}
}

// TestRotationOfLostKeys: with the root key alone all others can be made anew, and a
// device that knows the old ones follows. A key that is there and cannot be read is
// not lost.
func TestRotationOfLostKeys(t *testing.T) {
	s := publisher.New(t)
	s.Firmware("1")
	device := s.Device()
	if v, err := device.Version(s.Origin()); err != nil || v != "1" {
		t.Fatal(v, err)
	}
	roles := []string{metadata.TIMESTAMP, metadata.SNAPSHOT, metadata.TARGETS}
	for _, role := range roles {
		lost, err := filepath.Glob(filepath.Join(s.Keys, role+".*.pem"))
		if err != nil || len(lost) != 1 {
			t.Fatal(lost, err)
		}
		if role == metadata.SNAPSHOT { // not lost, and yet of no use
			must(t, os.Chmod(lost[0], 0o644))
			if err := s.Repo.RotateKeys(role); !errors.Is(err, repository.ErrKeys) {
				t.Errorf("a key that others can read: %v", err)
			}
		}
		must(t, os.Remove(lost[0]))
	}
	if err := s.Repo.RotateKeys(metadata.SNAPSHOT); !errors.Is(err, repository.ErrKeys) ||
		!strings.Contains(err.Error(), "role timestamp") {
		t.Errorf("the timestamp's key is lost, too: %v", err)
	}
	for _, role := range roles {
		must(t, s.Repo.RotateKeys(role))
	}
	s.Firmware("2")
	if v, err := device.Version(s.Origin()); err != nil || v != "2" {
		t.Errorf("a device that knows the old keys has %q: %v", v, err)
	}
}

// TestRotationInterrupted: what a rotation signs before it writes the next root is
// right for devices that follow the old root and for those that follow the new.
func TestRotationInterrupted(t *testing.T) {
	for _, role := range []string{metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		s := publisher.New(t)
		s.Firmware("1")
		must(t, s.Repo.RotateKeys(role))
		tree := s.Tree()
		if v, err := s.Device().Version(tree); err != nil || v != "1" {
			t.Errorf("%s, with the new root: %q, %v", role, v, err)
		}
		if v, err := s.Device().Version(tree.Without(tuf.MetadataPath(metadata.ROOT, 2))); err != nil || v != "1" {
			t.Errorf("%s, before there is the new root: %q, %v", role, v, err)
		}
	}
}

// TestNamesFromBefore: a load whose name was allowed once keeps no other from
// being published.
func TestNamesFromBefore(t *testing.T) {
	s := publisher.New(t)
	m := s.Add("good", "1", map[string]string{"a.bin": "aaaa"})
	s.Add("other", "1", map[string]string{"b.bin": "bbbb"})
	text, err := m.Marshal()
	must(t, err)
	p := filepath.Join(s.Dir, tuf.ComponentPath(load.DigestOf(text).String(), "good.load"))
	must(t, os.WriteFile(p, bytes.Replace(text, []byte(`"good"`), []byte(`"g%41"`), 1), 0o644))
	all, err := s.Repo.Loads()
	must(t, err)
	if len(all) != 1 || all[0].Name != "other" {
		t.Errorf("the loads are %+v", all)
	}
	s.Add("third", "1", map[string]string{"c.bin": "cccc"})
}

// TestRootMissing: a repository without its root is an error, not a panic: the
// server that has it serves on.
func TestRootMissing(t *testing.T) {
	s := publisher.New(t)
	s.Add("good", "1", map[string]string{"a.bin": "aaaa"})
	must(t, os.Remove(filepath.Join(s.Dir, "metadata/1.root.json")))
	if _, err := s.Repo.RootLife(); err == nil {
		t.Error("the life of no root")
	}
	if err := s.Repo.Refresh(); err == nil {
		t.Error("signatures under no root are refreshed")
	}
}

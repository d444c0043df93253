package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/load"
)

// copyOn puts a copy in place as the engine does, and adds it.
func copyOn(k *keep, name string, b []byte) error {
	d := load.DigestOf(b)
	p, err := slot.OpenPartial(k.fs, k.path(name), slot.Spec{Key: d, Geometry: load.Geometry{Size: int64(len(b))},
		Digest: slot.Expect(d)}, slot.Config{})
	if err != nil {
		return err
	}
	err = p.WriteChunk(0, b)
	if err == nil {
		_, err = p.Finish()
	}
	if err == nil {
		err = p.Commit()
	}
	if err = errors.Join(err, p.Close()); err != nil {
		return err
	}
	k.add(name, kept{URL: "http://a/" + name, Size: int64(len(b)), SHA256: d.String()})
	return nil
}

// names of copies: one by its digest, one that only the index tells the digest of.
func nameBoth(b []byte) (keyed, unsigned string) {
	d := load.DigestOf(b)
	return nameOf(sharing.Decision{Verdict: sharing.ByDigest, Digest: d}),
		nameOf(sharing.Decision{Verdict: sharing.Unsigned, Key: "http://a/" + d.Short()})
}

// TestPowerCut: whatever a power cut leaves, the copies open again, what was added and
// not evicted is there and right, and nothing has other bytes than the index tells.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	first, second := content(3000, 20), content(5000, 21)
	keyed, _ := nameBoth(first)
	_, unsigned := nameBoth(second)
	said := ""
	story := func(disk *faultdisk.Disk) func() error {
		return func() error {
			said = ""
			k, err := openKeep(disk, "/p", 6000)
			if err != nil {
				return err
			}
			if err := copyOn(k, keyed, first); err != nil {
				return err
			}
			said = keyed
			if err := copyOn(k, unsigned, second); err != nil {
				return err
			}
			said = unsigned // the first one may go now
			k.evict(func(string) bool { return true })
			return k.lock.Close()
		}
	}
	disk := faultdisk.New(1)
	faultdisk.Every(t, disk, story(disk), func() string { return said }, func(t *testing.T, found *faultdisk.Disk) {
		k, err := openKeep(found, "/p", 6000)
		if err != nil {
			t.Fatal(err)
		}
		if said != "" {
			if _, ok := k.get(said); !ok {
				t.Fatalf("%s is lost", said)
			}
		}
		for name, c := range k.index {
			d, err := load.ParseDigest(c.SHA256)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			f, err := slot.OpenVerified(found, k.path(name), c.Size, d)
			if err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
		}
		_ = k.lock.Close()
	})
}

// TestKeepDamaged: whatever has become of the index, the copies that prove themselves
// stay, and the others are removed.
func TestKeepDamaged(t *testing.T) {
	t.Parallel()
	b := content(3000, 22)
	keyed, unsigned := nameBoth(b)
	for what, damage := range map[string]func(name string) error{
		"lost":        os.Remove,
		"empty":       func(name string) error { return os.WriteFile(name, nil, 0o644) },
		"junk":        func(name string) error { return os.WriteFile(name, []byte("{\"x\":"), 0o644) },
		"null":        func(name string) error { return os.WriteFile(name, []byte("null"), 0o644) },
		"a directory": func(name string) error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o755)) },
		"too long":    func(name string) error { return os.Truncate(name, maxIndex+1) },
	} {
		dir := t.TempDir()
		k, err := openKeep(slot.OS{}, dir, 1<<20)
		if err == nil {
			err = errors.Join(copyOn(k, keyed, b), copyOn(k, unsigned, b), k.lock.Close(), damage(filepath.Join(dir, indexName)))
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := openKeep(slot.OS{}, dir, 1<<20)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if _, ok := again.get(keyed); !ok || len(again.index) != 1 {
			t.Errorf("%s: left is %v", what, again.index)
		}
		if _, err := os.Stat(again.path(unsigned)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a copy of nobody knows what stays: %v", what, err)
		}
		if _, err := openKeep(slot.OS{}, dir, 1<<20); !errors.Is(err, slot.ErrLocked) {
			t.Errorf("%s: two at a time: %v", what, err)
		}
		_ = again.lock.Close()
	}
}

// TestRestart: a proxy that begins again serves the copies of the one before it, and
// knows what indexes had told. A copy that has rotted is fetched again.
func TestRestart(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	deb := content(100_000, 23)
	index := fmt.Sprintf("Filename: pool/a.deb\nSize: %d\nSHA256: %s\n", len(deb), load.DigestOf(deb)) +
		strings.Repeat("X: y\n", 5000)
	at := "/d/dists/s/main/binary-all/by-hash/SHA256/" + load.DigestOf([]byte(index)).String()
	u, pool, app := f.put(at, []byte(index)), f.put("/d/pool/a.deb", deb), f.put("/fw/app", deb, "ETag", `"1"`)
	dir, port := t.TempDir(), freePort(t)
	rule := f.URL + "/fw/** unsigned"
	h := newHost(t, port, 1, dir, rule)
	for _, x := range []string{u, pool, app} {
		if _, _, err := get(h.via(t), "GET", x); err != nil {
			t.Fatal(err)
		}
	}
	h.stop()
	before := f.sent.Load()
	h = newHost(t, port, 1, dir, rule)
	for _, x := range []string{pool, app, u} {
		if _, got, err := get(h.via(t), "GET", x); err != nil || x != u && !bytes.Equal(got, deb) {
			t.Errorf("%s: %d bytes, %v", x, len(got), err)
		}
	}
	if sent := f.sent.Load() - before; sent != 0 || h.Status().Requests[reason.ProxyByIndex] != 1 {
		t.Errorf("the origin sent %d bytes again; %+v", sent, h.Status())
	}
	if resp, _, err := get(h.via(t), "HEAD", pool); err != nil || resp.ContentLength != int64(len(deb)) ||
		f.requests("HEAD", "/d/pool/a.deb") != 0 {
		t.Errorf("HEAD: %v, %v", resp, err)
	}
	h.stop()
	keyed, _ := nameBoth(deb)
	rotten := bytes.Clone(deb)
	rotten[5]++
	if err := os.WriteFile(filepath.Join(dir, "files", keyed), rotten, 0o644); err != nil {
		t.Fatal(err)
	}
	h = newHost(t, port, 1, dir, rule)
	if _, got, err := get(h.via(t), "GET", pool); err != nil || !bytes.Equal(got, deb) {
		t.Errorf("rotten: %d bytes, %v", len(got), err)
	}
}

// TestEvict: copies stay within the budget, the least recently used go, and what is in
// use stays.
func TestEvict(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	h := newHosts(t, 1)[0]
	h.keep.limit = 250_000
	c := h.via(t)
	var urls []string
	for i := range 5 {
		b := content(100_000, uint64(30+i))
		urls = append(urls, f.put("/components/"+load.DigestOf(b).String()+".bin", b))
		resp, got, err := get(c, http.MethodGet, urls[i])
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	h.trim(time.Now())
	if n, bytes := h.keep.total(); n != 2 || bytes > h.keep.limit {
		t.Errorf("%d copies of %d bytes", n, bytes)
	}
	entries, err := os.ReadDir(filepath.Join(h.dir, "files"))
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	h.keep.mu.Lock()
	for name := range h.keep.index {
		if !strings.Contains(urls[3]+urls[4], strings.TrimPrefix(name, "sha256-")) {
			t.Errorf("%s is one of the older", name)
		}
	}
	h.keep.mu.Unlock()
	// One that nobody has used for long is no longer served, and its copy stays.
	h.mu.Lock()
	for _, e := range h.entries {
		e.used = time.Now().Add(-2 * idle)
	}
	h.mu.Unlock()
	h.trim(time.Now())
	if s := h.Status(); s.Open != 0 || s.Kept != 2 {
		t.Errorf("%+v", s)
	}
}

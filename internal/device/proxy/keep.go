package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/load"
)

// kept is what the index tells of a copy.
type kept struct {
	URL    string    `json:"url"`
	Size   int64     `json:"size"`
	SHA256 string    `json:"sha256"`
	Meta   meta      `json:"meta"`
	Used   time.Time `json:"used"`
}

// Bounds of the index.
const (
	maxKept  = 4096
	maxIndex = 8 << 20 // bytes
	// useEvery is how often a use of a copy is written down: the order of what goes
	// first may be that much behind after a power cut.
	useEvery = time.Minute
)

// keep has the copies: files below a directory, and an index of them. The bytes of a
// copy are proved anew each time it is opened, so that the index may be lost, or tell
// of what is not there: that costs a download.
type keep struct {
	fs    slot.FS
	dir   string
	limit int64
	lock  io.Closer // of the directory

	mu    sync.Mutex
	index map[string]kept
	wrote time.Time
}

const indexName = "index.json"

// openKeep opens the copies below a directory. An index that cannot be read is put
// aside, and copies that it does not tell of are removed.
func openKeep(fs slot.FS, dir string, limit int64) (*keep, error) {
	k := &keep{fs: fs, dir: dir, limit: limit, index: map[string]kept{}}
	if err := durable.MkdirAll(fs, filepath.Join(dir, "files"), 0o700); err != nil {
		return nil, err
	}
	var err error
	if k.lock, err = fs.Lock(filepath.Join(dir, "lock")); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := k.read(); err != nil {
		return nil, errors.Join(err, k.lock.Close())
	}
	return k, nil
}

// read reads the index, and looks at what is there.
func (k *keep) read() error {
	name := filepath.Join(k.dir, indexName)
	raw, err := slot.ReadBounded(k.fs, name, maxIndex)
	if err == nil {
		k.index, err = parseIndex(raw)
	}
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		if _, err := slot.PutAside(k.fs, name); err != nil {
			return err
		}
	}
	if k.index == nil {
		k.index = map[string]kept{}
	}
	return k.match()
}

// parseIndex reads the index.
func parseIndex(raw []byte) (map[string]kept, error) {
	var all map[string]kept
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	for name, k := range all {
		if !isCopy(name) || k.Size < 0 || k.Size > load.MaxFileSize {
			delete(all, name)
		}
	}
	return all, nil
}

// isCopy reports whether a name is that of a copy.
func isCopy(name string) bool {
	for _, kind := range []string{"sha256-", "unsigned-"} {
		if hex, ok := strings.CutPrefix(name, kind); ok {
			_, err := load.ParseDigest(hex)
			return err == nil
		}
	}
	return false
}

// match makes the index and the files tell the same.
func (k *keep) match() error {
	entries, err := k.fs.ReadDir(filepath.Join(k.dir, "files"))
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		hex, keyed := strings.CutPrefix(name, "sha256-")
		fi, err := e.Info()
		switch {
		case err != nil || !isCopy(name):
			continue // a partial file, which is continued or evicted
		case !fi.Mode().IsRegular():
			continue
		}
		at, told := k.index[name]
		if !told && keyed {
			at = kept{SHA256: hex, Used: fi.ModTime()}
		}
		if !told && !keyed {
			_ = k.fs.Remove(k.path(name)) // nothing says which content it was
			continue
		}
		at.Size = fi.Size()
		k.index[name], there[name] = at, true
	}
	for name := range k.index {
		if !there[name] {
			delete(k.index, name)
		}
	}
	return nil
}

func (k *keep) path(name string) string { return filepath.Join(k.dir, "files", name) }

func (k *keep) get(name string) (kept, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.index[name]
	return c, ok
}

// digest is the digest of the copy of what nothing else proves.
func (k *keep) digest(name string) (load.Digest, bool) {
	c, ok := k.get(name)
	if !ok {
		return load.Digest{}, false
	}
	d, err := load.ParseDigest(c.SHA256)
	return d, err == nil
}

// add notes a copy that is in place.
func (k *keep) add(name string, c kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c.Used = time.Now()
	k.index[name] = c
	k.write()
}

// use notes that a copy was used.
func (k *keep) use(name string, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.index[name]
	if !ok {
		return
	}
	c.Used = at
	k.index[name] = c
	if time.Since(k.wrote) > useEvery {
		k.write()
	}
}

// write writes the index. An error costs no more than a lost index does.
func (k *keep) write() {
	k.wrote = time.Now()
	raw, err := json.Marshal(k.index)
	if err == nil {
		_ = slot.WriteAtomic(k.fs, filepath.Join(k.dir, indexName), raw)
	}
}

// evict removes the least recently used copies until the rest is within the limit.
// mayGo says whether one may be removed now.
func (k *keep) evict(mayGo func(name string) bool) {
	k.mu.Lock()
	var names []string
	total := int64(0)
	for name, c := range k.index {
		names = append(names, name)
		total += c.Size
	}
	slices.SortFunc(names, func(a, b string) int { return k.index[a].Used.Compare(k.index[b].Used) })
	k.mu.Unlock()
	left := len(names)
	for _, name := range names {
		if total <= k.limit && left <= maxKept {
			return
		}
		if !mayGo(name) {
			continue
		}
		k.mu.Lock()
		total -= k.index[name].Size
		left--
		// First the index: what it tells of is there.
		delete(k.index, name)
		k.write()
		_ = k.fs.Remove(k.path(name))
		k.mu.Unlock()
	}
}

// total is how many copies there are, and their bytes.
func (k *keep) total() (n int, bytes int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.index {
		bytes += c.Size
	}
	return len(k.index), bytes
}

// learnKept learns from the indexes that were kept.
func (p *Proxy) learnKept() {
	p.keep.mu.Lock()
	all := maps.Clone(p.keep.index)
	p.keep.mu.Unlock()
	for name, c := range all {
		if u := c.index(); u != nil && p.cfg.Rules.Learns(u) {
			p.learnFile(u, name)
		}
	}
}

// index is where a copy came from, nil unless indexes are there.
func (k kept) index() *url.URL {
	u, err := url.Parse(k.URL)
	if err != nil || sharing.KindOf(u) == sharing.NoIndex {
		return nil
	}
	return u
}

// learnFile learns from the copy of an index.
func (p *Proxy) learnFile(u *url.URL, name string) {
	f, err := p.cfg.Files.OpenFile(p.keep.path(name), 0, 0)
	if err != nil {
		return
	}
	defer f.Close()
	p.learn(u, reason.ProxyByIndex, io.NewSectionReader(f, 0, sharing.MaxIndex))
}

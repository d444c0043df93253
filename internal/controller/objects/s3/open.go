package s3

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/peerload/peerload/internal/controller/objects"
	"github.com/peerload/peerload/internal/durable"
)

var byDigest = regexp.MustCompile(`^components/([0-9a-f]{64})\.[^/]+$`)

// immutable reports whether a file never changes. One with a version in its name may:
// what an interrupted publication has left is written anew.
func immutable(p string) bool { return byDigest.MatchString(p) }

// digestIn is the digest that a name has, "" for none.
func digestIn(p string) string {
	if m := byDigest.FindStringSubmatch(p); m != nil {
		return m[1]
	}
	return ""
}

// maxNames bounds the files that may change and are remembered, missing ones included.
const maxNames = 10_000

// name is what is known of a file that may change.
type name struct {
	mu    sync.Mutex // held while the bucket is asked
	asked time.Time
	state
}

// forget has the bucket asked for a file that was written here.
func (b *Bucket) forget(p string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.names, p)
}

// Open implements objects.Tree.
func (b *Bucket) Open(p string) (f objects.File, err error) {
	if !fs.ValidPath(p) || objects.Hidden(p) {
		return nil, fs.ErrNotExist
	}
	for range tries { // until it is not written meanwhile
		if f, err = b.open(p); !errors.Is(err, errOther) {
			break
		}
		b.forget(p)
	}
	return f, err
}

func (b *Bucket) open(p string) (objects.File, error) {
	as, it, want := p, state{tag: digestIn(p)}, ""
	if !immutable(p) {
		var err error
		if it, err = b.current(p); err != nil {
			return nil, err
		}
		if it.tag == "" {
			return nil, fs.ErrNotExist
		}
		as, want = p+"\x00"+it.tag, it.tag
	}
	if f, err := b.here(as, it); err == nil {
		return f, nil
	}
	fl, err := b.fly(p, as, want)
	if err != nil {
		return nil, err
	}
	return &reader{fl: fl, state: it}, nil
}

// here opens a file that is here.
func (b *Bucket) here(as string, it state) (objects.File, error) {
	f, err := os.Open(b.cached(as))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if now := b.cfg.Now(); now.Sub(info.ModTime()) > time.Minute {
		_ = os.Chtimes(f.Name(), now, now) // what was used last stays longest
	}
	return whole{f, info.Size(), it}, nil
}

// whole is a file that is here.
type whole struct {
	*os.File
	size int64
	state
}

// Size implements objects.File.
func (w whole) Size() int64 { return w.size }

// OnDisk is for objects.Plain.
func (w whole) OnDisk() *os.File { return w.File }

// state is which content of a file it is.
type state struct {
	tag     string // "": it is missing
	changed time.Time
}

// Changed implements objects.File.
func (s state) Changed() time.Time { return s.changed }

// Tag implements objects.File.
func (s state) Tag() string { return s.tag }

// current is the state of a file that may change. While the storage does not answer, it
// is what was known last.
func (b *Bucket) current(p string) (state, error) {
	b.mu.Lock()
	n := b.names[p]
	if n == nil {
		if len(b.names) >= maxNames { // whoever asks for many names must not fill the memory
			clear(b.names)
		}
		n = &name{}
		b.names[p] = n
	}
	b.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	known := !n.asked.IsZero()
	if known && b.cfg.Now().Sub(n.asked) < freshness {
		return n.state, nil
	}
	wait := patience
	if known {
		wait = patienceKnown
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	info, err := b.client.StatObject(ctx, b.place.bucket, b.key(p), minio.StatObjectOptions{})
	switch {
	case missing(err):
		n.state = state{}
	case err != nil:
		err = b.wrap(err)
		b.tell(err)
		if !known {
			n.state, known = b.noted(p)
		}
		if !known {
			return state{}, err
		}
	default:
		b.answers()
		if n.tag != info.ETag {
			n.state = state{info.ETag, info.LastModified}
			b.note(p, n.tag)
		}
	}
	n.asked = b.cfg.Now()
	return n.state, nil
}

// tell tells the log, once, that the storage is away.
func (b *Bucket) tell(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.away {
		b.away = true
		b.cfg.Log.Warn("the object storage does not answer; files that are here are served", "error", err)
	}
}

func (b *Bucket) answers() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		b.away = false
		b.cfg.Log.Info("the object storage answers again")
	}
}

// maxTag bounds a tag, in bytes.
const maxTag = 1000

// note writes which of its states of a file is here, for a start without the storage.
func (b *Bucket) note(p, etag string) {
	_ = durable.Write(b.cached("name\x00"+p), []byte(etag), 0o600) // without it there is nothing to serve then
}

func (b *Bucket) noted(p string) (s state, ok bool) {
	text, err := durable.Read(b.cached("name\x00"+p), maxTag)
	return state{tag: string(text)}, err == nil && text != nil
}

// abandoned is how long nothing was written to a file on its way when nobody brings it
// any more. Younger ones may be those of another process: a command in the shell opens
// the directory of a server that runs.
const abandoned = time.Hour

// shrink removes what killed processes left, and what was not used for longest, until
// no more is here than may be.
func (b *Bucket) shrink() {
	entries, err := os.ReadDir(b.cfg.Cache)
	if err != nil {
		return // the next write meets the same error
	}
	var all []fs.FileInfo
	sum := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil || !info.Mode().IsRegular():
		case !objects.Hidden(e.Name()):
			all, sum = append(all, info), sum+info.Size()
		case strings.HasPrefix(e.Name(), durable.TempPrefix) && time.Since(info.ModTime()) > abandoned:
			os.Remove(filepath.Join(b.cfg.Cache, e.Name()))
		}
	}
	slices.SortFunc(all, func(x, y fs.FileInfo) int { return x.ModTime().Compare(y.ModTime()) })
	for _, info := range all {
		if sum <= b.cfg.CacheSize {
			return
		}
		if os.Remove(filepath.Join(b.cfg.Cache, info.Name())) == nil {
			sum -= info.Size()
		}
	}
}

package s3

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/peerload/peerload/internal/controller/objects"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/internal/testkit/treesuite"
)

// storage is an object storage in this process, behind what may go wrong on the way.
type storage struct {
	*httptest.Server
	asked atomic.Int64
	fault atomic.Pointer[func(w http.ResponseWriter, r *http.Request, do http.Handler)]
}

func newStorage(t *testing.T) *storage {
	t.Helper()
	mem := s3mem.New()
	if err := mem.CreateBucket("firmware"); err != nil {
		t.Fatal(err)
	}
	do := gofakes3.New(mem).Server()
	s := &storage{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if f := s.fault.Load(); f != nil {
			(*f)(w, r, do)
			return
		}
		do.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// fails makes all requests, or those of one method, go wrong.
func (s *storage) fails(f func(w http.ResponseWriter, r *http.Request, do http.Handler)) {
	s.fault.Store(&f)
}
func (s *storage) works() { s.fault.Store(nil) }

func (s *storage) config(t *testing.T) Config {
	return Config{URL: "s3://firmware/tree?endpoint=" + s.URL + "&region=us-east-1", Cache: t.TempDir(),
		Credentials: credentials.NewStaticV4("key", "secret", "")}
}

func open(t *testing.T, cfg Config) *Bucket {
	t.Helper()
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBucket(t *testing.T) {
	treesuite.Run(t, func(t *testing.T) objects.Tree { return open(t, newStorage(t).config(t)) })
}

func read(t *testing.T, b *Bucket, p string) (string, error) {
	t.Helper()
	f, err := b.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	all, err := io.ReadAll(f)
	return string(all), err
}

func write(t *testing.T, b *Bucket, p, content string) {
	t.Helper()
	if err := b.Write(p, []byte(content)); err != nil {
		t.Fatal(err)
	}
}

func componentOf(content string) string {
	return fmt.Sprintf("components/%x.app.bin", sha256.Sum256([]byte(content)))
}

var large = strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB

// TestOnce: a file that cannot change comes from the bucket once, for all who read it,
// and is there after a start without the storage. So is one that may change.
func TestOnce(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	s := newStorage(t)
	cfg := s.config(t)
	writer, b := open(t, s.config(t)), open(t, cfg)
	p := componentOf(large)
	write(t, writer, p, large)
	write(t, writer, "metadata/timestamp.json", "one")
	before := s.asked.Load()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := read(t, b, p); got != large || err != nil {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if n := s.asked.Load() - before; n > 3 {
		t.Errorf("%d requests for one file", n)
	}
	if got, err := read(t, b, "metadata/timestamp.json"); got != "one" || err != nil {
		t.Error(got, err)
	}
	s.Close()
	again := open(t, cfg)
	for p, want := range map[string]string{p: large, "metadata/timestamp.json": "one"} {
		if got, err := read(t, again, p); got != want || err != nil {
			t.Errorf("%s without the storage: %d bytes, %v", p, len(got), err)
		}
	}
	if _, err := again.Open("fw-1.load"); !errors.Is(err, objects.ErrAway) {
		t.Errorf("a file that is not here, without the storage: %v", err)
	}
	if err := again.Write("fw-1.load", nil); !errors.Is(err, objects.ErrAway) {
		t.Errorf("a write without the storage: %v", err)
	}
}

// TestFresh: what another replica writes is seen once a file's time is over, and not
// before, so that the bucket is not asked for each request.
func TestFresh(t *testing.T) {
	s := newStorage(t)
	now := time.Now()
	cfg := s.config(t)
	cfg.Now = func() time.Time { return now }
	writer, b := open(t, s.config(t)), open(t, cfg)
	write(t, writer, "metadata/timestamp.json", "one")
	for _, want := range []string{"one", "two", "three"} {
		write(t, writer, "metadata/timestamp.json", want)
		now = now.Add(freshness)
		if got, err := read(t, b, "metadata/timestamp.json"); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		before := s.asked.Load()
		for range 100 {
			if _, err := read(t, b, "metadata/timestamp.json"); err != nil {
				t.Error(err)
			}
		}
		if n := s.asked.Load() - before; n > 0 {
			t.Errorf("%d requests within the time of a file", n)
		}
	}
}

// TestDamaged: of a file that is not what was written, nobody gets the end, and it is
// not kept.
func TestDamaged(t *testing.T) {
	s := newStorage(t)
	b := open(t, s.config(t))
	p := componentOf(large)
	write(t, b, p, large)
	write(t, b, "fw-1.load", large)
	s.fails(func(w http.ResponseWriter, r *http.Request, do http.Handler) {
		rec := httptest.NewRecorder()
		do.ServeHTTP(rec, r)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		body := rec.Body.Bytes()
		if len(body) > 1000 {
			body[len(body)/2] ^= 1
		}
		_, _ = w.Write(body)
	})
	for _, p := range []string{p, "fw-1.load"} {
		if got, err := read(t, b, p); err == nil || len(got) > len(large)-heldBack {
			t.Errorf("%s: %d bytes, %v", p, len(got), err)
		}
	}
	if got, err := b.Read("fw-1.load", 1<<30); !errors.Is(err, objects.ErrChanged) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	s.works()
	for _, p := range []string{p, "fw-1.load"} {
		if got, err := read(t, b, p); got != large || err != nil {
			t.Errorf("%s: %d bytes, %v", p, len(got), err)
		}
	}
}

// TestWrittenMeanwhile: what is written between the look at a file and its transfer is not
// taken for what was looked at, also once that is written again.
func TestWrittenMeanwhile(t *testing.T) {
	s := newStorage(t)
	now := time.Now()
	cfg := s.config(t)
	cfg.Now = func() time.Time { return now }
	writer, b := open(t, s.config(t)), open(t, cfg)
	write(t, writer, "fw-1.load", "one")
	var heads atomic.Int64
	s.fails(func(w http.ResponseWriter, r *http.Request, do http.Handler) {
		do.ServeHTTP(w, r)
		if r.Method == http.MethodHead && heads.Add(1) == 1 {
			write(t, writer, "fw-1.load", "another")
		}
	})
	f, err := b.Open("fw-1.load")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.works()
	was := f.Tag()
	for _, want := range []string{"another", "one"} {
		write(t, writer, "fw-1.load", want)
		now = now.Add(freshness)
		f, err := b.Open("fw-1.load")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if string(got) != want || err != nil || (f.Tag() == was) != (want == "another") {
			t.Errorf("%q, %v, under the tag %s; want %q", got, err, f.Tag(), want)
		}
		f.Close()
	}
}

// TestLeft: what an interrupted publication has left, and somebody has asked for, gives
// way to what is written anew under the same version.
func TestLeft(t *testing.T) {
	const p = "metadata/7.snapshot.json"
	s := newStorage(t)
	now := time.Now()
	cfg := s.config(t)
	cfg.Now = func() time.Time { return now }
	writer, b := open(t, s.config(t)), open(t, cfg)
	for _, want := range []string{"left", "published"} {
		write(t, writer, p, want)
		now = now.Add(freshness)
		if got, err := read(t, b, p); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

// TestOpenedTwice: a command that opens the directory of a server leaves what is on its
// way there alone; what a killed process left goes.
func TestOpenedTwice(t *testing.T) {
	s := newStorage(t)
	cfg := s.config(t)
	b := open(t, cfg)
	p := componentOf(large)
	write(t, b, p, large)
	begun, goOn := make(chan bool), make(chan bool)
	s.fails(func(w http.ResponseWriter, r *http.Request, do http.Handler) {
		if r.Method == http.MethodGet {
			close(begun)
			<-goOn
		}
		do.ServeHTTP(w, r)
	})
	left := filepath.Join(cfg.Cache, durable.TempPrefix+"left")
	old := time.Now().Add(-2 * abandoned)
	if err := errors.Join(os.WriteFile(left, nil, 0o600), os.Chtimes(left, old, old)); err != nil {
		t.Fatal(err)
	}
	f, err := b.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	<-begun
	open(t, cfg)
	close(goOn)
	if got, err := io.ReadAll(f); string(got) != large || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed process left is here: %v", err)
	}
}

// TestCutOff: a transfer that is cut off goes on behind what has come; a reader notices
// nothing.
func TestCutOff(t *testing.T) {
	s := newStorage(t)
	b := open(t, s.config(t))
	p := componentOf(large)
	write(t, b, p, large)
	var cuts atomic.Int64
	s.fails(func(w http.ResponseWriter, r *http.Request, do http.Handler) {
		if r.Method != http.MethodGet || cuts.Add(1) > 1 {
			do.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		do.ServeHTTP(rec, r)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		_, _ = w.Write(rec.Body.Bytes()[:300_000])
		panic(http.ErrAbortHandler)
	})
	if got, err := read(t, b, p); got != large || err != nil || cuts.Load() < 2 {
		t.Errorf("%d bytes, %v, %d requests", len(got), err, cuts.Load())
	}
}

// TestSilent: a storage that takes a request and says nothing is away for all who ask for
// a file that is not here.
func TestSilent(t *testing.T) {
	s := newStorage(t)
	b := open(t, s.config(t))
	b.patience = 20 * time.Millisecond
	end := make(chan bool)
	s.fails(func(http.ResponseWriter, *http.Request, http.Handler) { <-end })
	defer close(end)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := b.Open(componentOf(large)); !errors.Is(err, objects.ErrAway) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestFull: a storage without room is told from one that is away.
func TestFull(t *testing.T) {
	s := newStorage(t)
	b := open(t, s.config(t))
	s.fails(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusInsufficientStorage)
	})
	if err := b.Write("fw-1.load", []byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	s.works()
	if got, err := b.Read("fw-1.load", 10); got != nil || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestCacheSize: no more stays here than may, and what was used last.
func TestCacheSize(t *testing.T) {
	s := newStorage(t)
	cfg := s.config(t)
	cfg.CacheSize = 3 << 20
	b := open(t, cfg)
	for i := range 6 {
		content := large[:len(large)-1] + fmt.Sprint(i)
		write(t, b, componentOf(content), content)
		if got, err := read(t, b, componentOf(content)); got != content || err != nil {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	b.shrink()
	entries, err := os.ReadDir(cfg.Cache)
	if err != nil || len(entries) > 3 || len(entries) == 0 {
		t.Errorf("%d files are here, %v", len(entries), err)
	}
}

// TestURL: what is no place is refused with what to write.
func TestURL(t *testing.T) {
	good, err := parseURL("s3://firmware/a/b/?endpoint=http://127.0.0.1:9000&region=eu")
	if err != nil || good != (place{"firmware", "a/b/", "127.0.0.1:9000", "eu", false}) {
		t.Errorf("%+v, %v", good, err)
	}
	for _, bad := range []string{"", "fw", "s3://fw", "http://firmware", "s3://", "s3://a:b@firmware",
		"s3://firmware?endpoint=x", "s3://firmware?endpoint=ftp://x", "s3://firmware?endpont=http://x",
		"s3://firmware?endpoint=http://h/path", "s3://firmware#x", "s3://firmware?endpoint=https://u:p@h"} {
		if p, err := parseURL(bad); err == nil || !strings.Contains(err.Error(), "s3://BUCKET") {
			t.Errorf("%q: %+v, %v", bad, p, err)
		}
	}
	if _, err := Open(Config{URL: "s3://firmware"}); err == nil {
		t.Error("opened without a directory")
	}
}

// FuzzURL: no text makes parsing panic, and what is taken names a bucket.
func FuzzURL(f *testing.F) {
	f.Add("s3://firmware/a?endpoint=http://127.0.0.1:9000")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parseURL(text); err == nil && (p.bucket == "" || p.host == "" || strings.Contains(p.prefix, "..")) {
			t.Errorf("%q: %+v", text, p)
		}
	})
}

// Package s3 keeps a published tree in a bucket of an S3-compatible storage. A part of it
// is in a directory here, from which files are served.
//
// What lives here: how a file gets into the bucket and out of it, what is kept here for
// how long, and how it is verified. What must not: what the files mean; HTTP and TFTP.
//
// What a device asks for is sent on while it comes from the bucket. A file whose name
// has its digest never changes: once here, it is not asked for again.
// Any other file is looked at again after freshness. While the storage does not answer,
// what is here is used.
//
// Read first: Bucket, Open in open.go, then flight.go.
package s3

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/peerload/peerload/internal/controller/objects"
	"github.com/peerload/peerload/internal/durable"
)

const (
	// freshness is how long a file that may change is served without a look at the
	// bucket.
	freshness = 2 * time.Second
	// patience bounds what is not the transfer of a file.
	patience = 10 * time.Second
	// patienceKnown is the same where there is something to serve meanwhile.
	patienceKnown = 2 * time.Second
	// retries is how often the library tries a request.
	retries = 3
	// digestField is the field of an object's metadata that has its digest.
	digestField = "Sha256"
	// DefaultCache is how many bytes are kept here.
	DefaultCache = 20 << 30
)

// Config says where a tree is.
type Config struct {
	// URL is s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION. Required. Without
	// endpoint it is that of Amazon; PREFIX may be missing.
	URL string
	// Cache is the directory for files that are here. Required.
	Cache string
	// CacheSize bounds them, in bytes. 0 means DefaultCache.
	CacheSize int64
	// Credentials sign requests. nil: those of the environment (AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY), or of the file ~/.aws/credentials.
	Credentials *credentials.Credentials
	// Now is the time. nil: time.Now.
	Now func() time.Time
	// Log is told of a storage that does not answer. nil: nobody is.
	Log *slog.Logger
}

// place is what a URL says.
type place struct {
	bucket, prefix, host, region string
	secure                       bool
}

// parseURL reads Config.URL.
func parseURL(text string) (p place, err error) {
	bad := func(format string, args ...any) (place, error) {
		return place{}, fmt.Errorf("%q is no place of objects: %s; write s3://BUCKET/PREFIX?endpoint=https://HOST:PORT",
			text, fmt.Sprintf(format, args...))
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return bad("it has no scheme s3, no bucket, or a name and password")
	}
	if err := s3utils.CheckValidBucketNameStrict(u.Host); err != nil {
		return bad("%v", err)
	}
	q := u.Query()
	for name := range q {
		if name != "endpoint" && name != "region" {
			return bad("%s is unknown", name)
		}
	}
	p = place{bucket: u.Host, region: q.Get("region"), host: "s3.amazonaws.com", secure: true}
	if p.prefix = strings.Trim(path.Clean("/"+u.Path), "/"); p.prefix != "" {
		p.prefix += "/"
	}
	if q.Has("endpoint") {
		e, err := url.Parse(q.Get("endpoint"))
		if err != nil || e.Host == "" || e.Scheme != "https" && e.Scheme != "http" || strings.Trim(e.Path, "/") != "" ||
			e.User != nil {
			return bad("the endpoint is https://HOST:PORT, or http:// for one within reach of nobody else")
		}
		p.host, p.secure = e.Host, e.Scheme == "https"
	}
	return p, nil
}

// Validate says what is missing or wrong.
func (c Config) Validate() error {
	if c.Cache == "" || c.CacheSize < 0 {
		return errors.New("s3: no directory for files that are here, or a negative size")
	}
	_, err := parseURL(c.URL)
	return err
}

// Bucket is a tree in a bucket. It implements objects.Tree.
type Bucket struct {
	cfg    Config
	place  place
	client *minio.Client
	// patience is the constant, but in tests.
	patience time.Duration

	mu      sync.Mutex
	flights map[string]*flight // by their names in the cache
	names   map[string]*name   // of files that may change
	away    bool               // the log has heard of it
}

var _ objects.Tree = (*Bucket)(nil)

// Open returns the tree. It asks nobody: the storage may be away.
func Open(cfg Config) (*Bucket, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Bucket{cfg: cfg, patience: patience, flights: map[string]*flight{}, names: map[string]*name{}}
	b.cfg.CacheSize = cmp.Or(cfg.CacheSize, DefaultCache)
	b.cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if b.cfg.Now == nil {
		b.cfg.Now = time.Now
	}
	var err error
	if b.place, err = parseURL(cfg.URL); err != nil {
		return nil, err
	}
	if cfg.Credentials == nil {
		b.cfg.Credentials = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{},
			&credentials.FileAWSCredentials{}})
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	transport.MaxIdleConnsPerHost = 32
	b.client, err = minio.New(b.place.host, &minio.Options{Creds: b.cfg.Credentials, Secure: b.place.secure,
		Region: b.place.region, Transport: transport, MaxRetries: retries})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	if err := (durable.Writer{}).MkdirAll(cfg.Cache, 0o700); err != nil {
		return nil, err
	}
	b.shrink()
	return b, nil
}

// Prepare implements objects.Tree: the bucket must be there.
func (b *Bucket) Prepare() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	there, err := b.client.BucketExists(ctx, b.place.bucket)
	if err != nil {
		return b.wrap(err)
	}
	if !there {
		return fmt.Errorf("the object storage has no bucket %q: make it", b.place.bucket)
	}
	return nil
}

// Tidy implements objects.Tree: what is not whole does not appear in a bucket.
func (b *Bucket) Tidy() {}

func (b *Bucket) key(p string) string { return b.place.prefix + p }

// Read implements objects.Tree. What may change is read from the bucket.
func (b *Bucket) Read(p string, max int64) ([]byte, error) {
	if immutable(p) {
		f, err := b.Open(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return durable.ReadAll(f, p, max)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o, err := b.client.GetObject(ctx, b.place.bucket, b.key(p), minio.GetObjectOptions{})
	if err != nil {
		return nil, b.wrap(err)
	}
	defer o.Close()
	info, err := o.Stat()
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, b.wrap(err)
	}
	content, err := durable.ReadAll(o, p, max)
	if err != nil {
		return nil, b.wrap(err)
	}
	if sum := sha256.Sum256(content); !matches(info, hex.EncodeToString(sum[:])) {
		return nil, fmt.Errorf("%w: %s", objects.ErrChanged, p)
	}
	return content, nil
}

// matches reports whether the digest is the one that an object was written with. One
// that somebody else has put there may have none.
func matches(info minio.ObjectInfo, digest string) bool {
	said := info.UserMetadata[digestField]
	return said == "" || said == digest
}

// Write implements objects.Tree.
func (b *Bucket) Write(p string, content []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sum := sha256.Sum256(content)
	_, err := b.client.PutObject(ctx, b.place.bucket, b.key(p), bytes.NewReader(content), int64(len(content)),
		putOptions(hex.EncodeToString(sum[:])))
	b.forget(p)
	return b.wrap(err)
}

func putOptions(digest string) minio.PutObjectOptions {
	return minio.PutObjectOptions{UserMetadata: map[string]string{digestField: digest}, SendContentMd5: true,
		ContentType: "application/octet-stream"}
}

// WriteFrom implements objects.Tree. The content is here as a whole before it is sent.
func (b *Bucket) WriteFrom(p string, write func(io.Writer) error) (err error) {
	f, err := durable.Scratch(b.cfg.Cache)
	if err != nil {
		return err
	}
	defer func() { f.Close(); os.Remove(f.Name()) }()
	sum := sha256.New()
	if err := write(io.MultiWriter(f, sum)); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = b.client.PutObject(context.Background(), b.place.bucket, b.key(p), f, size,
		putOptions(hex.EncodeToString(sum.Sum(nil))))
	b.forget(p)
	return b.wrap(err)
}

// Remove implements objects.Tree.
func (b *Bucket) Remove(p string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := b.client.RemoveObject(ctx, b.place.bucket, b.key(p), minio.RemoveObjectOptions{})
	b.forget(p)
	if missing(err) {
		return nil
	}
	return b.wrap(err)
}

// Names implements objects.Tree.
func (b *Bucket) Names(folder string) (names []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	prefix := b.place.prefix
	if folder != "" {
		prefix = b.key(folder + "/")
	}
	for o := range b.client.ListObjects(ctx, b.place.bucket, minio.ListObjectsOptions{Prefix: prefix}) {
		if o.Err != nil {
			return nil, b.wrap(o.Err)
		}
		name := strings.TrimPrefix(o.Key, prefix)
		if name != "" && !strings.Contains(name, "/") && !objects.Hidden(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// missing reports whether an error says that there is no such object.
func missing(err error) bool {
	code := minio.ToErrorResponse(err).Code
	return err != nil && (code == minio.NoSuchKey || code == "NotFound")
}

// wrap says of an error whether the storage is full or away.
func (b *Bucket) wrap(err error) error {
	if err == nil || errors.Is(err, durable.ErrTooLarge) {
		return err
	}
	r := minio.ToErrorResponse(err)
	var network net.Error
	switch {
	case r.StatusCode == http.StatusInsufficientStorage, r.Code == "XMinioStorageFull", r.Code == "QuotaExceeded":
		return fmt.Errorf("the object storage is full: %w: %w", syscall.ENOSPC, err)
	case r.StatusCode >= http.StatusInternalServerError, r.StatusCode == http.StatusTooManyRequests,
		errors.As(err, &network), errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", objects.ErrAway, err)
	}
	return fmt.Errorf("the object storage: %w", err)
}

// cached is the path of a file that is here, by what it is kept as.
func (b *Bucket) cached(as string) string {
	return filepath.Join(b.cfg.Cache, fmt.Sprintf("%x", sha256.Sum256([]byte(as))))
}

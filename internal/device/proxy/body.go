package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/load"
)

// errOther says that other bytes were handed on than those that were borne out.
var errOther = errors.New("the content was replaced while it was handed on")

// body is a file that may still be arriving, as an io.ReadSeeker: Read waits for what
// it reads.
type body struct {
	ctx  context.Context
	e    *entry // nil: there are only headers
	size int64
	// whole waits until all of the file is verified. Otherwise chunks are handed on as
	// they come, and the last one of an answer waits.
	whole bool
	off   int64
	// begin is the first byte of the answer, end is behind its last one; 0 while that is
	// not known.
	begin, end int64
	chunk      []byte // what is held in memory
	at         int    // which one
	// handed has what was handed on before it was borne out.
	handed map[int]load.Digest
	err    error
}

// partBody is the body of an entry.
func (e *entry) partBody(ctx context.Context, d sharing.Decision, size int64) *body {
	return &body{ctx: ctx, e: e, size: size, whole: d.Verdict == sharing.ByDigest && !d.Stream, at: -1,
		handed: map[int]load.Digest{}}
}

// Seek implements io.Seeker.
func (b *body) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += b.off
	case io.SeekEnd:
		off += b.size
	}
	if off < 0 {
		return b.off, errors.New("proxy: before the start of a file")
	}
	b.off = off
	return off, nil
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.off >= b.size {
		return 0, io.EOF
	}
	if b.err == nil {
		b.err = b.fetch(int(b.off / int64((load.Geometry{Size: b.size}).ChunkSize())))
	}
	if b.err != nil {
		return 0, b.err
	}
	start := int64(b.at) * int64((load.Geometry{Size: b.size}).ChunkSize())
	n := copy(p, b.chunk[b.off-start:])
	b.off += int64(n)
	return n, nil
}

// waits reports whether a chunk that ends there waits until the whole file is borne out.
// With a table it is by itself what the digest of the file would prove; only an answer
// that has all of the file ends with the digest, since whoever made the table may have
// made a mistake.
func (b *body) waits(upto int64) bool {
	end := b.end
	if end == 0 {
		end = b.size
	}
	switch {
	case b.e.table:
		return upto >= b.size && b.begin == 0 && b.end == b.size
	case b.whole:
		return true
	}
	return upto >= end
}

// fetch waits for a chunk, unless it is the one in memory. The last chunk of an
// answer waits until the whole file is borne out.
func (b *body) fetch(i int) error {
	if i == b.at {
		return nil
	}
	g := load.Geometry{Size: b.size}
	off, n := g.Span(i)
	last := b.waits(off + int64(n))
	for {
		next := b.e.file.Changed()
		part := b.e.file.Partial()
		complete := b.e.complete()
		if err := b.e.failed(); err != nil {
			return err
		}
		if got := part.Geometry(); got.Known() && got.Size != b.size {
			return fmt.Errorf("%w: it has %d bytes now, not %d", errOther, got.Size, b.size)
		}
		if complete {
			if err := b.borneOut(); err != nil {
				return err
			}
		}
		if complete || !last && part.Geometry().Known() && part.Has(i) {
			chunk, err := part.ReadChunk(i, b.chunk)
			if err == nil {
				b.chunk, b.at = chunk, i
				if !complete {
					b.handed[i] = load.DigestOf(chunk)
				}
				return nil
			}
			if complete {
				return err
			}
		}
		select {
		case <-next:
		case <-b.e.done:
		case <-b.ctx.Done():
			return b.ctx.Err()
		}
	}
}

// borneOut compares what was handed on with what turned out to be right.
func (b *body) borneOut() error {
	if len(b.handed) == 0 {
		return nil
	}
	right := b.e.file.Partial().Digests()
	for i, d := range b.handed {
		if i >= len(right) || right[i] != d {
			return errOther
		}
	}
	clear(b.handed)
	return nil
}

// sending is the way to a client: headers go out at once, and it is known how far the
// answer is.
type sending struct {
	http.ResponseWriter
	body  *body
	begun bool
	// from and end are the bytes of the file that the answer has, end 0 for none or
	// several parts.
	from, end int64
	sent      int64
	sum       hash.Hash // of what was sent of a whole file, nil if nobody asks
}

// WriteHeader implements http.ResponseWriter.
func (s *sending) WriteHeader(status int) {
	s.begun = true
	switch status {
	case http.StatusOK:
		s.end = s.body.size
		if !s.body.whole || s.body.e != nil && s.body.e.table {
			s.sum = sha256.New()
		}
	case http.StatusPartialContent:
		s.from, s.end = span(s.Header().Get("Content-Range"))
	}
	s.body.begin, s.body.end = s.from, s.end
	s.ResponseWriter.WriteHeader(status)
	_ = http.NewResponseController(s.ResponseWriter).Flush() // the client knows the length at once
}

// Write implements http.ResponseWriter.
func (s *sending) Write(b []byte) (int, error) {
	n, err := s.ResponseWriter.Write(b)
	s.sent += int64(n)
	if s.sum != nil {
		_, _ = s.sum.Write(b[:n]) // a hash never fails
	}
	return n, err
}

// span reads the Content-Range that net/http has written.
func span(text string) (from, end int64) {
	text, _, _ = strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	a, z, _ := strings.Cut(text, "-")
	from, err1 := strconv.ParseInt(a, 10, 64)
	last, err2 := strconv.ParseInt(z, 10, 64)
	if err1 != nil || err2 != nil || from < 0 || last < from || last > load.MaxFileSize {
		return 0, 0
	}
	return from, last + 1
}

// rest goes on with an answer from the origin itself, where the peers' way has failed
// for a reason of this device. Where a digest is known and all of the file is sent,
// the last bytes wait until it is right. What nothing bears out does not go on with
// what may be of another content. It reports whether all was sent.
func (p *Proxy) rest(x *exchange, w *sending) bool {
	from := w.from + w.sent
	signed := x.d.Verdict == sharing.ByDigest
	if w.end == 0 || from >= w.end || signed && w.sent > 0 && !w.proves(x.d) {
		return false
	}
	req, err := http.NewRequestWithContext(reach(x.r), http.MethodGet, x.url.String(), nil)
	if err != nil {
		return false
	}
	if x.d.Credentials || x.d.Verdict == sharing.Pass {
		req.Header = x.r.Header.Clone()
	}
	for _, name := range append([]string{"If-Range", "Connection", "Proxy-Connection", "Proxy-Authorization"},
		conditions...) {
		req.Header.Del(name)
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, w.end-1))
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("Via", "1.1 "+p.pseudo)
	resp, err := (&http.Client{Transport: p.direct}).Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if !signed && !x.meta.same(metaOf(resp.Header)) {
		return false
	}
	switch a, z := span(resp.Header.Get("Content-Range")); {
	case resp.StatusCode == http.StatusPartialContent && a == from && z == w.end && answerOf(resp).Size == w.body.size:
	case resp.StatusCode == http.StatusOK && resp.ContentLength == w.body.size:
		if _, err := io.CopyN(io.Discard, resp.Body, from); err != nil {
			return false
		}
	default:
		return false
	}
	p.counts.add(&p.mu, "")
	return w.finish(io.LimitReader(resp.Body, w.end-from), x.d, w.end-from)
}

// proves reports whether the digest says in the end that all that was sent is right.
func (s *sending) proves(d sharing.Decision) bool {
	return d.Verdict == sharing.ByDigest && s.from == 0 && s.end == s.body.size && (s.sum != nil || s.sent == 0)
}

// finish sends n bytes, the last of them once the digest is right.
func (s *sending) finish(r io.Reader, d sharing.Decision, n int64) bool {
	if !s.proves(d) {
		got, err := io.CopyN(s, r, n)
		return err == nil && got == n
	}
	if s.sum == nil {
		s.sum = sha256.New()
	}
	if _, err := io.CopyN(s, r, n-1); err != nil {
		return false
	}
	last := make([]byte, 1)
	if _, err := io.ReadFull(r, last); err != nil {
		return false
	}
	_, _ = s.sum.Write(last)
	if load.Digest(s.sum.Sum(nil)) != d.Digest {
		return false
	}
	s.sum = nil
	_, err := s.Write(last)
	return err == nil
}

package engine

import (
	"errors"
	"slices"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// disk settles the file after the write position and verifies it at the end, so
// that the loop never waits for the medium.
func (j *job) disk() {
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-j.settle:
			part, gen := j.content()
			if err := part.Settle(false); err != nil && !errors.Is(err, slot.ErrReadBack) {
				// A chunk that is read back wrong is dropped; verify finds the
				// gap.
				j.diskFailed(gen, err)
			}
		case <-j.verify:
			j.verifyWhole()
		}
	}
}

func (j *job) verifyWhole() {
	part, gen := j.content()
	digest, err := part.Finish()
	switch {
	case err == nil:
		j.mu.Lock()
		j.count.digest = digest
		j.mu.Unlock()
		j.postAt(gen, pdp.Verified{OK: true})
	case errors.Is(err, slot.ErrDigest):
		j.stream.Store(true) // pieces may have been of several contents
		if u := j.origin(); u != nil && j.final().BytesFromPeers == 0 {
			j.dev.servers.fail(j.dev.now(), u)
		}
		j.postAt(gen, pdp.Verified{})
	case errors.Is(err, slot.ErrReadBack), errors.Is(err, slot.ErrIncomplete):
		var lost []int
		for i := range part.Geometry().Chunks() {
			if !part.Has(i) {
				lost = append(lost, i)
			}
		}
		j.postAt(gen, pdp.Verified{Dropped: lost})
	default:
		j.diskFailed(gen, err)
	}
}

// recentBytes bounds the chunks kept in memory for children that will soon need
// them. Chunks larger than half of it are read from disk.
const recentBytes = 512 << 10

// recent keeps the latest chunks, so that sending to a child that follows
// closely needs no read from disk. The zero value is empty; job.mu guards it.
type recent struct {
	held []*shared
	free []*shared
}

// shared is a chunk in memory with its readers.
type shared struct {
	index, readers int
	kept           bool
	b              []byte
}

// add copies a chunk in, and the oldest out, and one that it replaces.
func (r *recent) add(index int, b []byte) {
	if i := slices.IndexFunc(r.held, func(s *shared) bool { return s.index == index }); i >= 0 {
		old := r.held[i]
		r.held = slices.Delete(r.held, i, i+1)
		old.kept = false
		r.recycle(old)
	}
	if len(b) > recentBytes/2 {
		return
	}
	for len(r.held) > 0 && (len(r.held)+1)*len(b) > recentBytes {
		old := r.held[0]
		r.held = append(r.held[:0], r.held[1:]...)
		old.kept = false
		r.recycle(old)
	}
	s := new(shared)
	if n := len(r.free); n > 0 {
		s, r.free = r.free[n-1], r.free[:n-1]
	}
	s.index, s.kept, s.readers = index, true, 0
	s.b = append(s.b[:0], b...)
	r.held = append(r.held, s)
}

// get returns a chunk and counts its reader, nil if it is not kept.
func (r *recent) get(index int) *shared {
	for _, s := range r.held {
		if s.index == index {
			s.readers++
			return s
		}
	}
	return nil
}

// put ends the use of a chunk by one reader.
func (r *recent) put(s *shared) {
	s.readers--
	r.recycle(s)
}

func (r *recent) recycle(s *shared) {
	if !s.kept && s.readers == 0 && len(r.free) < 4 {
		r.free = append(r.free, s)
	}
}

func (r *recent) clear() {
	for _, s := range r.held {
		s.kept = false
	}
	r.held = nil
}

// keep remembers a chunk that was just stored, if there is a child that wants
// it, and lets the disk goroutine follow.
func (j *job) keep(gen uint64, index int, b []byte) {
	j.mu.Lock()
	if gen == j.gen && j.wanted.Has(uint8(index%wire.MaxStripes)) {
		j.recent.add(index, b)
	}
	j.mu.Unlock()
	signal(j.settle)
}

// chunkBytes returns the bytes of a chunk to be sent and what to call after.
func (l *link) chunkBytes(o outgoing) ([]byte, func(), error) {
	j := l.job
	j.mu.Lock()
	part, gen := j.part, j.gen
	s := j.recent.get(o.chunk)
	j.mu.Unlock()
	if s != nil {
		release := func() {
			j.mu.Lock()
			j.recent.put(s)
			j.mu.Unlock()
		}
		if gen == o.gen {
			return s.b, release, nil
		}
		release()
	}
	if gen != o.gen {
		return nil, nil, errStale
	}
	b, err := part.ReadChunk(o.chunk, l.buf)
	if err != nil {
		return nil, nil, err
	}
	l.buf = b
	return b, func() {}, nil
}

var errStale = errors.New("the content was replaced meanwhile")

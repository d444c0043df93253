package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/peerload/peerload/internal/controller/objects"
	"github.com/peerload/peerload/internal/durable"
)

const (
	// heldBack is the end of a file that nobody gets before all of it is verified.
	heldBack = 64 << 10
	// stall is how long a transfer from the bucket may bring nothing.
	stall = time.Minute
	// tries is how often a transfer is gone on with that was cut off, and pause how long
	// it rests before, each time longer.
	tries = 4
	pause = 500 * time.Millisecond
	// piece is how much is read at a time.
	piece = 128 << 10
)

// flight is a file on its way from the bucket, which several may read meanwhile. It
// goes on to its end, also if nobody reads any more: the next one will.
type flight struct {
	file *os.File
	size int64

	mu    sync.Mutex
	come  *sync.Cond
	have  int64
	done  bool
	err   error
	users int // who still reads file
}

// errOther says that the bucket has another content of a file by now than was looked
// up: it must not be kept as that one, nor be sent under its tag.
var errOther = fmt.Errorf("%w: the file is being written", objects.ErrAway)

// fly begins to get a file, or joins who does. tag is that of the content, "" for what
// never changes.
func (b *Bucket) fly(p, as, tag string) (*flight, error) {
	b.mu.Lock()
	if fl := b.flights[as]; fl != nil {
		b.mu.Unlock()
		fl.mu.Lock()
		defer fl.mu.Unlock()
		for fl.file == nil && fl.err == nil { // the first one asks the bucket
			fl.come.Wait()
		}
		if fl.err != nil {
			return nil, fl.err
		}
		fl.users++
		return fl, nil
	}
	fl := &flight{users: 2} // who reads, and the transfer
	fl.come = sync.NewCond(&fl.mu)
	b.flights[as] = fl
	b.mu.Unlock()
	o, info, err := b.get(p)
	if err == nil && tag != "" && info.ETag != tag {
		o.Close()
		err = errOther
	}
	var f *os.File
	if err == nil {
		if f, err = durable.Scratch(b.cfg.Cache); err != nil {
			o.Close()
		}
	}
	fl.mu.Lock()
	fl.file, fl.size, fl.err = f, info.Size, err
	fl.come.Broadcast()
	fl.mu.Unlock()
	if err != nil {
		b.land(as)
		return nil, err
	}
	go b.bring(fl, o, info, p, as)
	return fl, nil
}

// land ends a flight: the next one who asks finds the file, or tries anew.
func (b *Bucket) land(as string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.flights, as)
}

// get asks the bucket for a file, which says soon whether it has it.
func (b *Bucket) get(p string) (*minio.Object, minio.ObjectInfo, error) {
	ctx, cancel := context.WithCancel(context.Background()) // not of the transfer that follows
	late := time.AfterFunc(b.patience, cancel)
	o, err := b.client.GetObject(ctx, b.place.bucket, b.key(p), minio.GetObjectOptions{})
	if err != nil {
		cancel()
		return nil, minio.ObjectInfo{}, b.wrap(err)
	}
	info, err := o.Stat()
	if !late.Stop() {
		err = fmt.Errorf("%w: it says nothing for %v", objects.ErrAway, b.patience)
		b.tell(err)
	} else if missing(err) {
		err = fmt.Errorf("%w: %s", os.ErrNotExist, p)
	} else if err != nil {
		if err = b.wrap(err); errors.Is(err, objects.ErrAway) {
			b.tell(err)
		}
	}
	if err != nil {
		o.Close()
	}
	return o, info, err
}

// bring writes what comes, verifies it, and keeps it.
func (b *Bucket) bring(fl *flight, o *minio.Object, info minio.ObjectInfo, p, as string) {
	sum := sha256.New()
	err := fl.copy(o, sum)
	for n := 1; n < tries && errors.Is(err, objects.ErrAway); n++ { // it goes on behind what is here
		<-time.After(time.Duration(n) * pause)
		opts := minio.GetObjectOptions{}
		if err = errors.Join(opts.SetMatchETag(info.ETag), opts.SetRange(fl.have, fl.size-1)); err != nil {
			break
		}
		if o, err = b.client.GetObject(context.Background(), b.place.bucket, b.key(p), opts); err == nil {
			err = fl.copy(o, sum)
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); err == nil && (!matches(info, got) || !cmpDigest(digestIn(p), got)) {
		err = fmt.Errorf("%w: its digest is %s", objects.ErrChanged, got)
	}
	if err == nil {
		err = durable.Settle(fl.file, b.cached(as))
	}
	if err != nil {
		os.Remove(fl.file.Name())
		b.cfg.Log.Warn("a file did not come whole from the object storage", "file", p, "error", err)
	}
	b.land(as)
	fl.mu.Lock()
	fl.done, fl.err = err == nil, err
	fl.come.Broadcast()
	fl.mu.Unlock()
	fl.leave()
	b.shrink()
}

// cmpDigest compares a digest with the one that a name has, if it has one.
func cmpDigest(want, got string) bool { return want == "" || want == got }

// copy writes what comes, to the end of the file.
func (fl *flight) copy(o *minio.Object, sum hash.Hash) error {
	stuck := time.AfterFunc(stall, func() { o.Close() })
	defer stuck.Stop()
	defer o.Close()
	buf := make([]byte, piece)
	for fl.have < fl.size {
		n, err := o.Read(buf[:min(int64(len(buf)), fl.size-fl.have)])
		stuck.Reset(stall)
		sum.Write(buf[:n])
		if _, e := fl.file.Write(buf[:n]); e != nil {
			return e
		}
		fl.mu.Lock()
		fl.have += int64(n)
		fl.come.Broadcast()
		fl.mu.Unlock()
		if err != nil && (!errors.Is(err, io.EOF) || fl.have < fl.size) {
			return fmt.Errorf("%w: it ends after %d of %d bytes: %w", objects.ErrAway, fl.have, fl.size, err)
		}
	}
	return nil
}

// leave ends the use of the file.
func (fl *flight) leave() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.users--; fl.users == 0 {
		fl.file.Close()
	}
}

// wait waits until the bytes before end may be read, and returns how many there are.
func (fl *flight) wait(end int64) (int64, error) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	end = min(end, fl.size)
	for {
		ready := fl.have
		if !fl.done {
			ready = min(ready, max(0, fl.size-heldBack))
		}
		if fl.done || ready >= end {
			return ready, nil
		}
		if fl.err != nil {
			return ready, fl.err
		}
		fl.come.Wait()
	}
}

// reader reads a file while it comes.
type reader struct {
	fl *flight
	state
	at     int64
	closed bool
}

var _ objects.File = (*reader)(nil)

// Size implements objects.File.
func (r *reader) Size() int64 { return r.fl.size }

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 {
		return 0, errors.New("s3: a negative offset")
	}
	if at >= r.fl.size {
		return 0, io.EOF
	}
	if _, err := r.fl.wait(at + int64(len(b))); err != nil {
		return 0, err
	}
	return r.fl.file.ReadAt(b, at)
}

// Read implements io.Reader: it returns what is there.
func (r *reader) Read(b []byte) (int, error) {
	if len(b) == 0 || r.at >= r.fl.size {
		if len(b) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	ready, err := r.fl.wait(r.at + 1)
	if ready <= r.at && err != nil {
		return 0, err
	}
	n, err := r.fl.file.ReadAt(b[:min(int64(len(b)), ready-r.at)], r.at)
	if r.at += int64(n); n > 0 {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *reader) Seek(to int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		to += r.at
	case io.SeekEnd:
		to += r.fl.size
	}
	if to < 0 {
		return 0, errors.New("s3: a negative offset")
	}
	r.at = to
	return to, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if !r.closed {
		r.closed = true
		r.fl.leave()
	}
	return nil
}

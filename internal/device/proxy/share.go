package proxy

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// Bounds of what is open at a time.
const (
	// maxOpen is how many files are fetched or served to peers at a time.
	maxOpen = 64
	// idle is how long a file is served to peers after its last client.
	idle = 10 * time.Minute
	// unnamed is the same for what no tag or date tells apart from another content.
	unnamed = time.Minute
)

// meta is what an origin tells of a file beside its bytes.
type meta struct {
	Type     string `json:"type,omitempty"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
}

func metaOf(h http.Header) meta {
	return meta{h.Get("Content-Type"), h.Get("ETag"), h.Get("Last-Modified")}
}

// strong reports whether it tells one content from another.
func (m meta) strong() bool { return m.ETag != "" && m.ETag[0] == '"' || m.Modified != "" }

// same reports whether two answers are of one content, for certain.
func (m meta) same(o meta) bool { return m.strong() && m.ETag == o.ETag && m.Modified == o.Modified }

// entry is a file that is fetched, and served to clients and peers.
type entry struct {
	name string // of its copy
	// digest by which it is fetched, zero if there is none.
	digest load.Digest
	dev    *engine.Device
	file   *engine.File
	meta   meta
	from   *url.URL
	// table says that each chunk is verified when it comes.
	table bool
	// opened is closed when file or err is set; done when the file is in place, or
	// err says why not.
	opened, done chan struct{}
	err          error

	// Guarded by Proxy.mu.
	users int
	used  time.Time
}

func (e *entry) close() {
	<-e.opened
	if e.file != nil {
		_ = e.file.Close()
	}
}

// failed returns why a file is not coming, once that is known.
func (e *entry) failed() error {
	select {
	case <-e.done:
		return e.err
	default:
		return nil
	}
}

// complete reports whether all of the file is here and verified.
func (e *entry) complete() bool {
	select {
	case <-e.done:
		return e.err == nil
	default:
		return false
	}
}

// idleFor is how long it is served to peers after its last client.
func (e *entry) idleFor() time.Duration {
	if e.digest.IsZero() && !e.meta.strong() {
		return unnamed
	}
	return idle
}

// errBusy says that too many files are open.
var errBusy = errors.New("too many files at a time, or the proxy ends")

// open returns the entry of a file, and begins to fetch it unless that has begun.
func (p *Proxy) open(x *exchange) (*entry, error) {
	dev := p.cfg.Device()
	if dev == nil {
		return nil, errors.New("this device does not share now")
	}
	name := nameOf(x.d)
	digest := x.d.Digest
	if x.d.Verdict != sharing.ByDigest && !x.anew {
		digest, _ = p.keep.digest(name) // of the copy that was made of the very content
	}
	e, fresh := p.entry(name, digest, dev, x.anew)
	if e == nil {
		return nil, errBusy
	}
	if fresh {
		p.begin(e, x)
	}
	<-e.opened
	if e.file == nil {
		p.release(e)
		return nil, e.err
	}
	return e, nil
}

// entry returns the entry of a name for one more client, nil if too many are open. A
// fresh one is to be begun, and Close waits for its end. With anew, one that is complete
// counts no more.
func (p *Proxy) entry(name string, digest load.Digest, dev *engine.Device, anew bool) (e *entry, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e = p.entries[name]
	for _, other := range p.entries {
		if e == nil && !digest.IsZero() && other.digest == digest {
			e, name = other, other.name // the engine fetches no content twice
		}
	}
	if e != nil && e.users == 0 && (e.failed() != nil || (anew || e.dev != dev) && e.complete()) {
		delete(p.entries, name)
		e.close() // so that its file is free
		e = nil
	}
	if e == nil {
		if p.closed || len(p.entries) >= maxOpen && !p.letGo() {
			return nil, false
		}
		e = &entry{name: name, digest: digest, dev: dev, opened: make(chan struct{}), done: make(chan struct{})}
		fresh = true
		p.entries[name] = e
		p.busy.Add(1)
	}
	e.users++
	return e, fresh
}

// begin begins to fetch the file of a fresh entry.
func (p *Proxy) begin(e *entry, x *exchange) {
	defer close(e.opened)
	e.meta, e.from = x.meta, x.url
	f, err := e.dev.Fetch(p.spec(x, e))
	if err == nil {
		e.file = f
		go func() {
			defer p.busy.Done()
			p.finish(e, x.d)
		}()
		return
	}
	defer p.busy.Done()
	if f != nil {
		_ = f.Close()
	}
	e.err = err
	close(e.done)
}

// letGo closes the file that nobody has used for the longest time. The caller holds mu.
func (p *Proxy) letGo() bool {
	var oldest *entry
	for _, e := range p.entries {
		if e.users == 0 && (e.complete() || e.failed() != nil) && (oldest == nil || e.used.Before(oldest.used)) {
			oldest = e
		}
	}
	if oldest == nil {
		return false
	}
	delete(p.entries, oldest.name)
	go oldest.close()
	return true
}

// nameOf is the name of the copy of a file.
func nameOf(d sharing.Decision) string {
	if d.Verdict == sharing.ByDigest {
		return "sha256-" + d.Digest.String()
	}
	return "unsigned-" + load.DigestOf([]byte(d.Key)).String()
}

// spec says to the engine what is fetched.
func (p *Proxy) spec(x *exchange, e *entry) engine.Spec {
	s := engine.Spec{Name: path.Base(x.url.Path), Sources: []*url.URL{x.url}, Target: p.keep.path(e.name), Size: x.d.Size,
		Digest: slot.ExpectAny(), Key: x.d.Key, Header: http.Header{"Via": {"1.1 " + p.pseudo}}}
	if !e.digest.IsZero() {
		s.Digest = slot.Expect(e.digest)
	} else {
		s.Size = load.UnknownSize // what HEAD says of it need not be true of GET
	}
	if e.digest == x.d.Digest && x.d.Size >= 0 {
		s.Table = x.d.Table
	}
	e.table = s.Table != nil
	if x.d.Credentials {
		for _, field := range []string{"Authorization", "Cookie"} {
			if v := x.r.Header.Values(field); len(v) > 0 {
				s.Header[field] = v
			}
		}
	}
	return s
}

// finish waits for a file, whether its clients do or not: peers may.
func (p *Proxy) finish(e *entry, d sharing.Decision) {
	err := e.file.Wait(p.ctx)
	if err == nil {
		err = e.file.Commit()
	}
	if err == nil {
		if p.cfg.Rules.Learns(e.from) {
			p.learnFile(e.from, e.name)
		}
		p.keep.add(e.name, copyOf(e))
	} else if p.ctx.Err() == nil && errors.Is(failure.Classify(err), failure.Verify) {
		p.mu.Lock()
		p.known.Forget(d.Key)
		p.mu.Unlock()
	}
	e.err = err
	close(e.done)
	p.ended(e, err)
	p.trim(time.Now())
}

// ended reports how the fetching of a file ended.
func (p *Proxy) ended(e *entry, err error) {
	f := e.file.Final()
	ev := report.Event{Schema: report.Schema, Time: status.Stamp(time.Now()), Event: report.KindDone, File: f.File,
		URL: f.URL, Role: f.Role, Source: f.Source, Bytes: f.Size, Size: f.Size, Percent: 100, Final: f, Message: f.Path}
	if err != nil {
		ev.Event, ev.Reason, ev.Message = report.KindFailed, string(failure.Reason(err)), err.Error()
		ev.MessageJA = failure.InJapanese(err)
	}
	p.cfg.Report(ev)
}

// copyOf describes the copy of an entry.
func copyOf(e *entry) kept {
	f := e.file.Final()
	u := *e.from
	u.User, u.RawQuery = nil, "" // either may grant access
	return kept{URL: u.String(), Size: f.Size, SHA256: f.SHA256, Meta: e.meta}
}

// release ends the use of an entry by one client.
func (p *Proxy) release(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.users--
	e.used = time.Now()
	if e.users == 0 && e.failed() != nil && p.entries[e.name] == e {
		delete(p.entries, e.name)
		e.close()
	}
	p.keep.use(e.name, e.used)
	if e.users == 0 {
		time.AfterFunc(e.idleFor(), func() {
			if p.ctx.Err() == nil {
				p.trim(time.Now())
			}
		})
	}
}

// trim keeps the copies within their bounds: files that nobody has used for long are
// served no more, and the least recently used are removed.
func (p *Proxy) trim(now time.Time) {
	p.mu.Lock()
	for name, e := range p.entries {
		if e.users == 0 && e.complete() && now.Sub(e.used) >= e.idleFor() && !e.used.IsZero() {
			delete(p.entries, name)
			go e.close()
		}
	}
	p.mu.Unlock()
	p.keep.evict(func(name string) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		e := p.entries[name]
		if e == nil || e.users > 0 || e.failed() == nil && !e.complete() {
			return e == nil
		}
		delete(p.entries, name)
		go e.close()
		return true
	})
}

// size waits until the size of a file is known, or why it is not coming.
func (e *entry) size(ctx context.Context) (int64, error) {
	for {
		next := e.file.Changed()
		if g := e.file.Partial().Geometry(); g.Known() {
			return g.Size, nil
		}
		select {
		case <-e.done:
			if e.err != nil {
				return 0, e.err
			}
		case <-next:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// share answers with a file that comes through the peers. What fails before the
// first byte passes through.
func (p *Proxy) share(x *exchange) {
	p.tell(x)
	ctx := x.r.Context()
	e, err := p.open(x)
	if err != nil {
		p.passFor(x, reason.ProxyFailed)
		return
	}
	defer p.release(e)
	size, err := e.size(ctx)
	switch {
	case ctx.Err() != nil:
		// Perhaps the client has only said that it sends no more: it must not take an empty
		// answer for the file.
		panic(http.ErrAbortHandler)
	case err != nil && errors.Is(failure.Classify(err), failure.Verify):
		refuse(x.w, http.StatusBadGateway, fmt.Sprintf("%s: %v", x.url.Redacted(), err))
		return
	case err != nil:
		p.passFor(x, reason.ProxyFailed)
		return
	}
	x.describe(e.meta, e.from.String())
	p.answer(x, x.meta, e.partBody(ctx, x.d, size))
}

// describe takes what was told of the same bytes before, unless the origin has just told
// it. The tag and the date of another URL are none of this one's.
func (x *exchange) describe(m meta, from string) {
	u, err := url.Parse(from)
	switch {
	case x.meta != (meta{}):
	case err == nil && sharing.Canonical(u).String() == sharing.Canonical(x.url).String():
		x.meta = m
	default:
		x.meta.Type = m.Type
	}
}

// answer sends a file, whole or in parts, as the client asks for it.
func (p *Proxy) answer(x *exchange, m meta, b *body) {
	h := x.w.Header()
	h.Set("Via", "1.1 "+p.pseudo)
	h.Set("Content-Type", m.Type)
	if m.Type == "" {
		h.Set("Content-Type", typeOf(x.url.Path))
	}
	switch {
	case x.d.Verdict == sharing.ByDigest && m.ETag == "":
		h.Set("ETag", `"sha256-`+x.d.Digest.String()+`"`)
	case m.ETag != "":
		h.Set("ETag", m.ETag)
	}
	modified, _ := http.ParseTime(m.Modified) // the zero time where there is none
	w := &sending{ResponseWriter: x.w, body: b}
	http.ServeContent(w, x.r, "", modified, b)
	p.counts.shared.Add(w.sent)
	if b.err == nil || x.r.Context().Err() != nil {
		return
	}
	if errors.Is(failure.Classify(b.err), failure.Verify) || errors.Is(b.err, errOther) || !p.rest(x, w) {
		// The client must not take for whole what is not.
		panic(http.ErrAbortHandler)
	}
}

// typeOf guesses the type of a file by its name.
func typeOf(name string) string {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

// serveHead answers from what is known of a file, or asks the origin.
func (p *Proxy) serveHead(x *exchange) {
	name := nameOf(x.d)
	k, ok := p.keep.get(name)
	if x.d.Verdict != sharing.ByDigest || !ok {
		x.d = sharing.Decision{Verdict: sharing.Pass, Why: x.d.Why}
		p.pass(x)
		return
	}
	p.tell(x)
	x.describe(k.Meta, k.URL)
	p.answer(x, x.meta, &body{size: k.Size})
}

// conditions are the fields of a request that depend on what the client has.
var conditions = []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since"}

// serveAsked asks for the headers first. Of what nothing proves the origin so says each
// time which content is meant: what has another tag or date is another one, to this
// device and to its peers.
func (p *Proxy) serveAsked(x *exchange, q sharing.Request) {
	resp, err := p.head(x) //nolint:bodyclose // headOf closes it
	if err == nil {
		x.meta = metaOf(resp.Header)
		x.anew = !x.meta.strong()
		x.d = sharing.Answered(x.d, q, answerOf(resp))
	}
	switch x.d.Verdict {
	case sharing.Unsigned:
		if x.meta.strong() {
			x.d.Key += "\x00" + x.meta.ETag + "\x00" + x.meta.Modified
		}
		p.share(x)
	case sharing.ByDigest:
		p.share(x)
	default:
		p.pass(x)
	}
}

// head asks the origin for the headers alone. Where it does not answer HEAD, or a
// signature in the URL is for GET alone, the first byte comes with them: whether this
// client may have the file is the origin's to say.
func (p *Proxy) head(x *exchange) (*http.Response, error) {
	resp, err := p.headOf(x, http.MethodHead)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusBadRequest:
		return p.headOf(x, http.MethodGet)
	}
	return resp, nil
}

// headOf is head by one method. The body of the answer is closed.
func (p *Proxy) headOf(x *exchange, method string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(reach(x.r), headTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, x.url.String(), nil)
	if err != nil {
		return nil, err
	}
	fields := conditions
	if x.d.Credentials {
		fields = append([]string{"Authorization", "Cookie"}, conditions...)
	}
	for _, f := range fields {
		if v := x.r.Header.Values(f); len(v) > 0 {
			req.Header[f] = v
		}
	}
	req.Header.Set("Via", "1.1 "+p.pseudo)
	req.Header.Set("User-Agent", x.r.UserAgent())
	if method == http.MethodGet {
		req.Header.Set("Range", "bytes=0-0")
	}
	resp, err := p.client().Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return resp, err
}

package files

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/peerload/peerload/tftp"
)

// opener is what TFTP serves: the same files as HTTP, by the same budget. A
// client without a permit waits in Open; the server holds the repeats of its
// request meanwhile.
type opener struct {
	server *server
	ctx    context.Context //nolint:containedctx // tftp.Opener takes none; it is that of Serve
	files  tftp.Opener
}

// busy is what a client is told that has waited in vain.
var busy = &tftp.Error{Message: "the site's budget is used up, try again later"}

// Open implements tftp.Opener.
func (o opener) Open(name string, client netip.AddrPort) (tftp.File, error) {
	f, err := o.open(name, client)
	if err != nil {
		return nil, err
	}
	p, err := o.wait(client.Addr(), f.Size())
	if err != nil {
		f.Close()
		return nil, err
	}
	return &paced{File: f, permit: p, ctx: o.ctx}, nil
}

func (o opener) open(name string, client netip.AddrPort) (tftp.File, error) {
	if hidden(name) {
		return nil, os.ErrNotExist
	}
	if g := o.server.cfg.Generate; g != nil {
		body, err := g(o.ctx, name, client.Addr().Unmap())
		if err == nil {
			return made{bytes.NewReader(body)}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			o.server.cfg.Log.Error("a file could not be made", "file", name, "error", err)
			return nil, &tftp.Error{Message: "the file cannot be made now"}
		}
	}
	return o.files.Open(name, client)
}

// plain are the files of the directory, or of the tree.
func (s *server) plain() tftp.Opener {
	if s.cfg.Tree != nil {
		return ofTree{s}
	}
	return tftp.Dir(s.cfg.Root)
}

// ofTree opens the files of a tree.
type ofTree struct{ server *server }

// Open implements tftp.Opener.
func (o ofTree) Open(name string, _ netip.AddrPort) (tftp.File, error) {
	f, err := o.server.cfg.Tree.Open(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.server.cfg.Log.Error("a file could not be read", "file", name, "error", err)
		return nil, &tftp.Error{Message: "the file cannot be read now"}
	}
	return f, err
}

// wait waits for a permit.
func (o opener) wait(client netip.Addr, size int64) (*permit, error) {
	p := &permit{}
	began := time.Now()
	patience := time.NewTimer(tftpPatience)
	defer patience.Stop()
	for {
		ok, freed := o.server.gate.enter(p, client, size)
		if ok {
			o.server.cfg.Metrics.waited(time.Since(began).Seconds())
			return p, nil
		}
		select {
		case <-freed:
			continue
		case <-o.ctx.Done():
		case <-patience.C:
			o.server.cfg.Metrics.refusal(protoTFTP)
		}
		p.leave()
		return nil, busy
	}
}

// made is a file that was made on the fly.
type made struct{ *bytes.Reader }

// Close implements tftp.File.
func (made) Close() error { return nil }

// paced is a file that is read no faster than the site's budget allows.
type paced struct {
	tftp.File
	permit *permit
	ctx    context.Context //nolint:containedctx // as above
}

// ReadAt implements tftp.File.
func (p *paced) ReadAt(b []byte, at int64) (int, error) {
	if err := p.permit.wait(p.ctx, len(b)); err != nil {
		return 0, err
	}
	return p.File.ReadAt(b, at)
}

// Close implements tftp.File and gives the permit back.
func (p *paced) Close() error {
	p.permit.leave()
	return p.File.Close()
}

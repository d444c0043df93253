package demo

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/peerload/peerload/internal/controller/livesite"
	"github.com/peerload/peerload/internal/controller/pages"
	"github.com/peerload/peerload/internal/live"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// Board shows a demo in a browser, on loopback: the live page of its devices. Use
// OpenBoard, and Take for each event.
type Board struct {
	URL    string
	server *http.Server
	stream *livesite.Board
	site   live.Picture
}

// OpenBoard serves the page at a free port of loopback until Close.
func OpenBoard(title string) (*Board, error) {
	b := &Board{stream: livesite.NewBoard(pages.BoardPath)}
	page, err := pages.Board(title, b.stream)
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b.URL = "http://" + l.Addr().String() + "/"
	b.server = &http.Server{Handler: page, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = b.server.Serve(l) }() // ends when it is closed
	return b, nil
}

// Close ends it, whoever looks.
func (b *Board) Close() error { return b.server.Close() }

// Take takes an event, one at a time.
func (b *Board) Take(ev Event) {
	s := live.State{Device: ev.Device, Address: ev.Device, Load: live.Word(ev.Model), Phase: report.StateDownloading}
	old, known := b.site.Get(s.Device)
	if known {
		s.Phase, s.Reason = old.Phase, old.Reason
	}
	whole := ev.Final != nil && len(ev.Final.Components) > 0
	switch {
	case ev.Event.Event == report.KindLog:
		return
	case ev.Event.Event == kindKilled:
		s.Phase, s.Reason = report.StateRebooting, wire.ReasonStopped.String()
	case whole && ev.Event.Event == report.KindFailed:
		s.Phase, s.Reason = report.StateFailed, live.Word(ev.Reason)
	case whole:
		s.Phase, s.Reason = report.StateIdle, ""
		for _, c := range ev.Final.Components {
			s.Files = append(s.Files, file(old, c.File).Accounted(c))
		}
	case ev.File != "":
		if f := file(old, ev.File).After(ev.Event); f.Name != "" {
			s.Files = []live.File{f}
		}
	}
	if change, ok := b.site.Apply(s); ok {
		b.stream.Tell(change)
	}
}

// file is a file of a device as it was last, with its name alone if it was not there.
func file(s live.State, name string) live.File {
	for _, f := range s.Files {
		if f.Name == name {
			return f
		}
	}
	return live.File{Name: live.Word(name)}
}

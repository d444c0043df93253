package livesite

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/peerload/peerload/internal/live"
)

// Board is one site without a controller: whoever has it tells, and whoever reaches it
// sees. It is for demos. Its methods may be called by several goroutines.
type Board struct {
	site *site
	mux  *http.ServeMux
}

// NewBoard returns one whose stream is at path, and the upgrade from its beginning on at
// path/last.
func NewBoard(path string) *Board {
	b := &Board{site: newSite("", "board", time.Now), mux: http.NewServeMux()}
	b.mux.HandleFunc("GET "+path, b.stream)
	b.mux.HandleFunc("GET "+path+"/last", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(b.site.replay()) // the only error is a browser that is gone
	})
	return b
}

// Tell takes how devices stand. States that break the form are left out.
func (b *Board) Tell(states ...live.State) {
	var good []live.State
	for _, s := range states {
		if s.Validate() == nil {
			good = append(good, s)
		}
	}
	b.site.take("", good)
}

// ServeHTTP implements http.Handler.
func (b *Board) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.mux.ServeHTTP(w, r) }

func (b *Board) stream(w http.ResponseWriter, r *http.Request) {
	seen, _ := b.site.enter(0)
	defer b.site.leave(seen)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	_ = b.site.follow(r.Context(), seen, r.Header.Get("Last-Event-ID"), func(e *Event) error {
		if _, err := w.Write(e.Text()); err != nil {
			return err
		}
		return out.Flush()
	}) // the only error is a browser that is gone
}

// Text is an event as a stream has it; nil is a sign of life.
func (e *Event) Text() []byte {
	if e == nil {
		return []byte(":\n\n")
	}
	return fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, e.Data)
}

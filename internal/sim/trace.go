package sim

import (
	"fmt"
	"io"
	"strings"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// Tracer gets a line for each event. What people read of a machine's notes is not
// the simulator's: Words says it.
type Tracer interface {
	io.Writer
	Words(Noted) string
}

// Noted is what the machine of a file has told.
type Noted struct {
	Hierarchy wire.Hierarchy
	// Name of the file, and Model of the device.
	Name, Model string
	What        note.Note
	Reason      wire.Reason
}

// trace writes a line about a device.
func (s *Sim) trace(d *Device, what string) {
	if s.cfg.Trace != nil {
		fmt.Fprintf(s.cfg.Trace, "%s %s %s\n", stamp(s), d, what)
	}
}

func stamp(s *Sim) string { return fmt.Sprintf("%10.4f", s.now.Seconds()) }

// traceStep writes an event and its actions. What comes many times a second
// and changes nothing is left out.
func (s *Sim) traceStep(t *Task, in pdp.Event, out []pdp.Action) {
	if s.cfg.Trace == nil {
		return
	}
	event := s.event(in)
	var acts []string
	for _, a := range out {
		if line := s.action(t, a); line != "" {
			acts = append(acts, line)
		}
	}
	if len(acts) == 0 && (event == "" || quiet(in)) {
		return
	}
	if event == "" {
		event = "..."
	}
	fmt.Fprintf(s.cfg.Trace, "%s %s %s\n", stamp(s), t.dev, event)
	for _, a := range acts {
		fmt.Fprintf(s.cfg.Trace, "           => %s\n", a)
	}
}

// quiet events are left out where nothing follows that is told.
func quiet(in pdp.Event) bool {
	switch e := in.(type) {
	case nil:
		return true
	case pdp.Datagram:
		_, claim := e.Msg.(*wire.Claim)
		_, ask := e.Msg.(*wire.Ask)
		return claim || ask
	case pdp.Framed:
		_, path := e.Frame.(*wire.Path)
		return path
	}
	return false
}

func typeName(v any) string {
	n := fmt.Sprintf("%T", v)
	return n[strings.LastIndexByte(n, '.')+1:]
}

// event tells an event in a few words; "" leaves it out if nothing follows.
func (s *Sim) event(in pdp.Event) string {
	switch e := in.(type) {
	case nil:
		return "deadline"
	case pdp.Start:
		return fmt.Sprintf("start, holds %d chunks, complete %v", e.Prefix, e.Complete)
	case pdp.Datagram:
		return fmt.Sprintf("heard from %s: %s", s.name(e.From.Addr()), s.message(e.Msg))
	case pdp.Accepted:
		return fmt.Sprintf("link %d from %s: hello, holds %d", e.Link, s.name(e.From.Addr()), e.Hello.Prefix)
	case pdp.Framed:
		if f := s.frame(e.Frame); f != "" {
			return fmt.Sprintf("link %d: %s", e.Link, f)
		}
		return ""
	case pdp.Stored, pdp.Sent, pdp.OriginBytes, pdp.Active:
		return ""
	case pdp.Bad:
		return fmt.Sprintf("link %d: wrong chunk %d", e.Link, e.Index)
	case pdp.Closed:
		return fmt.Sprintf("link %d closed: %s", e.Link, e.Reason)
	case pdp.Opened:
		return fmt.Sprintf("link %d open", e.Link)
	case pdp.OriginOpened:
		return fmt.Sprintf("origin answers: %d bytes, from chunk %d", e.Size, e.From)
	case pdp.OriginEnded:
		return fmt.Sprintf("origin ends: %s", e.Reason)
	case pdp.Verified:
		return fmt.Sprintf("verified: %v", e.OK)
	case pdp.Gate:
		return fmt.Sprintf("gate open: %v", e.Open)
	}
	return typeName(in)
}

// action tells an action in a few words; "" leaves it out.
func (s *Sim) action(t *Task, a pdp.Action) string {
	switch a := a.(type) {
	case pdp.Broadcast:
		return "broadcast " + s.message(a.Msg)
	case pdp.Send:
		return fmt.Sprintf("to %s: %s", s.name(a.To.Addr()), s.message(a.Msg))
	case pdp.Dial:
		return fmt.Sprintf("dial %s as link %d", s.name(a.Addr.Addr()), a.Link)
	case pdp.SendFrame:
		if f := s.frame(a.Frame); f != "" {
			return fmt.Sprintf("link %d: send %s", a.Link, f)
		}
		return ""
	case pdp.SendChunk:
		return ""
	case pdp.Close:
		return fmt.Sprintf("close link %d: %s", a.Link, a.Reason)
	case pdp.OpenOrigin:
		return fmt.Sprintf("open origin from chunk %d", a.From)
	case pdp.Reset:
		return fmt.Sprintf("reset, epoch %d", a.Epoch)
	case pdp.SetSize:
		return fmt.Sprintf("size %d", a.Size)
	case pdp.Fail:
		return fmt.Sprintf("FAIL: %s", a.Reason)
	case pdp.Complete:
		return "COMPLETE"
	case pdp.Note:
		if _, sent := a.What.(note.SentClaim); sent && s.cfg.Profile.Profile != "classic" {
			return "" // the broadcast stands beside it
		}
		return fmt.Sprintf("[%s] %s", a.Kind, s.cfg.Trace.Words(Noted{t.file.hier, t.file.Name, t.file.Model, a.What,
			a.Reason}))
	}
	return strings.ToLower(typeName(a))
}

func (s *Sim) frame(f wire.Frame) string {
	switch f := f.(type) {
	case *wire.Progress, *wire.Report:
		return ""
	case *wire.Welcome:
		return "Welcome"
	case *wire.Path:
		return fmt.Sprintf("Path of %d", len(f.Peers))
	case *wire.Refuse:
		return "Refuse: " + f.Reason.String()
	case *wire.Bye:
		return "Bye: " + f.Reason.String()
	case *wire.Hello:
		return fmt.Sprintf("Hello, holds %d", f.Prefix) + inTree(f.Stripe, f.Trees)
	}
	return typeName(f)
}

func (s *Sim) message(m wire.Message) string {
	switch m := m.(type) {
	case *wire.Claim:
		kind := "tentative"
		if m.Rank.Confirmed {
			kind = "confirmed"
		}
		return fmt.Sprintf("Claim %s strength=%08x rank %d now %d complete %v members %d (%s)",
			kind, m.Rank.Strength, m.Rank.Prefix, m.Prefix, m.Complete, m.Members, m.Reason)
	case *wire.Ask:
		what := "Ask"
		if m.Attached {
			what = "Report, parent " + s.peer(m.Parent)
		}
		if m.Done {
			what = "Done"
		}
		if !m.Failed.IsZero() {
			what += fmt.Sprintf(", not %s (%s)", s.peer(m.Failed), m.Reason)
		}
		return fmt.Sprintf("%s: holds %d, %d free", what, m.Prefix, m.Free) + inTree(m.Stripe, m.Trees)
	case *wire.Place:
		if m.Parent.IsZero() {
			return fmt.Sprintf("Place: wait %d ms", m.Wait) + inTree(m.Stripe, m.Trees)
		}
		return fmt.Sprintf("Place below %s, depth %d", s.peer(m.Parent), m.Depth) + inTree(m.Stripe, m.Trees)
	case *wire.Resign:
		return fmt.Sprintf("Resign: %s, successor %s, back-off %d ms", m.Reason, s.peer(m.Successor), m.Backoff)
	case *wire.Direct:
		return fmt.Sprintf("Direct: %s, done %v, %d bytes", m.Reason, m.Done, m.Bytes)
	}
	return typeName(m)
}

// inTree names the tree where there are two.
func inTree(stripe, trees uint8) string {
	if trees < 2 {
		return ""
	}
	return fmt.Sprintf(", tree %d", stripe)
}

func (s *Sim) name(a interface{ String() string }) string {
	for addr, d := range s.byAddr {
		if addr.String() == a.String() {
			return d.String()
		}
	}
	return a.String()
}

func (s *Sim) peer(p wire.Peer) string {
	for _, sub := range s.subnets {
		for _, d := range sub.devices {
			if d.Peer == p {
				return d.String()
			}
		}
	}
	return p.String()
}

// String tells where a task stands.
func (t *Task) String() string {
	if t.m == nil || t.actor == nil {
		return fmt.Sprintf("complete %v, ended %v (%s)", t.complete, t.ended, t.failed)
	}
	return fmt.Sprintf("%s, %d of %d chunks", t.m.Status(), t.store.n, t.file.Chunks())
}

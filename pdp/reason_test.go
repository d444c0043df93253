package pdp

import (
	"testing"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/wire"
)

// A root that its children find too slow tells what it finds of itself, in reasons
// of their own: no child fails to take bytes, and no other root named this device.
func TestSlowRootTellsOfItself(t *testing.T) {
	m := newMachine(File{Size: 1 << 20, Signed: true, Keyed: true}, 1)
	out := m.Step(0, Start{}, nil)
	for !m.IsRoot() {
		at, ok := m.Deadline()
		if !ok || at > time.Minute {
			t.Fatal("it does not become root")
		}
		m.Step(at, nil, nil)
	}
	m.out = out[:0]
	if !m.root.tooSlow(peer(1)) {
		t.Fatal("it stays root")
	}
	told := map[note.Note]wire.Reason{}
	resigned := wire.ReasonNone
	for _, a := range m.out {
		switch a := a.(type) {
		case Note:
			switch a.What.(type) {
			case note.HandsOverSlow, note.NoChildren:
				told[a.What] = a.Reason
			}
		case Broadcast:
			if r, ok := a.Msg.(*wire.Resign); ok {
				resigned = r.Reason
			}
		}
	}
	if told[note.HandsOverSlow{}] != wire.ReasonSelfSlow || told[note.NoChildren{}] != wire.ReasonHandsOver {
		t.Errorf("told %v", told)
	}
	// What others read stays as it was: the message's reason.
	if resigned != wire.ReasonParentSlow {
		t.Errorf("it resigned with %s", resigned)
	}
}

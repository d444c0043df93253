package order

import (
	"bytes"
	"encoding/json"
)

// Enrolled is the answer to a device that has enrolled.
type Enrolled struct {
	// OrderKey is the key in use, for the device to pin: see ParseKey. An older controller
	// leaves it out, and one that cannot use its key: the first feed brings it then.
	OrderKey json.RawMessage `json:"order_key,omitempty" doc:"the key that orders are signed with, for the device to pin"`
}

// ParseEnrolled reads the answer to an enrolment; that of an older controller is empty.
// Errors match ErrMalformed.
func ParseEnrolled(text []byte) (e Enrolled, err error) {
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return Enrolled{}, nil
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return Enrolled{}, malformed("%v", err)
	}
	return e, nil
}

// Hello asks for a feed.
type Hello struct {
	// KeyVersion is that of the key which the device has pinned, 0 for none.
	KeyVersion int `json:"key_version"`
	// Wait is for how many seconds to wait for orders; with 0 the feed ends with those
	// that there are.
	Wait int `json:"wait_s"`
	// Mandates are those of the devices that the asker carries for, one after the
	// other: see Secret.Mandate. Their orders come in the same feed.
	Mandates []byte `json:"mandates,omitempty"`
	// Stamp is the asker's own, as in a mandate; nil: it does not say.
	Stamp []byte `json:"stamp,omitempty"`
}

// Line is one line of a feed; one of its fields is set, but for Covers.
type Line struct {
	// Key is the key in use, for a device that has none: see ParseKey.
	Key json.RawMessage `json:"key,omitempty"`
	// Next are statements that lead from the device's key to the one in use, in
	// order: see Key.Next.
	Next [][]byte `json:"next,omitempty"`
	// Beat and Order are signed.
	Beat  []byte `json:"beat,omitempty"`
	Order []byte `json:"order,omitempty"`
	// Covers go with a beat: one for each mandate, one after the other, after all
	// orders that were open. That of a mandate which is not genuine is zero.
	Covers []byte `json:"covers,omitempty"`
	// Watch is for who keeps the connection, and not passed on. It is not signed: it
	// changes what people see, and nothing that a device does.
	Watch *Watch `json:"watch,omitempty"`
}

// Watch says how much a controller wants to be told of upgrades while they go on.
type Watch struct {
	// Rate is how many bytes a second at most while somebody looks; 0: nobody does.
	Rate int `json:"rate"`
	// Kept is how many bytes a second at most while nobody looks, if that is less than
	// usual: the line is thin. 0: as usual.
	Kept int `json:"kept,omitempty"`
	// Again: it may have forgotten what it was told of devices that are at work.
	Again bool `json:"again,omitempty"`
}

// MaxLine bounds a line of a feed in bytes, its end included.
const MaxLine = 2*MaxEnvelope + 64

// MaxNext bounds the statements of a line.
const MaxNext = 64

// Marshal writes a line with its end.
func (l Line) Marshal() ([]byte, error) {
	b, err := json.Marshal(l)
	return append(b, '\n'), err
}

// ParseLine reads a line. What a newer controller says beside is left out. Errors
// match ErrMalformed.
func ParseLine(text []byte) (l Line, err error) {
	if len(text) > MaxLine {
		return Line{}, malformed("a line of %d bytes", len(text))
	}
	if err := json.Unmarshal(bytes.TrimSpace(text), &l); err != nil {
		return Line{}, malformed("%v", err)
	}
	if len(l.Next) > MaxNext {
		return Line{}, malformed("%d keys", len(l.Next))
	}
	return l, nil
}

// Results are what devices answer.
type Results struct {
	// Results are sealed by their devices.
	Results [][]byte `json:"results"`
}

// Acks say what the controller has.
type Acks struct {
	Acks []Ack `json:"acks"`
}

// Ack says that the controller has a result of a device: Code is what Secret.Ack
// makes of it.
type Ack struct {
	Order  string `json:"order"`
	Device string `json:"device"`
	Code   []byte `json:"code"`
}

// MaxAcks bounds the body with acknowledgements, in bytes.
const MaxAcks = 1 << 20

// ParseAcks reads acknowledgements. Errors match ErrMalformed.
func ParseAcks(text []byte) (a Acks, err error) {
	if len(text) > MaxAcks {
		return Acks{}, malformed("%d bytes", len(text))
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return Acks{}, malformed("%v", err)
	}
	return a, nil
}

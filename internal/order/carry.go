package order

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// A device may have its orders sent to another one of its subnet, its carrier, and
// believes that one nothing. It gives it a mandate with a code that only the device's
// secret makes. The controller answers with a cover: a code of the same secret over
// the mandate and a beat. By it the device knows which feed has its orders, and that
// the beat was made after the mandate.

// MaxMandates bounds the mandates of one feed.
const MaxMandates = 2048

// Sizes in bytes. Codes are short, as each is worth nothing after some minutes, and who
// guesses must ask each time.
const (
	codeSize    = 8
	nameSize    = 6
	StampSize   = 4
	MandateSize = nameSize + 4 + 4 + StampSize + codeSize
	CoverSize   = codeSize
)

// Stamp tells whether a provisioning file is the one that a device has: the first
// bytes of its SHA-256.
type Stamp [StampSize]byte

// StampEvery is how often a controller looks whether the files of the devices that are
// connected have changed.
const StampEvery = 10 * time.Minute

// StampOf is that of a file.
func StampOf(file []byte) Stamp {
	sum := sha256.Sum256(file)
	return Stamp(sum[:StampSize])
}

const (
	forMandate = "peerload mandate 1\x00"
	forCover   = "peerload cover 1\x00"
)

// Mandate has the orders of a device sent to a carrier.
type Mandate struct {
	Device string
	// Time is when, by the controller's clock as the device knows it, in whole seconds.
	Time time.Time
	// Nonce is another one for each mandate.
	Nonce uint32
	// Stamp is that of the file by which the device is provisioned.
	Stamp Stamp
}

// Mandate writes a mandate with its code. It fails if a name is none of a device.
func (s Secret) Mandate(m Mandate, carrier string) ([]byte, error) {
	if !IsDevice(m.Device) || !IsDevice(carrier) {
		return nil, malformed("a mandate names two devices")
	}
	b, err := hex.DecodeString(strings.TrimPrefix(m.Device, "SEP"))
	if err != nil {
		return nil, malformed("%v", err)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(m.Time.Unix()))
	b = binary.BigEndian.AppendUint32(b, m.Nonce)
	b = append(b, m.Stamp[:]...)
	return append(b, s.mandateCode(b, carrier)...), nil
}

func (s Secret) mandateCode(text []byte, carrier string) []byte {
	return code(s[:], forMandate, append([]byte(carrier+"\x00"), text...))[:codeSize]
}

// ParseMandate reads a mandate without believing it: it says whose secret is to be
// asked. An error matches ErrMalformed.
func ParseMandate(b []byte) (Mandate, error) {
	if len(b) != MandateSize {
		return Mandate{}, malformed("a mandate of %d bytes", len(b))
	}
	rest := b[nameSize:]
	return Mandate{"SEP" + strings.ToUpper(hex.EncodeToString(b[:nameSize])),
		time.Unix(int64(binary.BigEndian.Uint32(rest)), 0).UTC(), binary.BigEndian.Uint32(rest[4:]),
		Stamp(rest[8:][:StampSize])}, nil
}

// Mandated reports whether the secret has made a mandate for a carrier.
func (s Secret) Mandated(mandate []byte, carrier string) bool {
	if len(mandate) != MandateSize {
		return false
	}
	text := mandate[:MandateSize-codeSize]
	return hmac.Equal(mandate[len(text):], s.mandateCode(text, carrier))
}

// Cover is the controller's answer to a mandate, which goes with a beat.
func (s Secret) Cover(mandate, beat []byte) []byte {
	return code(s[:], forCover, append(append([]byte{}, mandate...), beat...))[:codeSize]
}

// Covers reports whether a cover is genuine.
func (s Secret) Covers(mandate, beat, cover []byte) bool {
	return hmac.Equal(cover, s.Cover(mandate, beat))
}

// Split cuts what is written one after the other, such as mandates, into pieces of a
// size. An error matches ErrMalformed.
func Split(b []byte, size, most int) (all [][]byte, err error) {
	if len(b)%size != 0 || len(b)/size > most {
		return nil, malformed("%d bytes: at most %d times %d", len(b), most, size)
	}
	for i := 0; i < len(b); i += size {
		all = append(all, b[i:i+size])
	}
	return all, nil
}

// Carried is what a carrier and a follower tell each other.
type Carried struct {
	// Carrier asks for a mandate: it is the name of who asks.
	Carrier string `json:"carrier,omitempty"`
	// Mandate is the follower's.
	Mandate []byte `json:"mandate,omitempty"`
	// Line is one of the controller, as it was, without covers; Cover is that of the
	// follower, if the line has one for it.
	Line  json.RawMessage `json:"line,omitempty"`
	Cover []byte          `json:"cover,omitempty"`
	// Results are the follower's, and Acks what the controller has answered.
	Results [][]byte `json:"results,omitempty"`
	Acks    []Ack    `json:"acks,omitempty"`
	// Report is the follower's, and Took what the controller has answered: its code is
	// empty if the report was not handed over.
	Report *Reported `json:"report,omitempty"`
	Took   *Ack      `json:"took,omitempty"`
	// Live is what the follower tells of its upgrade: a live.State.
	Live json.RawMessage `json:"live,omitempty"`
}

// MaxCarried bounds one message, in bytes.
const MaxCarried = 64 << 10

// Marshal writes a message. One that is too long matches ErrMalformed.
func (c Carried) Marshal() ([]byte, error) {
	b, err := json.Marshal(c)
	if err == nil && len(b) > MaxCarried {
		err = malformed("a message of %d bytes", len(b))
	}
	return b, err
}

// ParseCarried reads a message. What a newer version says beside is left out. Errors
// match ErrMalformed.
func ParseCarried(text []byte) (c Carried, err error) {
	if len(text) > MaxCarried {
		return Carried{}, malformed("a message of %d bytes", len(text))
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return Carried{}, malformed("%v", err)
	}
	if c.Carrier != "" && !IsDevice(c.Carrier) {
		return Carried{}, malformed("a carrier that is no device")
	}
	// A carrier keeps reports until it hands them over, and counts what they say alone.
	if r := c.Report; r != nil && (!IsDevice(r.Device) || len(r.Code) != reportCodeSize) {
		return Carried{}, malformed("a report without a device or a code")
	}
	return c, nil
}

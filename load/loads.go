package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Limits of the classic text.
const (
	// MaxLoadsSize bounds a .loads file, in bytes.
	MaxLoadsSize = 64 << 10
	// maxLoadsFields bounds the fields of its signature header.
	maxLoadsFields = 64
)

// Tags of the signature header (docs/ORIGINAL.md, "Provisioning and files").
const (
	tagSignature = 12
	tagPadding   = 13
	tagFileName  = 14
)

// errLoads says that a text is no .loads file.
var errLoads = errors.New("bad .loads file")

// Loads is what a classic .loads file says. It has neither sizes nor digests,
// and its signature is not verified here: nothing fetched by it is protected,
// so a caller uses it only where an administrator has allowed unsigned loads.
type Loads struct {
	// HasHeader says that there is a signature header before the text.
	HasHeader bool
	// FileName is the file's own name as its header states it, or "".
	FileName string
	// Signature is the RSA signature of the header, nil if there is none. It
	// has not been verified.
	Signature []byte
	// Components are file names as CheckName allows, 1 to MaxComponents, in
	// the order of the text, unique also without regard to case.
	Components []string
}

// ParseLoads reads a .loads file (docs/ORIGINAL.md, "Provisioning and files"):
// an optional binary header of fields (tag u8, length u16 big-endian, value;
// tag 13 is a single byte), then lines that end in CRLF or LF, of which those
// that begin with '#' are comments and each other names one component.
func ParseLoads(b []byte) (*Loads, error) {
	l, err := parseLoads(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLoads, err)
	}
	return l, nil
}

func parseLoads(b []byte) (*Loads, error) {
	if len(b) > MaxLoadsSize {
		return nil, fmt.Errorf("%d bytes are more than %d", len(b), MaxLoadsSize)
	}
	l := &Loads{}
	text, err := l.header(b)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for i := 1; len(text) > 0; i++ {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		s := strings.Trim(string(line), " \t\r")
		if s == "" || s[0] == '#' {
			continue
		}
		if err := CheckName(s); err != nil {
			return nil, fmt.Errorf("line %d: %w", i, err)
		}
		if seen[fold(s)] {
			return nil, fmt.Errorf("line %d: component %q is named twice", i, s)
		}
		if len(l.Components) == MaxComponents {
			return nil, fmt.Errorf("line %d: more than %d components", i, MaxComponents)
		}
		seen[fold(s)] = true
		l.Components = append(l.Components, s)
	}
	if len(l.Components) == 0 {
		return nil, errors.New("it names no component")
	}
	return l, nil
}

// header reads the fields before the text and returns the text. The format does
// not say where the header ends; tags are below 0x20 and a text begins with a
// printable character, so the first byte from 0x20 up is the text. A text that
// begins with an empty line is distinguished from padding by its line feed.
func (l *Loads) header(b []byte) (text []byte, err error) {
	if len(b) == 0 || b[0] >= 0x20 || b[0] == '\r' || b[0] == '\n' || b[0] == '\t' {
		return b, nil
	}
	l.HasHeader = true
	afterPadding := false
	for fields := 0; len(b) > 0 && b[0] < 0x20; {
		tag := b[0]
		if tag == tagPadding {
			b, afterPadding = b[1:], true
			continue
		}
		if tag == '\n' && afterPadding {
			return b, nil
		}
		afterPadding = false
		if fields++; fields > maxLoadsFields {
			return nil, fmt.Errorf("its header has more than %d fields", maxLoadsFields)
		}
		if len(b) < 3 {
			return nil, errors.New("its header is cut off")
		}
		n := int(binary.BigEndian.Uint16(b[1:]))
		if n > len(b)-3 {
			return nil, fmt.Errorf("header field %d of %d bytes goes beyond the file", tag, n)
		}
		if err := l.field(tag, b[3:3+n]); err != nil {
			return nil, err
		}
		b = b[3+n:]
	}
	return b, nil
}

func (l *Loads) field(tag byte, v []byte) error {
	switch tag {
	case tagSignature:
		if l.Signature != nil {
			return errors.New("its header has two signatures")
		}
		l.Signature = append([]byte{}, v...)
	case tagFileName:
		s := string(bytes.TrimRight(v, "\x00"))
		if err := CheckName(s); err != nil {
			return fmt.Errorf("the header's file name: %w", err)
		}
		l.FileName = s
	}
	return nil
}

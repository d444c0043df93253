package tftp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// op is the operation of a packet (RFC 1350 section 5, RFC 2347).
type op uint16

const (
	opRead  op = 1
	opWrite op = 2
	opData  op = 3
	opAck   op = 4
	opError op = 5
	opOAck  op = 6
)

// Limits of packets. RFC 2347 gives a request 512 octets; real clients send
// a little more when the name is long.
const (
	headerSize = 4
	maxRequest = 1024
	maxName    = 512
	maxMode    = 16
	maxOptions = 16
	// maxOptionText bounds the name and the value of one option.
	maxOptionText = 64
)

// option is one option of a packet. Names are compared without regard to case.
type option struct{ name, value string }

// packet is any TFTP packet; op says which fields are used.
type packet struct {
	op      op
	name    string   // opRead, opWrite
	mode    string   // opRead, opWrite
	options []option // opRead, opWrite, opOAck
	block   uint16   // opData, opAck
	data    []byte   // opData; part of the parsed bytes, not a copy
	code    uint16   // opError
	message string   // opError
}

// parse reads one packet. It allocates no memory for bytes beyond the limits.
func parse(b []byte) (packet, error) {
	if len(b) < 2 {
		return packet{}, fmt.Errorf("%w: packet of %d bytes", errProtocol, len(b))
	}
	p := packet{op: op(binary.BigEndian.Uint16(b))}
	if p.op >= opData && p.op <= opError && len(b) < headerSize {
		return packet{}, fmt.Errorf("%w: packet of %d bytes", errProtocol, len(b))
	}
	switch p.op {
	case opRead, opWrite:
		err := p.parseRequest(b[2:])
		return p, err
	case opData:
		p.block, p.data = binary.BigEndian.Uint16(b[2:]), b[headerSize:]
	case opAck:
		p.block = binary.BigEndian.Uint16(b[2:])
	case opError:
		p.code = binary.BigEndian.Uint16(b[2:])
		p.message = cleanMessage(b[headerSize:])
	case opOAck:
		err := p.parseOptions(trim(b[2:]))
		return p, err
	default:
		return packet{}, fmt.Errorf("%w: operation %d", errProtocol, p.op)
	}
	return p, nil
}

func (p *packet) parseRequest(b []byte) error {
	if len(b)+2 > maxRequest {
		return fmt.Errorf("%w: a request of %d bytes, the limit is %d", errProtocol, len(b)+2, maxRequest)
	}
	var err error
	if p.name, b, err = cutText(b, maxName); err != nil {
		return err
	}
	if p.mode, b, err = cutText(b, maxMode); err != nil {
		return err
	}
	if p.name == "" || p.mode == "" {
		return fmt.Errorf("%w: a request without a name or a mode", errProtocol)
	}
	return p.parseOptions(b)
}

func (p *packet) parseOptions(b []byte) error {
	if len(b)+2 > maxRequest {
		return fmt.Errorf("%w: options of %d bytes, the limit is %d", errProtocol, len(b), maxRequest)
	}
	for len(b) > 0 {
		if len(p.options) == maxOptions {
			return fmt.Errorf("%w: more than %d options", errProtocol, maxOptions)
		}
		var o option
		var err error
		if o.name, b, err = cutText(b, maxOptionText); err != nil {
			return err
		}
		if o.value, b, err = cutText(b, maxOptionText); err != nil {
			return err
		}
		if o.name == "" {
			return fmt.Errorf("%w: an option without a name", errProtocol)
		}
		if before, twice := p.option(o.name); twice && (p.op != opOAck || before != o.value) {
			return fmt.Errorf("%w: option %q twice", errProtocol, o.name)
		} else if !twice {
			p.options = append(p.options, o)
		}
	}
	return nil
}

// trim makes an OACK's options end with one NUL: some servers send their whole
// buffer, or leave the last NUL out.
func trim(b []byte) []byte {
	if len(b)+2 > maxRequest {
		return b
	}
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return nil
	}
	b = append(bytes.Clone(b), 0)
	if bytes.Count(b, []byte{0})%2 == 1 {
		b = append(b, 0) // the last value is empty
	}
	return b
}

// option returns the value of the named option.
func (p *packet) option(name string) (string, bool) {
	for _, o := range p.options {
		if strings.EqualFold(o.name, name) {
			return o.value, true
		}
	}
	return "", false
}

// append adds the packet's wire form to b.
func (p *packet) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(p.op))
	switch p.op {
	case opRead, opWrite:
		b = appendText(appendText(b, p.name), p.mode)
	case opData:
		b = append(binary.BigEndian.AppendUint16(b, p.block), p.data...)
	case opAck:
		b = binary.BigEndian.AppendUint16(b, p.block)
	case opError:
		b = binary.BigEndian.AppendUint16(b, uint16(p.code))
		b = appendText(b, p.message)
	}
	for _, o := range p.options {
		b = appendText(appendText(b, o.name), o.value)
	}
	return b
}

func appendText(b []byte, s string) []byte { return append(append(b, s...), 0) }

// cutText takes one text that ends with NUL off b.
func cutText(b []byte, limit int) (string, []byte, error) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return "", nil, fmt.Errorf("%w: a text without its end", errProtocol)
	}
	if i > limit {
		return "", nil, fmt.Errorf("%w: a text of %d bytes, the limit is %d", errProtocol, i, limit)
	}
	return string(b[:i]), b[i+1:], nil
}

// cleanMessage makes an ERROR packet's text fit for logs and terminals. Many
// implementations omit the NUL at its end.
func cleanMessage(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	b = b[:min(len(b), maxErrorMessage)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(string(b), "?"))
}

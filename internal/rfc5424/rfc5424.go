// Package rfc5424 writes messages for log servers in the format of RFC 5424. It
// escapes what others have written, so that nobody can forge a message.
//
// What must not live here: sockets, and what is told.
package rfc5424

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Severities of messages.
const (
	Error   = 3
	Warning = 4
	Notice  = 5
	Info    = 6
)

const (
	// enterprise is the number for documentation (RFC 5612): this project has
	// none of its own.
	enterprise = "32473"
	// maxParam bounds a parameter, in bytes, so that all fit beside a message.
	maxParam = 100
	layout   = "2006-01-02T15:04:05.000000Z07:00"
)

// Message is one message.
type Message struct {
	// Facility and Severity are numbers of RFC 5424.
	Facility, Severity int
	Time               time.Time
	// Host and App say who tells, Process is the number of the process, and ID is
	// the kind of the message.
	Host, App string
	Process   int
	ID        string
	// Params are names and values; empty values are left out.
	Params [][2]string
	Text   string
}

// Bytes is the message in at most most bytes; a longer text is cut.
func (m Message) Bytes(most int) []byte {
	var sd strings.Builder
	for _, p := range m.Params {
		if p[1] != "" {
			fmt.Fprintf(&sd, " %s=\"%s\"", p[0], param(p[1]))
		}
	}
	s := fmt.Sprintf("<%d>1 %s %s %s %d %s [peerload@%s%s] \xef\xbb\xbf%s", m.Facility*8+m.Severity,
		m.Time.Format(layout), printable(m.Host, 255), m.App, m.Process, printable(m.ID, 32), enterprise, sd.String(),
		oneLine(m.Text))
	if len(s) > most {
		s = s[:most]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return []byte(s)
}

// oneLine keeps text from starting a new line in a log: it may come from
// servers and peers.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// param escapes a value (RFC 5424 section 6.3.3).
func param(s string) string {
	s = oneLine(s)
	for len(s) > maxParam {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(s)
}

// printable keeps what a header field may hold, "-" if nothing is left.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), most)]
}

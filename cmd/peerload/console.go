package main

import (
	"fmt"
	"io"
	"os"

	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/terminal"
)

// tell writes one line for people. All that this command says to them goes
// through here or is drawn by drawScreen and showBar: names, reasons and
// addresses come from servers and peers, and must not steer the terminal.
func tell(w io.Writer, format string, args ...any) {
	fmt.Fprintln(w, terminal.Printable(fmt.Sprintf(format, args...)))
}

// speech is the language that status, screen and explain speak. Words that the
// device's page has too are the page's.
type speech struct{ ja bool }

// locale is the language of whoever runs this command.
func locale() speech { return speech{terminal.Japanese(os.Getenv)} }

// of chooses between English and Japanese.
func (s speech) of(en, ja string) string {
	if s.ja {
		return ja
	}
	return en
}

// word is a text of the page by its key, "-" for a word that is not set.
func (s speech) word(key string) string { return orDash(wording.Say(s.ja, key)) }

// why is a reason: its text, then its code and, where there is one, a message.
func (s speech) why(code, message string) string { return wording.Why(s.ja, code, message) }

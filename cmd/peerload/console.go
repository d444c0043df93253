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

// language is what status, screen and explain are written in. Words that the
// device's page has too are the page's.
type language struct{ ja bool }

// locale is the language of whoever runs this command.
func locale() language { return language{terminal.Japanese(os.Getenv)} }

// of chooses between English and Japanese.
func (l language) of(en, ja string) string {
	if l.ja {
		return ja
	}
	return en
}

// word is a text of the page by its key, "-" for a word that is not set.
func (l language) word(key string) string { return orDash(wording.Say(l.ja, key)) }

// why is a reason: its text, then its code and, where there is one, a message.
func (l language) why(code, message string) string { return wording.Why(l.ja, code, message) }

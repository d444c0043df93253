package main

import (
	"fmt"
	"io"
	"os"

	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/terminal"
)

// tell writes one line for people. All text for people goes through here or is
// drawn by drawScreen and showBar: names, reasons and addresses come from
// servers and peers, and must not steer the terminal.
func tell(w io.Writer, format string, args ...any) {
	fmt.Fprintln(w, terminal.Printable(wording.Fill(format, args...)))
}

// language is the language of status, screen and explain. They share their
// texts with the device's page.
type language struct{ ja bool }

// locale is the language of the user.
func locale() language { return language{terminal.Japanese(os.Getenv)} }

// of chooses between English and Japanese.
func (l language) of(en, ja string) string {
	if l.ja {
		return ja
	}
	return en
}

// either is a message in English, or in Japanese where it has one.
func (l language) either(en, ja string) string { return wording.Either(l.ja, en, ja) }

// word is a text of the page by its key, "-" for a word that is not set.
func (l language) word(key string) string { return terminal.OrNone(wording.Say(l.ja, key)) }

// why is a reason: its text, then its code and, where there is one, a message.
func (l language) why(code, message string) string { return wording.Why(l.ja, code, message) }

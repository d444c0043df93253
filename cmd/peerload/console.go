package main

import (
	"fmt"
	"io"

	"github.com/peerload/peerload/terminal"
)

// tell writes one line for people. All that this command says to them goes
// through here or is drawn by drawScreen and showBar: names, reasons and
// addresses come from servers and peers, and must not steer the terminal.
func tell(w io.Writer, format string, args ...any) {
	fmt.Fprintln(w, terminal.Printable(fmt.Sprintf(format, args...)))
}

package main

import (
	"os"
	"time"

	"golang.org/x/term"

	"github.com/peerload/peerload/internal/lab/output"
)

// frame is how often the live picture is drawn.
const frame = 100 * time.Millisecond

// screen returns the terminal for the live picture; nil if there is none or
// lines are wanted.
func screen(lines bool) *os.File {
	t := os.Getenv("TERM")
	if lines || t == "" || t == "dumb" || !term.IsTerminal(int(os.Stdout.Fd())) {
		return nil
	}
	return os.Stdout
}

// draw draws the picture until the returned function is called.
func draw(screen *os.File, scene output.Scene) (stop func()) {
	pic := &output.Picture{
		Scene: scene, Out: screen, Color: os.Getenv("NO_COLOR") == "",
		Size: func() (cols, rows int) {
			cols, rows, err := term.GetSize(int(screen.Fd()))
			if err != nil {
				return 80, 24
			}
			return cols, rows
		},
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		pic.Start()
		defer pic.Stop()
		tick := time.NewTicker(frame)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				pic.Draw()
			case <-quit:
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/agent"
	"github.com/peerload/peerload/internal/device/display"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/report"
)

// screenEvery is how often a terminal is drawn anew.
const screenEvery = 250 * time.Millisecond

// screenWidth is the width of the picture where it is not known how wide the terminal
// is, and the most that it takes.
const screenWidth = 48

func screenCommand() *cli.Command {
	var state string
	var once bool
	cmd := &cli.Command{
		Use: "screen", Short: "Show what a phone's screen would show",
		Long: `Screen draws what the screen of an upgrading phone shows: in the top right corner an
icon while the device shares (the box stays empty with the classic upgrade), and
below it the component with its bar. A parent shows 100 %, a child what it has. What
has failed stands above it, with what to do. It speaks English, or Japanese where
LC_ALL, LC_MESSAGES or LANG say so.

On a terminal of 20 columns or more it is drawn anew until Ctrl-C; NO_COLOR turns
colours off. Otherwise it is printed once, 48 columns wide or as COLUMNS says.`,
		Args: cli.NoArgs,
		Run: func(ctx context.Context, _ []string) error {
			fd := int(os.Stdout.Fd())
			capable := term.IsTerminal(fd) && os.Getenv("TERM") != "dumb"
			colour := capable && os.Getenv("NO_COLOR") == ""
			if capable && !once {
				return liveScreen(ctx, state, colour)
			}
			lines, err := drawScreen(ctx, state, colour)
			if err == nil {
				fmt.Println(strings.Join(lines, "\n"))
			}
			return err
		},
	}
	stateFlag(cmd.Flags(), &state)
	cmd.Flags().BoolVar(&once, "once", false, "draw once, also on a terminal")
	return cmd
}

// newest is the process that runs, or else the last one that did.
func newest(state string) (status.Process, error) {
	ps, err := processes(state)
	if err != nil {
		return status.Process{}, err
	}
	for _, p := range ps {
		if p.Running {
			return p, nil
		}
	}
	if len(ps) == 0 {
		return status.Process{}, usagef("nothing has run with this state directory yet")
	}
	return ps[0], nil
}

func liveScreen(ctx context.Context, state string, colour bool) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	fmt.Print("\x1b[2J\x1b[?25l")
	defer fmt.Print("\x1b[?25h")
	tick := time.NewTicker(screenEvery)
	defer tick.Stop()
	for {
		lines, err := drawScreen(ctx, state, colour)
		if err != nil {
			return err
		}
		if _, rows, err := term.GetSize(int(os.Stdout.Fd())); err == nil && rows > 0 {
			lines = lines[:min(len(lines), rows)]
		}
		// Line by line, so that nothing flickers; the last one ends no line, or the
		// terminal would scroll.
		fmt.Print("\x1b[H" + strings.Join(lines, "\x1b[K\r\n") + "\x1b[K\x1b[J")
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// screenColumns is how wide the picture is.
func screenColumns() int {
	if w, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && w > 0 {
		return min(w, screenWidth)
	}
	if w, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && w > 0 {
		return min(w, screenWidth)
	}
	return screenWidth
}

// drawScreen draws what the device shows now.
func drawScreen(ctx context.Context, state string, colour bool) ([]string, error) {
	p, err := newest(state)
	if err != nil {
		return nil, err
	}
	ja := locale().ja
	var device *report.Device
	if dir, err := stateDir(state); err == nil && p.Running && p.Command == "agent" {
		device = wholeDevice(ctx, dir)
	}
	return display.Of(ja, p, device).Draw(ja, screenColumns(), colour), nil
}

// wholeDevice is what the agent says of the device, nil where none answers.
func wholeDevice(ctx context.Context, state string) (device *report.Device) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := agent.Ask(ctx, state, agent.Request{Op: "status"}, func(r agent.Reply) {
		if r.Device != nil {
			device = r.Device
		}
	})
	if err != nil {
		return nil // the files are shown without it
	}
	return device
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/report"
)

// screenEvery is how often a terminal is drawn anew.
const screenEvery = 250 * time.Millisecond

// screenWidth is the width of the picture, as small as a phone's.
const screenWidth = 44

func screenCommand() *cli.Command {
	var state string
	var once bool
	cmd := &cli.Command{
		Use: "screen", Short: "Show what a phone's screen would show",
		Long: `Screen draws what the screen of an upgrading phone shows: in the top right corner an
icon while the device shares (the box stays empty with the classic upgrade), and
below it the component. A parent shows 100 %, a child what it has. It speaks
English, or Japanese where LC_ALL, LC_MESSAGES or LANG say so.

On a terminal it is drawn anew until Ctrl-C; NO_COLOR turns colours off. Otherwise it
is printed once.`,
		Args: cli.NoArgs,
		Run: func(ctx context.Context, _ []string) error {
			fd := int(os.Stdout.Fd())
			live := !once && term.IsTerminal(fd) && os.Getenv("TERM") != "dumb"
			colour := term.IsTerminal(fd) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
			if !live {
				p, err := newest(state)
				if err == nil {
					drawScreen(os.Stdout, locale(), p, colour)
				}
				return err
			}
			return liveScreen(ctx, state, colour)
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
		p, err := newest(state)
		if err != nil {
			return err
		}
		var b strings.Builder
		drawScreen(&b, locale(), p, colour)
		// Line by line, so that nothing flickers.
		fmt.Print("\x1b[H" + strings.ReplaceAll(b.String(), "\n", "\x1b[K\r\n") + "\x1b[J")
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// drawScreen draws the picture.
func drawScreen(w io.Writer, lang language, p status.Process, colour bool) {
	paint := func(code, s string) string {
		if !colour {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	line := func(s string) string { return terminal.Fit(terminal.Printable(s), screenWidth) }
	icon, name := screenIcon(p), "peerload"
	for _, f := range p.Files {
		if f.Model != "" {
			name = f.Model
		}
	}
	edge := "+" + strings.Repeat("-", screenWidth+2) + "+"
	fmt.Fprintln(w, edge)
	head := terminal.Fit(terminal.Printable(name), screenWidth-len(icon))
	fmt.Fprintf(w, "| %s%s |\n", paint("1", head), paint("32", icon))
	fmt.Fprintln(w, edge)
	for _, l := range screenLines(lang, p) {
		fmt.Fprintf(w, "| %s |\n", line(l))
	}
	fmt.Fprintln(w, edge)
}

// screenIcon is the box in the top right corner: full while the device shares.
func screenIcon(p status.Process) string {
	for _, f := range p.Files {
		switch f.Role {
		case report.RoleRoot, report.RoleParent, report.RoleLeaf, report.RoleDetached:
			return "[<=>]"
		}
	}
	return "[   ]"
}

// screenLines says what the device does.
func screenLines(lang language, p status.Process) []string {
	n, total := 0, 0
	var now *status.File
	for _, f := range p.Files {
		if f.Final != nil && len(f.Final.Components) > 0 {
			continue // the load as a whole
		}
		total++
		if now == nil && !f.Done && !f.Failed {
			now, n = f, total
		}
	}
	switch {
	case now == nil && total == 0:
		return []string{"", lang.of("Nothing to upgrade", "アップグレード対象なし"), ""}
	case now == nil:
		for _, f := range p.Files {
			if f.Failed {
				return []string{lang.of("Upgrade failed", "アップグレード失敗"), f.File, lang.why(f.Reason, "")}
			}
		}
		return []string{"", fmt.Sprintf(lang.of("%d of %d components held", "コンポーネント %d/%d 保持済み"), total, total), ""}
	}
	out := []string{lang.of("Upgrading", "アップグレード中"),
		fmt.Sprintf(lang.of("Component %d of %d: %s", "コンポーネント %d/%d: %s"), n, total, now.File)}
	// A parent has what it passes on; a child tells how far it is. The classic
	// upgrade looks the same on every device.
	switch now.Role {
	case report.RoleRoot, report.RoleParent:
		out = append(out, fmt.Sprintf(lang.of("100 %%   %d children", "100 %%   子 %d"), len(now.Children)))
	default:
		out = append(out, terminal.Bytes(now.Bytes))
	}
	return out
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/terminal"
)

// errUnasked says that a change would touch several devices, and that nobody has
// said yes to it.
var errUnasked = errors.New("nothing was changed: give --yes to change them, or --dry-run to see what would be changed")

// consent are the flags of what may touch several devices.
type consent struct{ yes, dry bool }

func (a *consent) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.yes, "yes", false, "change several devices without asking")
	cmd.Flags().BoolVar(&a.dry, "dry-run", false, "change nothing; say what would be touched")
}

// ask says what an order would touch, and reports whether to carry it out: at
// once if it touches one device at most, else if --yes says so, or a person at
// the terminal.
func (a *consent) ask(conn *connFlags, cmd *cobra.Command, c *connection, o *client.Order) (bool, error) {
	if a.yes && !a.dry {
		return true, nil
	}
	would, err := c.Change(cmd.Context(), *o, true)
	if err != nil {
		return false, err
	}
	o.Shown = would.Shown // what was shown is what is done
	if a.dry {
		return false, conn.show(cmd, "dry_run", would, "%s\n", reachText(would.Reach, terminal.Japanese(os.Getenv)))
	}
	return confirm(cmd, would.Reach)
}

// confirm asks a person at the terminal about what touches several devices.
func confirm(cmd *cobra.Command, r client.Reach) (bool, error) {
	if r.Devices <= 1 {
		return true, nil
	}
	return confirmed(cmd, reachText(r, false), reachText(r, terminal.Japanese(os.Getenv)))
}

// confirmed asks a person at the terminal to go on, and says first what it would
// do: in English in an error, else in his language.
func confirmed(cmd *cobra.Command, english, local string) (bool, error) {
	japanese := terminal.Japanese(os.Getenv)
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false, fmt.Errorf("%s; %w", english, errUnasked)
	}
	question := "Go on? [y/N] "
	if japanese {
		question = "続けますか? [y/N] "
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s\n%s", local, question)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(cmd.ErrOrStderr())
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes", "はい":
		return true, nil
	}
	return false, errUnasked
}

// reachText says in one line what is touched.
func reachText(r client.Reach, japanese bool) string {
	inSites := 0
	for _, n := range r.Sites {
		inSites += n
	}
	sites, models := countsText(r.Sites), countsText(r.Models)
	some := strings.Join(r.Some, ", ")
	if r.Devices > len(r.Some) {
		some += ", …"
	}
	if japanese {
		text := fmt.Sprintf("対象の機器: %d台", r.Devices)
		if r.Devices > 0 {
			text += fmt.Sprintf("。拠点: %s、拠点なし: %d台。機種: %s。%s", orNone(sites), r.Devices-inSites, orNone(models), some)
		}
		return text + wayText(r, japanese)
	}
	if r.Devices == 0 {
		return "this touches no device"
	}
	devices := "devices"
	if r.Devices == 1 {
		devices = "device"
	}
	return fmt.Sprintf("this touches %d %s; sites: %s, without a site: %d; models: %s; %s", r.Devices, devices,
		orNone(sites), r.Devices-inSites, orNone(models), some) + wayText(r, japanese)
}

// wayText says how many devices get another load first, and how many none yet; "" if
// all get theirs.
func wayText(r client.Reach, japanese bool) (text string) {
	steps, waiting := "; first by another load: %s", "; nothing before they have reported, or are done: %d"
	if japanese {
		steps, waiting = "。先に別のロードを適用: %s", "。報告または進行中の更新の完了を待つ機器: %d台"
	}
	if len(r.Steps) > 0 {
		text += fmt.Sprintf(steps, countsText(r.Steps))
	}
	if r.Waiting > 0 {
		text += fmt.Sprintf(waiting, r.Waiting)
	}
	return text
}

// countsText writes counts by name.
func countsText(by map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		shown := name
		if shown == "" {
			shown = terminal.None
		}
		all = append(all, fmt.Sprintf("%s %d", terminal.Printable(shown), by[name]))
	}
	return strings.Join(all, ", ")
}

// carryOut asks, carries out an order and prints how to undo it.
func (a *consent) carryOut(conn *connFlags, cmd *cobra.Command, c *connection, o client.Order) error {
	if c.ifVersion != client.AnyVersion {
		return errors.New("--if-version is that of one thing: leave it out where several devices are changed")
	}
	if ok, err := a.ask(conn, cmd, c, &o); err != nil || !ok {
		return err
	}
	done, err := c.Change(cmd.Context(), o, false)
	if err != nil {
		return err
	}
	return showChanged(conn, cmd, done)
}

func showChanged(conn *connFlags, cmd *cobra.Command, done client.Changed) error {
	text := reachText(done.Reach, terminal.Japanese(os.Getenv)) + "\n"
	if done.Audit != "" {
		text += "undo with: peerload-server undo " + done.Audit + "\n"
	}
	for _, k := range done.Kept {
		text += "not undone: " + terminal.Printable(k) + " was made\n"
	}
	return conn.show(cmd, "changed", done, "%s", text)
}

func undoCommand() *cobra.Command {
	conn := &connFlags{}
	var a consent
	cmd := &cobra.Command{Use: "undo ID", Short: "Take back what an entry of the audit log has changed",
		Args: cobra.ExactArgs(1),
		Long: `Take back what an entry of the audit log has changed: settings, assignments of
loads and releases, and other changes of devices, profiles and the enterprise.
What was changed again since is not overwritten: then nothing is undone. What was
undone is an entry too, and can be undone.`,
		Example: "  peerload-server report audit\n  peerload-server undo 00065a1f0c2b4d3e5f607182",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			return a.carryOut(conn, cmd, c, client.Order{Undo: args[0]})
		})}
	conn.flags(cmd.Flags())
	a.flags(cmd)
	return cmd
}

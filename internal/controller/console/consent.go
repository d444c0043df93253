package console

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

// ErrUnasked says that a change would touch several devices, and that nobody has
// said yes to it.
var ErrUnasked = errors.New("nothing was changed: give --yes to change them, or --dry-run to see what would be changed")

// Consent are the flags of what may touch several devices.
type Consent struct{ Yes, Dry bool }

func (a *Consent) Add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.Yes, "yes", false, "change several devices without asking")
	cmd.Flags().BoolVar(&a.Dry, "dry-run", false, "change nothing; say what would be touched")
}

// Agreed says what something would touch, as would finds out, and reports whether
// to do it: at once if it touches one device at most, else if --yes says so, or a
// person at the terminal.
func (a *Consent) Agreed(conn *Flags, cmd *cobra.Command,
	would func() (item any, touched client.Reach, err error)) (bool, error) {
	if a.Yes && !a.Dry {
		return true, nil
	}
	item, touched, err := would()
	if err != nil {
		return false, err
	}
	local := ReachText(touched, terminal.Japanese(os.Getenv))
	if a.Dry {
		return false, conn.Show(cmd, "dry_run", item, "%s\n", local)
	}
	if touched.Devices <= 1 {
		return true, nil
	}
	return Confirmed(cmd, ReachText(touched, false), local)
}

// Replaces is Agreed for what changes a load or a file set under its name.
func (a *Consent) Replaces(conn *Flags, cmd *cobra.Command, c *Connection, name string) (bool, error) {
	return a.Agreed(conn, cmd, func() (any, client.Reach, error) {
		r, err := c.Reach(cmd.Context(), name)
		return r, r, err
	})
}

// Ask is Agreed for an order. What was shown is what is done.
func (a *Consent) Ask(conn *Flags, cmd *cobra.Command, c *Connection, o *client.Order) (bool, error) {
	return a.Agreed(conn, cmd, func() (any, client.Reach, error) {
		would, err := c.Change(cmd.Context(), *o, true)
		if err == nil {
			o.Shown = would.Shown
		}
		return would, would.Reach, err
	})
}

// Confirmed asks a person at the terminal to go on, and says first what it would
// do: in English in an error, else in his language.
func Confirmed(cmd *cobra.Command, english, local string) (bool, error) {
	japanese := terminal.Japanese(os.Getenv)
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false, fmt.Errorf("%s; %w", english, ErrUnasked)
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
	return false, ErrUnasked
}

// ReachText says in one line what is touched.
func ReachText(r client.Reach, japanese bool) string {
	inSites := 0
	for _, n := range r.Sites {
		inSites += n
	}
	sites, models := CountsText(r.Sites), CountsText(r.Models)
	some := strings.Join(r.Some, ", ")
	if r.Devices > len(r.Some) {
		some += ", …"
	}
	if japanese {
		text := fmt.Sprintf("対象の機器: %d台", r.Devices)
		if r.Devices > 0 {
			text += fmt.Sprintf("。サイト: %s、サイトなし: %d台。モデル: %s。%s", OrNone(sites), r.Devices-inSites,
				OrNone(models),
				some)
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
		OrNone(sites), r.Devices-inSites, OrNone(models), some) + wayText(r, japanese)
}

// wayText says how many devices get another load first, and how many none yet; "" if
// all get theirs.
func wayText(r client.Reach, japanese bool) (text string) {
	steps, waiting := "; first by another load: %s", "; nothing before they have reported, or are done: %d"
	if japanese {
		steps, waiting = "。先に別のロードを適用: %s", "。報告または進行中の更新の完了を待つ機器: %d台"
	}
	if len(r.Steps) > 0 {
		text += fmt.Sprintf(steps, CountsText(r.Steps))
	}
	if r.Waiting > 0 {
		text += fmt.Sprintf(waiting, r.Waiting)
	}
	return text
}

// CountsText shows up to mostCounts counts; of more the someCounts greatest. All of them
// are in the JSON.
const mostCounts, someCounts = 8, 5

// CountsText writes counts by name.
func CountsText(by map[string]int) string {
	names := slices.Sorted(maps.Keys(by))
	left := 0
	if len(names) > mostCounts {
		slices.SortStableFunc(names, func(a, b string) int { return by[b] - by[a] })
		names, left = names[:someCounts], len(names)-someCounts
	}
	var all []string
	for _, name := range names {
		shown := name
		if shown == "" {
			shown = terminal.None
		}
		all = append(all, fmt.Sprintf("%s %d", terminal.Printable(shown), by[name]))
	}
	if left > 0 { // in no language, for both
		all = append(all, fmt.Sprintf("… (+%d)", left))
	}
	return strings.Join(all, ", ")
}

// CarryOut asks, carries out an order and prints how to undo it.
func (a *Consent) CarryOut(conn *Flags, cmd *cobra.Command, c *Connection, o client.Order) error {
	done, ok, err := a.Do(conn, cmd, c, o)
	if err != nil || !ok {
		return err
	}
	return ShowChanged(conn, cmd, "changed", done, "")
}

// Do asks, and carries out an order; ok says that it did.
func (a *Consent) Do(conn *Flags, cmd *cobra.Command, c *Connection, o client.Order) (done client.Changed, ok bool,
	err error) {
	if v := c.IfVersion; v != client.AnyVersion && o.Target == nil {
		return done, false, errors.New("--if-version is that of one thing: leave it out where several devices are changed")
	} else if v != client.AnyVersion {
		o.Version = &v
	}
	if ok, err := a.Ask(conn, cmd, c, &o); err != nil || !ok {
		return done, false, err
	}
	done, err = c.Change(cmd.Context(), o, false)
	return done, err == nil, err
}

// ShowChanged prints what an order has changed, in words if there are any, and how
// to undo it.
func ShowChanged(conn *Flags, cmd *cobra.Command, event string, done client.Changed, words string) error {
	text := words + ReachText(done.Reach, terminal.Japanese(os.Getenv)) + "\n"
	if done.Audit != "" {
		text += "undo with: peerload-server undo " + done.Audit + "\n"
	}
	for _, k := range done.Kept {
		text += "not undone: " + terminal.Printable(k) + " was made\n"
	}
	return conn.Show(cmd, event, done, "%s", text)
}

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/rollouts/draft"
	"github.com/peerload/peerload/internal/terminal"
)

func rolloutCommand() *cobra.Command {
	return group("rollout", "Rollouts: bring a release to many devices step by step",
		func(conn *console.Flags) []*cobra.Command {
			return []*cobra.Command{rolloutCreate(conn), rolloutSet(conn), rolloutPlan(conn), rolloutList(conn),
				rolloutStatus(conn), rolloutDevices(conn), rolloutStart(conn), rolloutApprove(conn), rolloutNext(conn),
				rolloutPause(conn), rolloutResume(conn), rolloutAbort(conn), rolloutBack(conn), rolloutReplace(conn),
				rolloutRetry(conn), rolloutSkip(conn)}
		})
}

func rolloutCreate(conn *console.Flags) *cobra.Command {
	f := &draft.Flags{}
	cmd := &cobra.Command{Use: "create ROLLOUT --release RELEASE | --load LOAD",
		Short: "Make a draft; no device is touched", Args: cobra.ExactArgs(1),
		Long: `Make a draft of a rollout: which load or release, to which devices, in which
waves. No device is touched before it is started. "rollout plan" says what it
would do, "rollout set" changes it.`,
		Example: "  peerload-server rollout create 9.4-west --release '9.4(2)' --site Kyoto \\\n" +
			"      --wave 'devices:SEP001122334455 soak=1h' --wave '20% soak=4h success=95' --window 22:00-05:00",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			change, err := f.Change(cmd, nil)
			if err != nil {
				return err
			}
			r, err := c.CreateRollout(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			return showDraft(conn, cmd, "rollout_created", r)
		})}
	f.Add(cmd)
	return cmd
}

func rolloutSet(conn *console.Flags) *cobra.Command {
	f := &draft.Flags{}
	cmd := &cobra.Command{Use: "set ROLLOUT", Short: "Change a draft; what is not given stays", Args: cobra.ExactArgs(1),
		Example: "  peerload-server rollout set 9.4-west --max-failed 3 --approval",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			now, err := c.Rollout(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			change, err := f.Change(cmd, &now.Plan)
			if err != nil {
				return err
			}
			if change == (client.RolloutChange{}) {
				return errors.New("say what to change, such as --wave or --site")
			}
			v := c.IfVersion
			if v == client.AnyVersion {
				v = now.Version // the plan that was read
			}
			r, err := c.UpdateRollout(cmd.Context(), args[0], change, v)
			if err != nil {
				return err
			}
			return showDraft(conn, cmd, "rollout_changed", r)
		})}
	f.Add(cmd)
	return cmd
}

func showDraft(conn *console.Flags, cmd *cobra.Command, event string, r client.RolloutDraft) error {
	text := rolloutText(r.Rollout, terminal.Japanese(os.Getenv)) + "\n"
	if r.CheckSecret != "" {
		text += "the secret of the external check, shown once: " + r.CheckSecret + "\n"
	}
	return conn.Show(cmd, event, r, "%s", text)
}

// rolloutWords are the words of rollouts in Japanese.
var rolloutWords = map[string]string{
	"draft": "下書き", "awaiting-approval": "承認待ち", "scheduled": "予定", "running": "実行中", "paused": "一時停止",
	"finished": "完了", "aborted": "中止", "rolled-back": "ロールバック",
	"waiting": "待機", "granted": "許可済み", "began": "開始済み", "done": "完了", "had": "適用済み", "failed": "失敗",
	"skipped": "除外", "silent": "応答なし",
}

// rolloutWord is a word of rollouts for people.
func rolloutWord(word string, japanese bool) string {
	if ja := rolloutWords[word]; ja != "" && japanese {
		return ja
	}
	return word
}

// standText counts devices in words, leaving out those that there are none of.
func standText(n client.Standings, japanese bool) string {
	var all []string
	for _, c := range []struct {
		word string
		n    int
	}{{"waiting", n.Waiting}, {"granted", n.Granted}, {"began", n.Began}, {"done", n.Done}, {"had", n.Had},
		{"failed", n.Failed}, {"skipped", n.Skipped}, {"silent", n.Silent}} {
		if c.n > 0 {
			all = append(all, fmt.Sprintf("%s %d", rolloutWord(c.word, japanese), c.n))
		}
	}
	return strings.Join(all, ", ")
}

// rolloutText says in one line how a rollout goes.
func rolloutText(r client.Rollout, japanese bool) string {
	brings := r.Ask.Release + r.Ask.Load
	if r.Links.Undoes != "" {
		brings = "back from " + r.Links.Undoes
		if japanese {
			brings = r.Links.Undoes + "の取り消し"
		}
	}
	waves := max(len(r.Waves), len(r.Plan.Waves))
	counts, why := standText(r.Counts, japanese), ""
	if r.Why != "" {
		why = "; " + r.Why
	}
	text := fmt.Sprintf("%s: %s, version %d, %s; waves open %d of %d; devices: %s%s", r.ID, r.State, r.Version, brings,
		r.Open, waves, terminal.OrNone(counts), why)
	if japanese {
		text = fmt.Sprintf("%s: %s、バージョン %d、%s。段階 %d/%d。機器: %s%s", r.ID, rolloutWord(r.State, true), r.Version,
			brings, r.Open, waves, terminal.OrNone(counts), why)
	}
	return terminal.Printable(text)
}

func rolloutPlan(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "plan ROLLOUT", Short: "Say what a draft would do if it were started now",
		Args: cobra.ExactArgs(1),
		Long: `Say what a draft would do if it were started now: which devices of which waves
it would touch, and for each site how many bytes would cross its line, and when its
last device would have the load, all waves together, if none waited for another.
Beside it stand what the same takes if every device downloads by itself, and what
the last upgrade of the site took.`,
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			p, err := c.PlanRollout(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if conn.JSON {
				return conn.Show(cmd, "rollout_plan", p, "")
			}
			japanese := terminal.Japanese(os.Getenv)
			text := console.ReachText(p.Reach, japanese)
			for _, line := range []struct{ en, ja, of string }{
				{"run it already: %s", "適用済み: %s", count(p.Had)}, {"left out: %s", "対象外: %s", console.CountsText(p.LeftOut)},
				{"it would be refused: %s", "開始できません: %s", p.Refused}} {
				if line.of != "" {
					words := map[bool]string{false: line.en, true: line.ja}[japanese]
					text += "\n" + fmt.Sprintf(words, terminal.Printable(line.of))
				}
			}
			if err := conn.Show(cmd, "", nil, "%s\n", text); err != nil {
				return err
			}
			n := 0
			const header = "WAVE DEVICES HAVE-IT SITES"
			err = console.List(conn, cmd, "wave", p.Waves, header, func(w client.WavePreview) []string {
				n++
				return []string{strconv.Itoa(n), strconv.Itoa(w.Devices), strconv.Itoa(w.Had), console.CountsText(w.Sites)}
			})
			if err != nil || len(p.Sites) == 0 {
				return err
			}
			return sitePlans(conn, cmd, p.Sites)
		})}
}

// count is a number, "" for none.
func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func rolloutList(conn *console.Flags) *cobra.Command {
	var f client.Filter
	var active bool
	cmd := &cobra.Command{Use: "list", Short: "List rollouts", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			if active {
				f.Active = "true"
			}
			items, err := console.Collect(c.Rollouts.List(cmd.Context(), f))
			if err != nil {
				return err
			}
			japanese := terminal.Japanese(os.Getenv)
			const header = "ROLLOUT STATE SINCE BRINGS WAVES DEVICES WHY"
			return console.List(conn, cmd, "rollout", items, header, func(r client.Rollout) []string {
				return []string{r.ID, rolloutWord(r.State, japanese), console.When(r.Since), r.Ask.Release + r.Ask.Load +
					r.Links.Undoes, fmt.Sprintf("%d/%d", r.Open, len(r.Plan.Waves)), standText(r.Counts, japanese), r.Why}
			})
		})}
	cmd.Flags().StringVar(&f.State, "state", "", "rollouts in this state")
	strict.Values(cmd, "state", "draft", "awaiting-approval", "scheduled", "running", "paused", "finished", "aborted",
		"rolled-back")
	cmd.Flags().BoolVar(&active, "active", false, "rollouts that hold their devices")
	console.SiteFlag(cmd, &f.Site, "rollouts that have a device of this site; a draft has none yet")
	return cmd
}

func rolloutStatus(conn *console.Flags) *cobra.Command {
	watch := false
	cmd := &cobra.Command{Use: "status ROLLOUT", Short: "Say how a rollout goes", Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			if watch {
				return watchRollout(conn, cmd, c, args[0])
			}
			r, err := c.Rollout(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return showRollout(conn, cmd, r)
		})}
	cmd.Flags().BoolVar(&watch, "watch", false, "wait, and show what changes, until it pauses or ends")
	return cmd
}

// showRollout prints a rollout, wave by wave.
func showRollout(conn *console.Flags, cmd *cobra.Command, r client.Rollout) error {
	japanese := terminal.Japanese(os.Getenv)
	text := rolloutText(r, japanese) + "\n"
	for _, why := range slices.Sorted(maps.Keys(r.Reasons)) {
		text += terminal.Printable(fmt.Sprintf("%s: %d\n", why, r.Reasons[why]))
	}
	if r.Checked != nil {
		text += fmt.Sprintf("%s: %s\n", console.When(r.Checked.At), terminal.Printable(r.Checked.Answer))
	}
	if err := conn.Show(cmd, "rollout", r, "%s", text); err != nil || conn.JSON || len(r.Waves) == 0 {
		return err
	}
	n := 0
	return console.List(conn, cmd, "wave", r.Waves, "WAVE OPENED DEVICES", func(w client.RolloutCounts) []string {
		n++
		return []string{strconv.Itoa(n), console.When(w.Opened), standText(w.Standings, japanese)}
	})
}

// watchRollout prints how a rollout goes whenever that changes, until it waits for
// a person or has ended.
func watchRollout(conn *console.Flags, cmd *cobra.Command, c *console.Connection, id string) error {
	return console.Watch(conn, cmd, "rollout", func() (r client.Rollout, text string, over bool, err error) {
		r, err = c.Rollout(cmd.Context(), id)
		return r, rolloutText(r, terminal.Japanese(os.Getenv)), r.State != "scheduled" && r.State != "running", err
	})
}

func rolloutDevices(conn *console.Flags) *cobra.Command {
	var f client.Filter
	cmd := &cobra.Command{Use: "devices ROLLOUT", Short: "Say how the devices of a rollout stand",
		Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			items, err := console.Collect(c.RolloutDevices(args[0]).List(cmd.Context(), f))
			if err != nil {
				return err
			}
			japanese := terminal.Japanese(os.Getenv)
			return console.List(conn, cmd, "rollout_device", items, "DEVICE SITE WAVE STANDING SINCE TRY LOAD REASON",
				func(d client.RolloutDevice) []string {
					return []string{d.Device, d.Site, strconv.Itoa(d.Wave + 1), rolloutWord(d.Standing, japanese),
						console.When(d.Since), strconv.Itoa(d.Try), d.Load, d.Reason}
				})
		})}
	cmd.Flags().StringVar(&f.Standing, "standing", "", "devices that stand so")
	strict.Values(cmd, "standing", "waiting", "granted", "began", "done", "had", "failed", "skipped", "silent")
	console.SiteFlag(cmd, &f.Site, "devices of this site")
	return cmd
}

// orderFlags are those of an order to a rollout.
type orderFlags struct {
	console.Consent
	order client.RolloutOrder
	watch bool
}

// rolloutOrder is the command of an order. What makes devices do something asks.
func rolloutOrder(conn *console.Flags, f *orderFlags, verb, use, short string, asks bool) *cobra.Command {
	cmd := &cobra.Command{Use: verb + " ROLLOUT" + use, Short: short, Args: cobra.ExactArgs(1)}
	cmd.RunE = conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
		f.order.Devices = append(f.order.Devices, args[1:]...)
		if f.Dry || asks {
			ok, err := f.Agreed(conn, cmd, func() (any, client.Reach, error) {
				would, err := c.OrderRollout(cmd.Context(), args[0], verb, f.order, c.IfVersion, true)
				return would, would.Reach, err
			})
			if err != nil || !ok {
				return err
			}
		}
		done, err := c.OrderRollout(cmd.Context(), args[0], verb, f.order, c.IfVersion, false)
		if err != nil {
			return err
		}
		japanese := terminal.Japanese(os.Getenv)
		text := rolloutText(done.Rollout, japanese) + "\n"
		if done.Other != nil {
			text += rolloutText(*done.Other, japanese) + "\n"
		}
		if err := conn.Show(cmd, "rollout_"+strings.ReplaceAll(verb, "-", "_"), done, "%s", text); err != nil || !f.watch {
			return err
		}
		id := args[0]
		if done.Other != nil {
			id = done.Other.ID
		}
		return watchRollout(conn, cmd, c, id)
	})
	f.Consent.Add(cmd)
	cmd.Flags().BoolVar(&f.watch, "watch", false, "wait, and show what changes, until it pauses or ends")
	return cmd
}

func rolloutStart(conn *console.Flags) *cobra.Command {
	cmd := rolloutOrder(conn, &orderFlags{}, "start", "", "Start a draft: list its devices, and begin when it is time",
		true)
	cmd.Example = "  peerload-server rollout start 9.4-west --dry-run\n" +
		"  peerload-server rollout start 9.4-west --yes --watch"
	return cmd
}

func rolloutApprove(conn *console.Flags) *cobra.Command {
	return rolloutOrder(conn, &orderFlags{}, "approve", "", "Approve a plan that somebody else has made", false)
}

func rolloutNext(conn *console.Flags) *cobra.Command {
	return rolloutOrder(conn, &orderFlags{}, "next", "", "Open the next wave now", true)
}

func rolloutPause(conn *console.Flags) *cobra.Command {
	f := &orderFlags{}
	cmd := rolloutOrder(conn, f, "pause", "", "Hand out nothing new", false)
	cmd.Flags().StringVar(&f.order.Why, "why", "", "for people")
	return cmd
}

func rolloutResume(conn *console.Flags) *cobra.Command {
	return rolloutOrder(conn, &orderFlags{}, "resume", "", "Go on; devices that have failed up to now pause it no more",
		true)
}

func rolloutAbort(conn *console.Flags) *cobra.Command {
	f := &orderFlags{}
	cmd := rolloutOrder(conn, f, "abort", "", "End it; what was done stays", false)
	cmd.Flags().StringVar(&f.order.Why, "why", "", "for people")
	return cmd
}

func rolloutBack(conn *console.Flags) *cobra.Command {
	f, p := &orderFlags{}, &draft.Flags{}
	cmd := rolloutOrder(conn, f, "roll-back", "", "End it, and start a rollout that takes its devices back", true)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if f.order.Plan, err = p.Plan(cmd, &client.RolloutPlan{LeaveOut: true}); err != nil {
			return err
		}
		return run(cmd, args)
	}
	cmd.Flags().StringVar(&f.order.ID, "id", "",
		"the id of that rollout; default: the id of this one with -back behind it")
	p.AddPlan(cmd)
	return cmd
}

func rolloutReplace(conn *console.Flags) *cobra.Command {
	f := &orderFlags{}
	cmd := rolloutOrder(conn, f, "replace", " --from LOAD --to LOAD",
		"Replace a load by another one while the rollout is paused", true)
	cmd.Flags().StringVar(&f.order.From, "from", "", "the load to replace")
	cmd.Flags().StringVar(&f.order.To, "to", "", "the load that takes its place")
	return cmd
}

func rolloutRetry(conn *console.Flags) *cobra.Command {
	f := &orderFlags{}
	cmd := rolloutOrder(conn, f, "retry", " [DEVICE...]", "Try devices again; without a name all that have failed", true)
	cmd.Args = cobra.MinimumNArgs(1)
	cmd.Flags().StringVar(&f.order.Reason, "reason", "", "only those that failed for this reason")
	return cmd
}

func rolloutSkip(conn *console.Flags) *cobra.Command {
	cmd := rolloutOrder(conn, &orderFlags{}, "skip", " DEVICE...", "Wait for these devices no longer", true)
	cmd.Args = cobra.MinimumNArgs(2)
	return cmd
}

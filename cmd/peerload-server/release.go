package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/rollouts/draft"
	"github.com/peerload/peerload/internal/terminal"
)

func releaseCommand() *cobra.Command {
	return group("release", "Releases: one name for the loads of several models", func(conn *connFlags) []*cobra.Command {
		return []*cobra.Command{releaseList(conn), releaseShow(conn), releaseAdd(conn), releaseSet(conn),
			releaseAssign(conn), loadRollBack(conn),
			remover(conn, "delete RELEASE", "Remove a release that is assigned nowhere; its loads stay", "release_deleted",
				func(ctx context.Context, c *connection, name string) error {
					return c.Releases.Delete(ctx, name, c.ifVersion)
				})}
	})
}

func releaseList(conn *connFlags) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List releases", Args: cobra.NoArgs,
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
			items, err := collect(c.Releases.List(cmd.Context(), client.Filter{}))
			if err != nil {
				return err
			}
			return list(conn, cmd, "release", items, "RELEASE LOADS NOTE", func(r client.Release) []string {
				return []string{r.Name, strings.Join(r.Loads, ","), r.Note}
			})
		})}
}

func releaseShow(conn *connFlags) *cobra.Command {
	return &cobra.Command{Use: "show RELEASE", Short: "Show a release and its loads", Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			r, err := c.Releases.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := showRelease(conn, cmd, "release", "", r); err != nil || conn.json {
				return err
			}
			var loads []client.Load
			for _, name := range r.Loads {
				l, err := c.Load(cmd.Context(), name)
				if err != nil {
					return err
				}
				loads = append(loads, l)
			}
			return printLoads(conn, cmd, loads)
		})}
}

func showRelease(conn *connFlags, cmd *cobra.Command, event, did string, r client.Release) error {
	return conn.show(cmd, event, r, "%s%s: version %d, loads %s  %s\n", terminal.Printable(r.Name), did, r.Version,
		terminal.Printable(strings.Join(r.Loads, ", ")), terminal.Printable(r.Note))
}

func releaseFlags(cmd *cobra.Command) {
	cmd.Flags().StringSlice("load", nil, "its loads, repeated or with commas; each is for other models than the others")
	cmd.Flags().String("note", "", "for people")
}

// releaseChange reads the flags.
func releaseChange(cmd *cobra.Command) (client.ReleaseChange, error) {
	change := client.ReleaseChange{Note: optional(cmd, "note")}
	if !given(cmd, "load") {
		return change, nil
	}
	loads, err := cmd.Flags().GetStringSlice("load")
	change.Loads = &loads
	return change, err
}

func releaseAdd(conn *connFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "add RELEASE [--load LOAD,...]", Short: "Make a release", Args: cobra.ExactArgs(1),
		Long: `Make a release: one name for the loads of several models. Without --load it has
all loads whose version is its name.`,
		Example: "  peerload-server release add '9.4(2)' --load SIP41.9-4-2,SIP75.9-4-2",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			change, err := releaseChange(cmd)
			if err != nil {
				return err
			}
			r, err := c.Releases.Create(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			return showRelease(conn, cmd, "release_added", " added", r)
		})}
	releaseFlags(cmd)
	return cmd
}

func releaseSet(conn *connFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "set RELEASE", Short: "Change a release; its loads stay while it is assigned",
		Args: cobra.ExactArgs(1), Example: "  peerload-server release set '9.4(2)' --note 'Fixes the clock'",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			if !given(cmd, "load", "note") {
				return errors.New("say what to change: --load or --note")
			}
			change, err := releaseChange(cmd)
			if err != nil {
				return err
			}
			r, err := c.Releases.Update(cmd.Context(), args[0], change, c.ifVersion)
			if err != nil {
				return err
			}
			return showRelease(conn, cmd, "release_changed", " changed", r)
		})}
	releaseFlags(cmd)
	return cmd
}

func releaseAssign(conn *connFlags) *cobra.Command {
	var t levelTarget
	var a consent
	cmd := &cobra.Command{Use: "assign RELEASE --enterprise | --model M | --profile P | --device D | --site S",
		Short: `Assign a release at one level: each device gets the load that is for its model; "" assigns none`,
		Args:  cobra.ExactArgs(1), Example: "  peerload-server release assign '9.4(2)' --profile lobby",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			return assign(&a, conn, cmd, c, &t, client.Order{Release: &args[0]}, func() (client.Assigned, error) {
				return c.AssignRelease(cmd.Context(), t.target(), args[0], c.ifVersion)
			})
		})}
	t.flags(cmd)
	a.flags(cmd)
	return cmd
}

func rolloutCommand() *cobra.Command {
	return group("rollout", "Rollouts: bring a release to many devices step by step",
		func(conn *connFlags) []*cobra.Command {
			return []*cobra.Command{rolloutCreate(conn), rolloutSet(conn), rolloutPlan(conn), rolloutList(conn),
				rolloutStatus(conn), rolloutDevices(conn), rolloutStart(conn), rolloutApprove(conn), rolloutNext(conn),
				rolloutPause(conn), rolloutResume(conn), rolloutAbort(conn), rolloutBack(conn), rolloutReplace(conn),
				rolloutRetry(conn), rolloutSkip(conn)}
		})
}

func rolloutCreate(conn *connFlags) *cobra.Command {
	f := &draft.Flags{}
	cmd := &cobra.Command{Use: "create ROLLOUT --release RELEASE | --load LOAD",
		Short: "Make a draft; no device is touched", Args: cobra.ExactArgs(1),
		Long: `Make a draft of a rollout: which load or release, to which devices, in which
waves. No device is touched before it is started. "rollout plan" says what it
would do, "rollout set" changes it.`,
		Example: "  peerload-server rollout create 9.4-west --release '9.4(2)' --site Kyoto \\\n" +
			"      --wave 'devices:SEP001122334455 soak=1h' --wave '20% soak=4h success=95' --window 22:00-05:00",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
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

func rolloutSet(conn *connFlags) *cobra.Command {
	f := &draft.Flags{}
	cmd := &cobra.Command{Use: "set ROLLOUT", Short: "Change a draft; what is not given stays", Args: cobra.ExactArgs(1),
		Example: "  peerload-server rollout set 9.4-west --max-failed 3 --approval",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
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
			v := c.ifVersion
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

func showDraft(conn *connFlags, cmd *cobra.Command, event string, r client.RolloutDraft) error {
	text := rolloutText(r.Rollout, terminal.Japanese(os.Getenv)) + "\n"
	if r.CheckSecret != "" {
		text += "the secret of the external check, shown once: " + r.CheckSecret + "\n"
	}
	return conn.show(cmd, event, r, "%s", text)
}

// rolloutWords are the words of rollouts in Japanese.
var rolloutWords = map[string]string{"draft": "下書き", "awaiting-approval": "承認待ち", "scheduled": "予定", "running": "実行中",
	"paused": "一時停止", "finished": "完了", "aborted": "中止", "rolled-back": "ロールバック", "waiting": "待機", "granted": "許可済み",
	"began": "開始済み", "done": "完了", "had": "適用済み", "failed": "失敗", "skipped": "除外", "silent": "応答なし"}

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
		text = fmt.Sprintf("%s: %s、バージョン %d、%s。段階 %d/%d。機器: %s%s", r.ID, rolloutWord(r.State, true), r.Version, brings,
			r.Open, waves, terminal.OrNone(counts), why)
	}
	return terminal.Printable(text)
}

func rolloutPlan(conn *connFlags) *cobra.Command {
	return &cobra.Command{Use: "plan ROLLOUT", Short: "Say what a draft would do if it were started now",
		Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			p, err := c.PlanRollout(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if conn.json {
				return conn.show(cmd, "rollout_plan", p, "")
			}
			japanese := terminal.Japanese(os.Getenv)
			text := reachText(p.Reach, japanese)
			for _, line := range []struct{ en, ja, of string }{
				{"run it already: %s", "適用済み: %s", count(p.Had)}, {"left out: %s", "対象外: %s", countsText(p.LeftOut)},
				{"it would be refused: %s", "開始できません: %s", p.Refused}} {
				if line.of != "" {
					words := map[bool]string{false: line.en, true: line.ja}[japanese]
					text += "\n" + fmt.Sprintf(words, terminal.Printable(line.of))
				}
			}
			if err := conn.show(cmd, "", nil, "%s\n", text); err != nil {
				return err
			}
			n := 0
			return list(conn, cmd, "wave", p.Waves, "WAVE DEVICES HAVE-IT SITES", func(w client.WavePreview) []string {
				n++
				return []string{strconv.Itoa(n), strconv.Itoa(w.Devices), strconv.Itoa(w.Had), countsText(w.Sites)}
			})
		})}
}

// count is a number, "" for none.
func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func rolloutList(conn *connFlags) *cobra.Command {
	var f client.Filter
	var active bool
	cmd := &cobra.Command{Use: "list", Short: "List rollouts", Args: cobra.NoArgs,
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
			if active {
				f.Active = "true"
			}
			items, err := collect(c.Rollouts.List(cmd.Context(), f))
			if err != nil {
				return err
			}
			japanese := terminal.Japanese(os.Getenv)
			const header = "ROLLOUT STATE SINCE BRINGS WAVES DEVICES WHY"
			return list(conn, cmd, "rollout", items, header, func(r client.Rollout) []string {
				return []string{r.ID, rolloutWord(r.State, japanese), when(r.Since), r.Ask.Release + r.Ask.Load + r.Links.Undoes,
					fmt.Sprintf("%d/%d", r.Open, len(r.Plan.Waves)), standText(r.Counts, japanese), r.Why}
			})
		})}
	cmd.Flags().StringVar(&f.State, "state", "", "rollouts in this state")
	strict.Values(cmd, "state", "draft", "awaiting-approval", "scheduled", "running", "paused", "finished", "aborted",
		"rolled-back")
	cmd.Flags().BoolVar(&active, "active", false, "rollouts that hold their devices")
	return cmd
}

func rolloutStatus(conn *connFlags) *cobra.Command {
	watch := false
	cmd := &cobra.Command{Use: "status ROLLOUT", Short: "Say how a rollout goes", Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
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
func showRollout(conn *connFlags, cmd *cobra.Command, r client.Rollout) error {
	japanese := terminal.Japanese(os.Getenv)
	text := rolloutText(r, japanese) + "\n"
	for _, why := range slices.Sorted(maps.Keys(r.Reasons)) {
		text += terminal.Printable(fmt.Sprintf("%s: %d\n", why, r.Reasons[why]))
	}
	if r.Checked != nil {
		text += fmt.Sprintf("%s: %s\n", when(r.Checked.At), terminal.Printable(r.Checked.Answer))
	}
	if err := conn.show(cmd, "rollout", r, "%s", text); err != nil || conn.json || len(r.Waves) == 0 {
		return err
	}
	n := 0
	return list(conn, cmd, "wave", r.Waves, "WAVE OPENED DEVICES", func(w client.RolloutCounts) []string {
		n++
		return []string{strconv.Itoa(n), when(w.Opened), standText(w.Standings, japanese)}
	})
}

// watchRollout prints how a rollout goes whenever that changes, until it waits for
// a person or has ended.
func watchRollout(conn *connFlags, cmd *cobra.Command, c *connection, id string) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	said := ""
	for {
		r, err := c.Rollout(cmd.Context(), id)
		if err != nil {
			return err
		}
		if text := rolloutText(r, terminal.Japanese(os.Getenv)); text != said {
			said = text
			if err := conn.show(cmd, "rollout", r, "%s\n", text); err != nil {
				return err
			}
		}
		if r.State != "scheduled" && r.State != "running" {
			return nil
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-tick.C:
		}
	}
}

func rolloutDevices(conn *connFlags) *cobra.Command {
	var f client.Filter
	cmd := &cobra.Command{Use: "devices ROLLOUT", Short: "Say how the devices of a rollout stand",
		Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			items, err := collect(c.RolloutDevices(args[0]).List(cmd.Context(), f))
			if err != nil {
				return err
			}
			japanese := terminal.Japanese(os.Getenv)
			return list(conn, cmd, "rollout_device", items, "DEVICE SITE WAVE STANDING SINCE TRY LOAD REASON",
				func(d client.RolloutDevice) []string {
					return []string{d.Device, d.Site, strconv.Itoa(d.Wave + 1), rolloutWord(d.Standing, japanese), when(d.Since),
						strconv.Itoa(d.Try), d.Load, d.Reason}
				})
		})}
	cmd.Flags().StringVar(&f.Standing, "standing", "", "devices that stand so")
	strict.Values(cmd, "standing", "waiting", "granted", "began", "done", "had", "failed", "skipped", "silent")
	siteFlag(cmd, &f.Site, "devices of this site")
	return cmd
}

// orderFlags are those of an order to a rollout.
type orderFlags struct {
	consent
	order client.RolloutOrder
	watch bool
}

// rolloutOrder is the command of an order. What makes devices do something asks.
func rolloutOrder(conn *connFlags, f *orderFlags, verb, use, short string, asks bool) *cobra.Command {
	cmd := &cobra.Command{Use: verb + " ROLLOUT" + use, Short: short, Args: cobra.ExactArgs(1)}
	cmd.RunE = conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
		f.order.Devices = append(f.order.Devices, args[1:]...)
		if f.dry || asks && !f.yes {
			would, err := c.OrderRollout(cmd.Context(), args[0], verb, f.order, c.ifVersion, true)
			if err != nil {
				return err
			}
			if f.dry {
				return conn.show(cmd, "dry_run", would, "%s\n", reachText(would.Reach, terminal.Japanese(os.Getenv)))
			}
			if ok, err := confirm(cmd, would.Reach); err != nil || !ok {
				return err
			}
		}
		done, err := c.OrderRollout(cmd.Context(), args[0], verb, f.order, c.ifVersion, false)
		if err != nil {
			return err
		}
		japanese := terminal.Japanese(os.Getenv)
		text := rolloutText(done.Rollout, japanese) + "\n"
		if done.Other != nil {
			text += rolloutText(*done.Other, japanese) + "\n"
		}
		if err := conn.show(cmd, "rollout_"+strings.ReplaceAll(verb, "-", "_"), done, "%s", text); err != nil || !f.watch {
			return err
		}
		id := args[0]
		if done.Other != nil {
			id = done.Other.ID
		}
		return watchRollout(conn, cmd, c, id)
	})
	f.consent.flags(cmd)
	cmd.Flags().BoolVar(&f.watch, "watch", false, "wait, and show what changes, until it pauses or ends")
	return cmd
}

func rolloutStart(conn *connFlags) *cobra.Command {
	cmd := rolloutOrder(conn, &orderFlags{}, "start", "", "Start a draft: list its devices, and begin when it is time",
		true)
	cmd.Example = "  peerload-server rollout start 9.4-west --dry-run\n" +
		"  peerload-server rollout start 9.4-west --yes --watch"
	return cmd
}

func rolloutApprove(conn *connFlags) *cobra.Command {
	return rolloutOrder(conn, &orderFlags{}, "approve", "", "Approve a plan that somebody else has made", false)
}

func rolloutNext(conn *connFlags) *cobra.Command {
	return rolloutOrder(conn, &orderFlags{}, "next", "", "Open the next wave now", true)
}

func rolloutPause(conn *connFlags) *cobra.Command {
	f := &orderFlags{}
	cmd := rolloutOrder(conn, f, "pause", "", "Hand out nothing new", false)
	cmd.Flags().StringVar(&f.order.Why, "why", "", "for people")
	return cmd
}

func rolloutResume(conn *connFlags) *cobra.Command {
	return rolloutOrder(conn, &orderFlags{}, "resume", "", "Go on; devices that have failed up to now pause it no more",
		true)
}

func rolloutAbort(conn *connFlags) *cobra.Command {
	f := &orderFlags{}
	cmd := rolloutOrder(conn, f, "abort", "", "End it; what was done stays", false)
	cmd.Flags().StringVar(&f.order.Why, "why", "", "for people")
	return cmd
}

func rolloutBack(conn *connFlags) *cobra.Command {
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

func rolloutReplace(conn *connFlags) *cobra.Command {
	f := &orderFlags{}
	cmd := rolloutOrder(conn, f, "replace", " --from LOAD --to LOAD",
		"Replace a load by another one while the rollout is paused", true)
	cmd.Flags().StringVar(&f.order.From, "from", "", "the load to replace")
	cmd.Flags().StringVar(&f.order.To, "to", "", "the load that takes its place")
	return cmd
}

func rolloutRetry(conn *connFlags) *cobra.Command {
	f := &orderFlags{}
	cmd := rolloutOrder(conn, f, "retry", " [DEVICE...]", "Try devices again; without a name all that have failed", true)
	cmd.Args = cobra.MinimumNArgs(1)
	cmd.Flags().StringVar(&f.order.Reason, "reason", "", "only those that failed for this reason")
	return cmd
}

func rolloutSkip(conn *connFlags) *cobra.Command {
	cmd := rolloutOrder(conn, &orderFlags{}, "skip", " DEVICE...", "Wait for these devices no longer", true)
	cmd.Args = cobra.MinimumNArgs(2)
	return cmd
}

func bulkTemplate(conn *connFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "template", Short: "Templates: values for the devices of a table that says nothing else"}
	var note string
	set := &cobra.Command{Use: "set TEMPLATE NAME=VALUE...", Short: "Make a template, or replace it",
		Args:    cobra.MinimumNArgs(2),
		Example: "  peerload-server bulk template set branch model=7961 profile=Branch peer-sharing=on",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			change, err := assignments(args[1:])
			if err != nil {
				return err
			}
			t, err := c.PutTemplate(cmd.Context(), args[0], note, change)
			if err != nil {
				return err
			}
			return conn.show(cmd, "template_set", t, "%s set: version %d\n", terminal.Printable(t.Name), t.Version)
		})}
	set.Flags().StringVar(&note, "note", "", "for people")
	all := &cobra.Command{Use: "list", Short: "List templates", Args: cobra.NoArgs,
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
			items, err := collect(c.Templates.List(cmd.Context(), client.Filter{}))
			if err != nil {
				return err
			}
			return list(conn, cmd, "template", items, "TEMPLATE SAYS NOTE", func(t client.Template) []string {
				says := ""
				for _, f := range []struct {
					name  string
					value *string
				}{{"model", t.Change.Model}, {"profile", t.Change.Profile}, {"site", t.Change.Site},
					{"description", t.Change.Description}, {"load", t.Change.Load}, {"release", t.Change.Release}} {
					if f.value != nil {
						says += f.name + "=" + *f.value + " "
					}
				}
				says = strings.TrimSpace(says + settingsText(t.Change.Settings.Set))
				for _, name := range t.Change.Settings.Unset {
					says += " " + name + "=-"
				}
				return []string{t.Name, says, t.Note}
			})
		})}
	cmd.AddCommand(set, all, remover(conn, "delete TEMPLATE",
		"Remove a template; jobs that used it stay", "template_deleted",
		func(ctx context.Context, c *connection, name string) error { return c.DeleteTemplate(ctx, name) }))
	return cmd
}

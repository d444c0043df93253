package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/terminal"
)

func orderCommand() *cobra.Command {
	return group("order", "Orders: what devices do at once, and how they answer",
		func(conn *console.Flags) []*cobra.Command {
			return []*cobra.Command{orderSend(conn), orderList(conn), orderShow(conn), orderCancel(conn), orderKey(conn)}
		})
}

// sendFlags are those of "order send".
type sendFlags struct {
	console.Consent
	order client.OrderRequest
	at    string
	life  time.Duration
	watch bool
	// silent is for how long a device must have been silent, 0 for all.
	silent console.Age
}

func (f *sendFlags) flags(cmd *cobra.Command) {
	f.Consent.Add(cmd)
	s := cmd.Flags()
	s.StringSliceVar(&f.order.Devices, "device", nil, "these devices, repeated or with commas")
	s.StringVar(&f.order.Site, "site", "", "devices that belong to this site")
	s.StringVar(&f.order.Model, "model", "", "devices of this model")
	s.StringVar(&f.order.Profile, "profile", "", "devices of this profile")
	s.StringVar(&f.order.State, "state", "", "devices in this state, as last reported")
	s.StringVar(&f.order.Active, "active", "", "devices that run this load, as last reported")
	s.StringVar(&f.order.Text, "text", "", "devices with this in their name or description")
	s.BoolVar(&f.order.Failed, "failed", false, "devices that tell of a failure")
	s.Var(&f.silent, "silent", "devices that have not reported for so long, such as 1d or 90m")
	s.StringVar(&f.order.Rollout, "rollout", "", "devices of this rollout")
	s.IntVar(&f.order.Wave, "wave", 0, "devices of this wave of --rollout, from 1; default: of all waves")
	s.BoolVar(&f.order.All, "all", false, "all devices")
	s.StringVar(&f.at, "at", "", "moment of reset-together: a time such as 2026-03-01T22:00:00+09:00, or from now, "+
		"such as 5m; default: in half a minute")
	s.DurationVar(&f.life, "expires", time.Hour, "for how long it is sent to devices that do not answer; at most a week")
	s.IntVar(&f.order.Lines, "lines", 0, "lines of collect-log, 1 to 1000; default: 200")
	s.BoolVar(&f.watch, "watch", false, "wait, and show how devices answer")
}

// request is the order that the flags ask for.
func (f *sendFlags) request(cmd *cobra.Command, kind string) (client.OrderRequest, error) {
	o := f.order
	o.Kind = kind
	if f.life < time.Second {
		return o, errors.New("--expires is 1s or longer")
	}
	o.LifeS = int64(f.life / time.Second)
	o.SilentS = int64(time.Duration(f.silent) / time.Second)
	if console.Given(cmd, "lines") && o.Lines < 1 {
		return o, errors.New("--lines is 1 to 1000")
	}
	if console.Given(cmd, "wave") && (o.Wave < 1 || o.Rollout == "") {
		return o, errors.New("--wave is 1 or more, and --rollout says of which rollout")
	}
	var err error
	o.At, err = console.Moment(f.at)
	return o, err
}

func orderSend(conn *console.Flags) *cobra.Command {
	f := &sendFlags{}
	cmd := &cobra.Command{Use: "send KIND", Short: "Tell devices to do something now", Args: cobra.ExactArgs(1),
		ValidArgs: order.Words(),
		Long: `Tell devices to do something now. KIND is one of:

  check-in         ask how it is provisioned, and report
  update-settings  ask how it is provisioned
  retry            forget that loads have failed, and check in
  forget-failure   forget that loads have failed; the next check-in tries them
  restart          restart the device
  reset-together   restart at one moment, so that devices fetch together and share
  collect-log      send the last lines of the agent's log

A device gets its orders within seconds while its agent is connected, and else
when it is connected again, until the order expires. It carries each out once.`,
		Example: "  peerload-server order send check-in --site Kyoto --yes --watch\n" +
			"  peerload-server order send reset-together --model 7961 --at 5m --yes\n" +
			"  peerload-server order send retry --rollout spring --wave 1 --state failed --yes\n" +
			"  peerload-server order send collect-log --device SEP001122334455 --lines 500",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			o, err := f.request(cmd, args[0])
			if err != nil {
				return err
			}
			ok, err := f.Agreed(conn, cmd, func() (any, client.Reach, error) {
				would, err := c.SendOrder(cmd.Context(), o, true)
				return would, would.Reach, err
			})
			if err != nil || !ok {
				return err
			}
			sent, err := c.SendOrder(cmd.Context(), o, false)
			if err != nil {
				return err
			}
			err = conn.Show(cmd, "order_sent", sent, "order %s sent: %s; expires %s\n%s\n", sent.Order.ID, sent.Order.Kind,
				console.When(sent.Order.Expires), console.ReachText(sent.Reach, terminal.Japanese(os.Getenv)))
			if err != nil || !f.watch {
				return err
			}
			return watchOrder(conn, cmd, c, sent.Order.ID)
		})}
	f.flags(cmd)
	return cmd
}

// watchOrder shows how an order is answered, until nobody is waited for.
func watchOrder(conn *console.Flags, cmd *cobra.Command, c *console.Connection, id string) error {
	return console.Watch(conn, cmd, "order", func() (o client.OrderState, text string, over bool, err error) {
		o, err = c.Order(cmd.Context(), id)
		return o, standingsText(o, terminal.Japanese(os.Getenv)), o.Standings["waiting"] == 0, err
	})
}

// standingsText says in one line how many devices have which standing.
func standingsText(o client.OrderState, japanese bool) string {
	words := map[string]string{}
	if japanese {
		words = map[string]string{"waiting": "応答待ち", "expired": "期限切れ", "cancelled": "取り消し", "done": "完了",
			"failed": "失敗", "refused": "拒否", "unsupported": "未対応", "late": "間に合わず"}
	}
	var all []string
	for _, s := range slices.Sorted(maps.Keys(o.Standings)) {
		word := words[s]
		if word == "" {
			word = terminal.Printable(s)
		}
		all = append(all, fmt.Sprintf("%s %d", word, o.Standings[s]))
	}
	if japanese {
		return fmt.Sprintf("機器%d台: %s", o.Devices, strings.Join(all, "、"))
	}
	return fmt.Sprintf("of %d: %s", o.Devices, strings.Join(all, ", "))
}

func orderList(conn *console.Flags) *cobra.Command {
	var f client.Filter
	cmd := &cobra.Command{Use: "list", Short: "List orders that were sent, the oldest first", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Orders.List(cmd.Context(), f))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "order", items, "ORDER KIND BY SENT EXPIRES CANCELLED DEVICES WAITING DONE OTHER",
				func(o client.OrderState) []string {
					waiting, done := o.Standings["waiting"], o.Standings["done"]
					return []string{o.ID, o.Kind, o.By, console.When(o.Issued), console.When(o.Expires), console.When(o.Cancelled),
						fmt.Sprint(o.Devices), fmt.Sprint(waiting), fmt.Sprint(done), fmt.Sprint(o.Devices - waiting - done)}
				})
		})}
	cmd.Flags().BoolVar(&f.Open, "open", false, "leave out what has expired or was cancelled")
	console.SiteFlag(cmd, &f.Site, "orders that went to a device of this site")
	cmd.Flags().StringVar(&f.Kind, "kind", "", "orders of this kind")
	return cmd
}

func orderShow(conn *console.Flags) *cobra.Command {
	var f client.Filter
	var watch bool
	cmd := &cobra.Command{Use: "show ORDER", Short: "Show an order and how each device has answered",
		Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			if watch {
				if err := watchOrder(conn, cmd, c, args[0]); err != nil {
					return err
				}
			}
			o, err := c.Order(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			items, err := console.Collect(c.OrderDevices(args[0]).List(cmd.Context(), f))
			if err != nil {
				return err
			}
			if err := showOrder(conn, cmd, o); err != nil {
				return err
			}
			const header = "DEVICE SITE STANDING ANSWERED TEXT"
			err = console.List(conn, cmd, "order_device", items, header, func(d client.OrderDevice) []string {
				text := d.Text
				if len(items) == 1 {
					text = ""
				}
				return []string{d.Device, d.Site, d.Standing, console.When(d.Answered), begins(text)}
			})
			if err != nil || conn.JSON || len(items) != 1 {
				return err
			}
			for line := range strings.Lines(items[0].Text) { // of one device, all that it says
				fmt.Fprintln(cmd.OutOrStdout(), terminal.Printable(strings.TrimSuffix(line, "\n")))
			}
			return nil
		})}
	cmd.Flags().StringVar(&f.Standing, "standing", "",
		"devices that are waiting, expired, cancelled, done, failed, refused, unsupported or late")
	cmd.Flags().BoolVar(&watch, "watch", false, "wait until all have answered")
	return cmd
}

// begins is the beginning of a text that may have many lines.
func begins(text string) string {
	line, rest, _ := strings.Cut(text, "\n")
	if rest != "" {
		line += " …"
	}
	return line
}

func showOrder(conn *console.Flags, cmd *cobra.Command, o client.OrderState) error {
	return conn.Show(cmd, "order", o, "order      %s: %s\nsent       %s by %s\nexpires    %s\nmoment     %s\n"+
		"cancelled  %s\n%s\n", o.ID, terminal.Printable(o.Kind), console.When(o.Issued), terminal.Printable(o.By),
		console.When(o.Expires), console.When(o.Moment), console.When(o.Cancelled), standingsText(o,
			terminal.Japanese(os.Getenv)))
}

func orderCancel(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "cancel ORDER", Short: "Take an order back from devices that have not answered",
		Args: cobra.ExactArgs(1),
		Long: `Take an order back from devices that have not answered. A device that has got it
meanwhile may still carry it out; its answer is taken.`,
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			o, err := c.CancelOrder(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return showOrder(conn, cmd, o)
		})}
}

// orderKey shows or rotates the order key.
func orderKey(conn *console.Flags) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "The key that orders are signed with"}
	show := func(use, short, event string, do func(ctx context.Context, c *console.Connection) (client.OrderKey, error)) {
		cmd.AddCommand(&cobra.Command{Use: use, Short: short, Args: cobra.NoArgs,
			RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
				k, err := do(cmd.Context(), c)
				if err != nil {
					return err
				}
				return conn.Show(cmd, event, k, "order key version %d: Ed25519 %s\n", k.Version,
					base64.StdEncoding.EncodeToString(k.Public))
			})})
	}
	show("show", "Show the public half of the key in use", "order_key",
		func(ctx context.Context, c *console.Connection) (client.OrderKey, error) { return c.OrderKey(ctx) })
	show("rotate", "Make the next key; devices follow by what the one in use states", "order_key_rotated",
		func(ctx context.Context, c *console.Connection) (client.OrderKey, error) {
			return c.RotateOrderKey(ctx)
		})
	return cmd
}

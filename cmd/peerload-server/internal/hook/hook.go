// Package hook has the commands of webhooks.
//
// What lives here: their flags, and what people read. What must not: what is sent and
// when, which the controller does.
//
// Read Commands.
package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/terminal"
)

// ErrNotTaken ends "webhook test" after its result is printed.
var ErrNotTaken = errors.New("the receiver has not taken the message: check its address and certificate")

// Commands are those below "webhook".
func Commands(conn *console.Flags) []*cobra.Command {
	return []*cobra.Command{list(conn), add(conn), test(conn), messages(conn), retry(conn),
		console.Remover(conn, "remove NAME", "Remove a webhook and its messages", "webhook_removed",
			func(ctx context.Context, c *console.Connection, name string) error {
				return c.Webhooks.Delete(ctx, name, client.AnyVersion)
			})}
}

func list(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List webhooks, without their secrets", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Webhooks.List(cmd.Context(), client.Filter{}))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "webhook", items,
				"NAME URL EVENTS SENT WAITING DEAD DROPPED LAST-SENT LAST-ERROR", func(w client.Webhook) []string {
					return []string{w.Name, w.URL, strings.Join(w.Events, ","), fmt.Sprint(w.Sent), fmt.Sprint(w.Pending),
						fmt.Sprint(w.Dead), fmt.Sprint(w.Dropped), console.When(w.LastSent), w.LastError}
				})
		})}
}

func add(conn *console.Flags) *cobra.Command {
	var in client.NewWebhook
	cmd := &cobra.Command{Use: "add NAME URL",
		Short: "Have a URL told of failures and rollouts; its secret is printed once",
		Args:  cobra.ExactArgs(2),
		Long: `Have a URL told of failures and rollouts. Each message is signed with the secret
that is printed, once, and posted until the receiver answers with a status 2xx: eleven
times in a little more than a day. Then it is dead, which "webhook list" and "report
overview" tell.`,
		Example: "  peerload-server webhook add chat https://chat.example/hooks/peerload --event device.failed",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			in.URL = args[1]
			w, err := c.Webhooks.Create(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return conn.Show(cmd, "webhook_added", w, "%s\n", w.Secret)
		})}
	f := cmd.Flags()
	f.StringSliceVar(&in.Events, "event", nil, "device.failed or rollout.changed, or both, which is what none means")
	f.BoolVar(&in.AllowHTTP, "allow-http", false, "take an http URL: whoever is on the way can read the messages")
	strict.Values(cmd, "event", "device.failed", "rollout.changed")
	return cmd
}

func test(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "test NAME", Short: "Send a message at once, and say what came of it",
		Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			failure, err := c.TestWebhook(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out := struct {
				OK    bool   `json:"ok"`
				Error string `json:"error,omitempty"`
			}{failure == "", failure}
			if err := conn.Show(cmd, "webhook_tested", out, "%s\n", testText(args[0], failure,
				terminal.Japanese(os.Getenv))); err != nil || out.OK {
				return err
			}
			return ErrNotTaken
		})}
}

// testText says what came of a test.
func testText(name, failure string, japanese bool) string {
	name, failure = terminal.Printable(name), terminal.Printable(failure)
	switch {
	case failure == "" && japanese:
		return name + ": 受信側がメッセージを受け取りました"
	case failure == "":
		return name + ": the receiver has taken the message"
	case japanese:
		return name + ": 送信できません: " + failure
	}
	return name + ": not delivered: " + failure
}

func messages(conn *console.Flags) *cobra.Command {
	var f client.Filter
	cmd := &cobra.Command{Use: "messages NAME", Short: "Messages that wait or were given up, the oldest first",
		Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			items, err := console.Collect(c.WebhookMessages(args[0]).List(cmd.Context(), f))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "webhook_message", items, "MESSAGE EVENT AT STATE TRIES NEXT ERROR",
				func(m client.WebhookMessage) []string {
					return []string{m.ID, m.Event, console.When(m.At), m.State, fmt.Sprint(m.Tries), console.When(m.Next), m.Error}
				})
		})}
	cmd.Flags().StringVar(&f.State, "state", "", "pending or dead")
	strict.Values(cmd, "state", "pending", "dead")
	return cmd
}

func retry(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "retry NAME", Short: "Try the messages anew that were given up", Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			n, err := c.RetryWebhook(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return conn.Show(cmd, "webhook_retried", n, "%s\n", retryText(n, terminal.Japanese(os.Getenv)))
		})}
}

// retryText says how many messages are tried anew.
func retryText(n int, japanese bool) string {
	switch {
	case japanese:
		return fmt.Sprintf("%d 件のメッセージを再送します", n)
	}
	return wording.Fill("%d {message is|messages are} tried anew", n)
}

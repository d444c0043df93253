package summary

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/terminal"
)

// Overview is the command "report overview".
func Overview(conn *console.Flags) *cobra.Command {
	var silent time.Duration
	var site string
	cmd := &cobra.Command{Use: "overview", Short: "Count devices, states and bytes", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			o, err := c.Overview(cmd.Context(), site, silent)
			if err != nil {
				return err
			}
			if conn.JSON {
				return conn.Show(cmd, "overview", o, "")
			}
			return console.PrintLines(cmd.OutOrStdout(), "%s", overviewText(o, silent, terminal.Japanese(os.Getenv)))
		})}
	console.SiteFlag(cmd, &site, "count the devices of this site only")
	cmd.Flags().DurationVar(&silent, "silent", time.Hour, "after which time a device counts as silent")
	return cmd
}

// overviewText says in words what was counted.
func overviewText(o client.Overview, silent time.Duration, japanese bool) string {
	var b strings.Builder
	if japanese {
		fmt.Fprintf(&b, "機器 %d 台、%s 以上応答なし %d 台、指定のロードで動いていない機器 %d 台\n", o.Devices,
			parse.Duration(silent), o.Silent, o.Pending)
	} else {
		fmt.Fprintf(&b, "%s, %d silent for %s, %d not on the load assigned\n", some(o.Devices, "device"), o.Silent,
			parse.Duration(silent), o.Pending)
	}
	for _, part := range []struct {
		what, ja string
		n        map[string]int
	}{{"state", "状態", o.ByState}, {"model", "モデル", o.ByModel}, {"runs", "動作中", o.ByActive},
		{"role", "役割", o.ByRole},
		{"site", "サイト", o.BySite}} {
		what := fmt.Sprintf("%-6s", part.what)
		if japanese {
			what = part.ja + strings.Repeat(" ", max(0, 6-2*len([]rune(part.ja))))
		}
		for _, k := range slices.Sorted(maps.Keys(part.n)) {
			fmt.Fprintf(&b, "%s %6d  %s\n", what, part.n[k], terminal.Printable(k))
		}
	}
	t := o.Traffic
	from, peers := terminal.Bytes(t.FromOrigin), terminal.Bytes(t.FromPeers)
	held, sent := terminal.Bytes(t.FromCache), terminal.Bytes(t.ToPeers)
	const list = "\"peerload-server webhook list\""
	switch {
	case japanese && o.DeadMessages > 0:
		fmt.Fprintf(&b, "Webhook のメッセージ %d 件の配信をあきらめました。理由: %s\n", o.DeadMessages, list)
	case o.DeadMessages > 0:
		b.WriteString(wording.Fill("%d {message of a webhook was|messages of webhooks were} given up: %s says why\n",
			o.DeadMessages, list))
	}
	if japanese {
		fmt.Fprintf(&b, "通信量: サーバから %s、ピアから %s、保持済み %s、ピアへ %s\n", from, peers, held, sent)
	} else {
		fmt.Fprintf(&b, "traffic: %s from the server, %s from peers, %s held before, %s sent to peers\n", from, peers, held,
			sent)
	}
	return b.String()
}

// some is a number of things.
func some(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

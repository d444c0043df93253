package console

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/terminal"
)

// Remover is a command that removes or ends one thing.
func Remover(conn *Flags, use, short, event string,
	remove func(ctx context.Context, c *Connection, name string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *Connection) error {
			if err := remove(cmd.Context(), c, args[0]); err != nil {
				return err
			}
			return conn.Show(cmd, event, args[0], "%s: done\n", terminal.Printable(args[0]))
		})}
}

// SiteFlag narrows a list to the devices of a site.
func SiteFlag(cmd *cobra.Command, site *string, what string) {
	cmd.Flags().StringVar(site, "site", "", what)
}

// ReadInput reads a file of at most most bytes, "-" for the standard input.
func ReadInput(cmd *cobra.Command, path string, most int64) ([]byte, error) {
	from := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return b, err
}

// watchEvery is how often --watch looks.
const watchEvery = time.Second

// Watch shows one thing whenever the text about it changes, until it is over.
func Watch[T any](conn *Flags, cmd *cobra.Command, event string,
	look func() (item T, text string, over bool, err error)) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	said := ""
	for {
		item, text, over, err := look()
		if err != nil {
			return err
		}
		if text != said {
			said = text
			if err := conn.Show(cmd, event, item, "%s\n", text); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-tick.C:
		}
	}
}

// Moment reads what --at says: a time, or how long from now it is; none for "".
func Moment(text string) (at time.Time, err error) {
	if text == "" {
		return at, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(d), nil
	}
	if at, err = time.Parse(time.RFC3339, text); err != nil {
		err = fmt.Errorf("--at %q is neither a time such as 2026-03-01T22:00:00+09:00 nor one from now, such as 5m", text)
	}
	return at, err
}

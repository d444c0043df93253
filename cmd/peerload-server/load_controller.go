package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/publish"
)

// uploadLoad sends the files of a load to the controller, as they are read.
func uploadLoad(conn *connFlags, cmd *cobra.Command, c *client, req publish.Request) error {
	if err := publish.CheckFiles(req.Files); err != nil {
		return err
	}
	out, in := io.Pipe()
	form := multipart.NewWriter(in)
	go func() { in.CloseWithError(writeForm(form, req)) }()
	defer out.Close()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	var l domain.Load
	if err := c.send(ctx, http.MethodPost, "/loads", form.FormDataContentType(), out, &l); err != nil {
		return err
	}
	return conn.show(cmd, "load_added", l, "%s version %s: %d files, %d bytes, for %s: published\n", l.Name, l.Release, len(l.Components), l.Size,
		strings.Join(l.Models, ", "))
}

func writeForm(form *multipart.Writer, req publish.Request) error {
	fields := [][2]string{{"name", req.Name}, {"version", req.Version}, {"replace", strconv.FormatBool(req.Replace)}}
	for _, m := range req.Models {
		fields = append(fields, [2]string{"model", m})
	}
	for _, f := range fields {
		if err := form.WriteField(f[0], f[1]); err != nil {
			return err
		}
	}
	for _, path := range req.Files {
		if err := writeFile(form, path); err != nil {
			return err
		}
	}
	return form.Close()
}

func writeFile(form *multipart.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := form.CreateFormFile("file", filepath.Base(path))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

func listLoads(conn *connFlags, cmd *cobra.Command, c *client, retired bool) error {
	items, err := all[domain.Load](cmd.Context(), c, "/loads", url.Values{"retired": {strconv.FormatBool(retired)}})
	if err != nil {
		return err
	}
	return list(conn, cmd, "load", items, "LOAD VERSION MODELS FILES BYTES STATE", func(l domain.Load) []string {
		var state []string
		if !l.Signed {
			state = append(state, "unsigned")
		}
		if l.Retired {
			state = append(state, "retired")
		}
		if l.Missing {
			state = append(state, "missing")
		}
		return []string{l.Name, l.Release, strings.Join(l.Models, ","), strconv.Itoa(len(l.Components)), strconv.FormatInt(l.Size, 10), strings.Join(state, ",")}
	})
}

func loadShow(conn *connFlags) *cobra.Command {
	return &cobra.Command{Use: "show LOAD", Short: "Show a load and its files", Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *client) error {
			var l domain.Load
			if err := c.call(cmd.Context(), http.MethodGet, "/loads"+part(args[0]), nil, &l); err != nil {
				return err
			}
			if conn.json {
				return conn.show(cmd, "load", l, "")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s version %s, for %s, signed %s, retired %s\n", l.Name, l.Release, strings.Join(l.Models, ", "), onOff(l.Signed), onOff(l.Retired))
			return list(conn, cmd, "component", l.Components, "FILE BYTES SHA-256", func(k domain.LoadComponent) []string {
				return []string{k.Name, strconv.FormatInt(k.Size, 10), k.SHA256}
			})
		})}
}

func loadRegister(conn *connFlags) *cobra.Command {
	var u domain.UnsignedLoad
	cmd := &cobra.Command{Use: "register LOAD --model MODEL [FILE...]", Short: "Make a classic load known that nobody signs", Args: cobra.MinimumNArgs(1),
		Long: `Make a classic load known that nobody signs, so that it can be assigned. Devices
run it only where the setting "unsigned" is on. Its files are those that you put
into the directory repository yourself.`,
		Example: "  peerload-server load register SCCP41.9-4-2SR2-2S --model 7941,7961",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *client) error {
			u.Name, u.Components = args[0], args[1:]
			var l domain.Load
			if err := c.call(cmd.Context(), http.MethodPost, "/loads/unsigned", u, &l); err != nil {
				return err
			}
			return conn.show(cmd, "load_registered", l, "%s is known, unsigned, for %s\n", l.Name, strings.Join(l.Models, ", "))
		})}
	cmd.Flags().StringSliceVar(&u.Models, "model", nil, "models that it is for, repeated or with commas")
	return cmd
}

func (conn *connFlags) showAssigned(cmd *cobra.Command, a domain.Assigned) error {
	return conn.show(cmd, "load_assigned", a, "%s: load %q, before it %q\n", a.Target, a.Load, a.Previous)
}

func loadAssign(conn *connFlags) *cobra.Command {
	var t levelTarget
	cmd := &cobra.Command{Use: "assign LOAD --enterprise | --model M | --profile P | --device D", Short: `Assign a load at one level; "" assigns none`,
		Args: cobra.ExactArgs(1), Example: "  peerload-server load assign fw2 --model linux-arm",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *client) error {
			var a domain.Assigned
			if err := c.call(cmd.Context(), http.MethodPut, t.path()+"/load", api.LoadRef{Load: args[0]}, &a); err != nil {
				return err
			}
			return conn.showAssigned(cmd, a)
		})}
	t.flags(cmd)
	return cmd
}

func loadRollBack(conn *connFlags) *cobra.Command {
	var t levelTarget
	cmd := &cobra.Command{Use: "roll-back --enterprise | --model M | --profile P | --device D", Short: "Assign the load that was assigned there before",
		Args: cobra.NoArgs, Example: "  peerload-server load roll-back --model linux-arm",
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *client) error {
			var a domain.Assigned
			if err := c.call(cmd.Context(), http.MethodPost, t.path()+"/load/roll-back", nil, &a); err != nil {
				return err
			}
			return conn.showAssigned(cmd, a)
		})}
	t.flags(cmd)
	return cmd
}

func loadRetire(conn *connFlags, retired bool) *cobra.Command {
	use, short := "retire LOAD", "Take a load out of use: it cannot be assigned any more"
	if !retired {
		use, short = "restore LOAD", "Take a retired load into use again"
	}
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), RunE: conn.with(func(cmd *cobra.Command, args []string, c *client) error {
		var l domain.Load
		if err := c.call(cmd.Context(), http.MethodPatch, "/loads"+part(args[0]), api.Retired{Retired: retired}, &l); err != nil {
			return err
		}
		return conn.show(cmd, "load_changed", l, "%s: retired %s\n", l.Name, onOff(l.Retired))
	})}
}

func verifyLoads(conn *connFlags, cmd *cobra.Command, c *client) error {
	var v api.Verified
	if err := c.send(cmd.Context(), http.MethodPost, "/loads/verify", "", nil, &v); err != nil { // takes as long as reading every byte
		return err
	}
	bad := 0
	err := list(conn, cmd, "load_verified", v.Loads, "LOAD PROBLEM", func(l domain.CheckedLoad) []string { return []string{l.Name, l.Problem} })
	for _, l := range v.Loads {
		if l.Problem != "" {
			bad++
		}
	}
	switch {
	case err != nil:
		return err
	case v.Problem != "":
		return fmt.Errorf("%w: %w", errDamaged, errors.New(v.Problem))
	case bad > 0:
		return fmt.Errorf("%w: %d of %d loads; add them again", errDamaged, bad, len(v.Loads))
	}
	return nil
}

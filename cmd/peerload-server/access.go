package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/terminal"
)

// roles are those that users and tokens can have.
var roles = []string{"viewer", "operator", "admin"}

func userCommand() *cobra.Command {
	return group("user", "Users and their roles", func(conn *console.Flags) []*cobra.Command {
		return []*cobra.Command{userList(conn), userAdd(conn), userSet(conn),
			console.Remover(conn, "sign-out USER", "End all sessions and sign-ins of a user; tokens stay", "user_signed_out",
				func(ctx context.Context, c *console.Connection, name string) error { return c.EndSessions(ctx, name) }),
			console.Remover(conn, "delete USER", "Remove a user with all sessions and tokens", "user_deleted",
				func(ctx context.Context, c *console.Connection, name string) error {
					return c.Users.Delete(ctx, name, c.IfVersion)
				})}
	})
}

func userRow(u client.User) []string {
	return []string{u.Name, console.OrNone(u.Role), console.OrNone(strings.Join(u.Sites, ",")), u.FullName,
		terminal.YesNo(u.Disabled), console.When(u.LastLogin), console.OrNone(u.Issuer)}
}

const userHeader = "USER ROLE SITES FULL-NAME DISABLED LAST-LOGIN ISSUER"

func userList(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List users", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Users.List(cmd.Context(), client.Filter{}))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "user", items, userHeader, userRow)
		})}
}

func userFlags(cmd *cobra.Command) {
	cmd.Flags().String("role", "", "viewer, operator or admin")
	strict.Values(cmd, "role", roles...)
	cmd.Flags().String("full-name", "", "for people")
	cmd.Flags().StringSlice("site", nil,
		"limit a viewer or operator to this site; repeated or with commas; empty lifts the limit")
	cmd.Flags().String("password-file", "", `file that holds the password in its first line; "-" is the standard input`)
}

func userChange(cmd *cobra.Command) (change client.UserChange, err error) {
	change.FullName, change.Role = console.Optional(cmd, "full-name"), console.Optional(cmd, "role")
	if cmd.Flags().Changed("site") {
		sites, err := cmd.Flags().GetStringSlice("site")
		if err != nil {
			return change, err
		}
		change.Sites = &sites
	}
	if v := console.Optional(cmd, "password-file"); v != nil {
		p, err := passwordOf(cmd, *v)
		if err != nil {
			return change, err
		}
		change.Password = &p
	}
	return change, nil
}

// passwordOf is the first line of a file, or of the standard input for "-".
func passwordOf(cmd *cobra.Command, path string) (string, error) {
	b, err := console.ReadInput(cmd, path, 4096)
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), err
}

// errNoPassword says that the input ended instead.
var errNoPassword = errors.New("no password was given: run the command again, or give --password-file")

// onTerminal is the terminal to ask on.
func onTerminal(cmd *cobra.Command) (*os.File, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, errors.New("no terminal to ask for the password on: give --password-file")
	}
	return in, nil
}

// askOnce asks for a password, which is not shown.
func askOnce(cmd *cobra.Command, what string) (string, error) {
	in, err := onTerminal(cmd)
	if err != nil {
		return "", err
	}
	fmt.Fprint(cmd.ErrOrStderr(), what)
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	if err == io.EOF {
		err = errNoPassword
	}
	return string(b), err
}

// askPassword asks twice on a terminal.
func askPassword(cmd *cobra.Command) (string, error) {
	first, err := askOnce(cmd, "password: ")
	if err != nil {
		return "", err
	}
	second, err := askOnce(cmd, "once more: ")
	if err == nil && first != second {
		err = errors.New("the two passwords differ: run the command again")
	}
	return first, err
}

func userAdd(conn *console.Flags) *cobra.Command {
	cmd := &cobra.Command{Use: "add USER --role ROLE", Short: "Make a user", Args: cobra.ExactArgs(1),
		Example: "  peerload-server user add alice --role operator --password-file /run/secrets/alice\n" +
			"  peerload-server user add ken --role operator --site Kyoto",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			change, err := userChange(cmd)
			if err != nil {
				return err
			}
			if change.Password == nil {
				p, err := askPassword(cmd)
				if err != nil {
					return err
				}
				change.Password = &p
			}
			u, err := c.Users.Create(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			return conn.Show(cmd, "user_added", u, "%s added: %s\n", u.Name, u.Role)
		})}
	userFlags(cmd)
	if err := cmd.MarkFlagRequired("role"); err != nil {
		panic(err) // the flag has just been defined
	}
	return cmd
}

func userSet(conn *console.Flags) *cobra.Command {
	var askNew, disable, enable bool
	cmd := &cobra.Command{Use: "set USER", Short: "Change a user's role, name, password, or disable it",
		Args:    cobra.ExactArgs(1),
		Example: "  peerload-server user set alice --role viewer\n  peerload-server user set alice --disable",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			change, err := userChange(cmd)
			if err != nil {
				return err
			}
			if askNew {
				p, err := askPassword(cmd)
				if err != nil {
					return err
				}
				change.Password = &p
			}
			if disable || enable {
				change.Disabled = &disable
			}
			u, err := c.Users.Update(cmd.Context(), args[0], change, c.IfVersion)
			if err != nil {
				return err
			}
			return conn.Show(cmd, "user_changed", u, "%s changed: %s, disabled %s\n", u.Name, u.Role, terminal.YesNo(u.Disabled))
		})}
	userFlags(cmd)
	cmd.Flags().BoolVar(&askNew, "password", false, "ask for a new password")
	cmd.Flags().BoolVar(&disable, "disable", false, "refuse logins and tokens")
	cmd.Flags().BoolVar(&enable, "enable", false, "allow them again")
	cmd.MarkFlagsMutuallyExclusive("disable", "enable")
	cmd.MarkFlagsMutuallyExclusive("password", "password-file")
	return cmd
}

func tokenCommand() *cobra.Command {
	return group("token", "API tokens", func(conn *console.Flags) []*cobra.Command {
		return []*cobra.Command{tokenList(conn), tokenAdd(conn),
			console.Remover(conn, "revoke ID", "End a token at once", "token_revoked",
				func(ctx context.Context, c *console.Connection, id string) error {
					return c.Tokens.Delete(ctx, id, client.AnyVersion)
				})}
	})
}

func tokenList(conn *console.Flags) *cobra.Command {
	var user string
	cmd := &cobra.Command{Use: "list", Short: "List tokens, without their secrets", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Tokens.List(cmd.Context(), client.Filter{User: user}))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "token", items, "ID NAME USER ROLE SITES SCOPES EXPIRES LAST-USED FROM",
				func(t client.Token) []string {
					return []string{t.ID, t.Name, t.User, t.Role, console.OrNone(strings.Join(t.Sites, ",")),
						strings.Join(t.Scopes, ","), console.When(t.Expires), console.When(t.LastUsed), t.From}
				})
		})}
	cmd.Flags().StringVar(&user, "user", "", `whose; empty means one's own, "*" all`)
	return cmd
}

func tokenAdd(conn *console.Flags) *cobra.Command {
	var in client.NewToken
	var life time.Duration
	cmd := &cobra.Command{Use: "add NAME --role ROLE --scope SCOPE", Short: "Make a token; its secret is printed once",
		Args:    cobra.ExactArgs(1),
		Example: "  peerload-server token add backup --user alice --role viewer --scope read",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			if c.At.Server == "" && in.User == "" {
				return errors.New("--user is missing: whose token, since nobody is logged in here")
			}
			in.LifeS = int64(life / time.Second)
			t, err := c.Tokens.Create(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return conn.Show(cmd, "token_added", t, "%s\n", t.Secret)
		})}
	f := cmd.Flags()
	f.StringVar(&in.User, "user", "", "whose token, for a shell on the data directory; others make tokens for themselves")
	f.StringVar(&in.Role, "role", "viewer", "viewer, operator or admin; never more than the user's")
	f.StringSliceVar(&in.Scopes, "scope", []string{"read"},
		"read, devices, loads, enterprise, access; repeated or with commas")
	f.StringSliceVar(&in.Sites, "site", nil, "limit it to the devices of this site; repeated or with commas; none means "+
		"those of the user")
	f.DurationVar(&life, "life", 0, "until it expires, for example 720h; 0 means 90 days")
	strict.Values(cmd, "role", roles...)
	strict.Values(cmd, "scope", "read", "devices", "loads", "enterprise", "access")
	return cmd
}

func enrolmentCommand() *cobra.Command {
	return group("enrolment", "Tokens and site keys with which devices get an identity",
		func(conn *console.Flags) []*cobra.Command {
			return []*cobra.Command{enrolmentList(conn), enrolmentAdd(conn),
				console.Remover(conn, "revoke ID", "End one; devices that have enrolled stay", "enrolment_revoked",
					func(ctx context.Context, c *console.Connection, id string) error {
						return c.Enrolments.Delete(ctx, id, client.AnyVersion)
					})}
		})
}

func enrolmentList(conn *console.Flags) *cobra.Command {
	var site string
	cmd := &cobra.Command{Use: "list", Short: "List them, without their secrets", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Enrolments.List(cmd.Context(), client.Filter{Site: site}))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "enrolment", items, "ID NAME SITE-KEY USES PROFILE SITE NETWORKS EXPIRES",
				func(e client.Enrolment) []string {
					return []string{e.ID, e.Name, terminal.YesNo(e.SiteKey), fmt.Sprint(e.Uses), e.Profile, e.Site,
						strings.Join(e.Networks, ","), console.When(e.Expires)}
				})
		})}
	console.SiteFlag(cmd, &site, "those that give devices this site")
	return cmd
}

func enrolmentAdd(conn *console.Flags) *cobra.Command {
	var in client.NewEnrolment
	var life time.Duration
	cmd := &cobra.Command{Use: "add NAME", Short: "Make an enrolment token or a site key; its secret is printed once",
		Args:    cobra.ExactArgs(1),
		Example: "  peerload-server enrolment add kyoto --site-key --site Kyoto --network 10.1.0.0/16",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			in.LifeS = int64(life / time.Second)
			t, err := c.Enrolments.Create(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return conn.Show(cmd, "enrolment_added", t, "%s\n", t.Secret)
		})}
	f := cmd.Flags()
	f.BoolVar(&in.SiteKey, "site-key", false, "for any number of devices, until it is revoked")
	f.IntVar(&in.Uses, "uses", 0, "how many devices may enrol with it; 0 means 1")
	f.StringVar(&in.Profile, "profile", "", "the profile that they get")
	f.StringVar(&in.Site, "site", "", "the site that they get")
	f.StringSliceVar(&in.Networks, "network", nil, "prefixes that they must come from")
	f.DurationVar(&life, "life", 0, "until it expires; 0 means a week, never for a site key")
	return cmd
}

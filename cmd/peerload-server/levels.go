package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/files/cnf"
	"github.com/peerload/peerload/internal/controller/template"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/terminal"
)

func profileCommand() *cobra.Command {
	return group("profile", "Common profiles: settings and a load for many devices",
		func(conn *console.Flags) []*cobra.Command {
			return []*cobra.Command{profileList(conn), profileShow(conn), profileAdd(conn), profileSet(conn),
				console.Remover(conn, "delete PROFILE", "Remove a profile that no device has", "profile_deleted",
					func(ctx context.Context, c *console.Connection, name string) error {
						return c.Profiles.Delete(ctx, name, c.IfVersion)
					})}
		})
}

func profileList(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List profiles", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Profiles.List(cmd.Context(), client.Filter{}))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "profile", items, "PROFILE LOAD SETTINGS DESCRIPTION",
				func(p client.Profile) []string {
					return []string{p.Name, p.Load.Load, console.SettingsText(p.Settings), p.Description}
				})
		})}
}

// levelSettings prints the settings of a level, set or not.
func levelSettings(conn *console.Flags, cmd *cobra.Command, c *console.Connection, t client.Target) error {
	l, err := c.Settings(cmd.Context(), t)
	if err != nil {
		return err
	}
	return console.List(conn, cmd, "setting", l.Settings, "SETTING VALUE MEANING", func(s client.LevelSetting) []string {
		value := ""
		if s.Value != nil {
			value = *s.Value
		}
		if terminal.Japanese(os.Getenv) {
			return []string{s.Name, value, s.LabelJA + ": " + s.HelpJA}
		}
		return []string{s.Name, value, s.Label + ": " + s.Help}
	})
}

func profileShow(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "show PROFILE", Short: "Show the settings of a profile", Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			p, err := c.Profiles.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := conn.Show(cmd, "profile", p, "%s  %s  load %s  version %d\n", p.Name, console.OrNone(p.Description),
				console.OrNone(p.Load.Load), p.Version); err != nil {
				return err
			}
			return levelSettings(conn, cmd, c, client.Target{Level: "profile", Name: args[0]})
		})}
}

func showProfile(conn *console.Flags, cmd *cobra.Command, did string, p client.Profile) error {
	return conn.Show(cmd, "profile_"+did, p, "%s %s: version %d, settings %s\n", p.Name, did, p.Version,
		console.OrNone(console.SettingsText(p.Settings)))
}

func profileAdd(conn *console.Flags) *cobra.Command {
	cmd := &cobra.Command{Use: "add PROFILE [NAME=VALUE...]", Short: "Make a profile", Args: cobra.MinimumNArgs(1),
		Example: "  peerload-server profile add lobby peer-sharing=on",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			settings, err := console.ParseSettings(args[1:], nil)
			if err != nil {
				return err
			}
			change := client.ProfileChange{Description: console.Optional(cmd, "description"), Settings: settings}
			p, err := c.Profiles.Create(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			return showProfile(conn, cmd, "added", p)
		})}
	cmd.Flags().String("description", "", "for people")
	return cmd
}

func profileSet(conn *console.Flags) *cobra.Command {
	var unset []string
	var a console.Consent
	cmd := &cobra.Command{Use: "set PROFILE [NAME=VALUE...]", Short: "Change a profile", Args: cobra.MinimumNArgs(1),
		Example: "  peerload-server profile set lobby wan-limit=200k --unset log-server",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			settings, err := console.ParseSettings(args[1:], unset)
			if err != nil {
				return err
			}
			if len(args) == 1 && !console.Given(cmd, "unset", "description") {
				return errors.New("say what to change: NAME=VALUE, --unset or --description")
			}
			change := client.ProfileChange{Description: console.Optional(cmd, "description")}
			if change.Description == nil || len(args[1:])+len(unset) > 0 {
				at := client.Target{Level: "profile", Name: args[0]}
				if ok, err := setLevel(&a, conn, cmd, c, at, settings); err != nil || !ok {
					return err
				}
			}
			var p client.Profile
			if change.Description != nil {
				p, err = c.Profiles.Update(cmd.Context(), args[0], change, c.IfVersion)
			} else {
				p, err = c.Profiles.Get(cmd.Context(), args[0])
			}
			if err != nil {
				return err
			}
			return showProfile(conn, cmd, "changed", p)
		})}
	a.Add(cmd)
	cmd.Flags().String("description", "", "for people")
	cmd.Flags().StringSliceVar(&unset, "unset", nil, "settings to leave to the other levels")
	return cmd
}

// setLevel asks, changes the settings of a level, and prints what that touched; ok
// says that it did.
func setLevel(a *console.Consent, conn *console.Flags, cmd *cobra.Command, c *console.Connection, at client.Target,
	settings client.SettingsChange) (ok bool, err error) {
	done, ok, err := a.Do(conn, cmd, c, client.Order{Target: &at, Settings: &settings})
	if err != nil || !ok {
		return false, err
	}
	c.IfVersion = client.AnyVersion // it was compared, and has changed
	return true, console.ShowChanged(conn, cmd, "changed", done, "")
}

func enterpriseCommand() *cobra.Command {
	return group("enterprise", "What holds for all devices, and the controller's switches",
		func(conn *console.Flags) []*cobra.Command {
			return []*cobra.Command{enterpriseShow(conn), enterpriseSet(conn)}
		})
}

// switched is how a switch is written.
func switched(b bool) string {
	if b {
		return policy.On
	}
	return policy.Off
}

func showEnterprise(conn *console.Flags, cmd *cobra.Command, event string, e client.Enterprise) error {
	return conn.Show(cmd, event, e, "auto-registration %s, profile %s; default load %s; version %d\n",
		switched(e.AutoRegistration), console.OrNone(e.RegisterProfile), console.OrNone(e.Load.Load), e.Version)
}

func enterpriseShow(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "show", Short: "Show the switches and the settings for all devices", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			e, err := c.Enterprise(cmd.Context())
			if err != nil {
				return err
			}
			if err := showEnterprise(conn, cmd, "enterprise", e); err != nil {
				return err
			}
			return levelSettings(conn, cmd, c, client.Target{Level: "enterprise"})
		})}
}

func enterpriseSet(conn *console.Flags) *cobra.Command {
	var unset []string
	var a console.Consent
	cmd := &cobra.Command{Use: "set [NAME=VALUE...]", Short: "Change the switches or the settings for all devices",
		Example: "  peerload-server enterprise set peer-sharing=on\n" +
			"  peerload-server enterprise set --auto-registration on --register-profile lobby",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			settings, err := console.ParseSettings(args, unset)
			if err != nil {
				return err
			}
			if len(args) == 0 && !console.Given(cmd, "unset", "auto-registration", "register-profile") {
				return errors.New("say what to change: NAME=VALUE, --unset, --auto-registration or --register-profile")
			}
			change := client.EnterpriseChange{RegisterProfile: console.Optional(cmd, "register-profile")}
			if v := console.Optional(cmd, "auto-registration"); v != nil {
				on := *v == policy.On
				change.AutoRegistration = &on
			}
			if len(args)+len(unset) > 0 {
				all := client.Target{Level: "enterprise"}
				if ok, err := setLevel(&a, conn, cmd, c, all, settings); err != nil || !ok {
					return err
				}
			}
			var e client.Enterprise
			if console.Given(cmd, "auto-registration", "register-profile") {
				e, err = c.UpdateEnterprise(cmd.Context(), change, c.IfVersion)
			} else {
				e, err = c.Enterprise(cmd.Context())
			}
			if err != nil {
				return err
			}
			if !conn.JSON {
				fmt.Fprintln(cmd.OutOrStdout(), console.SettingsText(e.Settings))
			}
			return showEnterprise(conn, cmd, "enterprise_changed", e)
		})}
	a.Add(cmd)
	cmd.Flags().String("auto-registration", "", "on: unknown devices become known by asking for provisioning")
	strict.Values(cmd, "auto-registration", policy.On, policy.Off)
	cmd.Flags().String("register-profile", "", "the profile that they get; empty for none")
	cmd.Flags().StringSliceVar(&unset, "unset", nil, "settings to leave to the models' defaults")
	return cmd
}

func modelCommand() *cobra.Command {
	return group("model", "The model table", func(conn *console.Flags) []*cobra.Command {
		return []*cobra.Command{modelList(conn), modelShow(conn), modelAdd(conn),
			modelDelete(conn)}
	})
}

func modelRow(m client.Model) []string {
	return []string{m.Name, m.Family, terminal.YesNo(m.CanShare), m.GroupName, m.Load.Load, terminal.YesNo(m.Custom)}
}

const modelHeader = "MODEL FAMILY CAN-SHARE GROUP LOAD CUSTOM"

func modelList(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List models", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Models.List(cmd.Context(), client.Filter{}))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "model", items, modelHeader, modelRow)
		})}
}

func modelShow(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "show MODEL", Short: "Show a model with all its settings", Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			m, err := c.Model(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := console.List(conn, cmd, "model", []client.Model{m}, modelHeader, modelRow); err != nil || conn.JSON {
				return err
			}
			return console.List(conn, cmd, "setting", m.Settings, "SETTING DEFAULT LACKING",
				func(s client.ModelSetting) []string {
					return []string{s.Name, s.Default, s.Lacking}
				})
		})}
}

func modelAdd(conn *console.Flags) *cobra.Command {
	var a console.Consent
	cmd := &cobra.Command{Use: "add FILE", Short: "Add or replace rows of the model table, from a JSON file",
		Args: cobra.ExactArgs(1),
		Long: `Add or replace rows of the model table, all or none, from a JSON file ("-" is
the standard input): {"model": [{"name": "Camera 1", "family": "camera",
"can_share": true, "group": "cameras", "defaults": {"peer-sharing": "on"}}]}`,
		Example: "  peerload-server model add models.json",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			b, err := console.ReadInput(cmd, args[0], 16<<20)
			if err != nil {
				return err
			}
			rows, err := modelRows(b)
			if err != nil {
				return fmt.Errorf("%s is no file of models: %w; \"peerload-server model add --help\" shows one", args[0], err)
			}
			done, ok, err := a.Do(conn, cmd, c, client.Order{Models: rows})
			if err != nil || !ok {
				return err
			}
			if err := console.ShowChanged(conn, cmd, "changed", done, ""); err != nil {
				return err
			}
			var items []client.Model
			for _, r := range rows {
				m, err := c.Model(cmd.Context(), r.Name)
				if err != nil {
					return err
				}
				items = append(items, m)
			}
			return console.List(conn, cmd, "model", items, modelHeader, modelRow)
		})}
	a.Add(cmd)
	return cmd
}

func modelDelete(conn *console.Flags) *cobra.Command {
	var a console.Consent
	cmd := &cobra.Command{Use: "delete MODEL", Short: "Remove an added row, or bring the built-in one back",
		Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			done, ok, err := a.Do(conn, cmd, c, client.Order{DeleteModel: args[0]})
			if err != nil || !ok {
				return err
			}
			return console.ShowChanged(conn, cmd, "model_deleted", done, terminal.Printable(args[0])+": done\n")
		})}
	a.Add(cmd)
	return cmd
}

// modelRows reads a file of models.
func modelRows(b []byte) ([]client.ModelRow, error) {
	var f struct {
		Model []client.ModelRow `json:"model"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, err
	}
	return f.Model, nil
}

func templateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "template",
		Short: "Print the template of provisioning files, to begin an own one with",
		Long: `Print the template of provisioning files. Put a copy with what you have added as
` + cnf.DeviceTemplate + ` (for a device) or ` + cnf.DefaultTemplate + ` (for those that are not known)
into the directory templates of the controller's data. What devices read is
checked in the result: a template that loses it makes no file.`,
		Example: "  peerload-server template > /var/lib/peerload-server/templates/" + cnf.DeviceTemplate,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), template.Default)
			return err
		},
	}
}

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/controller/files/cnf"
	"github.com/peerload/peerload/internal/controller/template"
)

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

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/lab/process"
)

func downCommand() *cobra.Command {
	var base string
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove what runs that were killed have left",
		Long: `Remove the directories of runs that were killed. Processes, links and
namespaces of such runs are already gone: the kernel ends them with the run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			removed, err := process.Sweep(base)
			for _, path := range removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed", path)
			}
			if len(removed) == 0 && err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing was left")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&base, "state", "", "look here too, as given to site")
	return cmd
}

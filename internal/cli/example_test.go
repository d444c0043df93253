package cli_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/peerload/peerload/internal/cli"
)

// A program of one command, called rightly and wrongly.
func ExampleCommand_Execute() {
	greet := &cli.Command{Use: "greet NAME", Short: "Greet somebody"}
	loud := greet.Flags().Bool("loud", false, "in capitals")
	greet.Run = func(_ context.Context, args []string) error {
		text := "hello " + strings.Join(args, " ")
		if *loud {
			text = strings.ToUpper(text)
		}
		fmt.Println(text)
		return nil
	}
	program := &cli.Command{Use: "program", Short: "Be polite", Commands: []*cli.Command{greet}}

	for _, line := range []string{"greet --loud world", "great world"} {
		if err := program.Execute(context.Background(), strings.Fields(line), os.Stdout); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// HELLO WORLD
	// unknown command "great": choose completion, greet or help; did you mean greet?
}

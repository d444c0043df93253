package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/agent"
	"github.com/peerload/peerload/internal/version"
)

const agentLong = `Agent looks after this device: it asks its server how it is provisioned, fetches the
load that is assigned through the peers of the subnet, puts it into the inactive
slot, tries it, confirms it or goes back to the load before, keeps serving what it
holds, and reports.

Options come from flags, then PEERLOAD_NAME in the environment, such as PEERLOAD_SERVER
for --server, then the file or the directory of *.toml that --config names (default
/etc/peerload), then defaults.
'peerload config show --origin' tells which holds and why. SIGHUP reads the
configuration again and asks the server at once.

A hook that installs loads is called as HOOK STEP with one of Download, Install,
Reboot, Commit and Rollback. Exit status 0: done; 4: done, restart the device
(Install, Rollback); any other: failed. A line "progress N TEXT" on its output tells
how far it is. A step may come twice after a power cut.`

// configFlags are the daemon's options on a command line.
type configFlags struct{ path string }

func (c *configFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&c.path, "config", "", "configuration file, or directory of *.toml (default "+agent.DefaultConfigPath+")")
	for _, o := range agent.Options() {
		switch {
		case o.Whole():
			fl.StringArray(o.Name, nil, o.Help)
		case o.List:
			fl.StringSlice(o.Name, nil, o.Help)
		default:
			usage := o.Help
			if o.Default != "" && o.Default != "false" {
				usage += " (default " + o.Default + ")"
			}
			fl.String(o.Name, "", usage)
			if o.Default == "false" {
				fl.Lookup(o.Name).NoOptDefVal = "true"
			}
		}
	}
	cli.Values(fl, "log-format", "text", "json")
	cli.Values(fl, "log-level", "debug", "info", "warn", "error")
}

// load reads the configuration from everywhere.
func (c *configFlags) load(fl *pflag.FlagSet) (agent.Config, []agent.OptionValue, error) {
	given := map[string][]string{}
	for _, o := range agent.Options() {
		f := fl.Lookup(o.Name)
		switch {
		case !f.Changed:
		case o.Whole():
			given[o.Name], _ = fl.GetStringArray(o.Name)
		case o.List:
			given[o.Name], _ = fl.GetStringSlice(o.Name)
		default:
			given[o.Name] = []string{f.Value.String()}
		}
	}
	cfg, values, err := agent.Load(agent.Sources{Flags: given, Env: os.LookupEnv, Path: c.path})
	if err != nil {
		err = usageError{err}
	}
	return cfg, values, err
}

func agentCommand() *cli.Command {
	var c configFlags
	var check bool
	cmd := &cli.Command{
		Use: "agent", Short: "Look after this device: provision, upgrade, keep serving, report", Long: agentLong,
		Example: "  peerload agent --config /etc/peerload/agent.toml\n  peerload agent --check-config\n" +
			"  peerload agent --server 10.0.0.5 --model CP-7961G --mac 00:11:22:33:44:55",
		Args: cli.NoArgs,
	}
	cmd.Run = func(ctx context.Context, _ []string) error {
		cfg, _, err := c.load(cmd.Flags())
		if err != nil {
			return err
		}
		if check {
			if err := cfg.CheckHost(); err != nil {
				return usageError{err}
			}
			fmt.Println("the configuration is good")
			return nil
		}
		return runAgent(ctx, cfg, func() (agent.Config, error) {
			cfg, _, err := c.load(cmd.Flags())
			return cfg, err
		})
	}
	c.register(cmd.Flags())
	cmd.Flags().BoolVar(&check, "check-config", false, "say whether the configuration is good, and end")
	return cmd
}

func runAgent(ctx context.Context, cfg agent.Config, reload func() (agent.Config, error)) error {
	log := newLog(cfg)
	d, err := agent.New(cfg, agent.Setup{Log: log, Program: program(),
		ExitOf: func(err error) int { return exitCode(err, false) },
		Notify: os.Getenv("NOTIFY_SOCKET"), Watchdog: watchdog()})
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				next, err := reload()
				if err == nil {
					err = d.Reload(ctx, next)
				}
				if err != nil {
					log.Error("the configuration stays as it was", "error", err)
				}
			}
		}
	}()
	return d.Run(ctx)
}

// newLog is the log on standard error.
func newLog(cfg agent.Config) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.LogLevel)) // one of four words
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}

// watchdog is how often the service manager wants a sign of life from this
// process; 0 if it does not.
func watchdog() time.Duration {
	us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	pid := os.Getenv("WATCHDOG_PID")
	if err != nil || us <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}

// program is the name and version of this program.
func program() string { return "peerload " + version.Read().Number }

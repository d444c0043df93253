package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/agent"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/device/target"
)

// agentError is what the agent of this device said went wrong.
type agentError struct {
	text   string
	reason reason.Code
	exit   int
}

func (e *agentError) Error() string { return e.text }

// viaAgent lets the agent of this device fetch, or its proxy, if one runs with this
// state directory: two programs on one device would compete for its ports and its
// place. It reports false if the fetching is left to this process: no agent
// runs, it declines, or the command line asks for another way to the network.
func (f *getFlags) viaAgent(ctx context.Context, r *request, state *status.Dir) (done bool, err error) {
	at := socketDir(state.Path())
	if at == "" || !f.usual() {
		return false, nil
	}
	req, err := f.agentRequest(r)
	if err != nil {
		return false, err
	}
	var failed *agentError
	var declined string
	out := newOutput(f, state.Record(f.commandLine(os.Args)))
	defer out.close()
	err = agent.Ask(ctx, at, agent.Request{Op: "get", Get: req}, func(p agent.Reply) {
		switch {
		case p.Event != nil:
			out.event(*p.Event)
		case p.Final != nil:
			if f.follower != nil && f.follower.kept {
				f.follower.file = p.Final.Path // the output may be a directory
			}
			out.done(p.Final)
			out.result(p.Final)
		case p.Declined != "":
			declined = p.Declined
		case p.Error != "":
			failed = &agentError{p.Error, p.Reason, p.Exit}
		}
	})
	switch {
	case errors.Is(err, agent.ErrNoDaemon):
		return false, nil
	case err != nil:
		return true, err
	case declined != "":
		out.warn("the agent of this device leaves it to this command: " + declined)
		return false, nil
	case failed != nil:
		out.failed(target.Name(r.Sources[0][0]), string(failed.reason), failed.text, nil)
		return true, failed
	}
	return true, nil
}

// socketDir is where the agent of this device listens, or else its proxy, "" if neither
// ever did.
func socketDir(state string) string {
	for _, dir := range []string{state, filepath.Join(state, proxyDir)} {
		if _, err := os.Stat(filepath.Join(dir, agent.SocketName)); err == nil {
			return dir
		}
	}
	return ""
}

// usual reports whether the command line asks for nothing that the agent
// decides for the whole device.
func (f *getFlags) usual() bool {
	return f.sink == nil &&
		f.peers.Default() && f.profile == "lan" && f.trees == 0 &&
		!f.noSync && f.origin.Default()
}

// agentRequest says the same to the agent, whose directory is another.
func (f *getFlags) agentRequest(r *request) (*agent.GetRequest, error) {
	req := &agent.GetRequest{SHA256: f.sha256, Unsigned: f.unsigned, Load: r.Load,
		Slots: f.slots, Model: f.model, Linger: -1}
	if f.follower != nil {
		req.Linger, req.Stay = execLinger, true
	}
	if f.stay {
		req.Linger = f.linger
	}
	for _, sources := range r.Sources {
		var texts []string
		for _, u := range sources {
			texts = append(texts, u.String())
		}
		req.URLs = append(req.URLs, texts)
		path := r.Output
		if !r.Load {
			var err error
			if path, err = r.Path(sources[0]); err != nil {
				return nil, err
			}
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		req.Targets = append(req.Targets, path)
	}
	if f.trust != "" {
		trust, err := filepath.Abs(f.trust)
		if err != nil {
			return nil, err
		}
		req.Trust = trust
	}
	return req, nil
}

// yieldCommand tells the agent whether the device is in a call.
func yieldCommand() *cli.Command {
	var state string
	cmd := &cli.Command{
		Use: "yield on|off", Short: "Say whether this device is to serve others only where nobody else can",
		Long: `Yield tells the agent of this device that its line is needed otherwise, as in a call, or
not any more: meanwhile it is no root, and other devices take files from it only where
nobody else can. It goes on with its own downloads, which give way to the call anyway.
That holds until "off", or until the agent ends. The option yield-file of the agent
names a file that says the same by being there.`,
		Example: "  peerload yield on\n  peerload yield off",
		Args:    func(args []string) bool { return len(args) == 1 },
	}
	cmd.Run = func(ctx context.Context, args []string) error {
		if err := choice.Check("word", args[0], []string{"on", "off"}); err != nil {
			return usageError{err}
		}
		dir, err := stateDir(state)
		if err != nil {
			return err
		}
		var declined string
		err = agent.Ask(ctx, dir, agent.Request{Op: "yield", Yield: args[0] == "on"}, func(p agent.Reply) {
			declined += p.Declined
		})
		if err == nil && declined != "" {
			err = usagef("%s", declined)
		}
		if errors.Is(err, agent.ErrNoDaemon) {
			err = usagef("%w with the state directory %s: start peerload agent, or name its directory with --state", err, dir)
		}
		return err
	}
	stateFlag(cmd.Flags(), &state)
	return cmd
}

// Command peerload-server is the controller: it publishes loads, provisions
// devices, and serves both to them.
//
//	peerload-server serve       run the controller, or serve a bare repository
//	peerload-server device      list, show, add, change and remove devices
//	peerload-server site        where devices are, and how far they are
//	peerload-server profile     settings and a load for many devices; also enterprise
//	peerload-server model       the table of models
//	peerload-server load        add, list, assign, verify and retire loads
//	peerload-server release     one name for the loads of several models
//	peerload-server rollout     bring a release to many devices step by step
//	peerload-server fileset     locale, ring tones and other files beside the loads
//	peerload-server order       what devices do at once, and how they answer
//	peerload-server bulk        change many devices by a table or query
//	peerload-server undo        take back what an entry of the audit log has changed
//	peerload-server report      what devices say, and who changed what
//	peerload-server webhook     tell others of failures and rollouts
//	peerload-server login       sign in at a controller; logout ends it
//	peerload-server user        users and their roles; also token, enrolment
//	peerload-server trust       give out the root of trust, and change keys
//	peerload-server backup      the whole database into a file; restore reads it
//	peerload-server migrate     copy the database from SQLite into PostgreSQL
//	peerload-server recount     count the devices anew, and mend the counts that are kept
//	peerload-server template    the template of provisioning files
//
// The commands of a noun are in the file of its name; user, token and enrolment in
// access.go, profile, enterprise, model and template in levels.go, undo, backup,
// restore, migrate and recount in reports.go. What they share is package console.
//
// This directory holds wiring only: flags, output and exit statuses. What the
// commands do is in package domain and the packages of use cases beside it, and in
// api, publish, repository and files; commands on a controller are clients of its
// API, remote or in their own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/cmd/peerload-server/internal/hook"
	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/internal/version"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// Exit statuses: up to 6, and 130, as those of peerload.
const (
	exitUsage     = 2   // wrong arguments, or refused
	exitVerify    = 3   // a published file is not what is signed, or a row not as asked
	exitReach     = 4   // a remote controller, the database's server or a receiver does not answer
	exitDisk      = 5   // a file cannot be read or written
	exitTrust     = 6   // keys, signatures, expiry
	exitUnasked   = 7   // it would change several devices, and nobody said yes
	exitInterrupt = 130 // stopped by a signal
)

// errDamaged ends "load verify" after its findings are printed.
var errDamaged = errors.New("published files are not what is signed")

// errSocket says that an address cannot be listened at.
var errSocket = errors.New("cannot listen")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "peerload-server:", terminal.Printable(advised(err).Error()))
	}
	os.Exit(status(err))
}

// run runs one command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// rootCommand is the whole command line.
func rootCommand() *cobra.Command {
	serve := serveCommand()
	root := &cobra.Command{
		Use:   "peerload-server",
		Short: "The controller: publish loads, provision devices, serve both",
		Long: `The controller: publish loads, provision devices, serve both.

Without a command it runs as "peerload-server serve" does, on the data directory
/var/lib/peerload-server. All other commands work on that directory, whether the
controller runs or not, or with --server on a remote controller, at which login
signs in.

A load is a set of files for some models. It is signed (TUF) and laid out as
plain files, which this command serves, or any other HTTP or TFTP server.

Exit status: 0 ok; 2 wrong arguments or refused; 3 a published file is not what
is signed, or a row not as asked; 4 the controller, its database or the receiver of
a webhook cannot be reached; 5 a file cannot be read or written, or a disk is full; 6 keys,
signatures or expiry; 7 it would change several devices, and nobody said yes.`,
		Example: `  peerload-server serve --data /var/lib/peerload-server
  peerload-server load add --name SIP41.9-4-2 --version '9.4(2)' \
      --model CP-7941G,CP-7961G apps41.sbn dsp41.sbn cnu41.sbn
  peerload-server load assign SIP41.9-4-2 --model 7941
  peerload-server enterprise set peer-sharing=on`,
		Version: version.Read().String(),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			serve.SetContext(cmd.Context())
			return serve.RunE(serve, nil)
		},
	}
	root.AddCommand(serve, deviceCommand(), siteCommand(), profileCommand(), enterpriseCommand(), modelCommand(),
		loadCommand(), filesetCommand(), releaseCommand(), rolloutCommand(), reportCommand(), bulkCommand(), undoCommand(),
		orderCommand(), webhookCommand(),
		loginCommand(), logoutCommand(),
		userCommand(), tokenCommand(), enrolmentCommand(), trustCommand(), templateCommand(), backupCommand(),
		restoreCommand(), recountCommand(), migrateCommand())
	strict.Prepare(root)
	return root
}

// advised adds to an error what to do about it, unless its text says so.
func advised(err error) error {
	do := ""
	switch {
	case errors.Is(err, client.Unreachable):
		do = "check --server, and that the controller runs"
	case errors.Is(err, client.NotFound):
		do = "check the name"
		if strings.HasPrefix(err.Error(), "not found: no load was published yet") {
			do = "\"peerload-server load add\" does"
		}
		for what, list := range lists {
			if strings.HasPrefix(err.Error(), "not found: "+what+" ") {
				do = "\"peerload-server " + list + "\" shows those that there are"
			}
		}
	case errors.Is(err, publish.ErrExists), errors.Is(err, client.Exists) && strings.Contains(err.Error(),
		publish.ErrExists.Error()):
		do = "give the new content a new --version, or say --replace"
	case errors.Is(err, client.Exists):
		do = "choose another name, or change what is there"
	case errors.Is(err, client.Conflict):
		do = "look at it again, then give its version with --if-version"
	case errors.Is(err, client.Unfit):
		do = "choose what is for each model, or assign it to fewer devices"
	case errors.Is(err, client.Unauthenticated):
		do = "\"peerload-server login\" signs you in; \"peerload-server token add\" makes a token for a program"
	case errors.Is(err, client.Forbidden):
		do = "use a token, or a sign-in, with more rights"
	case errors.Is(err, client.DiskFull):
		do = "make room there"
	case errors.Is(err, repository.ErrNoRepository):
		do = "check --repo; \"peerload-server load add --repo\" makes a new one"
	}
	if do == "" || errors.As(err, new(*console.Hinted)) {
		return cli.Advise(err)
	}
	return fmt.Errorf("%w; %s", err, do)
}

// lists are the commands that list what was not found.
var lists = map[string]string{
	"device": "device list", "site": "site list", "profile": "profile list", "model": "model list",
	"load": "load list", "release": "release list", "rollout": "rollout list", "user": "user list",
	"job": "bulk list", "template": "bulk template list",
	"webhook": "webhook list",
	"token":   "token list", "enrolment token": "enrolment list", "audit entry": "report audit", "order": "order list",
	"file set": "fileset list",
}

// status returns the exit status for err.
func status(err error) int {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	var onDisk *fs.PathError
	var number syscall.Errno
	var network *net.OpError // of what listens here, errSocket tells
	var name *net.DNSError
	switch {
	case err == nil:
		return 0
	case is(context.Canceled):
		return exitInterrupt
	case is(console.ErrUnasked):
		return exitUnasked
	case is(errDamaged, errRows):
		return exitVerify
	case is(client.Unreachable, hook.ErrNotTaken):
		return exitReach
	case is(publish.ErrRefused, publish.ErrExists, repository.ErrNoRepository, repository.ErrChanged, load.ErrManifest,
		load.ErrName, errSocket, syscall.EISDIR):
		return exitUsage
	case errors.As(err, &network), errors.As(err, &name):
		return exitReach
	case is(repository.ErrKeys, trust.ErrExpired, trust.ErrRolledBack, trust.ErrMixed, trust.ErrBadSignature,
		trust.ErrMalformed, trust.ErrNoRoot, trust.ErrNotFound, trust.ErrTooLarge, trust.ErrWrongHash, trust.ErrWrongLength,
		client.BadKeys):
		return exitTrust
	case errors.As(err, &onDisk), errors.As(err, &number), is(fs.ErrPermission, client.DiskFull):
		return exitDisk
	}
	return exitUsage
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/files"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/loglimit"
	"github.com/peerload/peerload/internal/sdnotify"
)

// listening is printed once the sockets are open.
type listening struct {
	Schema int    `json:"schema"`
	Event  string `json:"event"`
	// HTTP and TFTP are where devices fetch files, as IP:PORT.
	HTTP string `json:"http,omitempty"`
	TFTP string `json:"tftp,omitempty"`
	// API is the URL of the controller, Fingerprint the SHA-256 of its
	// certificate, and Setup the link that makes the first administrator. The
	// bare file server has none of them.
	API         string `json:"api,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Setup       string `json:"setup,omitempty"`
}

func serveCommand() *cobra.Command {
	var repoAt repoFlags
	s := &service{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the controller, or serve a bare repository",
		Long: `Run the controller: one process, one data directory. It serves the API (with
TLS), and to devices their provisioning files and loads, over HTTP and TFTP. At
the first start it prints a link that makes the first administrator. It prints
the addresses and runs until it is interrupted. SIGHUP reads the certificate
again; a service manager is told when it is ready (sd_notify).

A flag that is not given has the value of the variable PEERLOAD_SERVE_NAME, such
as PEERLOAD_SERVE_SITE_RATE for --site-rate, unless another is named with it.

With --repo it is a file server only: it serves the files of that repository,
read-only, over HTTP (with Range), over TFTP (with windowsize and offset), or
both; with --keys it also keeps the signatures from expiring.`,
		Example: `  peerload-server serve --data /var/lib/peerload-server
  peerload-server serve --data ./data --listen 127.0.0.1:0 --http 127.0.0.1:0 --tftp off
  peerload-server serve --repo /srv/firmware --http :6970 --tftp :69`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd.Flags(), os.Environ()); err != nil {
				return err
			}
			if repoAt.repo == "" {
				if repoAt.keys != "" {
					return errors.New("--keys belongs to --repo: the controller's keys are in its data directory")
				}
				return s.run(cmd)
			}
			repoAt.json = s.JSON
			s.http, s.tftp = bare(cmd, "http", s.http), bare(cmd, "tftp", s.tftp)
			return serveBare(cmd, &repoAt, s)
		},
	}
	f := cmd.Flags()
	f.StringVar(&repoAt.repo, "repo", "", "serve this repository only, without a controller")
	f.StringVar(&repoAt.keys, "keys", "",
		"with --repo: the directory of the private keys; if given, signatures are refreshed daily")
	f.BoolVar(&s.JSON, "json", false, "print one JSON object a line")
	f.StringVar(&s.http, "http", ":6970", "address of the files over HTTP; off for none")
	f.StringVar(&s.tftp, "tftp", ":69", "address of the files over TFTP; off for none")
	f.StringVar(&s.congestion, "congestion", "", "congestion control of files over HTTP, by the kernel's name; system "+
		"for what the system has; none given: bbr where the kernel allows it")
	s.flags(cmd)
	strict.Values(cmd, "tls", tlsGenerated, tlsOff)
	return cmd
}

// serveVariable begins the names of the variables that stand for flags of serve.
const serveVariable = "PEERLOAD_SERVE_"

// variable is the one of the environment that stands for a flag of serve.
func variable(flag string) string {
	switch flag {
	case "data":
		return console.EnvData
	case "database":
		return console.EnvDatabase
	case "cluster-key":
		return console.EnvClusterKey
	case "objects":
		return console.EnvObjects
	}
	return serveVariable + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment sets the flags that were not given and that environ, as
// os.Environ has it, has a value for.
func fromEnvironment(flags *pflag.FlagSet, environ []string) error {
	byName := map[string]*pflag.Flag{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			byName[variable(f.Name)] = f
		}
	})
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, serveVariable) {
			continue
		}
		f := byName[name]
		switch {
		case f == nil:
			return fmt.Errorf("the environment: %w",
				choice.Unknown("variable", name, slices.Sorted(maps.Keys(byName))))
		case f.Changed:
			continue
		}
		if err := flags.Set(f.Name, value); err != nil {
			return fmt.Errorf("the environment: %s: %w", name, err)
		}
		if err := cli.CheckValues(f); err != nil {
			return fmt.Errorf("the environment: %s: %w", name, err)
		}
	}
	return nil
}

// bare is the address if it was given: a bare server listens only where it is
// told to.
func bare(cmd *cobra.Command, flag, addr string) string {
	if !cmd.Flags().Changed(flag) {
		return ""
	}
	return on(addr)
}

// flags adds those of the controller.
func (s *service) flags(cmd *cobra.Command) {
	s.AddData(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&s.api, "listen", ":8443", "address of the API")
	f.StringVar(&s.tls, "tls", tlsGenerated, "generated: TLS, with a certificate that is made and kept unless "+
		"--tls-cert names one; off: no TLS, behind a proxy that has it")
	f.StringVar(&s.tlsCert, "tls-cert", "", "PEM file of the certificate and its chain")
	f.StringVar(&s.tlsKey, "tls-key", "", "PEM file of its private key")
	f.StringSliceVar(&s.names, "name", nil,
		"host names or addresses of this controller, for the generated certificate and the set-up link")
	s.people.flags(f)
	f.StringVar(&s.auditTo, "audit-syslog", "",
		"log server that gets the audit log, too: tls://HOST:PORT, tcp://HOST:PORT, udp://HOST:PORT or unix:///dev/log")
	f.StringVar(&s.auditCA, "audit-syslog-ca", "", "PEM file of who vouches for the log server's certificate")
	f.IntVar(&s.transfers, "site-transfers", 0,
		"files under way to one site at the same time; beyond it HTTP answers 503 and TFTP waits; 0: no limit")
	f.Int64Var(&s.rate, "site-rate", 0, "bytes a second to one site; 0: no limit")
	f.StringSliceVar(&s.balancers, "balancer", nil,
		"networks of load balancers, which must say whom a connection is for by the PROXY protocol")
	f.StringSliceVar(&s.sites, "site", nil, "networks that are one site each, for example 10.1.0.0/16")
	f.IntVar(&s.prefixV4, "site-prefix-v4", 24, "bits that cut all other IPv4 addresses into sites")
	f.IntVar(&s.prefixV6, "site-prefix-v6", 64, "bits that cut all other IPv6 addresses into sites")
}

// serveBare serves one repository.
func serveBare(cmd *cobra.Command, repoAt *repoFlags, s *service) error {
	if s.http == "" && s.tftp == "" {
		return errors.New("say where to serve: --http ADDR, --tftp ADDR, or both")
	}
	root, err := os.OpenRoot(repoAt.repo)
	if err != nil {
		return err
	}
	defer root.Close()
	cfg := files.Config{Root: root, Congestion: s.congestion,
		Log: slog.New(loglimit.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))}
	if err := listen(&cfg, s.http, s.tftp); err != nil {
		return err
	}
	l := listening{Schema: console.Schema, Event: "listening"}
	text := ""
	if cfg.HTTP != nil {
		l.HTTP = cfg.HTTP.Addr().String()
		text += "http://" + l.HTTP + "/\n"
	}
	if cfg.TFTP != nil {
		l.TFTP = cfg.TFTP.LocalAddr().String()
		text += "tftp://" + l.TFTP + "/\n"
	}
	if err := repoAt.print(cmd, l, "%s", text); err != nil {
		return err
	}
	if repoAt.keys != "" {
		repo, err := repoAt.open(true)
		if err != nil {
			return err
		}
		fresh, stop := context.WithCancel(cmd.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); publish.KeepFresh(fresh, repo, cfg.Log) }()
		defer func() { stop(); <-ended }()
	}
	manager := serviceManager()
	manager.Send(sdnotify.Ready)
	defer manager.Send(sdnotify.Stopping)
	return files.Serve(cmd.Context(), cfg)
}

// listen opens the sockets asked for.
func listen(cfg *files.Config, httpAddr, tftpAddr string) error {
	if tftpAddr != "" {
		a, err := net.ResolveUDPAddr("udp", tftpAddr)
		if err != nil {
			return noSocket("--tftp", err)
		}
		if cfg.TFTP, err = net.ListenUDP("udp", a); err != nil {
			return noSocket("--tftp", err)
		}
	}
	if httpAddr != "" {
		ln, err := net.Listen("tcp", httpAddr)
		if err != nil {
			if cfg.TFTP != nil {
				cfg.TFTP.Close()
			}
			return noSocket("--http", err)
		}
		cfg.HTTP = ln
	}
	return nil
}

// noSocket says what to do about an address that cannot be listened at. flag
// names the option that has it.
func noSocket(flag string, err error) error {
	do := "write IP:PORT, or :PORT for all addresses of this host"
	switch {
	case errors.Is(err, fs.ErrPermission):
		do = "ports below 1024 need rights (CAP_NET_BIND_SERVICE): choose another port"
	case errors.Is(err, syscall.EADDRINUSE):
		do = "another program has it: choose another port, or end that program"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		do = "it is no address of this host: choose one that is"
	}
	if flag != "--listen" {
		do += ", or give " + flag + " off"
	}
	return fmt.Errorf("%w: %s: %w; %s", errSocket, flag, err, do)
}

// serviceManager is whoever runs this service, as NOTIFY_SOCKET names it.
func serviceManager() *sdnotify.Notifier { return sdnotify.New(os.Getenv("NOTIFY_SOCKET"), 0) }

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/behind"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/files"
	"github.com/peerload/peerload/internal/controller/pages"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/replica"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/controller/servercert"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/controller/syslog"
	"github.com/peerload/peerload/internal/heap"
	"github.com/peerload/peerload/internal/loglimit"
	"github.com/peerload/peerload/internal/sdnotify"
)

// Ways of --tls.
const (
	tlsGenerated = "generated"
	tlsOff       = "off"
	addrOff      = "off"
)

const (
	pruneEvery = time.Hour
	// askedEvery is how often it is recorded which provisioning files were fetched,
	// and read which sites there are.
	askedEvery = 10 * time.Second
	// shareEvery is how often it is looked for what another replica has changed.
	shareEvery = 2 * time.Second
	// rootWarning is how long before the root expires the log warns daily: its
	// key may be offline, and then it is not renewed automatically.
	rootWarning = 90 * 24 * time.Hour
	// answerTimeout bounds the longest answers: uploads, and checks of all loads.
	answerTimeout = 3 * time.Hour
	// apiGrace is how long requests may go on after the end was asked for.
	apiGrace = 5 * time.Second
)

// service is what "serve" was asked for.
type service struct {
	console.Flags
	api, http, tftp      string
	tls, tlsCert, tlsKey string
	names                []string
	transfers            int
	rate                 int64
	sites, balancers     []string
	prefixV4, prefixV6   int
	people               accessFlags
	auditTo, auditCA     string
	congestion           string
}

// run serves the controller until ctx ends.
func (s *service) run(cmd *cobra.Command) (err error) {
	heap.Loosen(os.Getenv)
	log := slog.New(loglimit.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
	d := dataDir(s.Data)
	if err := d.prepare(); err != nil {
		return err
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	how, err := s.people.access()
	if err != nil {
		return err
	}
	inst, err := openInstance(cmd.Context(), &s.Flags, log, how)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inst.store.Close()) }()
	if err := s.audit(d, inst, log); err != nil {
		return err
	}
	files := files.Config{Tree: inst.tree, Log: log, Congestion: s.congestion, Metrics: files.NewMetrics(),
		Generate: inst.Files.Make}
	if inst.tree == nil {
		if files.Root, err = os.OpenRoot(d.repository()); err != nil {
			return err
		}
		defer files.Root.Close()
	}
	if files.Budget, err = s.budget(); err != nil {
		return err
	}
	if files.Balancers, err = networks("--balancer", s.balancers); err != nil {
		return err
	}
	inst.locate(cmd.Context(), log)
	files.Budget.Named = inst.named
	if db, ok := inst.store.(*postgres.Store); ok {
		slots := db.Slots()
		defer slots.Close()
		files.Budget.Slots = slots
	}
	if err := inst.api.Register(files.Metrics); err != nil {
		return err
	}
	api, err := s.listenAPI(d, inst.shared)
	if err != nil {
		return err
	}
	if err := listen(&files, on(s.http), on(s.tftp)); err != nil {
		return errors.Join(err, api.Close())
	}
	// From here on SIGHUP does not end the process: a program that has read the
	// addresses may send one.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	if err := s.announce(cmd, inst.Controller, api, files, log); err != nil {
		return err
	}
	manager := serviceManager()
	manager.Send(sdnotify.Ready)
	defer manager.Send(sdnotify.Stopping)
	return serveAll(cmd.Context(), d, inst, api, files, hup, log)
}

// audit prepares to send the audit log to a log server, if one is named.
func (s *service) audit(d dataDir, inst *instance, log *slog.Logger) (err error) {
	if s.auditTo == "" {
		if s.auditCA != "" {
			return errors.New("--audit-syslog is missing: --audit-syslog-ca belongs to it")
		}
		return nil
	}
	var ca *x509.CertPool
	if s.auditCA != "" {
		if ca, err = poolOf(s.auditCA, "--audit-syslog-ca"); err != nil {
			return err
		}
	}
	to, err := syslog.ParseTarget(s.auditTo, ca)
	if err != nil {
		return fmt.Errorf("--audit-syslog: %w", err)
	}
	inst.audit, err = syslog.New(syslog.Config{Source: inst.Controller, Target: to, Mark: d.auditMark(), Log: log})
	if err != nil {
		return err
	}
	return inst.api.Register(inst.audit)
}

// on is the address to listen at, "" for off.
func on(addr string) string {
	if addr == addrOff {
		return ""
	}
	return addr
}

func (s *service) budget() (b files.Budget, err error) {
	b = files.Budget{Transfers: s.transfers, Rate: s.rate, PrefixV4: s.prefixV4, PrefixV6: s.prefixV6}
	if b.Sites, err = networks("--site", s.sites); err != nil {
		return b, err
	}
	if err := b.Validate(); err != nil {
		return b, fmt.Errorf("--site-transfers, --site-rate, --site-prefix-v4, --site-prefix-v6: %w", err)
	}
	return b, nil
}

// networks are those that a flag has.
func networks(flag string, texts []string) (all []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s %q is not a network such as 10.1.0.0/16", flag, text)
		}
		all = append(all, p)
	}
	return all, nil
}

// apiListener is where the API listens.
type apiListener struct {
	net.Listener
	scheme, host, print string
	// certs is nil without TLS.
	certs *servercert.Certs
}

// listenAPI opens the socket of the API, with TLS unless it is off.
func (s *service) listenAPI(d dataDir, shared *replica.Files) (*apiListener, error) {
	// Devices hear each minute that the controller lives: Go's own probes, four a
	// minute, would cost them more than that.
	quiet := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute,
		Interval: time.Minute, Count: 3}}
	ln, err := quiet.Listen(context.Background(), "tcp", s.api)
	if err != nil {
		return nil, noSocket("--listen", err)
	}
	from, err := networks("--balancer", s.balancers)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	a := &apiListener{Listener: behind.Listen(ln, from), scheme: "http", host: s.host(ln)}
	switch s.tls {
	case tlsOff:
		return a, nil
	case tlsGenerated:
	default:
		return nil, errors.Join(choice.Value("--tls", s.tls, []string{tlsGenerated, tlsOff}), ln.Close())
	}
	if a.certs, err = s.certificate(d, a.host, shared); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	a.scheme, a.print = "https", a.certs.Fingerprint()
	a.Listener = tls.NewListener(a.Listener, &tls.Config{GetCertificate: a.certs.Get, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"}})
	return a, nil
}

// certificate is what the API serves with. Replicas have one together, which is for
// names that lead to each of them.
func (s *service) certificate(d dataDir, at string, shared *replica.Files) (*servercert.Certs, error) {
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	if shared == nil || s.tlsCert != "" {
		names := append([]string{host, "localhost", "127.0.0.1", "::1"}, s.names...)
		return servercert.Open(s.tlsCert, s.tlsKey, d.tls(), names)
	}
	if len(s.names) == 0 {
		return nil, errors.New("--name is missing: with --cluster-key name what leads to the replicas, the same at each, " +
			"or give --tls-cert")
	}
	unlock, err := shared.Lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	certs, err := servercert.Open("", "", d.tls(), s.names)
	if err != nil {
		return nil, err
	}
	return certs, shared.Keep()
}

// host is how others reach the listener, with its port: the first --name, else
// its address, else the name of this host.
func (s *service) host(ln net.Listener) string {
	at := ln.Addr().(*net.TCPAddr)
	name := at.IP.String()
	if at.IP.IsUnspecified() {
		if h, err := os.Hostname(); err == nil {
			name = h
		} else {
			name = "localhost"
		}
	}
	if len(s.names) > 0 {
		name = s.names[0]
	}
	return net.JoinHostPort(name, fmt.Sprint(at.Port))
}

// announce prints where everything is, and the set-up link if nobody can log
// in yet.
func (s *service) announce(cmd *cobra.Command, ctl *domain.Controller, api *apiListener, served files.Config,
	log *slog.Logger) error {
	l := listening{Schema: console.Schema, Event: "listening", API: api.scheme + "://" + api.host, Fingerprint: api.print}
	text := l.API + "/\n"
	if api.print != "" {
		text += "certificate SHA-256 " + api.print + "\n"
	}
	if served.HTTP != nil {
		l.HTTP = served.HTTP.Addr().String()
		text += "http://" + l.HTTP + "/\n"
	}
	if served.TFTP != nil {
		l.TFTP = served.TFTP.LocalAddr().String()
		text += "tftp://" + l.TFTP + "/\n"
	}
	secret, err := ctl.BeginSetup(cmd.Context())
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, domain.ErrAway) {
		// Devices get their files all the same.
		log.Error("no set-up link can be made now", "error", err)
	} else if err != nil {
		return err
	}
	if secret != "" {
		l.Setup = l.API + "/setup?" + url.Values{"secret": {secret}}.Encode()
		text += "set up the first administrator, once, within 24 hours:\n" + l.Setup + "\n"
	}
	repoAt := repoFlags{json: s.JSON}
	return repoAt.print(cmd, l, "%s", text)
}

// serveAll runs the API, the file server and the upkeep until ctx ends, or one
// of them fails.
func serveAll(ctx context.Context, d dataDir, inst *instance, api *apiListener, served files.Config,
	hup <-chan os.Signal, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	ended := make(chan error, 2)
	if served.HTTP != nil || served.TFTP != nil {
		wg.Go(func() { ended <- files.Serve(ctx, served); cancel() })
	} else {
		ended <- nil
	}
	wg.Go(func() { ended <- serveAPI(ctx, inst, api, log); cancel() })
	if inst.audit != nil {
		wg.Go(func() { inst.audit.Run(ctx) })
	}
	wg.Go(func() { upkeep(ctx, d, inst, api.certs, log) })
	wg.Go(func() { inst.Run(ctx) })
	wg.Go(func() { reloadOnHangup(ctx, hup, api.certs, serviceManager(), log) })
	wg.Wait()
	return errors.Join(<-ended, <-ended)
}

func serveAPI(ctx context.Context, inst *instance, api *apiListener, log *slog.Logger) error {
	people, err := pages.New(frame.Config{API: inst.api, SignInAt: inst.signInAt, Log: log})
	if err != nil {
		return err
	}
	h := &http.Server{Handler: people, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
		WriteTimeout: answerTimeout,
		IdleTimeout:  time.Minute, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelInfo)}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiGrace)
		defer cancel()
		if h.Shutdown(grace) != nil {
			h.Close()
		}
	})
	err = h.Serve(api)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// reloadOnHangup reads the certificate again at each SIGHUP, as after another
// program has renewed it.
func reloadOnHangup(ctx context.Context, hup <-chan os.Signal, c *servercert.Certs, manager *sdnotify.Notifier,
	log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			manager.Reloading()
			reloadCert(c, log)
			manager.Send(sdnotify.Ready)
		}
	}
}

func reloadCert(c *servercert.Certs, log *slog.Logger) {
	if c == nil {
		return // a proxy has it
	}
	changed, err := c.Reload()
	switch {
	case err != nil:
		log.Error("the certificate from before is served on", "error", err)
	case changed:
		log.Info("another certificate is served", "sha256", c.Fingerprint())
	}
}

// upkeep compares the list of loads with the repository at the start, and from
// then on does regular work: it refreshes signatures, removes old entries, and
// renews a generated certificate before it expires.
func upkeep(ctx context.Context, d dataDir, inst *instance, certs *servercert.Certs, log *slog.Logger) {
	who := domain.Actor{Kind: domain.ActorSystem, Name: "upkeep", From: "local", Role: domain.RoleAdmin}
	if err := inst.Controller.SyncLoads(ctx, who); err != nil && ctx.Err() == nil {
		log.Error("the repository's loads were not read", "error", err)
	}
	share := time.NewTicker(shareEvery)
	defer share.Stop()
	prune, fresh, asked := time.NewTicker(pruneEvery), time.NewTicker(publish.FreshEvery), time.NewTicker(askedEvery)
	defer prune.Stop()
	defer fresh.Stop()
	defer asked.Stop()
	refresh(inst.repo, log)
	pruneOnce(ctx, d, inst, log)
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked.C:
			if err := inst.Controller.RecordAsked(ctx); err != nil && ctx.Err() == nil {
				log.Warn("which provisioning files were fetched was not recorded", "error", err)
			}
			inst.locate(ctx, log)
		case <-share.C:
			inst.shareOnce(ctx, certs, log)
		case <-prune.C:
			pruneOnce(ctx, d, inst, log)
		case <-fresh.C:
			refresh(inst.repo, log)
			inst.renewCert(certs, log)
		}
	}
}

// shareOnce gives what has changed here to the other replicas, and takes theirs.
func (inst *instance) shareOnce(ctx context.Context, certs *servercert.Certs, log *slog.Logger) {
	if inst.shared == nil {
		return
	}
	changed, err := inst.shared.Sync(ctx)
	if err != nil && ctx.Err() == nil {
		log.Warn("files of the replicas were not brought together; those that are here are used", "error", err)
	}
	if slices.ContainsFunc(changed, func(path string) bool { return strings.HasPrefix(path, "tls/") }) {
		reloadCert(certs, log)
	}
}

// renewCert makes a generated certificate anew before it expires, of all replicas one at
// a time.
func (inst *instance) renewCert(certs *servercert.Certs, log *slog.Logger) {
	if inst.shared != nil {
		unlock, err := inst.shared.Lock()
		if err != nil {
			log.Warn("the certificate is not looked at; this is done again tomorrow", "error", err)
			return
		}
		defer unlock()
		defer func() {
			if err := inst.shared.Keep(); err != nil {
				log.Warn("the certificate was not given to the other replicas; this is done again at once", "error", err)
			}
		}()
	}
	reloadCert(certs, log)
}

func pruneOnce(ctx context.Context, d dataDir, inst *instance, log *slog.Logger) {
	if err := d.sweep(time.Now()); err != nil {
		log.Error("what interrupted uploads have left was not removed", "error", err)
	}
	if _, err := inst.Controller.Prune(ctx); err != nil && ctx.Err() == nil {
		log.Error("old entries were not removed", "error", err)
	}
	if err := inst.Orders.Prune(ctx); err != nil && ctx.Err() == nil {
		log.Error("orders that have expired were not closed", "error", err)
	}
}

func refresh(repo *repository.Repository, log *slog.Logger) {
	if _, err := repo.Loads(); errors.Is(err, repository.ErrNoRepository) {
		return // nothing was published yet
	}
	if err := repo.Refresh(); err != nil {
		log.Error("the repository's signatures were not refreshed", "error", err)
	}
	if left, err := repo.RootLife(); err == nil && left < rootWarning {
		log.Warn("devices will soon refuse the repository, for its root expires: put the root key back into the directory "+
			"keys and run \"peerload-server load refresh\"",
			"days", int(left.Hours()/24))
	}
}

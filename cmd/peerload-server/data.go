package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/files"
	"github.com/peerload/peerload/internal/controller/objects"
	"github.com/peerload/peerload/internal/controller/objects/s3"
	"github.com/peerload/peerload/internal/controller/replica"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/controller/syslog"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/version"
)

// dataDir is the data directory: all that the controller keeps.
type dataDir string

func (d dataDir) database() string   { return filepath.Join(string(d), "controller.db") }
func (d dataDir) repository() string { return filepath.Join(string(d), "repository") }
func (d dataDir) keys() string       { return filepath.Join(string(d), "keys") }
func (d dataDir) spool() string      { return filepath.Join(string(d), "spool") }
func (d dataDir) tls() string        { return filepath.Join(string(d), "tls") }
func (d dataDir) auditMark() string  { return filepath.Join(string(d), "audit-syslog.json") }
func (d dataDir) cache() string      { return filepath.Join(string(d), "cache") }
func (d dataDir) live() string       { return filepath.Join(string(d), "live") }
func (d dataDir) templates() string  { return filepath.Join(string(d), "templates") }

// errData says that the data directory cannot be used.
var errData = errors.New("the data directory cannot be used")

// prepare makes the directories that are missing, for the owner alone.
func (d dataDir) prepare() error {
	for _, p := range []string{string(d), d.repository(), d.spool(), d.tls(), d.templates()} {
		if err := (durable.Writer{}).MkdirAll(p, 0o700); err != nil {
			return fmt.Errorf("%w: %w; name another with --data", errData, err)
		}
	}
	return d.owned()
}

// owned refuses the data of another account, even to root: the owner could not
// use files that this account creates there, such as keys.
func (d dataDir) owned() error {
	info, err := os.Stat(string(d))
	if err != nil {
		return fmt.Errorf("%w: %w", errData, err)
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(s.Uid) == os.Getuid() {
		return nil
	}
	owner := "uid " + fmt.Sprint(s.Uid)
	if u, err := user.LookupId(fmt.Sprint(s.Uid)); err == nil {
		owner = u.Username
	}
	return fmt.Errorf("%w: %s belongs to %s: run this as that user, for example with sudo -u", errData, d, owner)
}

// spoolLife is how old an upload must be to have been interrupted: longer than
// any may take.
const spoolLife = 3 * time.Hour

// sweep removes what an interrupted upload has left. A younger one may still be
// in use by a command in the shell while a server starts.
func (d dataDir) sweep(now time.Time) error {
	left, err := filepath.Glob(filepath.Join(d.spool(), "upload-*"))
	if err != nil {
		return err
	}
	for _, p := range left {
		if info, err := os.Stat(p); err != nil || now.Sub(info.ModTime()) < spoolLife {
			continue
		}
		if err := os.RemoveAll(p); err != nil {
			return err
		}
	}
	return nil
}

// lock keeps a second server away. It ends with the process, however that ends.
func (d dataDir) lock() (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(string(d), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: another peerload-server serves %s", errData, d)
	}
	return f.Close, nil
}

// openStore opens the database: PostgreSQL by its URL, else SQLite in the data
// directory.
func openStore(ctx context.Context, d dataDir, database string) (domain.Store, error) {
	switch {
	case database == "":
		return sqlite.Open(ctx, sqlite.Config{Path: d.database()})
	case strings.HasPrefix(database, "postgres://"), strings.HasPrefix(database, "postgresql://"):
		return postgres.Open(ctx, postgres.Config{URL: database})
	}
	return nil, errors.New("--database is a URL such as postgres://user@host/name, or nothing for SQLite")
}

// inStore runs what works on the database itself, which must be there already; made
// says that it may be made.
func inStore(ctx context.Context, conn *console.Flags, made bool, do func(domain.Store) error) (err error) {
	d := dataDir(conn.Data)
	if made {
		err = d.prepare()
	} else {
		err = requireData(d, conn.Database())
	}
	if err != nil {
		return err
	}
	s, err := openStore(ctx, d, conn.Database())
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.Close())
}

// instance is a controller on its data directory.
type instance struct {
	store domain.Store
	repo  *repository.Repository
	services.Services
	api   *api.Server
	audit *syslog.Sender // nil: nowhere
	// signInAt is where people sign in at an issuer, "" for nowhere.
	signInAt string
	// tree has the published files; nil: they are in the data directory. published says
	// where they are.
	tree      objects.Tree
	published string
	// shared are the files of all replicas; nil: there are no others.
	shared *replica.Files
	// sites finds the sites of addresses, as they were known last; nil at first.
	sites atomic.Pointer[domain.Locator]
}

// locate reads what sites there are. While the database does not answer, what
// was known last holds.
func (inst *instance) locate(ctx context.Context, log *slog.Logger) {
	l, err := inst.Controller.Locator(ctx)
	if err != nil {
		if ctx.Err() == nil {
			log.Warn("which sites there are was not read; the limits of those that are known hold", "error", err)
		}
		return
	}
	inst.sites.Store(l)
}

// named finds the site of an address for the file server.
func (inst *instance) named(a netip.Addr) (files.Named, bool) {
	name, limits := inst.sites.Load().Of(a)
	return files.Named{Name: name, Transfers: limits.Transfers, Rate: limits.Rate}, name != ""
}

// openInstance opens all that the API needs.
func openInstance(ctx context.Context, conn *console.Flags, log *slog.Logger, how access) (*instance, error) {
	inst, d := &instance{}, dataDir(conn.Data)
	var err error
	if inst.store, err = openStore(ctx, d, conn.Database()); err != nil {
		return nil, err
	}
	if err = inst.share(ctx, conn, log); err == nil {
		err = inst.place(conn, log)
	}
	if err == nil {
		err = inst.assemble(ctx, d, log, how)
	}
	if err != nil {
		return nil, errors.Join(err, inst.store.Close())
	}
	return inst, nil
}

func (inst *instance) assemble(ctx context.Context, d dataDir, log *slog.Logger, how access) (err error) {
	repo := repository.Config{Dir: inst.published, Tree: inst.tree, Keys: d.keys()}
	with := services.Config{Keys: d.keys(), Templates: d.templates(), Live: d.live(), Log: log}
	if inst.shared != nil {
		repo.Shared, with.Shared = inst.shared, inst.shared
	}
	if inst.repo, err = repository.Open(repo); err != nil {
		return err
	}
	with.Domain = domain.Config{Store: inst.store, Repository: inst.repo, SessionLife: how.life}
	if inst.Services, err = services.New(ctx, with); err != nil {
		return err
	}
	inst.api, err = api.New(api.Config{Services: inst.Services, Spool: d.spool(), Version: version.Read().Number, Log: log,
		OIDC: how.issuer, PublicURL: how.url})
	if how.issuer != nil {
		inst.signInAt = api.LoginPath
	}
	return err
}

// place says where published files are.
func (inst *instance) place(conn *console.Flags, log *slog.Logger) error {
	d := dataDir(conn.Data)
	if inst.published = d.repository(); conn.Objects == "" {
		return nil
	}
	tree, err := s3.Open(s3.Config{URL: conn.Objects, Cache: d.cache(), Log: log})
	if err != nil {
		return fmt.Errorf("--objects: %w", err)
	}
	inst.tree, inst.published = tree, conn.Objects
	return nil
}

// share brings the files that all replicas have to this one, if there are replicas.
func (inst *instance) share(ctx context.Context, conn *console.Flags, log *slog.Logger) error {
	if conn.ClusterKey == "" {
		return nil
	}
	db, ok := inst.store.(*postgres.Store)
	if !ok {
		return errors.New("--cluster-key belongs to --database: replicas share a PostgreSQL database")
	}
	secret, err := os.ReadFile(conn.ClusterKey)
	if err != nil {
		return fmt.Errorf("--cluster-key: %w", err)
	}
	cfg := replica.Config{Store: db, Secret: bytes.TrimSpace(secret), Dir: conn.Data, Log: log}
	if inst.shared, err = replica.Open(cfg); err != nil {
		return fmt.Errorf("--cluster-key: %w", err)
	}
	if _, err := inst.shared.Sync(ctx); err != nil {
		return fmt.Errorf("--cluster-key: %w", err)
	}
	return nil
}

// requireData refuses a directory without a controller's database: a mistyped
// path must not create an empty controller.
func requireData(d dataDir, database string) error {
	if database != "" {
		return nil
	}
	if _, err := os.Stat(d.database()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s holds no controller's data: start \"peerload-server serve --data %s\" once, name another "+
			"directory with --data, or a controller with --server, or sign in at one with \"peerload-server login\"",
			errData, d, d)
	} else if err != nil {
		return fmt.Errorf("%w: %w", errData, err)
	}
	return nil
}

// openHere opens the controller of the data directory in this process, for a
// command.
func openHere(ctx context.Context, conn *console.Flags) (*console.Connection, error) {
	d := dataDir(conn.Data)
	if err := requireData(d, conn.Database()); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		return nil, err
	}
	inst, err := openInstance(ctx, conn, slog.New(slog.NewTextHandler(os.Stderr, nil)), access{})
	if err != nil {
		return nil, err
	}
	c, err := client.New("http://local", "", &http.Client{Transport: inst.api.Local(shellActor())})
	if err != nil {
		return nil, errors.Join(err, inst.store.Close())
	}
	return &console.Connection{Client: c, IfVersion: client.Version(conn.IfVersion), Close: inst.store.Close,
		Work: inst.Jobs.Run}, nil
}

// shellActor is the owner of the data directory.
func shellActor() domain.Actor {
	name := fmt.Sprint("uid ", os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	return domain.Local(name)
}

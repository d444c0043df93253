// Package pgserver starts a PostgreSQL server of its own, for tests and campaigns.
//
// What lives here: a server in a temporary directory, its databases, its end. What must
// not: what is in them.
//
// Read first: Start.
package pgserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Server is a PostgreSQL server of our own in a temporary directory, which
// listens on a Unix socket there and nowhere else. Tests share it, each with a
// database of its own.
type Server struct {
	dir     string
	program string
	attr    *syscall.SysProcAttr
	cmd     *exec.Cmd
	names   int
	args    []string // what it is started with besides its place
}

// ErrMissing says that the server's programs are not installed.
var ErrMissing = errors.New("initdb or postgres is not installed: .ci/foreign.sh installs them")

// NewDatabase makes an empty database and returns its URL and its name.
func (s *Server) NewDatabase() (at, name string, err error) {
	s.names++
	name = fmt.Sprintf("t%d", s.names)
	return s.URL(name), name, s.sql("CREATE DATABASE " + name)
}

// Copy makes a copy of a database that nobody is connected to, and returns its URL.
func (s *Server) Copy(of string) (at string, err error) {
	s.names++
	name := fmt.Sprintf("t%d", s.names)
	return s.URL(name), s.sql("CREATE DATABASE " + name + " TEMPLATE " + of)
}

// URL returns where a database is.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + database,
		RawQuery: url.Values{"host": {s.dir}, "user": {"peerload"}}.Encode()}
	return u.String()
}

// program finds initdb or postgres in PATH or where Debian has them.
func program(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%w (no %s)", ErrMissing, name)
	}
	return found[len(found)-1], nil
}

// unprivileged is who runs the server: it refuses to be root.
func unprivileged() (*syscall.SysProcAttr, int, error) {
	if os.Getuid() != 0 {
		return nil, os.Getuid(), nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, 0, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, 0, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, int(uid), err
}

// Start makes a server and waits until it answers. An error matches
// ErrMissing if its programs are not there. Its caller's program must have
// the driver pgx, as package store/postgres brings it.
func Start() (*Server, error) { return StartWith(Settings{}) }

// Settings are what a server may have of its own.
type Settings struct {
	// Fsync has the server write to the disk before it acknowledges, as it does by
	// default. Tests do without: nobody cuts the power.
	Fsync bool
	// Buffers is how much of the databases the server keeps in memory, in MB, in pages of 2
	// MB if the system has set them aside (vm.nr_hugepages); checkpoints are rarer likewise.
	// 0: PostgreSQL's defaults, 128 MB.
	Buffers int
}

// args are the server's own, for its command line.
func (cfg Settings) args() []string {
	all := []string{"-c", "listen_addresses=", "-c", "max_connections=200"}
	if !cfg.Fsync {
		all = append(all, "-c", "fsync=off")
	}
	if cfg.Buffers > 0 {
		all = append(all, "-c", fmt.Sprintf("shared_buffers=%dMB", cfg.Buffers), "-c", "huge_pages=try",
			"-c", fmt.Sprintf("max_wal_size=%dMB", 2*cfg.Buffers))
	}
	return all
}

// StartWith is Start with settings.
func StartWith(cfg Settings) (*Server, error) {
	initdb, err := program("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := program("postgres")
	if err != nil {
		return nil, err
	}
	attr, uid, err := unprivileged()
	if err != nil {
		return nil, err
	}
	// The path of a Unix socket must be short, and every directory above open.
	s := &Server{args: cfg.args()}
	if s.dir, err = os.MkdirTemp("/tmp", "peerload-pg"); err != nil {
		return nil, err
	}
	if err := os.Chown(s.dir, uid, -1); err != nil {
		return nil, err
	}
	data := filepath.Join(s.dir, "data")
	init := exec.Command(initdb, "-D", data, "-U", "peerload",
		"--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
	init.Dir, init.SysProcAttr = s.dir, attr
	if out, err := init.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(s.dir))
	}
	s.program, s.attr = postgres, attr
	if err := s.Resume(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

// Resume starts the server, again after Halt, and waits until it answers.
func (s *Server) Resume() error {
	s.cmd = exec.Command(s.program, append([]string{"-D", filepath.Join(s.dir, "data"), "-k", s.dir}, s.args...)...)
	s.cmd.Dir, s.cmd.SysProcAttr = s.dir, s.attr
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := s.sql("SELECT 1")
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return errors.Join(fmt.Errorf("the server does not start: %w: %s", err, said), s.Halt())
		}
		<-time.After(20 * time.Millisecond)
	}
}

// sql runs one statement in the server's own database.
func (s *Server) sql(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return errors.Join(err, db.Close())
}

// Stop ends the server for good, and removes what it kept.
func (s *Server) Stop() error { return errors.Join(s.Halt(), os.RemoveAll(s.dir)) }

// Halt asks the server to end at once, and waits for it. Its databases stay.
func (s *Server) Halt() error {
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		s.cmd.Process.Kill()
		<-ended
	}
	return nil
}

// Kill ends every connection to a database from the server's side.
func (s *Server) Kill(database string) error {
	return s.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" +
		strings.ReplaceAll(database, "'", "''") + "'")
}

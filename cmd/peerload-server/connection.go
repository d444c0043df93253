package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/keyring"
)

// Environment variables that replace flags.
const (
	envData     = "PEERLOAD_DATA"
	envDatabase = "PEERLOAD_DATABASE"
	// envController has the meaning that it has for the agent: the URL of the
	// controller. (PEERLOAD_SERVER is where an agent is provisioned.)
	envController = "PEERLOAD_CONTROLLER"
	envToken      = "PEERLOAD_TOKEN"
	envCA         = "PEERLOAD_CA"
)

// connFlags are the flags that say which controller a command is for.
type connFlags struct {
	data, databaseFlag            string
	server, token, tokenFile, caf string
	ifVersion                     int64
	json                          bool
	set                           *pflag.FlagSet // what was given
}

// flags adds the flags.
func (conn *connFlags) flags(f *pflag.FlagSet) {
	conn.dataFlags(f)
	conn.remoteFlags(f)
	f.StringVar(&conn.token, "token", "",
		"API token for --server; better in the environment, "+envToken+", which other users cannot see")
	f.StringVar(&conn.tokenFile, "token-file", "", `file that holds the token; "-" is the standard input`)
	f.Int64Var(&conn.ifVersion, "if-version", int64(client.AnyVersion),
		"change it only if it is still at this version; 0 is that of what nobody has written yet, -1 any")
	f.BoolVar(&conn.json, "json", false, "print one JSON object a line")
}

// remoteFlags adds those that say which remote controller is meant.
func (conn *connFlags) remoteFlags(f *pflag.FlagSet) {
	conn.set = f
	f.StringVar(&conn.server, "server", os.Getenv(envController),
		"URL of a remote controller, instead of --data (environment: "+envController+"); else that of the last login")
	f.StringVar(&conn.caf, "ca", os.Getenv(envCA),
		"PEM file of the certificate that --server has, or of who signed it (environment: "+envCA+")")
}

// dataFlags adds those of the data directory only.
func (conn *connFlags) dataFlags(f *pflag.FlagSet) {
	data := defaultData
	if v := os.Getenv(envData); v != "" {
		data = v
	}
	f.StringVar(&conn.data, "data", data, "the controller's data directory (environment: "+envData+")")
	// Its environment is read later: a default is printed with the help, and a
	// URL may hold a password.
	f.StringVar(&conn.databaseFlag, "database", "",
		"URL of a PostgreSQL database, instead of SQLite in the data directory (environment: "+envDatabase+")")
}

// database is the URL of the database, "" for SQLite.
func (conn *connFlags) database() string {
	if conn.databaseFlag != "" {
		return conn.databaseFlag
	}
	return os.Getenv(envDatabase)
}

// connection is a client of the API: that of a remote controller, or in this
// process on the data directory. Both give the same answers to the same
// requests.
type connection struct {
	*client.Client
	// ifVersion is what each write compares.
	ifVersion client.Version
	close     func() error
	at        place
	// work carries out bulk jobs in this process until ctx ends; nil where a
	// controller does.
	work func(ctx context.Context)
}

// open opens the way to the controller.
func (conn *connFlags) open(ctx context.Context) (*connection, error) {
	at, err := conn.where()
	if err != nil {
		return nil, err
	}
	if at.server != "" {
		return conn.remote(at)
	}
	d := dataDir(conn.data)
	if err := requireData(d, conn.database()); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		return nil, err
	}
	inst, err := openInstance(ctx, d, conn.database(), slog.New(slog.NewTextHandler(os.Stderr, nil)), access{})
	if err != nil {
		return nil, err
	}
	c, err := client.New("http://local", "", &http.Client{Transport: inst.api.Local(shellActor())})
	if err != nil {
		return nil, errors.Join(err, inst.store.Close())
	}
	return &connection{c, client.Version(conn.ifVersion), inst.store.Close, place{}, inst.Jobs.Run}, nil
}

// place is a remote controller; none if server is "".
type place struct {
	server, token, ca string
	// entry is the sign-in that the token is from; none if its server is "".
	entry keyring.Entry
}

// where finds which controller is meant: a flag goes before the environment, that
// before the last login, and that before the usual data directory. A token that
// was given is for a controller that was named, never for the last login's.
func (conn *connFlags) where() (at place, err error) {
	local := conn.set.Changed("data") || conn.set.Changed("database")
	named := conn.server != "" && (conn.set.Changed("server") || !local)
	if !named && (local || os.Getenv(envData) != "" || os.Getenv(envDatabase) != "") {
		return at, nil
	}
	if named {
		if at.server, err = keyring.Server(conn.server); err != nil {
			return at, fmt.Errorf("--server: %w", err)
		}
		if at.token, err = conn.givenToken(); err != nil {
			return at, err
		}
	}
	ring, err := readRing(named && at.token == "")
	if err != nil && at.token == "" {
		return at, err
	}
	if !named {
		at.server = ring.Default
	}
	entry, _ := ring.Find(at.server)
	if at.ca = entry.CA; at.token == "" {
		at.token, at.entry = entry.Token, entry
	}
	if conn.caf != "" {
		b, err := os.ReadFile(conn.caf)
		if err != nil {
			return at, fmt.Errorf("--ca: %w", err)
		}
		at.ca = string(b)
	}
	return at, nil
}

// givenToken is the token of a flag or of the environment, "" if there is none.
func (conn *connFlags) givenToken() (string, error) {
	if conn.token != "" || conn.tokenFile == "" {
		return cmp.Or(conn.token, os.Getenv(envToken)), nil
	}
	var b []byte
	var err error
	if conn.tokenFile == "-" {
		b, err = io.ReadAll(io.LimitReader(os.Stdin, 1<<16))
	} else {
		b, err = os.ReadFile(conn.tokenFile)
	}
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return cmp.Or(strings.TrimSpace(string(b)), os.Getenv(envToken)), nil
}

// readRing reads the sign-ins. Where nobody has a place for them, there are none.
func readRing(must bool) (keyring.Ring, error) {
	path, err := keyring.Path()
	if err != nil && !must {
		return keyring.Ring{}, nil
	}
	if err != nil {
		return keyring.Ring{}, err
	}
	return keyring.Read(path)
}

func (conn *connFlags) remote(at place) (*connection, error) {
	if at.token == "" {
		return nil, fmt.Errorf("nobody is signed in at %s: \"peerload-server login --server %s\" signs you in; a program "+
			"sets %s, or gives --token-file", at.server, at.server, envToken)
	}
	c, err := at.client(at.token)
	return &connection{c, client.Version(conn.ifVersion), func() error { return nil }, at, nil}, err
}

// client is a client of the controller.
func (at place) client(token string) (*client.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if at.ca != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(at.ca)) {
			return nil, errors.New("--ca holds no certificate: name a file in PEM")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return client.New(at.server, token, &http.Client{Transport: t})
}

// with runs a command with a connection.
func (conn *connFlags) with(
	run func(cmd *cobra.Command, args []string, c *connection) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		c, err := conn.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.close()) }()
		return hint(run(cmd, args, c), c.at)
	}
}

// hinted is an error with another text, which names options of the command.
type hinted struct {
	error
	text string
}

func (h *hinted) Error() string { return h.text }
func (h *hinted) Unwrap() error { return h.error }

// hint says what to do about a sign-in that has ended, and about a certificate of
// an unknown authority.
func hint(err error, at place) error {
	if e := at.entry; e.Server != "" && errors.Is(err, client.Unauthenticated) {
		return &hinted{err, fmt.Sprintf("the sign-in of %s at %s has ended: log in again with \"peerload-server login "+
			"--server %s\": %v", e.User, e.Server, e.Server, err)}
	}
	var unknown x509.UnknownAuthorityError
	var cause *url.Error
	if errors.As(err, &unknown) && errors.As(err, &cause) {
		return &hinted{err, fmt.Sprintf("the controller cannot be reached: nobody that this host trusts vouches for its "+
			"certificate: name its copy with --ca; a generated one is tls/cert.pem in the controller's data directory: %v",
			cause)}
	}
	return err
}

// collect reads a whole list.
func collect[T any](list iter.Seq2[T, error]) ([]T, error) {
	var items []T
	for v, err := range list {
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	return items, nil
}

// last reads the latest entries of a log, as many as --last says.
func last[T any](ctx context.Context, log client.Lister[T], f client.Filter, most int) ([]T, error) {
	if most < 0 {
		return nil, fmt.Errorf("--last is a number of entries, or 0 for all, not %d", most)
	}
	f.Limit = most
	return collect(log.List(ctx, f))
}

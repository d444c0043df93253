package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerload/peerload/client"
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
}

// flags adds the flags.
func (conn *connFlags) flags(f *pflag.FlagSet) {
	conn.dataFlags(f)
	f.StringVar(&conn.server, "server", os.Getenv(envController),
		"URL of a remote controller, instead of --data (environment: "+envController+")")
	f.StringVar(&conn.token, "token", "",
		"API token for --server; better in the environment, "+envToken+", which other users cannot see")
	f.StringVar(&conn.tokenFile, "token-file", "", "file that holds the token")
	f.StringVar(&conn.caf, "ca", os.Getenv(envCA),
		"PEM file of the certificate that --server has, or of who signed it (environment: "+envCA+")")
	f.Int64Var(&conn.ifVersion, "if-version", int64(client.AnyVersion),
		"change it only if it is still at this version; 0 is that of what nobody has written yet, -1 any")
	f.BoolVar(&conn.json, "json", false, "print one JSON object a line")
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
}

// open opens the way to the controller.
func (conn *connFlags) open(ctx context.Context) (*connection, error) {
	if conn.server != "" {
		return conn.remote()
	}
	d := dataDir(conn.data)
	if err := requireData(d, conn.database()); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		return nil, err
	}
	inst, err := openInstance(ctx, d, conn.database(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return nil, err
	}
	c, err := client.New("http://local", "", &http.Client{Transport: inst.api.Local(shellActor())})
	if err != nil {
		return nil, errors.Join(err, inst.store.Close())
	}
	return &connection{c, client.Version(conn.ifVersion), inst.store.Close}, nil
}

func (conn *connFlags) remote() (*connection, error) {
	u, err := url.Parse(conn.server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		// Not the value: it may hold a password.
		return nil, errors.New("--server is no http or https URL: write it such as https://controller:8443")
	}
	token := conn.token
	if token == "" && conn.tokenFile != "" {
		b, err := os.ReadFile(conn.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	if token == "" {
		token = os.Getenv(envToken)
	}
	if token == "" {
		return nil, fmt.Errorf("--server needs a token: set %s, or give --token-file or --token; "+
			"\"peerload-server token add\" makes one", envToken)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	if conn.caf != "" {
		pem, err := os.ReadFile(conn.caf)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca: %s holds no certificate: name a file in PEM", conn.caf)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	c, err := client.New(conn.server, token, &http.Client{Transport: t})
	return &connection{c, client.Version(conn.ifVersion), func() error { return nil }}, err
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
		return hint(run(cmd, args, c))
	}
}

// hinted is an error with another text, which names options of the command.
type hinted struct {
	error
	text string
}

func (h *hinted) Error() string { return h.text }
func (h *hinted) Unwrap() error { return h.error }

// hint says what to do about a certificate of an unknown authority.
func hint(err error) error {
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

package console

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
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
	EnvData     = "PEERLOAD_DATA"
	EnvDatabase = "PEERLOAD_DATABASE"
	// EnvClusterKey is the path of a file, not its content.
	EnvClusterKey = "PEERLOAD_CLUSTER_KEY"
	EnvObjects    = "PEERLOAD_OBJECTS"
	// EnvController has the meaning that it has for the agent: the URL of the
	// controller. (PEERLOAD_SERVER is where an agent is provisioned.)
	EnvController = "PEERLOAD_CONTROLLER"
	EnvToken      = "PEERLOAD_TOKEN"
	EnvCA         = "PEERLOAD_CA"
)

// defaultData is the data directory if none is named.
const defaultData = "/var/lib/peerload-server"

// Flags are the flags that say which controller a command is for.
type Flags struct {
	Data, databaseFlag, ClusterKey   string
	Objects                          string
	Server, token, tokenFile, CAFile string
	IfVersion                        int64
	JSON                             bool
	set                              *pflag.FlagSet // what was given
	// here opens the controller of the data directory in this process.
	Here func(ctx context.Context, conn *Flags) (*Connection, error)
}

// Add adds the flags.
func (conn *Flags) Add(f *pflag.FlagSet) {
	conn.AddData(f)
	conn.AddRemote(f)
	f.StringVar(&conn.token, "token", "",
		"API token for --server; better in the environment, "+EnvToken+", which other users cannot see")
	f.StringVar(&conn.tokenFile, "token-file", "", `file that holds the token; "-" is the standard input`)
	f.Int64Var(&conn.IfVersion, "if-version", int64(client.AnyVersion),
		"change it only if it is still at this version; 0 is that of what nobody has written yet, -1 any")
	f.BoolVar(&conn.JSON, "json", false, "print one JSON object a line")
}

// AddRemote adds those that say which remote controller is meant.
func (conn *Flags) AddRemote(f *pflag.FlagSet) {
	conn.set = f
	f.StringVar(&conn.Server, "server", os.Getenv(EnvController),
		"URL of a remote controller, instead of --data (environment: "+EnvController+"); else that of the last login")
	f.StringVar(&conn.CAFile, "ca", os.Getenv(EnvCA),
		"PEM file of the certificate that --server has, or of who signed it (environment: "+EnvCA+")")
}

// AddData adds those of the data directory only.
func (conn *Flags) AddData(f *pflag.FlagSet) {
	f.StringVar(&conn.Data, "data", cmp.Or(os.Getenv(EnvData), defaultData),
		"the controller's data directory (environment: "+EnvData+")")
	// Its environment is read later: a default is printed with the help, and a
	// URL may hold a password.
	f.StringVar(&conn.databaseFlag, "database", "",
		"URL of a PostgreSQL database, instead of SQLite in the data directory (environment: "+EnvDatabase+")")
	f.StringVar(&conn.ClusterKey, "cluster-key", os.Getenv(EnvClusterKey),
		"file with the secret of the replicas of this controller: keys, certificate and templates are then shared, "+
			"sealed with it, in --database (environment: "+EnvClusterKey+")")
	conn.addObjects(f)
}

// addObjects adds where published files are kept.
func (conn *Flags) addObjects(f *pflag.FlagSet) {
	f.StringVar(&conn.Objects, "objects", os.Getenv(EnvObjects),
		"S3-compatible storage of published files, instead of the data directory: "+
			"s3://BUCKET/PREFIX?endpoint=https://HOST:PORT, with its keys in AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY (environment: "+EnvObjects+")")
}

// Database is the URL of the database, "" for SQLite.
func (conn *Flags) Database() string {
	if conn.databaseFlag != "" {
		return conn.databaseFlag
	}
	return os.Getenv(EnvDatabase)
}

// Connection is a client of the API: that of a remote controller, or in this
// process on the data directory. Both give the same answers to the same
// requests.
type Connection struct {
	*client.Client
	// ifVersion is what each write compares.
	IfVersion client.Version
	Close     func() error
	At        Place
	// work carries out bulk jobs in this process until ctx ends; nil where a
	// controller does.
	Work func(ctx context.Context)
}

// open opens the way to the controller.
func (conn *Flags) open(ctx context.Context) (*Connection, error) {
	at, err := conn.where()
	if err != nil {
		return nil, err
	}
	if at.Server != "" {
		return conn.remote(at)
	}
	return conn.Here(ctx, conn)
}

// Place is a remote controller; none if server is "".
type Place struct {
	Server, Token, CA string
	// entry is the sign-in that the token is from; none if its server is "".
	Entry keyring.Entry
}

// where finds which controller is meant: a flag goes before the environment, that
// before the last login, and that before the usual data directory. A token that
// was given is for a controller that was named, never for the last login's.
func (conn *Flags) where() (at Place, err error) {
	local := conn.set.Changed("data") || conn.set.Changed("database")
	named := conn.Server != "" && (conn.set.Changed("server") || !local)
	if !named && (local || os.Getenv(EnvData) != "" || os.Getenv(EnvDatabase) != "") {
		return at, nil
	}
	if named {
		if at.Server, err = keyring.Server(conn.Server); err != nil {
			return at, fmt.Errorf("--server: %w", err)
		}
		if at.Token, err = conn.givenToken(); err != nil {
			return at, err
		}
	}
	ring, err := ReadRing(named && at.Token == "")
	if err != nil && at.Token == "" {
		return at, err
	}
	if !named {
		at.Server = ring.Default
	}
	entry, _ := ring.Find(at.Server)
	if at.CA = entry.CA; at.Token == "" {
		at.Token, at.Entry = entry.Token, entry
	}
	if conn.CAFile != "" {
		b, err := os.ReadFile(conn.CAFile)
		if err != nil {
			return at, fmt.Errorf("--ca: %w", err)
		}
		at.CA = string(b)
	}
	return at, nil
}

// givenToken is the token of a flag or of the environment, "" if there is none.
func (conn *Flags) givenToken() (string, error) {
	if conn.token != "" || conn.tokenFile == "" {
		return cmp.Or(conn.token, os.Getenv(EnvToken)), nil
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
	return cmp.Or(strings.TrimSpace(string(b)), os.Getenv(EnvToken)), nil
}

// ReadRing reads the sign-ins. Where nobody has a place for them, there are none.
func ReadRing(must bool) (keyring.Ring, error) {
	path, err := keyring.Path()
	if err != nil && !must {
		return keyring.Ring{}, nil
	}
	if err != nil {
		return keyring.Ring{}, err
	}
	return keyring.Read(path)
}

func (conn *Flags) remote(at Place) (*Connection, error) {
	if at.Token == "" {
		return nil, fmt.Errorf("nobody is signed in at %s: \"peerload-server login --server %s\" signs you in; a program "+
			"sets %s, or gives --token-file", at.Server, at.Server, EnvToken)
	}
	c, err := at.Client(at.Token)
	return &Connection{c, client.Version(conn.IfVersion), func() error { return nil }, at, nil}, err
}

// Client is a client of the controller.
func (at Place) Client(token string) (*client.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if at.CA != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(at.CA)) {
			return nil, errors.New("--ca holds no certificate: name a file in PEM")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return client.New(at.Server, token, &http.Client{Transport: t})
}

// With runs a command with a connection.
func (conn *Flags) With(
	run func(cmd *cobra.Command, args []string, c *Connection) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		c, err := conn.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		return Hint(run(cmd, args, c), c.At)
	}
}

// Hinted is an error with another text, which names options of the command.
type Hinted struct {
	error
	text string
}

func (h *Hinted) Error() string { return h.text }
func (h *Hinted) Unwrap() error { return h.error }

// Hinting gives an error another text.
func Hinting(err error, text string) error { return &Hinted{err, text} }

// Hint says what to do about a sign-in that has ended, and about a certificate of
// an unknown authority.
func Hint(err error, at Place) error {
	if e := at.Entry; e.Server != "" && errors.Is(err, client.Unauthenticated) {
		return &Hinted{err, fmt.Sprintf("the sign-in of %s at %s has ended: log in again with \"peerload-server login "+
			"--server %s\": %v", e.User, e.Server, e.Server, err)}
	}
	var unknown x509.UnknownAuthorityError
	var cause *url.Error
	if errors.As(err, &unknown) && errors.As(err, &cause) {
		return &Hinted{err, fmt.Sprintf("the controller cannot be reached: nobody that this host trusts vouches for its "+
			"certificate: name its copy with --ca; a generated one is tls/cert.pem in the controller's data directory: %v",
			cause)}
	}
	return err
}

// Collect reads a whole list.
func Collect[T any](list iter.Seq2[T, error]) ([]T, error) {
	var items []T
	for v, err := range list {
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	return items, nil
}

// Last reads the latest entries of a log, as many as --last says.
func Last[T any](ctx context.Context, log client.Lister[T], f client.Filter, most int) ([]T, error) {
	if most < 0 {
		return nil, fmt.Errorf("--last is a number of entries, or 0 for all, not %d", most)
	}
	f.Limit = most
	return Collect(log.List(ctx, f))
}

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
)

// Environment variables that stand in for flags.
const (
	envData     = "PEERLOAD_DATA"
	envDatabase = "PEERLOAD_DATABASE"
	// envController has the meaning that it has for the agent: the URL of the
	// controller. (PEERLOAD_SERVER is where an agent is provisioned.)
	envController = "PEERLOAD_CONTROLLER"
	envToken      = "PEERLOAD_TOKEN"
	envCA         = "PEERLOAD_CA"
)

// anyVersion as --if-version compares nothing.
const anyVersion = -1

// errUnreachable says that a remote controller does not answer.
var errUnreachable = errors.New("the controller cannot be reached")

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
	f.StringVar(&conn.server, "server", os.Getenv(envController), "URL of a remote controller, instead of --data (environment: "+envController+")")
	f.StringVar(&conn.token, "token", "", "API token for --server; better in the environment, "+envToken+", which other users cannot see")
	f.StringVar(&conn.tokenFile, "token-file", "", "file that holds the token")
	f.StringVar(&conn.caf, "ca", os.Getenv(envCA), "PEM file of the certificate that --server has, or of who signed it (environment: "+envCA+")")
	f.Int64Var(&conn.ifVersion, "if-version", anyVersion, "change it only if it is still at this version; 0 is that of what nobody has written yet, -1 any")
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
	f.StringVar(&conn.databaseFlag, "database", "", "URL of a PostgreSQL database, instead of SQLite in the data directory (environment: "+envDatabase+")")
}

// database is the URL of the database, "" for SQLite.
func (conn *connFlags) database() string {
	if conn.databaseFlag != "" {
		return conn.databaseFlag
	}
	return os.Getenv(envDatabase)
}

// client calls the API: that of a remote controller, or in this process on the
// data directory. Both ways are one: the same requests, the same answers.
type client struct {
	base      string
	http      *http.Client
	token     string
	ifVersion int64
	close     func() error
}

// timeout bounds a call without files.
const timeout = 2 * time.Minute

// client opens the way to the controller.
func (conn *connFlags) client(ctx context.Context) (*client, error) {
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
	return &client{base: "http://local", http: &http.Client{Transport: inst.api.Local(shellActor())}, ifVersion: conn.ifVersion, close: inst.store.Close}, nil
}

func (conn *connFlags) remote() (*client, error) {
	u, err := url.Parse(conn.server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--server %q is not a URL such as https://controller:8443", conn.server)
	}
	c := &client{base: strings.TrimSuffix(u.String(), "/"), token: conn.token, ifVersion: conn.ifVersion, close: func() error { return nil }}
	if c.token == "" && conn.tokenFile != "" {
		b, err := os.ReadFile(conn.tokenFile)
		if err != nil {
			return nil, err
		}
		c.token = strings.TrimSpace(string(b))
	}
	if c.token == "" {
		c.token = os.Getenv(envToken)
	}
	if c.token == "" {
		return nil, fmt.Errorf("--server needs a token: set %s, or give --token-file or --token; \"peerload-server token add\" makes one", envToken)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	if conn.caf != "" {
		pem, err := os.ReadFile(conn.caf)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", conn.caf)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	c.http = &http.Client{Transport: t}
	return c, nil
}

// problem is an error as the API tells it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors"`
	status string
}

// Error implements error.
func (p *problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.status
	}
	for _, e := range p.Errors {
		text += "; " + strings.TrimSpace(e.Location+" "+e.Message)
	}
	return text
}

// Unwrap returns the error of package domain that it stands for.
func (p *problem) Unwrap() error { return api.ErrorOf(p.Type) }

// call sends a request with a JSON body, nil for none, and reads the answer
// into out, nil for none.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var body io.Reader
	contentType := ""
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body, contentType = bytes.NewReader(b), "application/json"
	}
	return c.send(ctx, method, path, contentType, body, out)
}

func (c *client) send(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	r, err := http.NewRequestWithContext(ctx, method, c.base+api.Prefix+path, body)
	if err != nil {
		return err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.ifVersion != anyVersion && method != http.MethodGet {
		r.Header.Set("If-Match", strconv.Quote(strconv.FormatInt(c.ifVersion, 10)))
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var unknown x509.UnknownAuthorityError
		if errors.As(err, &unknown) {
			return fmt.Errorf("%w: nobody that this host trusts vouches for its certificate: name its copy with --ca; "+
				"a generated one is tls/cert.pem in the controller's data directory: %w", errUnreachable, err)
		}
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		p := &problem{status: fmt.Sprintf("%s answered %d", c.base, resp.StatusCode)}
		// What is no problem of ours keeps the status as its text.
		_ = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(p)
		return p
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// all reads all pages of a list.
func all[T any](ctx context.Context, c *client, path string, q url.Values) ([]T, error) {
	return some[T](ctx, c, path, q, 0)
}

// some reads at most most things of a list, 0 for all.
func some[T any](ctx context.Context, c *client, path string, q url.Values, most int) ([]T, error) {
	var items []T
	if q == nil {
		q = url.Values{}
	}
	for {
		size := domain.MaxPage
		if most > 0 {
			size = min(size, most-len(items))
		}
		q.Set("limit", strconv.Itoa(size))
		var l domain.List[T]
		if err := c.call(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &l); err != nil {
			return nil, err
		}
		items = append(items, l.Items...)
		if l.Next == "" || most > 0 && len(items) >= most {
			return items, nil
		}
		q.Set("after", l.Next)
	}
}

// last reads the latest entries of a log, as many as --last says.
func last[T any](ctx context.Context, c *client, path string, q url.Values, most int) ([]T, error) {
	if most < 0 {
		return nil, fmt.Errorf("--last is a number of entries, or 0 for all, not %d", most)
	}
	return some[T](ctx, c, path, q, most)
}

// with runs a command with a client.
func (conn *connFlags) with(run func(cmd *cobra.Command, args []string, c *client) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		c, err := conn.client(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.close()) }()
		return run(cmd, args, c)
	}
}

// part escapes a name for a path.
func part(name string) string { return "/" + url.PathEscape(name) }

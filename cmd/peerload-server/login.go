package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/keyring"
	"github.com/peerload/peerload/internal/controller/oidc"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/terminal"
)

// errNotSignedIn ends "login --status" after it has told what is wrong.
var errNotSignedIn = errors.New("not signed in")

// errNoServer says that nobody has named a controller, and that none is the default.
var errNoServer = fmt.Errorf("--server is missing: the URL of the controller (environment: %s)", console.EnvController)

// loginFlags are those of login and logout.
type loginFlags struct {
	console.Flags
	user, passwordFile            string
	status, choose, all, onlyHere bool
	browser                       bool
}

func loginCommand() *cobra.Command {
	l := &loginFlags{}
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Sign in at a controller, for the commands that follow",
		Long: `Sign in at a controller, for the commands that follow. The name and the password
are asked for, or come from --user and --password-file; with --browser you sign in
where the controller lets people sign in (OIDC), in a browser on any host, with a
code that is shown here. What is kept is a token
that ends by itself, in a file that only you can read:
$XDG_CONFIG_HOME/peerload/logins.json, or ~/.config/peerload/logins.json. With
--ca, the certificate is kept there, too.

One can be signed in at several controllers. Commands take, in this order:
  1. --server, or --data and --database for the controller of this host
  2. the environment: PEERLOAD_CONTROLLER, then PEERLOAD_DATA, PEERLOAD_DATABASE
  3. the controller of the last login, or the one chosen with --switch
  4. the data directory /var/lib/peerload-server
and as token for a controller that 1 or 2 names: --token, --token-file,
PEERLOAD_TOKEN, the sign-in there; for that of 3, its sign-in only.`,
		Example: `  peerload-server login --server https://controller:8443
  peerload-server login --server https://controller:8443 --user alice --password-file -
  peerload-server login --server https://controller:8443 --browser
  peerload-server login --status
  peerload-server login --switch --server https://other:8443`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case l.status:
				return l.tell(cmd)
			case l.choose:
				return l.switchTo(cmd)
			}
			return l.signIn(cmd)
		},
	}
	f := cmd.Flags()
	l.AddRemote(f)
	f.BoolVar(&l.JSON, "json", false, "print one JSON object a line")
	f.StringVar(&l.user, "user", "", "who signs in; asked for if missing")
	f.StringVar(&l.passwordFile, "password-file", "",
		`file that holds the password in its first line; "-" is the standard input`)
	f.BoolVar(&l.status, "status", false, "tell where you are signed in, as whom, and whether the controllers agree")
	f.BoolVar(&l.choose, "switch", false, "make --server, where you are signed in, the one that commands take")
	f.BoolVar(&l.browser, "browser", false, "sign in with a browser, on this or another host")
	cmd.MarkFlagsMutuallyExclusive("status", "switch")
	cmd.MarkFlagsMutuallyExclusive("browser", "user")
	cmd.MarkFlagsMutuallyExclusive("browser", "password-file")
	return cmd
}

func logoutCommand() *cobra.Command {
	l := &loginFlags{}
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "End a sign-in, here and at the controller",
		Long: `End a sign-in, here and at the controller: that at --server, or else the one that
commands take. While the controller cannot be reached nothing changes, unless
--only-here removes the token from this host; it is good until it expires then.`,
		Example: "  peerload-server logout\n  peerload-server logout --server https://controller:8443 --everywhere",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return l.signOut(cmd) },
	}
	f := cmd.Flags()
	l.AddRemote(f)
	f.BoolVar(&l.JSON, "json", false, "print one JSON object a line")
	f.BoolVar(&l.all, "everywhere", false, "end all your sessions and sign-ins at that controller")
	f.BoolVar(&l.onlyHere, "only-here", false, "do not ask the controller")
	cmd.MarkFlagsMutuallyExclusive("everywhere", "only-here")
	return cmd
}

// place is the controller that login and logout are about, with the sign-in that
// there is.
func (l *loginFlags) place() (at console.Place, err error) {
	ring, err := console.ReadRing(true)
	if err != nil {
		return at, err
	}
	at.Server = ring.Default
	if l.Server != "" {
		if at.Server, err = keyring.Server(l.Server); err != nil {
			return at, fmt.Errorf("--server: %w", err)
		}
	}
	if at.Server == "" {
		return at, errNoServer
	}
	at.Entry, _ = ring.Find(at.Server)
	at.CA = at.Entry.CA
	if l.CAFile != "" {
		b, err := os.ReadFile(l.CAFile)
		if err != nil {
			return at, fmt.Errorf("--ca: %w", err)
		}
		at.CA = string(b)
	}
	return at, nil
}

// safe refuses to send a password where everybody on the way could read it.
func safe(server string) error {
	u, err := url.Parse(server)
	if err != nil || u.Scheme == "https" {
		return err
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return errors.New("everybody on the way could read the password: give --server an https URL")
}

func (l *loginFlags) signIn(cmd *cobra.Command) error {
	at, err := l.place()
	if err == nil {
		err = safe(at.Server)
	}
	if err != nil {
		return err
	}
	c, err := at.Client("")
	if err != nil {
		return err
	}
	var in client.Login
	if l.browser {
		in, err = l.byBrowser(cmd, c)
	} else {
		in, err = l.byPassword(cmd, c)
	}
	if err != nil {
		return console.Hint(err, console.Place{})
	}
	return l.keep(cmd, at, in)
}

// byPassword asks for what is not given, and signs in.
func (l *loginFlags) byPassword(cmd *cobra.Command, c *client.Client) (in client.Login, err error) {
	user, password := l.user, ""
	if user == "" {
		if user, err = askName(cmd); err != nil {
			return in, err
		}
	}
	if l.passwordFile != "" {
		password, err = passwordOf(cmd, l.passwordFile)
	} else {
		password, err = askOnce(cmd, "password: ")
	}
	if err != nil {
		return in, err
	}
	in, err = c.SignIn(cmd.Context(), user, password, hostLabel())
	if errors.Is(err, client.Unauthenticated) {
		err = console.Hinting(err,
			"the controller does not know this name with this password; try again, or ask an administrator "+
				"for another password")
	}
	return in, err
}

// byBrowser waits until somebody has let this command line in, with the code that
// is shown here.
func (l *loginFlags) byBrowser(cmd *cobra.Command, c *client.Client) (in client.Login, err error) {
	q, err := c.AskSignIn(cmd.Context(), hostLabel())
	if err != nil {
		return in, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "open in a browser: %s\nand enter the code: %s\n", terminal.Printable(q.URL),
		terminal.Printable(q.Code))
	every := time.NewTicker(time.Duration(min(max(q.IntervalS, 1), 60)) * time.Second)
	defer every.Stop()
	ends, cancel := context.WithTimeout(cmd.Context(), longestWait)
	defer cancel()
	for {
		in, ok, err := c.RedeemSignIn(ends, q.Secret)
		switch {
		case ok:
			return in, nil
		case errors.Is(err, client.Unauthenticated):
			return in, console.Hinting(err,
				"nobody has let this command line in, in time, or somebody has refused it: log in again")
		case err != nil && !errors.Is(err, client.Unreachable): // one that restarts is back soon
			return in, err
		}
		select {
		case <-every.C:
		case <-ends.Done():
			return in, cmp.Or(cmd.Context().Err(), errors.New("nobody has let this command line in: log in again"))
		}
	}
}

// longestWait bounds the wait for a browser, whatever the controller says.
const longestWait = 15 * time.Minute

// askName asks for the name of a user.
func askName(cmd *cobra.Command) (string, error) {
	in, err := onTerminal(cmd)
	if err != nil {
		return "", errors.New("no terminal to ask on: give --user and --password-file")
	}
	fmt.Fprint(cmd.ErrOrStderr(), "user: ")
	line, err := bufio.NewReaderSize(io.LimitReader(in, 4096), 1).ReadString('\n')
	if err == io.EOF {
		err = errors.New("no name was given: run the command again, or give --user")
	}
	return strings.TrimSpace(line), err
}

// hostLabel is what this command line calls itself at the controller.
func hostLabel() string {
	host, err := os.Hostname()
	if err != nil {
		return "command line"
	}
	return host[:min(len(host), 64)]
}

// keep writes a sign-in into the file, and ends the one from before. If it cannot
// be kept it ends at once.
func (l *loginFlags) keep(cmd *cobra.Command, at console.Place, in client.Login) error {
	c, err := at.Client(in.Secret)
	if err != nil {
		return err
	}
	path, err := keyring.Path()
	if err == nil {
		err = keyring.Change(path, func(r *keyring.Ring) error {
			at.Entry, _ = r.Find(at.Server)
			r.Put(keyring.Entry{Server: at.Server, User: in.User, Token: in.Secret, Expires: in.Expires, CA: at.CA})
			return nil
		})
	}
	if err != nil {
		return errors.Join(err, c.SignOut(cmd.Context()))
	}
	if at.Entry.Token != "" {
		if old, err := at.Client(at.Entry.Token); err == nil {
			_ = old.SignOut(cmd.Context()) // it may have ended, and does so by itself
		}
	}
	told := signedIn{at.Server, in.User, in.Role, in.Expires, true, "signed in"} // the secret is in the file only
	return l.Show(cmd, "signed_in", told, "signed in at %s as %s (%s) until %s\n", at.Server, in.User, in.Role,
		console.When(in.Expires))
}

// switchTo makes another controller the default.
func (l *loginFlags) switchTo(cmd *cobra.Command) error {
	at, err := l.place()
	if err != nil {
		return err
	}
	path, err := keyring.Path()
	if err != nil {
		return err
	}
	err = keyring.Change(path, func(r *keyring.Ring) error {
		if _, ok := r.Find(at.Server); !ok {
			return fmt.Errorf("nobody is signed in at %s: log in there first", at.Server)
		}
		r.Default = at.Server
		return nil
	})
	if err != nil {
		return err
	}
	return l.Show(cmd, "switched", signedIn{Server: at.Server, User: at.Entry.User, Default: true},
		"commands take %s now\n", at.Server)
}

func (l *loginFlags) signOut(cmd *cobra.Command) error {
	at, err := l.place()
	if errors.Is(err, errNoServer) {
		return errors.New("nobody is signed in at the controller that commands take: there is nothing to end; " +
			"\"peerload-server login --status\" lists sign-ins, and --server names one")
	}
	if err != nil {
		return err
	}
	if at.Entry.Token == "" {
		return fmt.Errorf("nobody is signed in at %s: there is nothing to end", at.Server)
	}
	if !l.onlyHere {
		if err := l.endAt(cmd.Context(), at); err != nil {
			return err
		}
	}
	path, err := keyring.Path()
	if err != nil {
		return err
	}
	if err := keyring.Change(path, func(r *keyring.Ring) error {
		r.Drop(at.Server, at.Entry.Token)
		return nil
	}); err != nil {
		return err
	}
	return l.Show(cmd, "signed_out", signedIn{Server: at.Server, User: at.Entry.User}, "signed out at %s\n", at.Server)
}

// endAt ends a sign-in at its controller. One that has ended is what was wanted.
func (l *loginFlags) endAt(ctx context.Context, at console.Place) error {
	c, err := at.Client(at.Entry.Token)
	if err != nil {
		return err
	}
	if l.all {
		err = c.EndSessions(ctx, at.Entry.User)
	} else {
		err = c.SignOut(ctx)
	}
	switch {
	case errors.Is(err, client.Unauthenticated) && !l.all:
		return nil
	case errors.Is(err, client.Unreachable):
		return console.Hinting(err, fmt.Sprintf("%v; try again, or remove the token from this host with --only-here", err))
	}
	return console.Hint(err, at)
}

// signedIn is what "login --status" tells of one controller.
type signedIn struct {
	Server string `json:"server"`
	User   string `json:"user"`
	Role   string `json:"role,omitempty"`
	// Expires is when the sign-in ends.
	Expires time.Time `json:"expires,omitzero"`
	Default bool      `json:"default"`
	// State is "signed in", "ended" or "unreachable".
	State string `json:"state,omitempty"`
}

// tell tells where the user is signed in: at the controller that is named, or at
// all. The error is about the one that is named, or that commands take.
func (l *loginFlags) tell(cmd *cobra.Command) error {
	ring, err := console.ReadRing(true)
	if err != nil {
		return err
	}
	only, meant := "", ring.Default
	if l.Server != "" {
		if only, err = keyring.Server(l.Server); err != nil {
			return fmt.Errorf("--server: %w", err)
		}
		meant = only
	}
	if os.Getenv(console.EnvToken) != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s is set: commands with --server or %s use it before any sign-in\n",
			console.EnvToken, console.EnvController)
	}
	bad := fmt.Errorf("%w: log in with \"peerload-server login --server URL\"", errNotSignedIn)
	var all []signedIn
	for _, e := range ring.Entries {
		if only != "" && e.Server != only {
			continue
		}
		s, err := l.ask(cmd.Context(), e)
		s.Default = e.Server == ring.Default
		if all = append(all, s); e.Server == meant {
			bad = err
		}
	}
	err = console.List(&l.Flags, cmd, "sign_in", all, "CONTROLLER USER ROLE UNTIL STATE DEFAULT",
		func(s signedIn) []string {
			mark := ""
			if s.Default {
				mark = "default"
			}
			return []string{s.Server, s.User, console.OrNone(s.Role), console.When(s.Expires), s.State, mark}
		})
	return errors.Join(err, bad)
}

// ask asks a controller whether a sign-in is good.
func (l *loginFlags) ask(ctx context.Context, e keyring.Entry) (signedIn, error) {
	s := signedIn{Server: e.Server, User: e.User, Expires: e.Expires, State: "signed in"}
	at := console.Place{Server: e.Server, Token: e.Token, CA: e.CA, Entry: e}
	c, err := at.Client(e.Token)
	var who client.Who
	if err == nil {
		who, err = c.Who(ctx)
	}
	switch s.Role = who.Role; {
	case errors.Is(err, client.Unauthenticated):
		s.State = "ended"
	case err != nil:
		s.State = "unreachable"
	}
	return s, console.Hint(err, at)
}

// accessFlags say how people get into the controller that is served.
type accessFlags struct {
	life                                       time.Duration
	url                                        string
	issuer, client, secret, ca, name, roleFrom string
	scopes, roles                              []string
}

// access is how people get in, as it was asked for.
type access struct {
	life   time.Duration
	url    string
	issuer *oidc.Provider
}

func (a *accessFlags) flags(f *pflag.FlagSet) {
	f.DurationVar(&a.life, "session-life", 12*time.Hour,
		"how long a session, and a sign-in of a command line, lasts at most; up to 2160h")
	f.StringVar(&a.url, "public-url", "", "URL at which people reach this controller, for --oidc-issuer")
	f.StringVar(&a.issuer, "oidc-issuer", "", "URL of an issuer of OpenID Connect at which people may sign in")
	f.StringVar(&a.client, "oidc-client-id", "", "what the issuer calls this controller")
	f.StringVar(&a.secret, "oidc-secret-file", "", "file that holds the secret that the issuer gave to this controller")
	f.StringVar(&a.ca, "oidc-ca", "", "PEM file of who vouches for the issuer's certificate, if this host does not")
	f.StringSliceVar(&a.scopes, "oidc-scope", []string{"profile", "email"}, "what to ask the issuer for, beside openid")
	f.StringVar(&a.name, "oidc-name-claim", "preferred_username", "the claim that has the user's name")
	f.StringVar(&a.roleFrom, "oidc-role-claim", "groups",
		"the claim that has the groups or roles; dots lead into a claim, as in realm_access.roles")
	f.StringArrayVar(&a.roles, "oidc-role", nil,
		"ROLE=VALUE or ROLE@SITE=VALUE: who has that value in the claim has that role (viewer, operator or admin), at "+
			"that site alone if there is one; repeated")
}

// access reads the files that the flags name.
func (a *accessFlags) access() (how access, err error) {
	if a.life <= 0 || a.life > domain.MaxSessionLife {
		return how, fmt.Errorf("--session-life is a time such as 12h, at most %s",
			parse.Duration(domain.MaxSessionLife))
	}
	how.life, how.url = a.life, strings.TrimRight(a.url, "/")
	if a.issuer == "" {
		if a.client != "" || a.secret != "" || len(a.roles) > 0 {
			return how, errors.New("--oidc-issuer is missing: the other --oidc flags belong to it")
		}
		return how, nil
	}
	if how.url == "" {
		return how, errors.New("--public-url is missing: the issuer sends people back there, to /oidc/callback")
	}
	cfg := oidc.Config{Issuer: a.issuer, ClientID: a.client, Redirect: how.url + "/oidc/callback", Scopes: a.scopes,
		NameClaim: a.name, RoleClaim: a.roleFrom}
	for _, r := range a.roles {
		role, value, ok := strings.Cut(r, "=")
		if !ok {
			return how, fmt.Errorf("--oidc-role %q is not ROLE=VALUE, for example operator=phone-team", r)
		}
		role, site, limited := strings.Cut(role, "@")
		if limited && site == "" {
			return how, fmt.Errorf("--oidc-role %q has no site after the @, as in operator@Kyoto=kyoto-phones", r)
		}
		cfg.Roles = append(cfg.Roles, oidc.RoleOf{Value: value, Role: domain.Role(role), Site: site})
	}
	if cfg.Secret, err = firstLine(a.secret, "--oidc-secret-file"); err != nil {
		return how, err
	}
	if a.ca != "" {
		if cfg.CA, err = poolOf(a.ca, "--oidc-ca"); err != nil {
			return how, err
		}
	}
	if how.issuer, err = oidc.New(cfg); err != nil {
		err = fmt.Errorf("--public-url, --oidc-…: %w", err)
	}
	return how, err
}

// firstLine is that of a file that a flag names, "" if it names none.
func firstLine(path, flag string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("%s: the first line of %s is empty", flag, path)
	}
	return line, nil
}

// poolOf reads certificates.
func poolOf(path, flag string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s: %s holds no certificate: name a file in PEM", flag, path)
	}
	return pool, nil
}

// Package oidc asks an issuer of OpenID Connect who somebody is. It uses the
// authorization code flow with PKCE, state and nonce.
//
// What lives here: the settings, what is sent to the issuer, and what is believed
// of its answers. What must not: pages, cookies and sessions, which are package
// api's; what a user may do, which package domain decides.
//
// Read first: Config, then Begin and Finish.
package oidc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/peerload/peerload/internal/controller/domain"
)

const (
	// answerTime bounds one request to the issuer, with its answer.
	answerTime = 10 * time.Second
	// maxAnswer bounds an answer of the issuer, in bytes.
	maxAnswer = 1 << 20
	// knownFor is how long what the issuer says of itself is used.
	knownFor = time.Hour
	// restFor is how long an issuer that did not answer is not asked again, so that
	// people who wait are not one more burden.
	restFor = 3 * time.Second
	// FlowLife is how long somebody may take to sign in at the issuer.
	FlowLife = 15 * time.Minute
)

// algorithms are those of signatures that are believed: with a public key, so
// neither "none" nor one with the client's secret.
var algorithms = []string{gooidc.RS256, gooidc.RS384, gooidc.RS512, gooidc.ES256, gooidc.ES384, gooidc.ES512,
	gooidc.PS256, gooidc.PS384, gooidc.PS512, gooidc.EdDSA}

// RoleOf says which value of the claim stands for which role, at a site alone or,
// with Site "", for all of the fleet.
type RoleOf struct {
	Value string
	Role  domain.Role
	Site  string
}

// Config is which issuer is believed, and what.
type Config struct {
	// Issuer is the URL of the issuer, as it writes it itself. https, or http to
	// this host. Required.
	Issuer string
	// ClientID is what the issuer calls this controller. Required.
	ClientID string
	// Secret is the one that the issuer has given to this controller, "" for a
	// public client.
	Secret string
	// Redirect is the URL of this controller's /oidc/callback, as the issuer knows
	// it. Required.
	Redirect string
	// Scopes are asked for beside openid. nil means profile and email.
	Scopes []string
	// NameClaim has the name of the user. "" means preferred_username.
	NameClaim string
	// RoleClaim has the groups or roles: a text or a list of texts, inside of
	// another claim if there are dots in it. "" means groups.
	RoleClaim string
	// Roles are which of its values stand for which role; the strongest counts, and
	// of those for some sites alone all of that role. At least one, or nobody could
	// come in.
	Roles []RoleOf
	// CA are who vouches for the issuer's certificate. nil means the host's.
	CA *x509.CertPool
	// Now returns the time. nil means time.Now.
	Now func() time.Time
	// Random makes state, nonce and verifier. nil means crypto/rand.
	Random io.Reader
}

// Validate says what is missing or wrong.
func (c Config) Validate() error {
	for name, text := range map[string]string{"the issuer": c.Issuer, "the redirect": c.Redirect} {
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("oidc: %s is no URL such as https://login.example.com", name)
		}
		if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
			return fmt.Errorf("oidc: %s must be an https URL, or an http URL of this host", name)
		}
	}
	switch {
	case c.ClientID == "":
		return errors.New("oidc: the client id is missing")
	case len(c.Roles) == 0:
		return errors.New("oidc: nobody could come in: say which values of the claim stand for which role")
	}
	for _, r := range c.Roles {
		if r.Value == "" || !slices.Contains(ranks, r.Role) {
			return fmt.Errorf("oidc: %q=%q: a role is viewer, operator or admin, and a value is not empty", r.Role, r.Value)
		}
		if r.Site != "" && r.Role == domain.RoleAdmin {
			return fmt.Errorf("oidc: admin@%s: what an admin does holds for all sites: limit a viewer or an operator", r.Site)
		}
	}
	return nil
}

// ranks are the roles, the weakest first.
var ranks = []domain.Role{domain.RoleViewer, domain.RoleOperator, domain.RoleAdmin}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Provider is the issuer.
type Provider struct {
	cfg    Config
	client *http.Client

	mu     sync.Mutex
	known  *endpoints
	asked  time.Time // when it was asked last
	failed error     // what came of it
}

// endpoints are what the issuer says of itself.
type endpoints struct {
	*gooidc.Provider
	at time.Time
	// namesItself says that the issuer puts its name into the answers that come by
	// way of the browser (RFC 9207).
	namesItself bool
}

// New returns a provider. It sends nothing: the issuer may be away.
func New(cfg Config) (*Provider, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Scopes == nil {
		cfg.Scopes = []string{"profile", "email"}
	}
	if cfg.NameClaim == "" {
		cfg.NameClaim = "preferred_username"
	}
	if cfg.RoleClaim == "" {
		cfg.RoleClaim = "groups"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: cfg.CA, MinVersion: tls.VersionTLS12}
	t.MaxResponseHeaderBytes = 64 << 10
	// A redirect is not followed: the issuer names its addresses itself, and the
	// client's secret is for those only.
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c := &http.Client{Transport: bounded{t}, Timeout: answerTime, CheckRedirect: refuse}
	return &Provider{cfg: cfg, client: c}, nil
}

// bounded bounds the answers that are read.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, maxAnswer}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the issuer's answer has more than %d bytes", maxAnswer)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Flow is one sign-in on its way, which the browser of the person keeps.
type Flow struct {
	// State comes back with the answer, Nonce inside of the token, and Verifier
	// proves to the issuer who has begun.
	State, Nonce, Verifier string
	Begun                  time.Time
	// Return is where to go afterwards, a path of this controller; "" for nowhere.
	Return string
}

// ErrAway says that the issuer does not answer, or not as it should. It matches
// domain.ErrUnavailable.
var ErrAway = fmt.Errorf("%w: the issuer cannot be asked who you are; a user with a password can log in",
	domain.ErrUnavailable)

// ErrAnswer says that what came back is not believed. It matches
// domain.ErrUnauthenticated.
var ErrAnswer = fmt.Errorf("%w: the sign-in is not believed", domain.ErrUnauthenticated)

func answer(format string, args ...any) error {
	return fmt.Errorf("%w: %w; begin again", ErrAnswer, fmt.Errorf(format, args...))
}

// discover asks the issuer for its endpoints, unless they are known.
func (p *Provider) discover(ctx context.Context) (*endpoints, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	if p.known != nil && now.Sub(p.known.at) < knownFor {
		return p.known, nil
	}
	if p.failed != nil && now.Sub(p.asked) < restFor {
		return p.known, p.orKnown(p.failed)
	}
	// The keys are fetched later, by whoever needs them: not in this request only.
	own := gooidc.ClientContext(context.WithoutCancel(ctx), p.client)
	found, err := gooidc.NewProvider(own, p.cfg.Issuer)
	var more struct {
		NamesItself bool `json:"authorization_response_iss_parameter_supported"`
	}
	if err == nil {
		err = found.Claims(&more)
	}
	p.asked, p.failed = now, err
	if err != nil {
		return p.known, p.orKnown(err)
	}
	p.known = &endpoints{found, now, more.NamesItself}
	return p.known, nil
}

// orKnown is no error as long as there is something from before.
func (p *Provider) orKnown(err error) error {
	if p.known != nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}

func (p *Provider) oauth(at *endpoints) *oauth2.Config {
	e := at.Endpoint()
	if p.cfg.Secret == "" {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{ClientID: p.cfg.ClientID, ClientSecret: p.cfg.Secret, Endpoint: e,
		RedirectURL: p.cfg.Redirect, Scopes: append([]string{gooidc.ScopeOpenID}, p.cfg.Scopes...)}
}

// random returns 32 random bytes as text.
func (p *Provider) random() string {
	b := make([]byte, 32)
	if _, err := io.ReadFull(p.cfg.Random, b); err != nil {
		panic(fmt.Sprintf("oidc: no random numbers: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// Begin begins a sign-in and returns where the browser goes. Errors match
// ErrAway.
func (p *Provider) Begin(ctx context.Context) (Flow, string, error) {
	at, err := p.discover(ctx)
	if err != nil {
		return Flow{}, "", err
	}
	f := Flow{State: p.random(), Nonce: p.random(), Verifier: p.random(), Begun: p.cfg.Now()}
	return f, p.oauth(at).AuthCodeURL(f.State, gooidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), nil
}

// Finish turns the answer that the browser has brought back, in its query, into
// who the person is. Errors match ErrAnswer or ErrAway.
func (p *Provider) Finish(ctx context.Context, f Flow, query url.Values) (domain.Identity, error) {
	var none domain.Identity
	if age := p.cfg.Now().Sub(f.Begun); age < 0 || age > FlowLife {
		return none, answer("it took longer than %s", FlowLife)
	}
	if f.State == "" || subtle.ConstantTimeCompare([]byte(f.State), []byte(query.Get("state"))) != 1 {
		return none, answer("it was not begun in this browser")
	}
	at, err := p.discover(ctx)
	if err != nil {
		return none, err
	}
	if iss := query.Get("iss"); iss != p.cfg.Issuer && (iss != "" || at.namesItself) {
		return none, answer("the answer is from another issuer")
	}
	if e := query.Get("error"); e != "" {
		return none, answer("the issuer says %.40q", e)
	}
	code := query.Get("code")
	if code == "" || len(code) > 4096 {
		return none, answer("the issuer sent no code")
	}
	ctx = gooidc.ClientContext(ctx, p.client)
	token, err := p.oauth(at).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return none, p.exchangeError(err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return none, answer("the issuer sent no identity")
	}
	return p.verify(ctx, at, f, raw, oauth2.StaticTokenSource(token))
}

// exchangeError tells a refusal from an issuer that is away.
func (p *Provider) exchangeError(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response.StatusCode < http.StatusInternalServerError {
		return answer("the issuer does not take the code: %.40q", refused.ErrorCode)
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}

// verify believes an identity token or refuses it.
func (p *Provider) verify(ctx context.Context, at *endpoints, f Flow, raw string,
	access oauth2.TokenSource) (domain.Identity, error) {
	var none domain.Identity
	t, err := at.VerifierContext(ctx, &gooidc.Config{ClientID: p.cfg.ClientID, SupportedSigningAlgs: algorithms,
		Now: p.cfg.Now}).Verify(ctx, raw)
	if err != nil {
		return none, answer("the identity is not good: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(f.Nonce), []byte(t.Nonce)) != 1 {
		return none, answer("the identity is for another sign-in")
	}
	claims := map[string]any{}
	if err := t.Claims(&claims); err != nil {
		return none, answer("the identity cannot be read: %w", err)
	}
	if azp, has := claims["azp"]; has && azp != p.cfg.ClientID || !has && len(t.Audience) > 1 {
		return none, answer("the identity is for another client")
	}
	if err := p.more(ctx, at, claims, t.Subject, access); err != nil {
		return none, err
	}
	return p.identity(t.Subject, claims)
}

// more asks the issuer for the claims that the token lacks.
func (p *Provider) more(ctx context.Context, at *endpoints, claims map[string]any, subject string,
	access oauth2.TokenSource) error {
	if at.UserInfoEndpoint() == "" || has(claims, p.cfg.NameClaim) && has(claims, p.cfg.RoleClaim) {
		return nil
	}
	info, err := at.UserInfo(ctx, access)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	if info.Subject != subject {
		return answer("the issuer tells of somebody else")
	}
	told := map[string]any{}
	if err := info.Claims(&told); err != nil {
		return answer("what the issuer tells cannot be read: %w", err)
	}
	for k, v := range told {
		if _, has := claims[k]; !has { // what is signed goes before
			claims[k] = v
		}
	}
	return nil
}

package client

import (
	"context"
	"net/http"
	"time"
)

// Login is a person's sign-in of a command line.
type Login struct {
	ID   string `json:"id"`
	User string `json:"user"`
	// Role is "viewer", "operator" or "admin".
	Role string `json:"role"`
	// Client is what the command line has called itself.
	Client  string    `json:"client"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// Secret is the token that New takes; it is shown once.
	Secret string `json:"secret"`
}

// Who is the caller, as the controller sees it.
type Who struct {
	Name string `json:"name"`
	// Kind is "user", "token" or, in the controller's own process, "local".
	Kind string `json:"kind"`
	Role string `json:"role"`
	// Sites that the caller is limited to; none means all of the fleet.
	Sites []string `json:"sites,omitempty"`
	// Scopes of a token; nil means all that the role may.
	Scopes []string `json:"scopes"`
	// Session is the sign-in; nil for a token. CSRF is for pages only.
	Session *struct {
		ID      string    `json:"id"`
		User    string    `json:"user"`
		Role    string    `json:"role"`
		Sites   []string  `json:"sites,omitempty"`
		Created time.Time `json:"created"`
		Expires time.Time `json:"expires"`
		CSRF    string    `json:"csrf"`
	} `json:"session,omitempty"`
}

// SignIn signs in a person by name and password, on behalf of a program that
// calls itself label. The secret of the answer is a token that ends by itself
// after some hours, and with SignOut. The client's own token is not sent.
func (c *Client) SignIn(ctx context.Context, name, password, label string) (l Login, err error) {
	own := *c
	own.token = ""
	err = own.write(ctx, http.MethodPost, "/logins", AnyVersion, struct {
		Client string `json:"client,omitempty"`
	}{label}, &l, func(r *http.Request) { r.SetBasicAuth(name, password) })
	return l, err
}

// SignInRequest is a program that waits to be let in: a person opens URL in a
// browser, signs in there, and enters the code.
type SignInRequest struct {
	Code    string    `json:"code"`
	Client  string    `json:"client"`
	From    string    `json:"from"`
	Created time.Time `json:"created"`
	// Expires is when the program need not wait any longer.
	Expires time.Time `json:"expires"`
	URL     string    `json:"url"`
	// IntervalS is the number of seconds between two calls of RedeemSignIn.
	IntervalS int `json:"interval_s"`
	// Secret is what RedeemSignIn takes.
	Secret string `json:"secret"`
}

// AskSignIn asks for a program that calls itself label to be let in by somebody in
// a browser. The error matches Unavailable if the controller knows no issuer of
// OIDC. The client's own token is not sent.
func (c *Client) AskSignIn(ctx context.Context, label string) (q SignInRequest, err error) {
	own := *c
	own.token = ""
	err = own.write(ctx, http.MethodPost, "/logins/requests", AnyVersion, struct {
		Client string `json:"client,omitempty"`
	}{label}, &q)
	return q, err
}

// RedeemSignIn asks whether somebody has let the program in, by the secret of its
// request. ok is false as long as nobody has answered. The error matches
// Unauthenticated if it was refused, or took too long.
func (c *Client) RedeemSignIn(ctx context.Context, secret string) (l Login, ok bool, err error) {
	own := *c
	own.token = secret
	var out struct {
		Login *Login `json:"login"`
	}
	err = own.write(ctx, http.MethodPost, "/logins/redeem", AnyVersion, nil, &out)
	if err != nil || out.Login == nil {
		return l, false, err
	}
	return *out.Login, true, nil
}

// Who tells who the caller is.
func (c *Client) Who(ctx context.Context) (w Who, err error) {
	err = c.get(ctx, "/session", nil, &w)
	return w, err
}

// SignOut ends the sign-in whose secret the client has for a token. An API token
// is not one: Tokens.Delete ends it.
func (c *Client) SignOut(ctx context.Context) error {
	return c.write(ctx, http.MethodDelete, "/session", AnyVersion, nil, nil)
}

// EndSessions ends all sessions and sign-ins of a user. Everybody may end their
// own, an administrator those of others.
func (c *Client) EndSessions(ctx context.Context, user string) error {
	return c.write(ctx, http.MethodDelete, at("/users", user, "sessions"), AnyVersion, nil, nil)
}

package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
)

// SignIn lets a command line in; name and password are the credentials.
type SignIn struct {
	Client string `json:"client,omitempty" maxLength:"64" doc:"what the command line calls itself, for people"`
}

// SignInRequest is a command line that waits: a person opens URL and enters the
// code there, and the command line asks with the secret.
type SignInRequest struct {
	domain.NewLoginRequest
	URL       string `json:"url" doc:"where a person answers"`
	IntervalS int    `json:"interval_s" doc:"seconds between two questions"`
}

// SignedIn is what has become of a request.
type SignedIn struct {
	Login *domain.NewLogin `json:"login,omitempty" doc:"missing as long as nobody has answered"`
}

// askEvery is how often a command line that waits may ask, in seconds.
const askEvery = 2

// errNoOIDC says that nobody has set sign-ins up.
var errNoOIDC = fmt.Errorf("%w: this controller knows no issuer of OIDC: sign in with name and password",
	domain.ErrUnavailable)

// signIns are the operations by which command lines get in and out.
func (s *Server) signIns() {
	huma.Register(s.api, op(http.MethodPost, "/logins", "sign-in",
		"Let a command line in; the secret is its bearer token, and is shown once", needLogin),
		func(ctx context.Context, in *struct{ Body SignIn }) (*plain[domain.NewLogin], error) {
			c := callerOf(ctx)
			n, err := s.ctl.SignIn(ctx, c.name, c.secret, in.Body.Client, c.from)
			return answer(s, ctx, n, err)
		})
	huma.Register(s.api, op(http.MethodPost, "/logins/requests", "ask-sign-in",
		"Ask for a command line to be let in by somebody in a browser", needNothing),
		func(ctx context.Context, in *struct{ Body SignIn }) (*plain[SignInRequest], error) {
			if s.cfg.OIDC == nil {
				return nil, s.fail(ctx, errNoOIDC, 0)
			}
			q, err := s.ctl.AskLogin(ctx, in.Body.Client, callerOf(ctx).from)
			return answer(s, ctx, SignInRequest{q, s.cfg.PublicURL + devicePath, askEvery}, err)
		})
	huma.Register(s.api, does(op(http.MethodPost, "/logins/redeem", "redeem-sign-in",
		"Ask whether somebody has let the command line in", needRequest)),
		func(ctx context.Context, _ *struct{}) (*plain[SignedIn], error) {
			c := callerOf(ctx)
			n, ok, err := s.ctl.RedeemLogin(ctx, c.secret, c.from)
			out := SignedIn{}
			if ok {
				out.Login = &n
			}
			return answer(s, ctx, out, err)
		})
	huma.Register(s.api, op(http.MethodDelete, "/users/{user}/sessions", "end-sessions",
		"End all sessions and sign-ins of a user: one's own, or as an admin; tokens stay", needAnybody),
		func(ctx context.Context, in *UserPath) (*struct{}, error) {
			return nothing(s, ctx, 0, s.ctl.EndSessions(ctx, actor(ctx), in.User))
		})
}

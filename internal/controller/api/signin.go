package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
)

// SignIn lets a command line in; name and password are the credentials.
type SignIn struct {
	Client string `json:"client,omitempty" maxLength:"64" doc:"what the command line calls itself, for people"`
}

// signIns are the operations by which command lines get in and out.
func (s *Server) signIns() {
	huma.Register(s.api, op(http.MethodPost, "/logins", "sign-in",
		"Let a command line in; the secret is its bearer token, and is shown once", needLogin),
		func(ctx context.Context, in *struct{ Body SignIn }) (*plain[domain.NewLogin], error) {
			c := callerOf(ctx)
			n, err := s.ctl.SignIn(ctx, c.name, c.secret, in.Body.Client, c.from)
			return answer(s, ctx, n, err)
		})
	huma.Register(s.api, op(http.MethodDelete, "/users/{user}/sessions", "end-sessions",
		"End all sessions and sign-ins of a user: one's own, or as an admin; tokens stay", needAnybody),
		func(ctx context.Context, in *UserPath) (*struct{}, error) {
			return nothing(s, ctx, 0, s.ctl.EndSessions(ctx, actor(ctx), in.User))
		})
}

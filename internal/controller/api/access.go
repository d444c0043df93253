package api

import (
	"context"
	"net/http"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/webhook"
	"github.com/peerload/peerload/internal/controller/webhooks"
)

// NewUser is a user to make.
type NewUser struct {
	Name string `json:"name"`
	domain.UserChange
}

// TokenOrder asks for an API token.
type TokenOrder struct {
	Name   string         `json:"name" doc:"for people"`
	User   string         `json:"user,omitempty" doc:"whose token; only a shell on the data directory may name others than itself"`
	Role   domain.Role    `json:"role" enum:"viewer,operator,admin"`
	Scopes []domain.Scope `json:"scopes" minItems:"1" maxItems:"5"`
	Sites  []string       `json:"sites,omitempty" maxItems:"64" doc:"sites to limit the token to, within those of the user; none means those"`
	LifeS  int64          `json:"life_s,omitempty" minimum:"0" maximum:"157680000" doc:"seconds until it expires; 0 means 90 days"`
}

// NewEnrolment asks for an enrolment token or a site key.
type NewEnrolment struct {
	Name     string   `json:"name" doc:"for people"`
	SiteKey  bool     `json:"site_key,omitempty" doc:"any number of devices, until it is revoked"`
	Uses     int      `json:"uses,omitempty" minimum:"0" maximum:"100000" doc:"devices that may enrol with it; 0 means 1"`
	Profile  string   `json:"profile,omitempty" doc:"what enrolling devices get"`
	Site     string   `json:"site,omitempty" doc:"what enrolling devices get"`
	Networks []string `json:"networks,omitempty" maxItems:"64" doc:"prefixes that devices must come from"`
	LifeS    int64    `json:"life_s,omitempty" minimum:"0" maximum:"157680000" doc:"seconds until it expires; 0 means a week, never for a site key"`
}

// EnrolmentList are all enrolment tokens and site keys.
type EnrolmentList struct {
	Items []domain.EnrolmentToken `json:"items"`
}

func (s *Server) access() {
	s.users()
	s.tokens()
	s.enrolments()
	s.webhooks()
}

func (s *Server) users() {
	register(s, op(http.MethodGet, "/users", "list-users", "List users", needAccess),
		func(ctx context.Context, in *TextQuery) (*plain[domain.List[domain.User]], error) {
			l, err := s.ctl.Users(ctx, actor(ctx), domain.TextFilter{Text: in.Text}, in.page())
			return answer(s, ctx, l, err)
		})
	register(s, op(http.MethodPost, "/users", "create-user", "Make a user", needAccess),
		func(ctx context.Context, in *struct{ Body NewUser }) (*versioned[domain.User], error) {
			u, err := s.ctl.CreateUser(ctx, actor(ctx), in.Body.Name, in.Body.UserChange)
			return answerVersion(s, ctx, u, u.Version, 0, err)
		})
	register(s, op(http.MethodGet, "/users/{user}", "get-user", "A user", needAccess),
		func(ctx context.Context, in *UserPath) (*versioned[domain.User], error) {
			u, err := s.ctl.User(ctx, actor(ctx), in.User)
			return answerVersion(s, ctx, u, u.Version, 0, err)
		})
	register(s, op(http.MethodPatch, "/users/{user}", "update-user", "Change a user", needAccess),
		func(ctx context.Context, in *struct {
			UserPath
			Changing[domain.UserChange]
		}) (*versioned[domain.User], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			u, err := s.ctl.UpdateUser(ctx, actor(ctx), in.User, in.Body, v)
			return answerVersion(s, ctx, u, u.Version, v, err)
		})
	register(s, op(http.MethodDelete, "/users/{user}", "delete-user",
		"Remove a user with all sessions and tokens", needAccess),
		func(ctx context.Context, in *struct {
			UserPath
			Match
		}) (*struct{}, error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			return nothing(s, ctx, v, s.ctl.DeleteUser(ctx, actor(ctx), in.User, v))
		})
}

func (s *Server) tokens() {
	register(s, op(http.MethodGet, "/tokens", "list-tokens", "List API tokens, without their secrets", needRead),
		func(ctx context.Context, in *struct {
			Paged
			User string `query:"user" maxLength:"64" doc:"whose; empty means one's own, * all, which only an admin may ask"`
		}) (*plain[domain.List[domain.Token]], error) {
			l, err := s.ctl.Tokens(ctx, actor(ctx), in.User, in.page())
			return answer(s, ctx, l, err)
		})
	register(s, op(http.MethodPost, "/tokens", "create-token", "Make an API token; its secret is shown once",
		needRead),
		func(ctx context.Context, in *struct{ Body TokenOrder }) (*plain[domain.NewToken], error) {
			b := in.Body
			t, err := s.ctl.CreateToken(ctx, actor(ctx), b.User,
				domain.TokenRequest{Name: b.Name, Role: b.Role, Scopes: b.Scopes,
					Sites: b.Sites, Life: time.Duration(b.LifeS) * time.Second})
			return answer(s, ctx, t, err)
		})
	register(s, op(http.MethodDelete, "/tokens/{token}", "revoke-token", "End an API token at once", needRead),
		func(ctx context.Context, in *TokenPath) (*struct{}, error) {
			return nothing(s, ctx, 0, s.ctl.RevokeToken(ctx, actor(ctx), in.Token))
		})
}

func (s *Server) enrolments() {
	register(s, op(http.MethodGet, "/enrolments", "list-enrolments",
		"List enrolment tokens and site keys, without their secrets", needAccess),
		func(ctx context.Context, in *struct {
			Site string `query:"site" maxLength:"64" doc:"that give devices this site"`
		}) (*plain[EnrolmentList], error) {
			all, err := s.ctl.Enrolments(ctx, actor(ctx), in.Site)
			return answer(s, ctx, EnrolmentList{all}, err)
		})
	register(s, op(http.MethodPost, "/enrolments", "create-enrolment",
		"Make an enrolment token or site key; its secret is shown once", needAccess),
		func(ctx context.Context, in *struct{ Body NewEnrolment }) (*plain[domain.NewEnrolmentToken], error) {
			b := in.Body
			t, err := s.ctl.CreateEnrolment(ctx, actor(ctx),
				domain.EnrolmentRequest{Name: b.Name, SiteKey: b.SiteKey, Uses: b.Uses, Profile: b.Profile,
					Site: b.Site, Networks: b.Networks, Life: time.Duration(b.LifeS) * time.Second})
			return answer(s, ctx, t, err)
		})
	register(s, op(http.MethodDelete, "/enrolments/{enrolment}", "revoke-enrolment",
		"End an enrolment token; enrolled devices stay", needAccess),
		func(ctx context.Context, in *EnrolmentPath) (*struct{}, error) {
			return nothing(s, ctx, 0, s.ctl.RevokeEnrolment(ctx, actor(ctx), in.Enrolment))
		})
}

// Retried says how many messages are tried anew.
type Retried struct {
	Messages int `json:"messages"`
}

// MessageQuery finds messages of a webhook.
type MessageQuery struct {
	WebhookPath
	Paged
	State webhook.State `query:"state" enum:"pending,dead" doc:"those that are tried again, or that were given up"`
}

// webhooks are the operations of webhooks.
func (s *Server) webhooks() {
	register(s, op(http.MethodGet, "/webhooks", "list-webhooks", "List webhooks, without their secrets",
		needAccess), func(ctx context.Context, in *Paged) (*plain[domain.List[webhooks.Webhook]], error) {
		l, err := s.cfg.Webhooks.List(ctx, actor(ctx), in.page())
		return answer(s, ctx, l, err)
	})
	register(s, op(http.MethodPost, "/webhooks", "create-webhook",
		"Have somebody told of failures and rollouts; the secret is shown once", needAccess), func(ctx context.Context,
		in *struct{ Body webhooks.NewWebhook }) (*plain[webhooks.Webhook], error) {
		v, err := s.cfg.Webhooks.Add(ctx, actor(ctx), in.Body)
		return answer(s, ctx, v, err)
	})
	register(s, op(http.MethodDelete, "/webhooks/{webhook}", "revoke-webhook",
		"Remove a webhook and its messages", needAccess), func(ctx context.Context, in *WebhookPath) (*struct{}, error) {
		return nothing(s, ctx, 0, s.cfg.Webhooks.Remove(ctx, actor(ctx), in.Webhook))
	})
	register(s, op(http.MethodGet, "/webhooks/{webhook}/messages", "list-webhook-messages",
		"Messages of a webhook that wait or were given up, the oldest first", needAccess), func(ctx context.Context,
		in *MessageQuery) (*plain[domain.List[webhook.Delivery]], error) {
		l, err := s.cfg.Webhooks.Messages(ctx, actor(ctx), in.Webhook, in.State, in.page())
		return answer(s, ctx, l, err)
	})
	register(s, does(op(http.MethodPost, "/webhooks/{webhook}/test", "test-webhook",
		"Send a message at once, and say what came of it", needAccess)), func(ctx context.Context,
		in *WebhookPath) (*plain[webhooks.Try], error) {
		t, err := s.cfg.Webhooks.Test(ctx, actor(ctx), in.Webhook)
		return answer(s, ctx, t, err)
	})
	register(s, does(op(http.MethodPost, "/webhooks/{webhook}/retry", "retry-webhook",
		"Try the messages anew that were given up", needAccess)), func(ctx context.Context,
		in *WebhookPath) (*plain[Retried], error) {
		n, err := s.cfg.Webhooks.Retry(ctx, actor(ctx), in.Webhook)
		return answer(s, ctx, Retried{n}, err)
	})
}

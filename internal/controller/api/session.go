package api

import (
	"context"
	"errors"
	"html/template"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
)

// Who is the caller, as the caller sees it.
type Who struct {
	Name   string           `json:"name"`
	Kind   domain.ActorKind `json:"kind"`
	Role   domain.Role      `json:"role"`
	Scopes []domain.Scope   `json:"scopes" doc:"null: all that the role may"`
	// Session is that of a browser, or the sign-in of a command line; nil for all
	// others.
	Session *domain.Session `json:"session,omitempty"`
}

// NewPassword changes the caller's own password.
type NewPassword struct {
	Old string `json:"old" maxLength:"256"`
	New string `json:"new" minLength:"10" maxLength:"256"`
}

// FirstAdmin completes the set-up; the link's secret is the bearer token.
type FirstAdmin struct {
	Name     string `json:"name"`
	Password string `json:"password" minLength:"10" maxLength:"256"`
}

type opened struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      domain.Session
}

type closed struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

func cookie(value string, life int, secure bool) http.Cookie {
	return http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: life, Secure: secure, HttpOnly: true,
		SameSite: http.SameSiteStrictMode}
}

func (s *Server) sessions() {
	huma.Register(s.api, op(http.MethodPost, "/session", "log-in", "Open a session; the answer has its CSRF token",
		needLogin),
		func(ctx context.Context, _ *struct{}) (*opened, error) {
			c := callerOf(ctx)
			n, err := s.ctl.Login(ctx, c.name, c.secret, c.from)
			if err != nil {
				return nil, s.fail(ctx, err, 0)
			}
			return &opened{cookie(n.Secret, 0, c.secure), n.Session}, nil
		})
	huma.Register(s.api, op(http.MethodGet, "/session", "who-am-i", "Who asks, and what they may", needAnybody),
		func(ctx context.Context, _ *struct{}) (*plain[Who], error) {
			c := callerOf(ctx)
			return &plain[Who]{Who{c.actor.Name, c.actor.Kind, c.actor.Role, c.actor.Scopes, c.session}}, nil
		})
	huma.Register(s.api, op(http.MethodDelete, "/session", "log-out",
		"Close the session, or the sign-in of a command line", needAnybody),
		func(ctx context.Context, _ *struct{}) (*closed, error) {
			if err := s.ctl.Logout(ctx, actor(ctx)); err != nil {
				return nil, s.fail(ctx, err, 0)
			}
			return &closed{cookie("", -1, callerOf(ctx).secure)}, nil
		})
	password := quiet(op(http.MethodPut, "/session/password", "change-password",
		"Change one's own password; all sessions end", needAnybody))
	huma.Register(s.api, password, func(ctx context.Context, in *struct{ Body NewPassword }) (*struct{}, error) {
		return nothing(s, ctx, 0, s.ctl.ChangeOwnPassword(ctx, actor(ctx), in.Body.Old, in.Body.New))
	})
	huma.Register(s.api, op(http.MethodPost, "/setup", "set-up", "Make the first admin", needSetup),
		func(ctx context.Context, in *struct{ Body FirstAdmin }) (*versioned[domain.User], error) {
			c := callerOf(ctx)
			u, err := s.ctl.CompleteSetup(ctx, c.secret, in.Body.Name, in.Body.Password, c.from)
			return answerVersion(s, ctx, u, u.Version, 0, err)
		})
}

// setup is the page behind the set-up link. The form contains the link's
// secret: anybody who has it may create the first admin.
var setup = template.Must(template.New("setup").Parse(`<!DOCTYPE html>
<html lang="{{.T.Lang}}"><head><meta charset="utf-8"><title>{{.T.Title}}</title>
<style>body{font:1rem/1.5 sans-serif;max-width:30rem;margin:3rem auto;padding:0 1rem}label{display:block;margin:1rem 0}input{display:block;width:100%;font:inherit}</style>
</head><body><h1>{{.T.Title}}</h1>
{{if .Done}}<p role="status">{{.Done}}: {{.T.Done}}</p>
{{else}}{{with .Problem}}<p role="alert">{{.}}</p>{{end}}
<form method="post" action="/setup"><input type="hidden" name="secret" value="{{.Secret}}"><input type="hidden" name="lang" value="{{.T.Lang}}">
<label>{{.T.Name}} <input name="name" required autocomplete="username" maxlength="64" value="{{.Name}}"></label>
<label>{{.T.Password}} <input name="password" type="password" required minlength="10" maxlength="256" autocomplete="new-password"></label>
<button>{{.T.Button}}</button></form>{{end}}
</body></html>
`))

// setupText is what the page says.
type setupText struct{ Lang, Title, Name, Password, Button, Done, Incomplete string }

var setupTexts = map[string]setupText{
	"en": {"en", "Set up Peerload", "Name of the first administrator", "Password, at least 10 characters",
		"Make the administrator", "this is the first administrator. The link is void now.", "The set-up link is incomplete."},
	"ja": {"ja", "Peerload の初期設定", "最初の管理者の名前", "パスワード (10 文字以上)", "管理者を作成",
		"最初の管理者です。このリンクはもう使えません。", "初期設定のリンクが不完全です。"},
}

// setupIn returns the page's text in the language that is asked for, or else
// that the browser prefers: Japanese if it comes before English.
func setupIn(r *http.Request, asked string) setupText {
	if t, ok := setupTexts[asked]; ok {
		return t
	}
	for _, l := range strings.Split(strings.ToLower(r.Header.Get("Accept-Language")), ",") {
		l = strings.TrimSpace(l)
		if t, ok := setupTexts[l[:min(len(l), 2)]]; ok {
			return t
		}
	}
	return setupTexts["en"]
}

type setupView struct {
	T                           setupText
	Secret, Name, Problem, Done string
}

func (s *Server) setupPage(w http.ResponseWriter, r *http.Request) {
	v := setupView{T: setupIn(r, r.URL.Query().Get("lang")), Secret: r.URL.Query().Get("secret")}
	if v.Secret == "" {
		http.Error(w, v.T.Incomplete, http.StatusUnauthorized)
		return
	}
	s.showSetup(w, http.StatusOK, v)
}

func (s *Server) showSetup(w http.ResponseWriter, code int, v setupView) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	if err := setup.Execute(w, v); err != nil {
		s.cfg.Log.Info("the set-up page was not sent", "error", err)
	}
}

func (s *Server) setupForm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	v := setupView{T: setupIn(r, r.PostFormValue("lang")), Secret: r.PostFormValue("secret"),
		Name: r.PostFormValue("name")}
	u, err := s.ctl.CompleteSetup(r.Context(), v.Secret, v.Name, r.PostFormValue("password"), fromOf(r))
	code := http.StatusOK
	if err != nil {
		var p *huma.ErrorModel
		errors.As(s.fail(r.Context(), err, 0), &p)
		code, v.Problem = p.Status, text(p)
	} else {
		v = setupView{T: v.T, Done: u.Name}
	}
	s.showSetup(w, code, v)
}

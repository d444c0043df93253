package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/oidc"
)

// Who is the caller, as the caller sees it.
type Who struct {
	Name   string           `json:"name"`
	Kind   domain.ActorKind `json:"kind"`
	Role   domain.Role      `json:"role"`
	Sites  []string         `json:"sites,omitempty" doc:"sites that the caller is limited to; without any, all of the fleet"`
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
	register(s, op(http.MethodPost, "/session", "log-in", "Open a session; the answer has its CSRF token",
		needLogin),
		func(ctx context.Context, _ *struct{}) (*opened, error) {
			c := callerOf(ctx)
			n, err := s.ctl.Login(ctx, c.name, c.secret, c.from)
			if err != nil {
				return nil, s.fail(ctx, err, 0)
			}
			return &opened{cookie(n.Secret, 0, c.secure), n.Session}, nil
		})
	register(s, op(http.MethodGet, "/session", "who-am-i", "Who asks, and what they may", needAnybody),
		func(ctx context.Context, _ *struct{}) (*plain[Who], error) {
			c := callerOf(ctx)
			return &plain[Who]{Who{c.actor.Name, c.actor.Kind, c.actor.Role, c.actor.Realm.Sites(), c.actor.Scopes,
				c.session}}, nil
		})
	register(s, op(http.MethodDelete, "/session", "log-out",
		"Close the session, or the sign-in of a command line", needAnybody),
		func(ctx context.Context, _ *struct{}) (*closed, error) {
			if err := s.ctl.Logout(ctx, actor(ctx)); err != nil {
				return nil, s.fail(ctx, err, 0)
			}
			return &closed{cookie("", -1, callerOf(ctx).secure)}, nil
		})
	password := quiet(op(http.MethodPut, "/session/password", "change-password",
		"Change one's own password; all sessions end", needAnybody))
	register(s, password, func(ctx context.Context, in *struct{ Body NewPassword }) (*struct{}, error) {
		return nothing(s, ctx, 0, s.ctl.ChangeOwnPassword(ctx, actor(ctx), in.Body.Old, in.Body.New))
	})
	register(s, op(http.MethodPost, "/setup", "set-up", "Make the first admin", needSetup),
		func(ctx context.Context, in *struct{ Body FirstAdmin }) (*versioned[domain.User], error) {
			c := callerOf(ctx)
			u, err := s.ctl.CompleteSetup(ctx, c.secret, in.Body.Name, in.Body.Password, c.from)
			return answerVersion(s, ctx, u, u.Version, 0, err)
		})
}

// langOf is the language that is asked for, or else that the browser prefers:
// Japanese if it comes before English.
func langOf(r *http.Request, asked string) string {
	if _, ok := signInTexts[asked]; ok {
		return asked
	}
	for _, l := range strings.Split(strings.ToLower(r.Header.Get("Accept-Language")), ",") {
		l = strings.TrimSpace(l)
		if l = l[:min(len(l), 2)]; l == "ja" || l == "en" {
			return l
		}
	}
	return "en"
}

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
	register(s, op(http.MethodPost, "/logins", "sign-in",
		"Let a command line in; the secret is its bearer token, and is shown once", needLogin),
		func(ctx context.Context, in *struct{ Body SignIn }) (*plain[domain.NewLogin], error) {
			c := callerOf(ctx)
			n, err := s.ctl.SignIn(ctx, c.name, c.secret, in.Body.Client, c.from)
			return answer(s, ctx, n, err)
		})
	register(s, op(http.MethodPost, "/logins/requests", "ask-sign-in",
		"Ask for a command line to be let in by somebody in a browser", needNothing),
		func(ctx context.Context, in *struct{ Body SignIn }) (*plain[SignInRequest], error) {
			if s.cfg.OIDC == nil {
				return nil, s.fail(ctx, errNoOIDC, 0)
			}
			q, err := s.ctl.AskLogin(ctx, in.Body.Client, callerOf(ctx).from)
			return answer(s, ctx, SignInRequest{q, s.cfg.PublicURL + devicePath, askEvery}, err)
		})
	register(s, does(op(http.MethodPost, "/logins/redeem", "redeem-sign-in",
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
	register(s, op(http.MethodDelete, "/users/{user}/sessions", "end-sessions",
		"End all sessions and sign-ins of a user: one's own, or as an admin; tokens stay", needAnybody),
		func(ctx context.Context, in *UserPath) (*struct{}, error) {
			return nothing(s, ctx, 0, s.ctl.EndSessions(ctx, actor(ctx), in.User))
		})
}

// LoginPath is where people begin to sign in at an issuer; the parameter "return" is
// the path that they go to then.
const LoginPath = "/oidc/login"

const (
	callbackPath = "/oidc/callback"
	devicePath   = "/oidc/device"
	// flowCookie keeps a sign-in that is on its way. Over TLS its name begins with
	// __Host-, by which no other host of the domain can have set it.
	flowCookie = "peerload_sign_in"
	// maxReturn bounds the path to return to, in bytes.
	maxReturn = 1000
)

// oidcPages are for people in a browser: the way to the issuer and back, and the
// page on which they let a command line in.
func (s *Server) oidcPages() {
	s.mux.HandleFunc("GET "+LoginPath, s.oidcLogin)
	s.mux.HandleFunc("GET "+callbackPath, s.oidcCallback)
	s.mux.HandleFunc("GET "+devicePath, s.devicePage)
	s.mux.HandleFunc("POST "+devicePath, s.deviceForm)
}

// localPath is the path if it leads to this server, else "".
func localPath(p string) string {
	u, err := url.Parse(p)
	if err != nil || len(p) > maxReturn || u.Scheme != "" || u.Host != "" || u.User != nil ||
		!strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") ||
		strings.ContainsFunc(p, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }) {
		return ""
	}
	return p
}

func (s *Server) flowCookie(value string, life int, secure bool) *http.Cookie {
	c := &http.Cookie{Name: flowCookie, Value: value, Path: "/", MaxAge: life, Secure: secure, HttpOnly: true,
		SameSite: http.SameSiteLaxMode} // it must come along from the issuer
	if secure {
		c.Name = "__Host-" + c.Name
	}
	return c
}

// oidcLogin sends the browser to the issuer.
func (s *Server) oidcLogin(w http.ResponseWriter, r *http.Request) {
	if s.cfg.OIDC == nil {
		s.showSignIn(w, r, signInView{err: errNoOIDC})
		return
	}
	f, to, err := s.cfg.OIDC.Begin(r.Context())
	if err != nil {
		s.showSignIn(w, r, signInView{err: err})
		return
	}
	f.Return = localPath(r.URL.Query().Get("return"))
	b, err := json.Marshal(f)
	if err != nil {
		s.showSignIn(w, r, signInView{err: err})
		return
	}
	http.SetCookie(w, s.flowCookie(base64.RawURLEncoding.EncodeToString(b), int(oidc.FlowLife.Seconds()), isSecure(r)))
	http.Redirect(w, r, to, http.StatusFound)
}

// flow reads the sign-in that this browser has begun; it is zero without one.
func (s *Server) flow(r *http.Request) (f oidc.Flow) {
	c, err := r.Cookie(s.flowCookie("", 0, isSecure(r)).Name)
	if err != nil {
		return f
	}
	b, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || json.Unmarshal(b, &f) != nil {
		return oidc.Flow{}
	}
	return f
}

// oidcCallback opens a session for whoever comes back from the issuer. It answers
// with a page and no redirect: the session's cookie is not sent on a way that has
// begun at another site.
func (s *Server) oidcCallback(w http.ResponseWriter, r *http.Request) {
	if s.cfg.OIDC == nil {
		s.showSignIn(w, r, signInView{err: errNoOIDC})
		return
	}
	f := s.flow(r)
	http.SetCookie(w, s.flowCookie("", -1, isSecure(r))) // it is good once
	id, err := s.cfg.OIDC.Finish(r.Context(), f, r.URL.Query())
	if err != nil {
		s.showSignIn(w, r, signInView{err: err})
		return
	}
	n, err := s.ctl.SignInBy(r.Context(), id, fromOf(r))
	if err != nil {
		s.showSignIn(w, r, signInView{err: err})
		return
	}
	c := cookie(n.Secret, 0, isSecure(r))
	http.SetCookie(w, &c)
	s.showSignIn(w, r, signInView{User: n.User, Role: n.Role, Next: localPath(f.Return)})
}

// person is who has a session in this browser; elsewhere the browser is sent to
// sign in.
func (s *Server) person(w http.ResponseWriter, r *http.Request) (a domain.Actor, session domain.Session, ok bool) {
	c, err := r.Cookie(cookieName)
	if err == nil {
		a, session, err = s.ctl.ActorBySession(r.Context(), c.Value, fromOf(r))
	}
	switch {
	case err == nil:
		return a, session, true
	case errors.Is(err, http.ErrNoCookie), errors.Is(err, domain.ErrUnauthenticated):
		http.Redirect(w, r, LoginPath+"?"+url.Values{"return": {devicePath}}.Encode(), http.StatusSeeOther)
	default:
		s.showSignIn(w, r, signInView{err: err})
	}
	return a, session, false
}

// devicePage asks for the code that a command line shows. The code is not in the
// page's address: whoever is sent a link must not let in the sender.
func (s *Server) devicePage(w http.ResponseWriter, r *http.Request) {
	a, session, ok := s.person(w, r)
	if ok {
		s.showSignIn(w, r, signInView{User: a.User, CSRF: session.CSRF, Ask: true})
	}
}

// deviceForm shows who asks, and takes the answer.
func (s *Server) deviceForm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	a, session, ok := s.person(w, r)
	if !ok {
		return
	}
	v := signInView{User: a.User, CSRF: session.CSRF}
	if v.err = domain.CheckCSRF(session, r.PostFormValue("csrf")); v.err != nil {
		s.showSignIn(w, r, v)
		return
	}
	code := r.PostFormValue("code")
	switch r.PostFormValue("answer") {
	case "allow":
		v.err, v.Allowed = s.ctl.AnswerLogin(r.Context(), a, code, true), true
	case "deny":
		v.err, v.Denied = s.ctl.AnswerLogin(r.Context(), a, code, false), true
	default:
		var q domain.LoginRequest
		if q, v.err = s.ctl.LoginRequest(r.Context(), a, code); v.err == nil {
			v.Request = &q
		}
	}
	v.Ask = errors.Is(v.err, domain.ErrNotFound)
	s.showSignIn(w, r, v)
}

// signInView is what a page shows.
type signInView struct {
	T          signInText
	User       string
	Role       domain.Role
	Next, CSRF string
	// Ask asks for a code, Request shows who has it.
	Ask, Allowed, Denied bool
	Request              *domain.LoginRequest
	Problem              string
	err                  error
}

type signInText struct {
	Lang, Title, SignedIn, Next, Code, Continue, Who, Client, From, Only, Allow, Deny, Allowed, Denied, Again string
}

var signInTexts = map[string]signInText{
	"en": {"en", "Sign in to Peerload", "You are signed in as", "Continue", "Code that the command line shows", "Continue",
		"This command line asks to be signed in as you:", "Computer", "Address",
		"Allow it only if you have just run \"peerload-server login\" yourself, and see this code there.", "Allow", "Deny",
		"The command line is signed in. You can close this page.", "The command line was refused.", "Sign in again"},
	"ja": {"ja", "Peerload へのサインイン", "サインイン中のユーザー:", "続ける", "コマンドラインに表示されたコード",
		"続ける",
		"次のコマンドラインが、あなたとしてのサインインを求めています。", "コンピューター", "アドレス",
		"ご自分で今 \"peerload-server login\" を実行し、そこに同じコードが表示されている場合にだけ許可してください。",
		"許可", "拒否", "コマンドラインはサインインしました。このページを閉じてかまいません。",
		"コマンドラインを拒否しました。", "もう一度サインイン"},
}

var signInPage = template.Must(template.New("sign-in").Parse(`<!DOCTYPE html>
<html lang="{{.T.Lang}}"><head><meta charset="utf-8"><title>{{.T.Title}}</title>
{{with .Next}}<meta http-equiv="refresh" content="0;url={{.}}">{{end}}
<style>body{font:1rem/1.5 sans-serif;max-width:30rem;margin:3rem auto;padding:0 1rem}label{display:block;margin:1rem 0}input{display:block;width:100%;font:inherit}</style>
</head><body><h1>{{.T.Title}}</h1>
{{with .Problem}}<p role="alert">{{.}}</p>{{end}}
{{with .User}}<p role="status">{{$.T.SignedIn}} {{.}}{{with $.Role}} ({{.}}){{end}}</p>{{end}}
{{with .Next}}<p><a href="{{.}}">{{$.T.Next}}</a></p>{{end}}
{{if .Ask}}<form method="post" action="/oidc/device"><input type="hidden" name="csrf" value="{{.CSRF}}">
<label>{{.T.Code}} <input name="code" required maxlength="20" autocomplete="off" autocapitalize="characters"></label>
<button>{{.T.Continue}}</button></form>
{{else if .Problem}}{{if not .User}}<p><a href="/oidc/login">{{.T.Again}}</a></p>{{end}}
{{else if .Allowed}}<p>{{.T.Allowed}}</p>
{{else if .Denied}}<p>{{.T.Denied}}</p>
{{else}}{{with .Request}}<p>{{$.T.Who}}</p>
<dl><dt>{{$.T.Client}}</dt><dd>{{.Client}}</dd><dt>{{$.T.From}}</dt><dd>{{.From}}</dd><dt>{{$.T.Code}}</dt><dd>{{.Code}}</dd></dl>
<p>{{$.T.Only}}</p>
<form method="post" action="/oidc/device"><input type="hidden" name="csrf" value="{{$.CSRF}}"><input type="hidden" name="code" value="{{.Code}}">
<button name="answer" value="allow">{{$.T.Allow}}</button> <button name="answer" value="deny">{{$.T.Deny}}</button></form>{{end}}{{end}}
</body></html>
`))

// showSignIn shows a page; an error gives its status.
func (s *Server) showSignIn(w http.ResponseWriter, r *http.Request, v signInView) {
	v.T = signInTexts[langOf(r, r.FormValue("lang"))]
	code := http.StatusOK
	if v.err != nil {
		var p *huma.ErrorModel
		errors.As(s.fail(r.Context(), v.err, 0), &p)
		code, v.Problem = p.Status, text(p)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	if err := signInPage.Execute(w, v); err != nil {
		s.cfg.Log.Info("the page of a sign-in was not sent", "error", err)
	}
}

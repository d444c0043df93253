package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/oidc"
)

const (
	loginPath    = "/oidc/login"
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
func (s *Server) oidcPages(mux *http.ServeMux) {
	mux.HandleFunc("GET "+loginPath, s.oidcLogin)
	mux.HandleFunc("GET "+callbackPath, s.oidcCallback)
	mux.HandleFunc("GET "+devicePath, s.devicePage)
	mux.HandleFunc("POST "+devicePath, s.deviceForm)
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
		http.Redirect(w, r, loginPath+"?"+url.Values{"return": {devicePath}}.Encode(), http.StatusSeeOther)
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
	"ja": {"ja", "Peerload へのサインイン", "サインイン中のユーザー:", "続ける", "コマンドラインに表示されたコード", "続ける",
		"次のコマンドラインが、あなたとしてのサインインを求めています。", "コンピューター", "アドレス",
		"ご自分で今 \"peerload-server login\" を実行し、そこに同じコードが表示されている場合にだけ許可してください。", "許可", "拒否",
		"コマンドラインはサインインしました。このページを閉じてかまいません。", "コマンドラインを拒否しました。", "もう一度サインイン"},
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
	v.T = signInTexts[setupIn(r, r.FormValue("lang")).Lang]
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

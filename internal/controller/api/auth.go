package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/peerload/peerload/internal/controller/domain"
)

// need is who may call an operation. Package domain enforces the rights; these
// are checked before a body is read, so that a caller without rights neither
// learns what is wrong with the request nor costs memory.
type need string

const (
	needRead       need = need(domain.ScopeRead)
	needDevices    need = need(domain.ScopeDevices)
	needLoads      need = need(domain.ScopeLoads)
	needEnterprise need = need(domain.ScopeEnterprise)
	needAccess     need = need(domain.ScopeAccess)
	// needSelf is needRead, or the device of the path.
	needSelf need = "read, or the device itself"
	// needDevice is the device of the path only.
	needDevice need = "the device itself"
	// needAnybody is every authenticated caller.
	needAnybody need = "any credentials"
	// needLogin, needEnrol and needSetup use other credentials, which the use
	// case checks.
	needLogin need = "name and password"
	needEnrol need = "an enrolment token or site key"
	needSetup need = "the set-up secret"
	// needRequest is the secret of a command line that waits to be let in; needNothing
	// is for one that begins to wait.
	needRequest need = "the secret of a request to sign in"
	needNothing need = "nothing"
)

// needKey is the key under which an operation keeps its need.
const needKey = "need"

const (
	cookieName = "peerload_session"
	csrfHeader = "X-CSRF-Token"
)

func security(n need) []map[string][]string {
	switch n {
	case needLogin:
		return []map[string][]string{{"login": {}}}
	case needNothing:
		return []map[string][]string{}
	case needDevice, needEnrol, needSetup, needRequest:
		return []map[string][]string{{"token": {}}}
	}
	return []map[string][]string{{"token": {}}, {"session": {}}}
}

// caller is the caller of an operation, in the context of a request.
type caller struct {
	actor   domain.Actor
	session *domain.Session
	// secret and name are the credentials of needLogin, needEnrol, needSetup and
	// needRequest.
	secret, name string
	from         string
	// secure says that the request came over TLS, to this server or, according
	// to the request, to a proxy in front of it. It only decides whether the
	// cookie is marked Secure.
	secure bool
}

type (
	callerKey struct{}
	localKey  struct{}
)

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// actor is the actor of the request.
func actor(ctx context.Context) domain.Actor { return callerOf(ctx).actor }

// fromOf is the address that a request came from, without a port.
func fromOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if i := strings.IndexByte(host, '%'); i >= 0 {
		host = host[:i]
	}
	return strings.TrimPrefix(host, "::ffff:")
}

// authenticate identifies the caller before anything else of a request is read.
func (s *Server) authenticate(ctx huma.Context, next func(huma.Context)) {
	r, _ := humago.Unwrap(ctx)
	need, _ := ctx.Operation().Metadata[needKey].(need)
	c, err := s.identify(r, need)
	if err == nil {
		err = c.may(need, ctx.Param("device"))
	}
	if err != nil {
		refuse(ctx, s.fail(r.Context(), err, 0))
		return
	}
	next(huma.WithValue(ctx, callerKey{}, c))
}

// isSecure reports whether a request came over TLS, here or to a proxy.
func isSecure(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
}

// identify reads the credentials of a request. An error matches
// domain.ErrUnauthenticated, or ErrForbidden for a missing CSRF token.
func (s *Server) identify(r *http.Request, n need) (c caller, err error) {
	c.from, c.secure = fromOf(r), isSecure(r)
	if local, ok := r.Context().Value(localKey{}).(domain.Actor); ok {
		c.actor = local
		return c, nil
	}
	bearer, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch n {
	case needLogin:
		var ok bool
		if c.name, c.secret, ok = r.BasicAuth(); !ok {
			return c, domain.ErrUnauthenticated
		}
		return c, nil
	case needNothing:
		return c, nil
	case needEnrol, needSetup, needRequest:
		if c.secret = bearer; bearer == "" {
			return c, domain.ErrUnauthenticated
		}
		return c, nil
	}
	if isBearer {
		return s.bearer(r, c, bearer)
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return c, domain.ErrUnauthenticated
	}
	a, session, err := s.ctl.ActorBySession(r.Context(), cookie.Value, c.from)
	if err != nil {
		return c, err
	}
	c.actor, c.session = a, &session
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		err = domain.CheckCSRF(session, r.Header.Get(csrfHeader))
	}
	return c, err
}

// bearer finds whose token it is. What the controller has made has a prefix; a
// device's secret has not.
func (s *Server) bearer(r *http.Request, c caller, token string) (_ caller, err error) {
	switch {
	case strings.HasPrefix(token, "plt_"):
		c.actor, err = s.ctl.ActorByToken(r.Context(), token, c.from)
	case strings.HasPrefix(token, "plc_"):
		// No page of another site can make a browser send it, so it needs no CSRF token.
		var session domain.Session
		c.actor, session, err = s.ctl.ActorByLogin(r.Context(), token, c.from)
		c.session = &session
	default:
		c.actor, err = s.ctl.ActorByDevice(r.Context(), "", token, c.from)
	}
	return c, err
}

// may refuses callers that may not call an operation.
func (c caller) may(n need, device string) error {
	a := c.actor
	switch n {
	case needLogin, needEnrol, needSetup, needRequest, needNothing:
		return nil
	case needAnybody:
		if a.Kind == domain.ActorDevice {
			return fmt.Errorf("%w: this is not for devices", domain.ErrForbidden)
		}
		return nil
	case needSelf, needDevice:
		if a.Kind == domain.ActorDevice {
			name, err := domain.DeviceName(device)
			if err != nil || name != a.Name {
				return fmt.Errorf("%w: a device sees itself only", domain.ErrForbidden)
			}
			return nil
		}
		if n == needDevice {
			return fmt.Errorf("%w: this is for the device itself, with its own secret", domain.ErrForbidden)
		}
		n = need(domain.ScopeRead)
	}
	err := a.Check(domain.Scope(n))
	if errors.Is(err, domain.ErrUnauthenticated) { // known, and without any role
		err = domain.ErrForbidden
	}
	return err
}

// Local returns a way to call the API in this process as an actor that needs no
// credentials: a shell of the owner of the data directory. No request from
// outside can use it.
func (s *Server) Local(a domain.Actor) http.RoundTripper { return local{s, a} }

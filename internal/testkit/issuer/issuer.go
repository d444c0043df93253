// Package issuer starts an issuer of OpenID Connect for tests: a real one, of
// another project, whose answers a test may meddle with on their way.
//
// What must not live here: what is believed of the answers.
package issuer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// What the controller is at the issuer, and everybody's password there.
const (
	ClientID = "peerload"
	Secret   = "a secret of the client"
	Password = "a pass phrase there"
)

// Issuer is a running issuer.
type Issuer struct {
	// URL names the issuer.
	URL string

	mu     sync.Mutex
	server *httptest.Server
	store  *storage.Storage
	users  map[string]*storage.User
	groups map[string][]string
	token  func(claims map[string]any) string
	answer func(path string, body []byte) []byte
	down   bool
}

// Start starts an issuer that knows the controller's address for answers. stop
// ends it.
func Start(redirects ...string) (i *Issuer, stop func()) {
	i = &Issuer{users: map[string]*storage.User{}, groups: map[string][]string{}}
	i.store = storage.NewStorageWithClients(i, map[string]*storage.Client{
		ClientID: storage.WebClient(ClientID, Secret, redirects...)})
	var op http.Handler
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { i.serve(op, w, r) }))
	i.URL = i.server.URL
	op = exampleop.SetupServer(i.URL, &userStorage{i.store, i}, slog.New(slog.DiscardHandler), false)
	return i, i.server.Close
}

// Add adds a user with groups, or gives a user others.
func (i *Issuer) Add(name string, groups ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.users[name] = &storage.User{ID: "id of " + name, Username: name, Password: Password, FirstName: "Given",
		LastName: name, Email: name + "@example.com", EmailVerified: true}
	i.groups["id of "+name] = groups
}

// Down lets the issuer fail, or work again.
func (i *Issuer) Down(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Meddle makes the identity tokens that are sent from now on out of the claims of
// the real ones; nil sends those.
func (i *Issuer) Meddle(token func(claims map[string]any) string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.token = token
}

// Rewrite changes the answers of the issuer from now on; nil sends the real ones.
func (i *Issuer) Rewrite(answer func(path string, body []byte) []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

// Sign signs claims with the issuer's own key.
func (i *Issuer) Sign(claims map[string]any) string {
	key, err := i.store.SigningKey(context.Background())
	if err != nil {
		panic(err)
	}
	return sign(key.SignatureAlgorithm(), jose.JSONWebKey{Key: key.Key(), KeyID: key.ID()}, claims)
}

// SignWithSecret signs claims with the client's secret, which the issuer and the
// controller share.
func (i *Issuer) SignWithSecret(claims map[string]any) string {
	return sign(jose.HS256, []byte(strings.Repeat(Secret, 2)), claims)
}

func sign(by jose.SignatureAlgorithm, key any, claims map[string]any) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: by, Key: key}, nil)
	if err != nil {
		panic(err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	signed, err := s.Sign(text)
	if err != nil {
		panic(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return raw
}

func (i *Issuer) serve(op http.Handler, w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	down, token, answer := i.down, i.token, i.answer
	i.mu.Unlock()
	if down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	said := httptest.NewRecorder()
	op.ServeHTTP(said, r)
	body := said.Body.Bytes()
	if token != nil && r.URL.Path == "/oauth/token" && said.Code == http.StatusOK {
		body = meddled(body, token)
	}
	if answer != nil {
		body = answer(r.URL.Path, body)
	}
	for k, v := range said.Header() {
		w.Header()[k] = v
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(said.Code)
	_, _ = w.Write(body) // the only error is a client that is gone
}

// meddled is the answer with another identity token.
func meddled(body []byte, token func(map[string]any) string) []byte {
	var answer map[string]any
	if err := json.Unmarshal(body, &answer); err != nil {
		panic(err)
	}
	raw, _ := answer["id_token"].(string)
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		panic(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &claims); err != nil {
		panic(err)
	}
	answer["id_token"] = token(claims)
	b, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	return b
}

// GetUserByID implements storage.UserStore.
func (i *Issuer) GetUserByID(id string) *storage.User {
	return i.GetUserByUsername(strings.TrimPrefix(id, "id of "))
}

// GetUserByUsername implements storage.UserStore.
func (i *Issuer) GetUserByUsername(name string) *storage.User {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.users[name]
}

// ExampleClientID implements storage.UserStore.
func (i *Issuer) ExampleClientID() string { return "service" }

// userStorage adds the claim of the groups.
type userStorage struct {
	*storage.Storage
	i *Issuer
}

// SetUserinfoFromToken implements op.Storage.
func (s *userStorage) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, id, subject, origin string) error {
	if err := s.Storage.SetUserinfoFromToken(ctx, info, id, subject, origin); err != nil {
		return err
	}
	s.i.mu.Lock()
	defer s.i.mu.Unlock()
	info.AppendClaims("groups", s.i.groups[subject])
	return nil
}

// Browser is a person's browser: it keeps cookies and follows redirects.
func Browser(transport http.RoundTripper) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err)
	}
	return &http.Client{Jar: jar, Transport: transport, Timeout: time.Minute}
}

// Page is what a browser shows.
type Page struct {
	Code int
	URL  *url.URL
	Text string
}

// Open opens a page.
func Open(b *http.Client, at string) (Page, error) {
	resp, err := b.Get(at)
	return page(resp, err)
}

// Send sends a form.
func Send(b *http.Client, at string, form url.Values) (Page, error) {
	resp, err := b.PostForm(at, form)
	return page(resp, err)
}

func page(resp *http.Response, err error) (Page, error) {
	if err != nil {
		return Page{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return Page{resp.StatusCode, resp.Request.URL, string(text)}, err
}

// hidden finds the number of the sign-in in the issuer's form.
var hidden = regexp.MustCompile(`name="id" value="([^"]+)"`)

// SignIn opens a page of the controller that leads to the issuer, signs in there
// as a user, and returns the page on which the browser ends. Where it leads
// elsewhere, that page is returned.
func SignIn(b *http.Client, at, user string) (Page, error) {
	form, err := Open(b, at)
	if err != nil {
		return form, err
	}
	id := hidden.FindStringSubmatch(form.Text)
	if id == nil {
		return form, nil
	}
	to := form.URL.ResolveReference(&url.URL{Path: "/login/username"}).String()
	done, err := Send(b, to, url.Values{"id": {id[1]}, "username": {user}, "password": {Password}})
	if err == nil && bytes.Contains([]byte(done.Text), []byte(`name="password"`)) {
		err = errors.New("the issuer does not know the user")
	}
	return done, err
}

// String names the issuer in a test's output.
func (i *Issuer) String() string { return fmt.Sprintf("the issuer %s", i.URL) }

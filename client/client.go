package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// prefix of all paths of the API.
const prefix = "/api/v1"

const (
	// callTimeout bounds every call except those that send or check files.
	callTimeout = 2 * time.Minute
	// maxAnswer bounds an answer in bytes: a thousand devices with all that they
	// may have reported.
	maxAnswer = 256 << 20
	// maxProblem bounds the answer that is an error, in bytes.
	maxProblem = 1 << 20
)

// Client calls the API of one controller. It may be used by several goroutines.
//
// A call ends with its context, or after two minutes with Unreachable; AddLoad
// and VerifyLoads, which may take long, end with their context only. If the
// controller refuses a call, the error is an *Error. So is a redirect: it is
// not followed, since the token and the body are for the controller only.
type Client struct {
	Devices  Collection[Device, DeviceChange]
	Profiles Collection[Profile, ProfileChange]
	Sites    Collection[Site, SiteChange]
	Releases Collection[Release, ReleaseChange]
	Users    Collection[User, UserChange]
	// Tokens and Enrolments are created and deleted, never changed, and have no
	// versions: Delete takes AnyVersion. They are identified by their ids;
	// Create takes a name for people and returns the secret, which is shown
	// once.
	Tokens     Set[Token, NewToken]
	Enrolments Set[Enrolment, NewEnrolment]
	Loads      Lister[Load]
	Rollouts   Lister[Rollout]
	FileSets   Lister[FileSet]
	// Orders lists those that were sent to devices, the oldest first.
	Orders Lister[OrderState]
	// Webhooks have no version.
	Webhooks Set[Webhook, NewWebhook]
	// Failures lists what devices tell of that did not succeed.
	Failures Lister[Failure]
	// Jobs lists bulk jobs, the oldest first.
	Jobs      Lister[Job]
	Templates Lister[Template]
	Models    Lister[Model]
	// History lists what happened to devices, Audit who changed what, the
	// latest first.
	History Lister[HistoryEntry]
	Audit   Lister[AuditEntry]

	base, token string
	http        *http.Client
}

// New returns a client of the controller at a URL such as
// https://controller:8443, without the /api/v1 of its paths. token is an API
// token ("peerload-server token add") or the secret of a Login, "" to send none. hc sends the requests
// and decides which certificates to trust; nil means http.DefaultClient. Its
// CheckRedirect is not used. New sends nothing.
func New(base, token string, hc *http.Client) (*Client, error) {
	u, err := baseURL(base)
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("client: the token holds a space, a line end or another character that no token has")
	}
	if hc == nil {
		hc = http.DefaultClient
	}
	own := *hc
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c := &Client{base: u, token: token, http: &own}
	c.Devices = collection[Device, DeviceChange](c, "/devices")
	c.Profiles = collection[Profile, ProfileChange](c, "/profiles")
	c.Sites = collection[Site, SiteChange](c, "/sites")
	c.Releases = collection[Release, ReleaseChange](c, "/releases")
	c.Users = collection[User, UserChange](c, "/users")
	c.Tokens = Set[Token, NewToken]{Lister[Token]{c, "/tokens", true}}
	c.Enrolments = Set[Enrolment, NewEnrolment]{Lister[Enrolment]{c, "/enrolments", false}}
	c.Loads = Lister[Load]{c, "/loads", true}
	c.FileSets = Lister[FileSet]{c, "/filesets", true}
	c.Orders = Lister[OrderState]{c, "/orders", true}
	c.Webhooks = Set[Webhook, NewWebhook]{Lister[Webhook]{c, "/webhooks", true}}
	c.Failures = Lister[Failure]{c, "/failures", true}
	c.Jobs = Lister[Job]{c, "/jobs", true}
	c.Templates = Lister[Template]{c, "/templates", true}
	c.Models = Lister[Model]{c, "/models", false}
	c.Rollouts = Lister[Rollout]{c, rolloutsPath, true}
	c.History = Lister[HistoryEntry]{c, historyPath, true}
	c.Audit = Lister[AuditEntry]{c, "/audit", true}
	return c, nil
}

// baseURL is the URL that the paths of the API are added to. Its errors repeat
// no password.
func baseURL(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		return "", errors.New("client: the URL of the controller holds a user, but its API takes a token: leave the user out")
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		if strings.Contains(text, "@") {
			text = "what was given"
		}
		return "", fmt.Errorf("client: %q is not a URL such as https://controller:8443", text)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", fmt.Errorf("client: %q: the URL of a controller has no ? and no #", text)
	case strings.HasSuffix(strings.TrimRight(u.Path, "/"), prefix):
		return "", fmt.Errorf("client: %q: leave out %s, which the client adds", text, prefix)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// Version of a thing, which counts its changes. A write with the version that
// the caller has read changes nothing, and fails with Conflict, if somebody
// else has changed the thing since. Things without versions take AnyVersion.
type Version int64

const (
	// AnyVersion makes a write that compares nothing.
	AnyVersion Version = -1
	// Unwritten is the version of what nobody has written yet, such as the
	// enterprise of a new controller.
	Unwritten Version = 0
)

// Meta has the fields that every stored thing has.
type Meta struct {
	Version Version `json:"version"`
	// Created and Changed are when, in UTC; zero for an enterprise that nobody has
	// changed yet.
	Created time.Time `json:"created,omitzero"`
	Changed time.Time `json:"changed,omitzero"`
}

// request is a call of the API.
type request struct {
	method, path string
	query        url.Values
	version      Version // a version to compare, or AnyVersion
	contentType  string
	body         io.Reader
	// also changes the request before it is sent.
	also []func(*http.Request)
}

// get reads something.
func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.do(ctx, request{method: http.MethodGet, path: path, query: query, version: AnyVersion}, out)
}

// write sends a JSON body, nil for none, and reads the answer into out, nil for
// none. also may change the request.
func (c *Client) write(ctx context.Context, method, path string, v Version, in, out any,
	also ...func(*http.Request)) error {
	return c.writeTo(ctx, request{method: method, path: path, version: v, also: also}, in, out)
}

// writeTo is write of a request that may have a query.
func (c *Client) writeTo(ctx context.Context, r request, in, out any) error {
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		r.body, r.contentType = bytes.NewReader(b), "application/json"
	}
	return c.do(ctx, r, out)
}

// do makes a call that takes at most callTimeout.
func (c *Client) do(ctx context.Context, r request, out any) error {
	soon, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := c.send(soon, r, out)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		return &unreachable{fmt.Errorf("no whole answer within %v", callTimeout)}
	}
	return err
}

// send makes a call that may take long.
func (c *Client) send(ctx context.Context, q request, out any) error {
	r, err := c.request(ctx, q)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err == nil {
		defer resp.Body.Close()
		err = c.answer(resp, out)
	} else {
		err = &unreachable{err}
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // it is the cause
	}
	return err
}

// request returns the HTTP request of a call.
func (c *Client) request(ctx context.Context, q request) (*http.Request, error) {
	for _, name := range strings.Split(q.path, "/")[1:] {
		if name == "" || name == "." || name == ".." {
			// A path with it would be that of something else.
			return nil, invalid(fmt.Sprintf("%q is not a name", name))
		}
	}
	target := c.base + prefix + q.path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, q.method, target, q.body)
	if err != nil {
		return nil, err
	}
	if q.contentType != "" {
		r.Header.Set("Content-Type", q.contentType)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if q.version != AnyVersion {
		r.Header.Set("If-Match", strconv.Quote(strconv.FormatInt(int64(q.version), 10)))
	}
	for _, change := range q.also {
		change(r)
	}
	return r, nil
}

// answer reads the answer into out, nil for none.
func (c *Client) answer(resp *http.Response, out any) error {
	if resp.StatusCode >= http.StatusMultipleChoices {
		return c.problem(resp)
	}
	if out == nil {
		return nil
	}
	return read(resp.Body, maxAnswer, out)
}

// read decodes an answer of at most most bytes. It reads to the end, so that the
// connection serves the next call.
func read(body io.Reader, most int64, out any) error {
	limited := &io.LimitedReader{R: body, N: most + 1}
	d := json.NewDecoder(limited)
	err := d.Decode(out)
	if err == nil {
		if _, err = d.Token(); err == nil {
			err = errors.New("more than one value")
		} else if err == io.EOF {
			err = nil
		}
	}
	switch {
	case limited.N <= 0:
		return fmt.Errorf("client: the answer has more than %d bytes", most)
	case err != nil:
		return fmt.Errorf("client: the answer cannot be read: %w", err)
	}
	return nil
}

// at is a path below another one: its names are escaped.
func at(path string, names ...string) string {
	for _, n := range names {
		path += "/" + url.PathEscape(n)
	}
	return path
}

package domain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What follows is how people get in other than by a page and a password: at an
// issuer of OIDC, and from a command line.

// Limits of sign-ins.
const (
	// MaxSessionLife bounds Config.SessionLife.
	MaxSessionLife = 90 * 24 * time.Hour
	// RequestLife is how long a command line waits for a browser: time to find
	// one, a password and a second factor.
	RequestLife = 10 * time.Minute
	// maxEntries bounds the sessions, and the sign-ins of command lines, that a
	// user has at the same time; beyond it the oldest ends.
	maxEntries = 100
	// maxRequests bounds the requests that wait, so that whoever has no
	// credentials cannot fill the disk.
	maxRequests = 1000
	// codeLetters are those of a code that people type: no vowels, so that no
	// words come out, and nothing that is easily misread.
	codeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	codeLen     = 8
)

// Login is a person's sign-in of a command line, without its secret.
type Login struct {
	ID   string `json:"id"`
	User string `json:"user"`
	Role Role   `json:"role"`
	// Client is the name that the command line has given itself.
	Client  string    `json:"client"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// NewLogin is one with its secret, which is shown once.
type NewLogin struct {
	Login
	Secret string `json:"secret"`
}

// LoginRequest is a command line that waits for somebody to let it in.
type LoginRequest struct {
	// Code is what the person copies from the command line into the browser.
	Code string `json:"code"`
	// Client is the name that the command line has given itself, From the address
	// that it asked from.
	Client  string    `json:"client"`
	From    string    `json:"from"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// NewLoginRequest is one with the secret by which the command line learns of
// the answer.
type NewLoginRequest struct {
	LoginRequest
	Secret string `json:"secret"`
}

// Identity is what an issuer of OIDC says of somebody who has signed in there.
type Identity struct {
	// Issuer and Subject together name a person for good.
	Issuer, Subject string
	// Name is that of the user here, as the issuer has it. FullName is for people.
	Name, FullName string
	// Role is the one that the issuer's claim stands for, "" for none; Sites are
	// those that it is limited to, none means all of the fleet.
	Role  Role
	Sites []string
}

// hash is by which the identity is found. No secret that somebody presents has
// it: those have no line ends.
func (id Identity) hash() string {
	sum := sha256.Sum256([]byte("identity\n" + id.Issuer + "\n" + id.Subject))
	return hex.EncodeToString(sum[:])
}

// isForeign reports whether a user's name is that of somebody of an issuer.
func isForeign(name string) bool { return strings.Contains(name, "@") }

// userName is the name here: the issuer's, with the issuer's host unless it has
// one. So it has an @, and is no name that a user with a password can have.
func (id Identity) userName() (string, error) {
	name := strings.ToLower(id.Name)
	if !isForeign(name) {
		u, err := url.Parse(id.Issuer)
		if err != nil || u.Hostname() == "" {
			return "", invalid("%.100q is no issuer", id.Issuer)
		}
		name += "@" + strings.ToLower(u.Hostname())
	}
	user, host, _ := strings.Cut(name, "@")
	if len(name) > MaxNameLen || checkUserName(user) != nil || checkUserName(host) != nil {
		return "", refused("the issuer names you %.100q, and a user's name has at most %d of a-z, 0-9, dot, underscore, "+
			"hyphen, and one @: ask an administrator for another claim (--oidc-name-claim)", id.Name, MaxNameLen)
	}
	return name, nil
}

// checkForeign refuses what acts for somebody who has not signed in at an issuer
// for long: they may have left. An error matches ErrUnauthenticated.
func (c *Controller) checkForeign(u Account) error {
	if u.Issuer == "" || c.now().Before(u.LastLogin.Add(c.cfg.ForeignLife)) {
		return nil
	}
	return fmt.Errorf("%w: %s has not signed in at %s for %s: sign in there again", ErrUnauthenticated, u.Name, u.Issuer,
		c.cfg.ForeignLife)
}

// entry is one way in: what kind of credential is issued, and for whom.
type entry struct {
	kind         CredentialKind
	client, from string
}

// entered is a credential that was issued for a way in.
type entered struct {
	cred   Credential
	user   User
	secret string
}

func (e entered) session() NewSession {
	return NewSession{Session: sessionOf(e.cred, e.user, e.secret), Secret: e.secret}
}

func (e entered) login() NewLogin {
	return NewLogin{Secret: e.secret, Login: Login{ID: e.cred.ID, User: e.cred.Subject, Role: e.user.Role,
		Client: e.cred.Name, Created: e.cred.Created, Expires: e.cred.Expires}}
}

// enter lets a user in, whose right to come in was checked.
func (c *Controller) enter(ctx context.Context, tx Tx, j *journal, u *Account, by entry) (in entered, err error) {
	at := c.now()
	u.Known = nowKnown(u.Known, by.from)
	if u.Issuer == "" || by.kind == CredentialSession { // a session lets a command line in without asking the issuer
		u.LastLogin = at
	}
	if err := tx.Accounts().Put(ctx, u); err != nil {
		return in, err
	}
	if err := boundEntries(ctx, tx, by.kind, u.Name); err != nil {
		return in, err
	}
	in.user = u.User
	in.cred = Credential{Kind: by.kind, Subject: u.Name, Name: by.client, From: by.from, LastUsed: at,
		Expires: at.Add(c.cfg.SessionLife)}
	prefix := "plc_"
	if by.kind == CredentialSession {
		in.cred.Idle, prefix = at.Add(c.cfg.SessionIdle), "plx_"
	}
	in.secret, err = c.issue(ctx, tx, &in.cred, prefix)
	j.event("login", "user "+u.Name)
	return in, err
}

// boundEntries makes room for one more way in.
func boundEntries(ctx context.Context, tx Tx, kind CredentialKind, user string) error {
	all, err := Collect(ctx, tx.Credentials(), CredentialFilter{Kind: kind, Subject: user})
	if err != nil || len(all) < maxEntries {
		return err
	}
	slices.SortFunc(all, func(a, b Credential) int { return a.Created.Compare(b.Created) })
	for _, cred := range all[:len(all)-maxEntries+1] {
		if err := tx.Credentials().Delete(ctx, cred.ID, 0); err != nil {
			return err
		}
	}
	return nil
}

// loginAs lets in whoever knows a user's password. Errors match
// ErrUnauthenticated or ErrThrottled.
func (c *Controller) loginAs(ctx context.Context, name, password string, by entry) (in entered, err error) {
	u, err := c.checkLogin(ctx, name, password, by.from)
	if err != nil {
		return in, err
	}
	who := Actor{Kind: ActorUser, Name: name, User: name, From: by.from}
	err = c.update(ctx, who, func(tx Tx, j *journal) error {
		now, err := find(ctx, tx.Accounts(), "user", name)
		if err != nil {
			return err
		}
		if now.Disabled || now.PasswordHash != u.PasswordHash {
			return ErrUnauthenticated // changed while the hash was computed
		}
		in, err = c.enter(ctx, tx, j, &now, by)
		return err
	})
	return in, err
}

// SignIn starts a sign-in of a command line, which calls itself client. It ends
// after SessionLife. Errors match ErrUnauthenticated or ErrThrottled.
func (c *Controller) SignIn(ctx context.Context, name, password, client, from string) (NewLogin, error) {
	if err := checkText("client", client, MaxNameLen); err != nil {
		return NewLogin{}, err
	}
	in, err := c.loginAs(ctx, name, password, entry{CredentialLogin, client, from})
	if err != nil {
		return NewLogin{}, err
	}
	return in.login(), nil
}

// ActorByLogin returns the actor of the secret of a command line's sign-in. An
// error matches ErrUnauthenticated.
func (c *Controller) ActorByLogin(ctx context.Context, secret, from string) (Actor, Session, error) {
	return c.actorBy(ctx, secret, CredentialLogin, from)
}

// SignInBy starts a session for somebody who has signed in at an issuer, and
// makes the user at the first time. The role is what the issuer says now. Errors
// match ErrForbidden if there is no role, or the user is disabled, and
// ErrRefused if there is no name for the user.
func (c *Controller) SignInBy(ctx context.Context, id Identity, from string) (NewSession, error) {
	if id.Role == RoleAdmin && len(id.Sites) > 0 {
		return NewSession{}, errLimitedAdmin()
	}
	if id.Issuer == "" || id.Subject == "" || id.Role != "" && id.Role.rank() == 0 {
		return NewSession{}, invalid("an identity needs an issuer, a subject, and a role that there is, or none")
	}
	name, no, err := c.settle(ctx, id, from)
	if err == nil {
		err = no
	}
	if err != nil {
		return NewSession{}, err
	}
	var in entered
	who := Actor{Kind: ActorUser, Name: name, User: name, From: from}
	err = c.update(ctx, who, func(tx Tx, j *journal) error {
		u, err := find(ctx, tx.Accounts(), "user", name)
		if err != nil {
			return err
		}
		if u.Disabled || u.Role == "" {
			return ErrForbidden // changed in between
		}
		in, err = c.enter(ctx, tx, j, &u, entry{kind: CredentialSession, from: from})
		return err
	})
	if err != nil {
		return NewSession{}, err
	}
	return in.session(), nil
}

// settle writes what an issuer says of somebody, and returns the name here. no is
// why they may not come in, which is written, too.
func (c *Controller) settle(ctx context.Context, id Identity, from string) (name string, no, err error) {
	who := Actor{Kind: ActorSystem, Name: "issuer " + id.Issuer, From: from}
	err = c.update(ctx, who, func(tx Tx, j *journal) error {
		no = nil
		u, known, err := c.byIdentity(ctx, tx, id)
		if err != nil {
			return err
		}
		id := id
		lost := len(id.Sites) > 0
		if id.Sites, err = existing(ctx, tx, id.Sites); err != nil {
			return err
		}
		if lost = lost && len(id.Sites) == 0; lost { // none would mean all of them
			id.Role = ""
		}
		switch {
		case lost:
			no = fmt.Errorf("%w: %s limits you to sites that are not here: ask an administrator to make them, or to put "+
				"you into another group", ErrForbidden, id.Issuer)
		case id.Role == "":
			no = fmt.Errorf("%w: you have signed in at %s, and nothing that it says of you stands for a role here: ask an "+
				"administrator to put you into a group that has one", ErrForbidden, id.Issuer)
		case u.Disabled:
			no = fmt.Errorf("%w: the user %s is disabled here: ask an administrator", ErrForbidden, u.Name)
		}
		if !known {
			if no != nil {
				j.event("login.failed", "identity "+cleanText(id.Name, MaxNameLen))
				return nil
			}
			name, err = c.addForeign(ctx, tx, j, id)
			return err
		}
		name = u.Name
		if no != nil {
			j.event("login.failed", "user "+name)
		}
		return c.follow(ctx, tx, j, u, id)
	})
	return name, no, err
}

// byIdentity finds the user of an identity.
func (c *Controller) byIdentity(ctx context.Context, tx Tx, id Identity) (u Account, known bool, err error) {
	l, err := tx.Credentials().List(ctx, CredentialFilter{Kind: CredentialIdentity, Hashes: []string{id.hash()}},
		Page{Limit: 1})
	if err != nil || len(l.Items) == 0 {
		return u, false, err
	}
	return lookup(ctx, tx.Accounts(), l.Items[0].Subject)
}

// addForeign makes the user of an identity that comes for the first time.
func (c *Controller) addForeign(ctx context.Context, tx Tx, j *journal, id Identity) (string, error) {
	name, err := id.userName()
	if err != nil {
		return "", err
	}
	if _, taken, err := lookup(ctx, tx.Accounts(), name); err != nil {
		return "", err
	} else if taken {
		return "", refused("somebody else is the user %s here, who signs in otherwise: an administrator must delete that "+
			"user before you can be it", name)
	}
	u := Account{User: User{Name: name, FullName: cleanText(id.FullName, MaxDescriptionLen), Role: id.Role,
		Sites: id.Sites, Issuer: id.Issuer}, ID: c.random(8)}
	c.stamp(&u.Meta)
	cred := Credential{ID: c.random(8), Kind: CredentialIdentity, Subject: name, Hash: id.hash()}
	c.stamp(&cred.Meta)
	j.note("user.create", "user "+name, nil, u.User)
	return name, errors.Join(create(ctx, tx.Accounts(), &u, "user", name), tx.Credentials().Put(ctx, &cred))
}

// follow brings a user to what the issuer says now. A user who has lost all rights
// has no session any more.
func (c *Controller) follow(ctx context.Context, tx Tx, j *journal, u Account, id Identity) error {
	before := u
	u.Role, u.Sites, u.FullName = id.Role, id.Sites, cleanText(id.FullName, MaxDescriptionLen)
	if u.Role == "" {
		if err := dropSessions(ctx, tx, u.Name); err != nil {
			return err
		}
	}
	if u.Role == before.Role && u.FullName == before.FullName && slices.Equal(u.Sites, before.Sites) {
		return nil
	}
	c.stamp(&u.Meta)
	j.note("user.update", "user "+u.Name, before.User, u.User)
	return tx.Accounts().Put(ctx, &u)
}

// dropSessions ends all sessions and sign-ins of a user, those too that were
// granted to a command line that has not fetched them yet; tokens stay.
func dropSessions(ctx context.Context, tx Tx, user string) error {
	for _, kind := range []CredentialKind{CredentialSession, CredentialLogin} {
		if err := dropCredentials(ctx, tx, CredentialFilter{Kind: kind, Subject: user}); err != nil {
			return err
		}
	}
	waiting, err := Collect(ctx, tx.Credentials(), CredentialFilter{Kind: CredentialRequest})
	if err != nil {
		return err
	}
	for _, req := range waiting {
		if req.Grant != user {
			continue
		}
		if err := tx.Credentials().Delete(ctx, req.ID, 0); err != nil {
			return err
		}
	}
	return nil
}

// EndSessions ends all sessions and sign-ins of a user: everybody may end their
// own, an admin those of others. Tokens stay.
func (c *Controller) EndSessions(ctx context.Context, a Actor, user string) error {
	if a.Kind != ActorUser || a.User != user {
		if err := a.may(mayAccess); err != nil {
			return err
		}
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		if _, err := find(ctx, tx.Accounts(), "user", user); err != nil {
			return err
		}
		j.event("user.sign-out", "user "+user)
		return dropSessions(ctx, tx, user)
	})
}

// AskLogin asks to let a command line in, which calls itself client: somebody
// who is logged in answers with AnswerLogin. Errors match ErrThrottled.
func (c *Controller) AskLogin(ctx context.Context, client, from string) (NewLoginRequest, error) {
	if err := checkText("client", client, MaxNameLen); err != nil {
		return NewLoginRequest{}, err
	}
	limits := []limit{{name: "ask to log in from " + network(from), free: 20, every: 5 * time.Second}}
	if err := c.throttle(ctx, limits); err != nil {
		return NewLoginRequest{}, err
	}
	var out NewLoginRequest
	err := c.store.Update(ctx, func(tx Tx) error {
		waiting := CredentialFilter{Kind: CredentialRequest}
		l, err := tx.Credentials().List(ctx, waiting, Page{Limit: 1})
		if err == nil && l.Total >= maxRequests { // those that have expired wait for Prune only
			err = dropCredentials(ctx, tx, CredentialFilter{Kind: CredentialRequest, ExpiredBy: c.now()})
			if err == nil {
				l, err = tx.Credentials().List(ctx, waiting, Page{Limit: 1})
			}
		}
		if err != nil {
			return err
		}
		if l.Total >= maxRequests {
			return &ThrottledError{RetryAfter: time.Minute}
		}
		cred := Credential{Kind: CredentialRequest, Subject: c.code(), Name: client, From: from,
			Expires: c.now().Add(RequestLife)}
		out.Secret, err = c.issue(ctx, tx, &cred, "plr_")
		out.LoginRequest = requestOf(cred)
		return err
	})
	return out, err
}

func requestOf(cred Credential) LoginRequest {
	return LoginRequest{Code: cred.Subject[:codeLen/2] + "-" + cred.Subject[codeLen/2:], Client: cred.Name,
		From: cred.From, Created: cred.Created, Expires: cred.Expires}
}

// code makes a code that people type: 34 random bits, good for one sign-in for
// as long as RequestLife, and of use only to who is logged in.
func (c *Controller) code() string {
	var code strings.Builder
	for code.Len() < codeLen {
		b, err := hex.DecodeString(c.random(1))
		if err != nil {
			panic(err) // random returns hexadecimal digits
		}
		if n := int(b[0]); n < 256-256%len(codeLetters) {
			code.WriteByte(codeLetters[n%len(codeLetters)])
		}
	}
	return code.String()
}

// LoginRequest returns the request with a code, in any way of writing it, so
// that whoever is asked sees what is asked. Only a session in a browser may.
func (c *Controller) LoginRequest(ctx context.Context, a Actor, code string) (LoginRequest, error) {
	if err := c.throttleCode(ctx, a); err != nil {
		return LoginRequest{}, err
	}
	var cred Credential
	err := c.view(ctx, a, func(tx Tx) (err error) {
		cred, err = c.byCode(ctx, tx, code)
		return err
	})
	if err != nil {
		return LoginRequest{}, err
	}
	return requestOf(cred), nil
}

// AnswerLogin lets a command line in as the actor, or refuses it.
func (c *Controller) AnswerLogin(ctx context.Context, a Actor, code string, allow bool) error {
	if err := c.throttleCode(ctx, a); err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		cred, err := c.byCode(ctx, tx, code)
		if err != nil {
			return err
		}
		if !allow {
			j.event("login.deny", "user "+a.User)
			return tx.Credentials().Delete(ctx, cred.ID, 0)
		}
		cred.Grant = a.User
		j.event("login.allow", "user "+a.User)
		return tx.Credentials().Put(ctx, &cred)
	})
}

// throttleCode lets only people in a browser at codes, and slows down guesses.
func (c *Controller) throttleCode(ctx context.Context, a Actor) error {
	if err := a.may(mayRead); err != nil {
		return err
	}
	if !a.browser { // else one command line could let in the next for ever
		return fmt.Errorf("%w: a command line is let in from a browser", ErrForbidden)
	}
	return c.throttle(ctx, []limit{{name: "code by " + a.User, free: 30, every: 10 * time.Second}})
}

// byCode finds the request with a code that is not answered yet.
func (c *Controller) byCode(ctx context.Context, tx Tx, code string) (Credential, error) {
	none := fmt.Errorf("%w: no command line waits with this code: look at the code again, or run the command again",
		ErrNotFound)
	code = strings.Map(func(r rune) rune {
		if strings.ContainsRune(codeLetters, r) {
			return r
		}
		return -1
	}, strings.ToUpper(code[:min(len(code), 40)]))
	if len(code) != codeLen {
		return Credential{}, none
	}
	l, err := tx.Credentials().List(ctx, CredentialFilter{Kind: CredentialRequest, Subject: code}, Page{Limit: 1})
	if err != nil {
		return Credential{}, err
	}
	if len(l.Items) == 0 || l.Items[0].Grant != "" || !c.now().Before(l.Items[0].Expires) {
		return Credential{}, none
	}
	return l.Items[0], nil
}

// RedeemLogin lets in the command line that holds the secret of a request. ok is
// false as long as nobody has answered. An error matches ErrUnauthenticated if
// it was refused, or took too long.
func (c *Controller) RedeemLogin(ctx context.Context, secret, from string) (out NewLogin, ok bool, err error) {
	limits := []limit{{name: "redeem " + network(from), free: 10, most: time.Minute}}
	if err := c.throttleGuess(ctx, limits, secret, CredentialRequest); err != nil {
		return out, false, err
	}
	req, err := c.authenticate(ctx, secret, CredentialRequest)
	if errors.Is(err, ErrUnauthenticated) {
		err = fmt.Errorf("%w: nobody has let the command line in, or somebody has refused it", ErrUnauthenticated)
	}
	if err != nil || req.Grant == "" {
		return out, false, err
	}
	who := Actor{Kind: ActorUser, Name: req.Grant, User: req.Grant, From: from}
	err = c.update(ctx, who, func(tx Tx, j *journal) error {
		if _, err := c.byHash(ctx, tx, secret, CredentialRequest); err != nil {
			return err // redeemed meanwhile
		}
		u, ok, err := lookup(ctx, tx.Accounts(), req.Grant)
		if err != nil {
			return err
		}
		if !ok || u.Disabled || u.Role == "" {
			return ErrUnauthenticated // changed since
		}
		if err := tx.Credentials().Delete(ctx, req.ID, 0); err != nil {
			return err
		}
		in, err := c.enter(ctx, tx, j, &u, entry{CredentialLogin, req.Name, from})
		out = in.login()
		return err
	})
	return out, err == nil, err
}

// ThrottledError says how long to wait. It matches ErrThrottled.
type ThrottledError struct {
	// RetryAfter is the time until an attempt counts again.
	RetryAfter time.Duration
}

// Error implements error.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("%v: try again in %s", ErrThrottled, e.RetryAfter.Round(time.Second))
}

// Is implements the interface of errors.Is.
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

package domain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/parse"
)

// UserChange changes a user; what is nil stays.
type UserChange struct {
	FullName *string `json:"full_name,omitempty"`
	Role     *Role   `json:"role,omitempty"`
	Disabled *bool   `json:"disabled,omitempty"`
	// Sites to limit the user to; none lifts the limit.
	Sites *[]string `json:"sites,omitempty"`
	// Password ends all sessions of the user.
	Password *string `json:"password,omitempty"`
}

// checkUserName takes 1 to 64 of a-z, 0-9 and ._- .
func checkUserName(name string) error {
	if name == "" || len(name) > MaxNameLen || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return invalid("a user's name has 1 to %d of a-z, 0-9, dot, underscore and hyphen", MaxNameLen)
	}
	return nil
}

// checkPassword refuses what cannot be a password.
func checkPassword(text string) error {
	if err := passhash.Check(text); err != nil {
		return invalid("%w", err)
	}
	return nil
}

// CreateUser makes a user. The change must have a role and a password.
func (c *Controller) CreateUser(ctx context.Context, a Actor, name string, change UserChange) (User, error) {
	if err := a.may(mayAccess); err != nil {
		return User{}, err
	}
	if change.Role == nil || change.Password == nil {
		return User{}, invalid("a user needs a role and a password")
	}
	return c.putUser(ctx, a, name, change, true, 0)
}

// UpdateUser changes a user. The last admin who can log in stays one.
func (c *Controller) UpdateUser(ctx context.Context, a Actor, name string, change UserChange,
	version int64) (User, error) {
	if err := a.may(mayAccess); err != nil {
		return User{}, err
	}
	return c.putUser(ctx, a, name, change, false, version)
}

func (c *Controller) putUser(ctx context.Context, a Actor, name string, change UserChange, isNew bool,
	version int64) (User, error) {
	if err := checkUserName(name); err != nil && (isNew || !isForeign(name)) {
		return User{}, err
	}
	if r := change.Role; r != nil && r.rank() == 0 {
		return User{}, fmt.Errorf("%w: %w", ErrInvalid, unknown("role", *r, roles))
	}
	if f := change.FullName; f != nil {
		if err := checkText("full name", *f, MaxDescriptionLen); err != nil {
			return User{}, err
		}
	}
	var hash string
	if p := change.Password; p != nil {
		err := checkPassword(*p)
		if err != nil {
			return User{}, err
		}
		if hash, err = c.hasher.Hash(ctx, *p); err != nil { // outside of the transaction: it takes its time
			return User{}, err
		}
	}
	var u Account
	err := c.update(ctx, a, func(tx Tx, j *journal) (err error) {
		if isNew {
			u = Account{User: User{Name: name}}
		} else if u, err = find(ctx, tx.Accounts(), "user", name); err != nil {
			return err
		}
		if err := checkVersion(u.Meta, version); err != nil {
			return err
		}
		if u.Issuer != "" && (change.Password != nil || change.Role != nil || change.Sites != nil) {
			return refused("%s signs in at %s, which has the password and tells role and sites", u.Name, u.Issuer)
		}
		if err := a.mayChange(u.User, change); err != nil {
			return err
		}
		return c.changeUser(ctx, tx, j, &u, change, hash, isNew)
	})
	return u.User, err
}

// mayChange refuses a change by which somebody could log in with more rights
// than the actor has: a password, a role, other sites, or the end of a ban. Taking
// rights away, or a name for people, is nobody's gain.
func (a Actor) mayChange(u User, change UserChange) error {
	role := u.Role
	if change.Role != nil {
		role = *change.Role
	}
	enables := change.Disabled != nil && u.Disabled && !*change.Disabled
	if change.Password == nil && role.rank() <= u.Role.rank() && !enables && change.Sites == nil {
		return nil
	}
	return a.mayGrant(role)
}

func (c *Controller) changeUser(ctx context.Context, tx Tx, j *journal, u *Account, change UserChange, hash string,
	isNew bool) error {
	before := *u
	if change.FullName != nil {
		u.FullName = *change.FullName
	}
	if change.Role != nil {
		u.Role = *change.Role
	}
	if change.Disabled != nil {
		u.Disabled = *change.Disabled
	}
	if hash != "" {
		u.PasswordHash = hash
	}
	if change.Sites != nil {
		var err error
		if u.Sites, err = limitTo(ctx, tx, *change.Sites); err != nil {
			return err
		}
	}
	if u.Role == RoleAdmin && len(u.Sites) > 0 {
		return errLimitedAdmin()
	}
	if before.lasting() && (u.Role != RoleAdmin || u.Disabled) {
		if err := checkOtherAdmin(ctx, tx, u.Name); err != nil {
			return err
		}
	}
	c.stamp(&u.Meta)
	target := "user " + u.Name
	if isNew {
		u.ID = c.random(8)
		if err := create(ctx, tx.Accounts(), u, "user", u.Name); err != nil {
			return err
		}
		j.note("user.create", target, nil, u.User)
		return nil
	}
	if hash != "" {
		j.event("user.password", target)
	}
	if hash != "" || u.Disabled {
		if err := dropSessions(ctx, tx, u.Name); err != nil {
			return err
		}
	}
	j.note("user.update", target, before.User, u.User)
	return tx.Accounts().Put(ctx, u)
}

// lasting reports whether the account is that of an admin who can log in,
// whether an issuer of OIDC can be reached or not and whatever it says.
func (a Account) lasting() bool { return a.Role == RoleAdmin && !a.Disabled && a.Issuer == "" }

// checkOtherAdmin refuses if no other user is an admin who can log in.
func checkOtherAdmin(ctx context.Context, tx Tx, name string) error {
	all, err := Collect(ctx, tx.Accounts(), TextFilter{})
	if err != nil {
		return err
	}
	for _, u := range all {
		if u.Name != name && u.lasting() {
			return nil
		}
	}
	return refused("%s is the last admin", name)
}

// ChangeOwnPassword changes the password of the user who is logged in, who
// must know the old one. All sessions of the user end.
func (c *Controller) ChangeOwnPassword(ctx context.Context, a Actor, old, password string) error {
	if a.Kind != ActorUser {
		return ErrUnauthenticated
	}
	if isForeign(a.User) {
		return refused("%s has no password here, but where they sign in", a.User)
	}
	if err := checkPassword(password); err != nil {
		return err
	}
	u, err := c.checkLogin(ctx, a.User, old, a.From)
	if err != nil {
		return err
	}
	hash, err := c.hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		now, err := find(ctx, tx.Accounts(), "user", a.User)
		if err != nil {
			return err
		}
		if now.PasswordHash != u.PasswordHash {
			return ErrConflict
		}
		return c.changeUser(ctx, tx, j, &now, UserChange{}, hash, false)
	})
}

// DeleteUser removes a user with all sessions and tokens; not the last admin.
func (c *Controller) DeleteUser(ctx context.Context, a Actor, name string, version int64) error {
	if err := a.may(mayAccess); err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		u, err := find(ctx, tx.Accounts(), "user", name)
		if err != nil {
			return err
		}
		if err := checkVersion(u.Meta, version); err != nil {
			return err
		}
		if u.lasting() {
			if err := checkOtherAdmin(ctx, tx, name); err != nil {
				return err
			}
		}
		if err := dropSessions(ctx, tx, name); err != nil {
			return err
		}
		for _, kind := range []CredentialKind{CredentialToken, CredentialIdentity} {
			if err := dropCredentials(ctx, tx, CredentialFilter{Kind: kind, Subject: name}); err != nil {
				return err
			}
		}
		j.note("user.delete", "user "+name, u.User, nil)
		return tx.Accounts().Delete(ctx, name, u.Version)
	})
}

// User returns a user.
func (c *Controller) User(ctx context.Context, a Actor, name string) (User, error) {
	if a.Kind != ActorUser || a.User != name {
		if err := a.may(mayAccess); err != nil {
			return User{}, err
		}
	}
	var u Account
	err := c.view(ctx, a, func(tx Tx) (err error) {
		u, err = find(ctx, tx.Accounts(), "user", name)
		return err
	})
	return u.User, err
}

// Users lists users by name.
func (c *Controller) Users(ctx context.Context, a Actor, f TextFilter, p Page) (l List[User], err error) {
	if err := a.may(mayAccess); err != nil {
		return l, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		all, err := tx.Accounts().List(ctx, f, p)
		l = List[User]{Items: []User{}, Next: all.Next, Total: all.Total}
		for _, u := range all.Items {
			l.Items = append(l.Items, u.User)
		}
		return err
	})
	return l, err
}

// hasAdmin reports whether somebody can do what the first admin is for. Others do
// not count: whoever signs in first at an issuer must not end the set-up.
func hasAdmin(ctx context.Context, tx Tx) (bool, error) {
	all, err := Collect(ctx, tx.Accounts(), TextFilter{})
	return slices.ContainsFunc(all, func(u Account) bool { return u.Role == RoleAdmin && !u.Disabled }), err
}

// BeginSetup returns the secret of a new set-up link if there is no admin yet,
// "" if there is one. Links from before are void from then on. The server
// calls it at its start and prints the link.
func (c *Controller) BeginSetup(ctx context.Context) (secret string, err error) {
	idle := false // there is an admin, and no link: nothing need be written, as on a full disk nothing can
	err = c.viewAll(ctx, func(tx Tx) error {
		done, err := hasAdmin(ctx, tx)
		if err != nil {
			return err
		}
		links, err := tx.Credentials().List(ctx, CredentialFilter{Kind: CredentialSetup}, Page{Limit: 1})
		idle = done && links.Total == 0
		return err
	})
	if err != nil || idle {
		return "", err
	}
	err = c.store.Update(ctx, func(tx Tx) error {
		secret = ""
		if err := dropCredentials(ctx, tx, CredentialFilter{Kind: CredentialSetup}); err != nil {
			return err
		}
		done, err := hasAdmin(ctx, tx)
		if err != nil || done {
			return err
		}
		cred := Credential{Kind: CredentialSetup, Subject: "setup", Expires: c.now().Add(c.cfg.SetupLife)}
		secret, err = c.issue(ctx, tx, &cred, "pls_")
		return err
	})
	return secret, err
}

// CompleteSetup creates the first admin for the holder of the set-up link,
// which is void afterwards.
func (c *Controller) CompleteSetup(ctx context.Context, secret, name, password, from string) (User, error) {
	who := Actor{Kind: ActorSystem, Name: "set-up", From: from}
	limits := []limit{{name: "setup " + network(from), free: 10, most: time.Minute}}
	if err := c.throttleGuess(ctx, limits, secret, CredentialSetup); err != nil {
		return User{}, err
	}
	if _, err := c.authenticate(ctx, secret, CredentialSetup); err != nil {
		return User{}, err
	}
	if err := checkUserName(name); err != nil {
		return User{}, err
	}
	if err := checkPassword(password); err != nil {
		return User{}, err
	}
	hash, err := c.hasher.Hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	var u Account
	err = c.update(ctx, who, func(tx Tx, j *journal) error {
		if _, err := c.byHash(ctx, tx, secret, CredentialSetup); err != nil {
			return err
		}
		done, err := hasAdmin(ctx, tx)
		if err != nil {
			return err
		}
		if done {
			return refused("set-up is done")
		}
		if err := dropCredentials(ctx, tx, CredentialFilter{Kind: CredentialSetup}); err != nil {
			return err
		}
		u = Account{User: User{Name: name, Role: RoleAdmin}}
		return c.changeUser(ctx, tx, j, &u, UserChange{}, hash, true)
	})
	return u.User, err
}

// CreateToken makes an API token of the actor's user, with a role and scopes
// that are at most the actor's own. A local shell makes tokens for the user
// that it names; for all others user must be their own name or "".
func (c *Controller) CreateToken(ctx context.Context, a Actor, user string,
	req TokenRequest) (out NewToken, err error) {
	if err := a.may(mayRead); err != nil {
		return out, err
	}
	if user == "" {
		user = a.User
	}
	if a.Kind == ActorToken && !slices.Contains(a.Scopes, ScopeAccess) {
		return out, fmt.Errorf("%w: a token makes tokens only with scope %s", ErrForbidden, ScopeAccess)
	}
	if a.Kind != ActorLocal && user != a.User {
		return out, fmt.Errorf("%w: a token can be made for oneself only", ErrForbidden)
	}
	if err := c.checkTokenRequest(a, &req); err != nil {
		return out, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		u, err := find(ctx, tx.Accounts(), "user", user)
		if err != nil {
			return err
		}
		if req.Role.rank() > u.Role.rank() {
			return fmt.Errorf("%w: %s has role %s", ErrForbidden, user, u.Role)
		}
		cred := Credential{Kind: CredentialToken, Subject: user, Name: req.Name, Role: req.Role, Scopes: req.Scopes,
			Expires: c.now().Add(req.Life)}
		if cred.Sites, err = limitTo(ctx, a.Within(tx), req.Sites); err != nil {
			return err
		}
		if a.Realm.limited && len(cred.Sites) == 0 {
			cred.Sites = a.Realm.Sites() // the user may be limited to less than the token at hand, later
		}
		if req.Role == RoleAdmin && len(cred.Sites) > 0 {
			return errLimitedAdmin()
		}
		for _, s := range cred.Sites {
			if !RealmOf(u.Sites).Has(s) {
				return fmt.Errorf("%w: %s is limited to %s, and cannot have a token for site %q", ErrForbidden, user,
					RealmOf(u.Sites), s)
			}
		}
		if out.Secret, err = c.issue(ctx, tx, &cred, "plt_"); err != nil {
			return err
		}
		out.Token = tokenOf(cred)
		j.note("token.create", "token "+cred.ID, nil, out.Token)
		return nil
	})
	return out, err
}

func (c *Controller) checkTokenRequest(a Actor, req *TokenRequest) error {
	if req.Life == 0 {
		req.Life = DefaultTokenLife
	}
	if err := checkText("name", req.Name, MaxNameLen); err != nil {
		return err
	}
	switch {
	case req.Name == "":
		return invalid("a token needs a name")
	case req.Role.rank() == 0:
		return invalid("there is no role %.40q", req.Role)
	case req.Role.rank() > a.Role.rank():
		return fmt.Errorf("%w: a token can have role %s at most", ErrForbidden, a.Role)
	case req.Life < 0 || req.Life > MaxTokenLife:
		return invalid("a token lives for %s at most", parse.Duration(MaxTokenLife))
	case len(req.Scopes) == 0:
		return invalid("a token needs at least one scope")
	}
	for _, s := range req.Scopes {
		if !slices.Contains(Scopes(), s) {
			return fmt.Errorf("%w: %w", ErrInvalid, unknown("scope", s, Scopes()))
		}
		if a.Scopes != nil && !slices.Contains(a.Scopes, s) {
			return fmt.Errorf("%w: the token at hand lacks scope %s", ErrForbidden, s)
		}
	}
	return nil
}

func tokenOf(cred Credential) Token {
	return Token{ID: cred.ID, Name: cred.Name, User: cred.Subject, Role: cred.Role, Scopes: cred.Scopes,
		Sites: cred.Sites, Created: cred.Created, Expires: cred.Expires, LastUsed: cred.LastUsed, From: cred.From}
}

// ActorByToken returns the actor of an API token's secret, with at most the
// rights that the user has now. An error matches ErrUnauthenticated.
func (c *Controller) ActorByToken(ctx context.Context, secret, from string) (Actor, error) {
	cred, u, err := c.userBy(ctx, secret, CredentialToken, from)
	if err != nil {
		return Actor{}, err
	}
	role := cred.Role
	if u.Role.rank() < role.rank() {
		role = u.Role
	}
	scopes := cred.Scopes
	if scopes == nil {
		scopes = []Scope{}
	}
	return Actor{Kind: ActorToken, Name: "token " + cred.Name + " of " + u.Name, User: u.Name, Account: u.id(),
		From: from, Role: role, Scopes: scopes, Realm: RealmOf(u.Sites).and(RealmOf(cred.Sites)), credential: cred.ID}, nil
}

// Tokens lists the tokens of a user; "" means the actor's own, and an admin
// may name any user, or "*" for all.
func (c *Controller) Tokens(ctx context.Context, a Actor, user string, p Page) (l List[Token], err error) {
	f, err := tokenFilter(a, user)
	if err != nil {
		return l, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		all, err := tx.Credentials().List(ctx, f, p)
		l = List[Token]{Items: []Token{}, Next: all.Next, Total: all.Total}
		for _, cred := range all.Items {
			l.Items = append(l.Items, tokenOf(cred))
		}
		return err
	})
	return l, err
}

func tokenFilter(a Actor, user string) (CredentialFilter, error) {
	f := CredentialFilter{Kind: CredentialToken, Subject: user}
	if user == "" {
		f.Subject = a.User
	}
	need := mayAccess
	if f.Subject == a.User {
		need = mayRead
	}
	if f.Subject == "*" || f.Subject == "" {
		f.Subject = ""
	}
	return f, a.may(need)
}

// RevokeToken ends a token at once. Everybody may revoke their own, an admin
// those of others.
func (c *Controller) RevokeToken(ctx context.Context, a Actor, id string) error {
	if err := a.may(mayRead); err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		cred, ok, err := lookup(ctx, tx.Credentials(), id)
		if err != nil {
			return err
		}
		if own := ok && cred.Subject == a.User && a.User != ""; !own {
			if err := a.may(mayAccess); err != nil {
				return err
			}
		}
		if !ok || cred.Kind != CredentialToken {
			return notFound("token", id)
		}
		j.note("token.revoke", "token "+id, tokenOf(cred), nil)
		return tx.Credentials().Delete(ctx, id, 0)
	})
}

// week is the life of an enrolment token that names none.
const week = 7 * 24 * time.Hour

package domain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// User is a person who may log in.
type User struct {
	Meta
	// Name in lower case: letters, digits and ._- , 1 to 64. That of somebody who
	// signs in at an issuer has an @ in it, too, which no other has.
	Name string `json:"name"`
	// FullName for people.
	FullName string `json:"full_name"`
	// Role is "" for none, which only somebody of an issuer can have.
	Role Role `json:"role"`
	// Sites that the user is limited to; none means all of the fleet.
	Sites []string `json:"sites,omitempty"`
	// Issuer is where the user signs in by OIDC; "" for one who has a password
	// here.
	Issuer string `json:"issuer,omitempty"`
	// Disabled users cannot log in, and their tokens are void.
	Disabled bool `json:"disabled"`
	// LastLogin is zero if there was none. That of somebody of an issuer is when the
	// issuer was last asked: checkForeign counts from then.
	LastLogin time.Time `json:"last_login,omitzero"`
}

// Account is a user with the fields that only the store and this package may
// see.
type Account struct {
	User
	// ID is never that of another user, of the same name before or after this one; ""
	// of one who was made before users had ids.
	ID string `json:"id,omitempty"`
	// PasswordHash is an argon2id hash in PHC string format.
	PasswordHash string `json:"password_hash"`
	// Known are the networks from which the user has logged in, the latest first,
	// at most maxKnown: guesses from elsewhere do not slow the user down there.
	Known []string `json:"known,omitempty"`
}

// Key is the user's name.
func (a Account) Key() string { return a.Name }

// CredentialKind says what a secret is for.
type CredentialKind string

// The kinds of credentials.
const (
	CredentialToken     CredentialKind = "token"     // an API token; Subject is the user
	CredentialSession   CredentialKind = "session"   // a session; Subject is the user
	CredentialEnrolment CredentialKind = "enrolment" // an enrolment token
	CredentialSiteKey   CredentialKind = "site-key"  // enrolment for a whole site
	CredentialDevice    CredentialKind = "device"    // a device's own secret; Subject is the device
	CredentialSetup     CredentialKind = "setup"     // the one-time set-up link
	CredentialLogin     CredentialKind = "login"     // a sign-in of a command line; Subject is the user
	CredentialRequest   CredentialKind = "request"   // a command line that waits for a browser; Subject is the code
	CredentialIdentity  CredentialKind = "identity"  // a person at an issuer of OIDC; Subject is the user
)

// text names a kind for people.
func (k CredentialKind) text() string {
	switch k {
	case CredentialToken:
		return "an API token"
	case CredentialSession:
		return "a session"
	case CredentialEnrolment:
		return "an enrolment token"
	case CredentialSiteKey:
		return "a site key"
	case CredentialDevice:
		return "a device's own secret"
	case CredentialSetup:
		return "a set-up link"
	case CredentialLogin:
		return "a sign-in"
	case CredentialRequest:
		return "a request to sign in"
	case CredentialIdentity:
		return "an identity"
	}
	return string(k)
}

// Credential is a secret that gives access. Only its SHA-256 is stored, which
// is enough because the secrets are 256 random bits.
type Credential struct {
	Meta
	ID      string         `json:"id"`
	Kind    CredentialKind `json:"kind"`
	Subject string         `json:"subject"`
	Hash    string         `json:"hash"`
	// Name for people.
	Name string `json:"name,omitempty"`
	// Role and Scopes of a token, and the sites that it is limited to: none means
	// those of the user.
	Role   Role     `json:"role,omitempty"`
	Scopes []Scope  `json:"scopes,omitempty"`
	Sites  []string `json:"sites,omitempty"`
	// Expires is zero for never; Idle ends a session that nobody uses.
	Expires time.Time `json:"expires,omitzero"`
	Idle    time.Time `json:"idle,omitzero"`
	// LastUsed is accurate to about a minute; From is the address that created
	// or last used it.
	LastUsed time.Time `json:"last_used,omitzero"`
	From     string    `json:"from,omitempty"`
	// Grant is the user who has granted a request, "" before.
	Grant string `json:"grant,omitempty"`
	// Uses is how many enrolments are left; Unlimited for a site key.
	Uses int `json:"uses,omitempty"`
	// Profile, Site and Networks (prefixes) of devices that enrol.
	Profile  string   `json:"profile,omitempty"`
	Site     string   `json:"site,omitempty"`
	Networks []string `json:"networks,omitempty"`
}

// Key is the credential's id.
func (c Credential) Key() string { return c.ID }

// Throttle counts failed attempts.
type Throttle struct {
	Meta
	// Name of what is counted: "from 10.0.0.1", "user alice" …
	Name     string    `json:"name"`
	Failures int       `json:"failures"`
	Until    time.Time `json:"until"`
}

// Key is the throttle's name.
func (t Throttle) Key() string { return t.Name }

// Token is an API token without its secret.
type Token struct {
	ID     string  `json:"id"`
	Name   string  `json:"name"`
	User   string  `json:"user"`
	Role   Role    `json:"role"`
	Scopes []Scope `json:"scopes"`
	// Sites that the token is limited to; none means those of the user.
	Sites    []string  `json:"sites,omitempty"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	LastUsed time.Time `json:"last_used,omitzero"`
	From     string    `json:"from,omitempty"`
}

// NewToken is a token with its secret, which is shown once.
type NewToken struct {
	Token
	Secret string `json:"secret"`
}

// TokenRequest asks for a token.
type TokenRequest struct {
	// Name for people, 1 to 100 bytes.
	Name string `json:"name"`
	// Role at most that of the user.
	Role Role `json:"role"`
	// Scopes, at least one.
	Scopes []Scope `json:"scopes"`
	// Sites to limit the token to, within those of the user; none means those.
	Sites []string `json:"sites,omitempty"`
	// Life until the token expires, up to MaxTokenLife; 0 means
	// DefaultTokenLife.
	Life time.Duration `json:"life"`
}

// Session is a session of a user, without its secret.
type Session struct {
	ID   string `json:"id"`
	User string `json:"user"`
	Role Role   `json:"role"`
	// Sites that the user is limited to; none means all of the fleet.
	Sites   []string  `json:"sites,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// CSRF must come with every request that changes something; CheckCSRF
	// compares it.
	CSRF string `json:"csrf"`
}

// NewSession is a session with its secret, for the cookie.
type NewSession struct {
	Session
	Secret string `json:"-"`
}

// EnrolmentToken lets devices enrol; it is without its secret.
type EnrolmentToken struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// SiteKey says that it is the key of a site: any number of devices.
	SiteKey bool `json:"site_key"`
	// Uses that are left; 0 for a site key.
	Uses     int       `json:"uses"`
	Profile  string    `json:"profile"`
	Site     string    `json:"site"`
	Networks []string  `json:"networks"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`
}

// NewEnrolmentToken is one with its secret, which is shown once.
type NewEnrolmentToken struct {
	EnrolmentToken
	Secret string `json:"secret"`
}

// EnrolmentRequest asks for an enrolment token or a site key.
type EnrolmentRequest struct {
	// Name for people, 1 to 100 bytes.
	Name    string `json:"name"`
	SiteKey bool   `json:"site_key"`
	// Uses of a token, 1 to MaxEnrolmentUses; 0 means 1. Not for a site key.
	Uses int `json:"uses,omitempty"`
	// Profile and Site that enrolling devices get, "" for none.
	Profile string `json:"profile,omitempty"`
	Site    string `json:"site,omitempty"`
	// Networks are prefixes that devices must come from; none means all.
	Networks []string `json:"networks,omitempty"`
	// Life until it expires. 0 means a week for a token, never for a site key.
	Life time.Duration `json:"life,omitempty"`
}

// EnrolRequest is what a device sends to enrol.
type EnrolRequest struct {
	// Device is the device's name or MAC address.
	Device string `json:"device"`
	Model  string `json:"model"`
	// Token is the enrolment token or site key.
	Token string `json:"token"`
	// Secret is generated by the device at random and identifies it from then
	// on: 32 to 128 bytes of plain text. A device that repeats the request with
	// the same secret, because the answer was lost, gets the answer again.
	Secret string `json:"secret"`
	// From is the address that the request came from, without a port.
	From string `json:"-"`
}

// Limits of credentials.
const (
	DefaultTokenLife = 90 * 24 * time.Hour
	MaxTokenLife     = 5 * 365 * 24 * time.Hour
	MaxEnrolmentUses = 100_000
	// MaxNetworks bounds the prefixes of an enrolment token.
	MaxNetworks = 64
)

// Role says what an actor may do. A later role may do all that an earlier one
// may; RoleDevice is separate.
type Role string

// The roles.
const (
	// RoleViewer reads.
	RoleViewer Role = "viewer"
	// RoleOperator also changes devices, profiles and loads.
	RoleOperator Role = "operator"
	// RoleAdmin also changes the enterprise, models, users and keys.
	RoleAdmin Role = "admin"
	// RoleDevice is a device that sees and reports itself only.
	RoleDevice Role = "device"
)

// rank orders the roles of people, 0 for all others.
func (r Role) rank() int { return 1 + slices.Index(roles, r) }

// roles are those that people have, the weakest first.
var roles = []Role{RoleViewer, RoleOperator, RoleAdmin}

// Scope narrows what a token may do within its role.
type Scope string

// The scopes of tokens.
const (
	ScopeRead       Scope = "read"       // read everything that the role may
	ScopeDevices    Scope = "devices"    // change devices, profiles, assignments there
	ScopeLoads      Scope = "loads"      // add, register, retire, verify loads
	ScopeEnterprise Scope = "enterprise" // change the enterprise, models, their loads
	ScopeAccess     Scope = "access"     // users, tokens, enrolment, signing keys
)

// Scopes returns all scopes.
func Scopes() []Scope {
	return []Scope{ScopeRead, ScopeDevices, ScopeLoads, ScopeEnterprise, ScopeAccess}
}

// ActorKind is how an actor was authenticated.
type ActorKind string

// The kinds of actors.
const (
	ActorUser   ActorKind = "user"   // a session of a user
	ActorToken  ActorKind = "token"  // an API token
	ActorDevice ActorKind = "device" // a device with its own secret
	ActorLocal  ActorKind = "local"  // a shell on the controller's data directory
	ActorSystem ActorKind = "system" // the controller itself
	// ActorNobody was not authenticated. The zero Actor is nobody.
	ActorNobody ActorKind = ""
)

// Actor is the caller of a use case, and its address. Actors are made by the
// Controller's ActorBy… methods and by Local; the zero Actor may do nothing.
type Actor struct {
	Kind ActorKind
	// Name of the user, "token NAME of USER" for a token, the device's name.
	Name string
	// User is the user behind a session or token, "" for all others, and Account the
	// id of that user: what somebody has made is theirs by it.
	User, Account string
	// From is the address that the actor came from, without a port.
	From string
	// Carried is set for a report that another device hands over: when this one has sealed
	// it. From is the address of the other one then.
	Carried *time.Time
	Role    Role
	// Scopes of a token; nil means all that the role may.
	Scopes []Scope
	// Realm is what the actor sees and changes: see Within.
	Realm Realm
	// credential is that of the session or sign-in, for Logout, or of the token;
	// browser says that it is a session.
	credential string
	browser    bool
}

// Local is the owner of the data directory, who may do everything, being able
// to write to the database anyway. name is the name of the system's user.
func Local(name string) Actor {
	return Actor{Kind: ActorLocal, Name: name, From: "local", Role: RoleAdmin}
}

// permission is what a use case needs: a role at least, and a scope. What holds
// for all sites needs an actor who is limited to none.
type permission struct {
	role   Role
	scope  Scope
	forAll bool
}

// The permissions. Each use case names one.
var (
	mayRead       = permission{role: RoleViewer, scope: ScopeRead}
	mayAudit      = permission{role: RoleOperator, scope: ScopeRead}
	mayDevices    = permission{role: RoleOperator, scope: ScopeDevices}
	mayLoads      = permission{role: RoleOperator, scope: ScopeLoads, forAll: true}
	mayEnterprise = permission{role: RoleAdmin, scope: ScopeEnterprise, forAll: true}
	mayAccess     = permission{role: RoleAdmin, scope: ScopeAccess, forAll: true}
)

// may returns nil if the actor has the permission; else the error matches
// ErrUnauthenticated or ErrForbidden.
func (a Actor) may(p permission) error {
	switch {
	case a.Kind == ActorNobody || a.Role == "":
		return ErrUnauthenticated
	case a.Role.rank() < p.role.rank() || a.Role.rank() == 0:
		return fmt.Errorf("%w: %s has role %s, this needs %s", ErrForbidden, a.Name, a.Role, p.role)
	case a.Scopes != nil && !slices.Contains(a.Scopes, p.scope):
		return fmt.Errorf("%w: the token lacks scope %s", ErrForbidden, p.scope)
	case p.forAll && a.Realm.limited:
		return a.beyond("this holds for all")
	}
	return nil
}

// mayGrant refuses to give a user a role with rights that the actor lacks: a user
// has all scopes of the role, so a token that makes users must have them too.
func (a Actor) mayGrant(role Role) error {
	for _, p := range []permission{mayRead, mayDevices, mayLoads, mayEnterprise, mayAccess} {
		if p.role.rank() > role.rank() {
			continue
		}
		if err := a.may(p); err != nil {
			return fmt.Errorf("a user of role %s may more than the token at hand: %w", role, err)
		}
	}
	return nil
}

// mayOf is like may, but also allows a device to access its own data.
func (a Actor) mayOf(p permission, device string) error {
	if a.Kind == ActorDevice && a.Role == RoleDevice {
		if a.Name == device {
			return nil
		}
		return fmt.Errorf("%w: a device sees itself only", ErrForbidden)
	}
	return a.may(p)
}

// Can reports whether the actor may do what the scope covers: a page calls it
// before it offers a button. ScopeRead stands for reading anything.
func (a Actor) Can(s Scope) bool { return a.Check(s) == nil }

// Check is Can with the reason: the error matches ErrUnauthenticated or
// ErrForbidden.
func (a Actor) Check(s Scope) error {
	for _, p := range []permission{mayRead, mayDevices, mayLoads, mayEnterprise, mayAccess} {
		if p.scope == s {
			return a.may(p)
		}
	}
	return ErrForbidden
}

// MaxRealm bounds the sites that a user or token is limited to.
const MaxRealm = 64

// Realm is the part of the fleet that somebody may see and change: all of it, or
// the devices of some sites. The zero value is all of it.
type Realm struct {
	limited bool
	sites   []string // in order, no two alike
}

// RealmOf is the realm of sites as users and tokens have them: none stands for
// all of the fleet.
func RealmOf(sites []string) Realm {
	if len(sites) == 0 {
		return Realm{}
	}
	return Realm{true, slices.Compact(slices.Sorted(slices.Values(sites)))}
}

// Limited reports whether the realm is less than all of the fleet.
func (r Realm) Limited() bool { return r.limited }

// Sites are those of a limited realm; it may have none.
func (r Realm) Sites() []string { return slices.Clone(r.sites) }

// Has reports whether devices of a site are in the realm; "" is no site.
func (r Realm) Has(site string) bool {
	return !r.limited || site != "" && slices.Contains(r.sites, site)
}

// and is what is in both realms.
func (r Realm) and(o Realm) Realm {
	switch {
	case !r.limited:
		return o
	case !o.limited:
		return r
	}
	both := Realm{limited: true}
	for _, s := range r.sites {
		if o.Has(s) {
			both.sites = append(both.sites, s)
		}
	}
	return both
}

// String names the realm in errors.
func (r Realm) String() string {
	switch {
	case !r.limited:
		return "all sites"
	case len(r.sites) == 0:
		return "no site"
	case len(r.sites) == 1:
		return "site " + r.sites[0]
	}
	return "sites " + strings.Join(r.sites[:min(len(r.sites), maxSome)], ", ")
}

// beyond is the error of what reaches beyond the realm of an actor.
func (a Actor) beyond(what string) error {
	return fmt.Errorf("%w: %s is limited to %s, and %s", ErrForbidden, a.Name, a.Realm, what)
}

// Within returns the transaction as the actor sees it. This is where realms are
// enforced: what is of devices outside is not there to be read, and what would
// touch one of them, or holds for all, is not written. Packages that have use
// cases of their own go through it as this one does; MayTouch is for what names
// devices before anything is written.
func (a Actor) Within(tx Tx) Tx {
	if !a.Realm.limited {
		return tx
	}
	if t, ok := tx.(*realmTx); ok && t.actor.Name == a.Name && t.actor.Account == a.Account &&
		slices.Equal(t.actor.Realm.sites, a.Realm.sites) {
		return t
	}
	return &realmTx{tx, a}
}

// Whole is the transaction without a realm: for what follows from a change that was
// allowed, such as a job.
func Whole(tx Tx) Tx { return whole(tx) }

func whole(tx Tx) Tx {
	for {
		t, ok := tx.(*realmTx)
		if !ok {
			return tx
		}
		tx = t.Tx
	}
}

// limitTo is what a user or token is limited to.
func limitTo(ctx context.Context, tx Tx, sites []string) ([]string, error) {
	if len(sites) > MaxRealm {
		return nil, invalid("%d sites, at most %d", len(sites), MaxRealm)
	}
	for _, s := range sites {
		if _, err := siteNamed(ctx, tx, s); err != nil {
			return nil, err
		}
	}
	return RealmOf(sites).Sites(), nil
}

// existing are the sites of a list that there are, in order.
func existing(ctx context.Context, tx Tx, sites []string) (here []string, err error) {
	for _, s := range RealmOf(sites).Sites() {
		_, ok, err := lookup(ctx, tx.Sites(), s)
		if err != nil {
			return nil, err
		}
		if ok && len(here) < MaxRealm {
			here = append(here, s)
		}
	}
	return here, nil
}

func errLimitedAdmin() error {
	return invalid("what an admin does holds for all sites: limit a viewer or an operator")
}

// MayReach refuses a site outside of the actor's realm, as one that there is not.
func (a Actor) MayReach(site string) error {
	if a.Realm.Has(site) {
		return nil
	}
	return notFound("site", cleanText(site, MaxNameLen))
}

// MayTouch refuses devices if some are outside of the actor's realm, with their
// number. A device that there is not is outside of every limited realm.
func (a Actor) MayTouch(ctx context.Context, tx Tx, devices ...string) error {
	if !a.Realm.limited {
		return nil
	}
	outside := 0
	for _, name := range devices {
		in, err := a.Realm.holds(ctx, whole(tx), name)
		if err != nil {
			return err
		}
		if !in {
			outside++
		}
	}
	return a.Outside(outside, len(devices))
}

// Outside refuses a change that would touch so many devices outside of the actor's
// realm, of so many in all; 0 is none.
func (a Actor) Outside(n, of int) error {
	if n == 0 {
		return nil
	}
	return a.beyond(fmt.Sprintf("this would touch %s, %d of them of other sites, or of none",
		plural(of, "device", "devices"), n))
}

// holds reports whether a device is in the realm.
func (r Realm) holds(ctx context.Context, tx Tx, name string) (bool, error) {
	d, ok, err := lookup(ctx, tx.Devices(), name)
	if err != nil || !ok {
		return false, err
	}
	return r.includes(ctx, tx, d)
}

// includes is holds, of a device as it is or shall be.
func (r Realm) includes(ctx context.Context, tx Tx, d Device) (bool, error) {
	if !r.limited {
		return true, nil
	}
	var s DeviceState
	if d.Site == "" {
		var err error
		if s, _, err = lookup(ctx, tx.States(), d.Name); err != nil {
			return false, err
		}
	}
	return r.Has(siteOf(d, s)), nil
}

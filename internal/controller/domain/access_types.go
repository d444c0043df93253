package domain

import "time"

// User is a person who may log in.
type User struct {
	Meta
	// Name in lower case: letters, digits and ._- , 1 to 64.
	Name string `json:"name"`
	// FullName for people.
	FullName string `json:"full_name"`
	Role     Role   `json:"role"`
	// Disabled users cannot log in, and their tokens are void.
	Disabled bool `json:"disabled"`
	// LastLogin is zero if there was none.
	LastLogin time.Time `json:"last_login,omitzero"`
}

// Account is a user with the fields that only the store and this package may
// see.
type Account struct {
	User
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
	// Role and Scopes of a token.
	Role   Role    `json:"role,omitempty"`
	Scopes []Scope `json:"scopes,omitempty"`
	// Expires is zero for never; Idle ends a session that nobody uses.
	Expires time.Time `json:"expires,omitzero"`
	Idle    time.Time `json:"idle,omitzero"`
	// LastUsed is accurate to about a minute; From is the address that created
	// or last used it.
	LastUsed time.Time `json:"last_used,omitzero"`
	From     string    `json:"from,omitempty"`
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
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	User     string    `json:"user"`
	Role     Role      `json:"role"`
	Scopes   []Scope   `json:"scopes"`
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
	// Life until the token expires, up to MaxTokenLife; 0 means
	// DefaultTokenLife.
	Life time.Duration `json:"life"`
}

// Session is a session of a user, without its secret.
type Session struct {
	ID      string    `json:"id"`
	User    string    `json:"user"`
	Role    Role      `json:"role"`
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

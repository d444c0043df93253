package domain

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	// throttleMemory is how long failed attempts are remembered.
	throttleMemory = 24 * time.Hour
	// touchEvery is the resolution of LastUsed: a write for every request would
	// cost more than it is worth.
	touchEvery = time.Minute
	// maxSecretLen bounds a secret that somebody presents, in bytes.
	maxSecretLen = 256
)

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// issue stores a new credential and returns its secret: 256 random bits after a
// prefix by which scanners for leaked secrets recognise it.
func (c *Controller) issue(ctx context.Context, tx Tx, cred *Credential, prefix string) (string, error) {
	secret := prefix + c.random(32)
	cred.ID, cred.Hash = c.random(8), hashSecret(secret)
	c.stamp(&cred.Meta)
	return secret, tx.Credentials().Put(ctx, cred)
}

// dropCredentials removes all that match.
func dropCredentials(ctx context.Context, tx Tx, f CredentialFilter) error {
	all, err := collect(ctx, tx.Credentials(), f)
	if err != nil {
		return err
	}
	for _, cred := range all {
		if err := tx.Credentials().Delete(ctx, cred.ID, 0); err != nil {
			return err
		}
	}
	return nil
}

// byHash finds the credential of a secret that is valid now. An error matches
// ErrUnauthenticated; a secret for another purpose is told as such, which only
// its holder can learn.
func (c *Controller) byHash(ctx context.Context, tx Tx, secret string, kinds ...CredentialKind) (Credential, error) {
	if secret == "" || len(secret) > maxSecretLen {
		return Credential{}, ErrUnauthenticated
	}
	l, err := tx.Credentials().List(ctx, CredentialFilter{Hash: hashSecret(secret)}, Page{Limit: 1})
	if err != nil {
		return Credential{}, err
	}
	if len(l.Items) == 0 {
		return Credential{}, ErrUnauthenticated
	}
	cred, now := l.Items[0], c.now()
	if !slices.Contains(kinds, cred.Kind) {
		return Credential{}, fmt.Errorf("%w: this is %s, and %s is needed", ErrUnauthenticated, cred.Kind.text(),
			kinds[0].text())
	}
	if !cred.Expires.IsZero() && !now.Before(cred.Expires) || !cred.Idle.IsZero() && !now.Before(cred.Idle) {
		return Credential{}, fmt.Errorf("%w: %s has expired", ErrUnauthenticated, cred.Kind.text())
	}
	return cred, nil
}

// authenticate is byHash in a transaction of its own.
func (c *Controller) authenticate(ctx context.Context, secret string,
	kinds ...CredentialKind) (cred Credential, err error) {
	err = c.view(ctx, func(tx Tx) error {
		cred, err = c.byHash(ctx, tx, secret, kinds...)
		return err
	})
	return cred, err
}

// limit throttles attempts under one name: the first free ones at once, then
// each failure doubles the wait, from one second up to most.
type limit struct {
	name string
	free int
	most time.Duration
}

// throttle counts an attempt as failed before it is made, so that attempts at
// the same time count too, or refuses it with a ThrottledError.
func (c *Controller) throttle(ctx context.Context, limits []limit) error {
	return c.store.Update(ctx, func(tx Tx) error {
		now := c.now()
		for _, l := range limits {
			t, _, err := lookup(ctx, tx.Throttles(), l.name)
			if err != nil {
				return err
			}
			if wait := t.Until.Sub(now); wait > 0 {
				return &ThrottledError{RetryAfter: wait}
			}
			if t.Changed.Before(now.Add(-throttleMemory)) {
				t.Failures = 0
			}
			t.Name, t.Failures = l.name, t.Failures+1
			if over := t.Failures - l.free; over > 0 {
				t.Until = now.Add(min(l.most, time.Second<<min(over-1, 20)))
			}
			c.stamp(&t.Meta)
			if err := tx.Throttles().Put(ctx, &t); err != nil {
				return err
			}
		}
		return nil
	})
}

// network returns the network that one attacker is likely to control: one
// address of IPv4, a /64 of IPv6.
func network(from string) string {
	a, err := netip.ParseAddr(from)
	if err != nil || a.Unmap().Is4() {
		return from
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return from
	}
	return p.String()
}

// loginLimits slow down guesses from one address and, less strictly, guesses at
// one user from anywhere: knowing a name must not be enough to lock its user
// out.
func loginLimits(name, from string) []limit {
	from = network(from)
	return []limit{{"login from " + from, 10, 15 * time.Minute}, {"login " + name + " from " + from, 5, 15 * time.Minute},
		{"login " + name, 50, 10 * time.Second}}
}

// checkLogin returns the account if the password is right. An error matches
// ErrUnauthenticated, always in the same words, or ErrThrottled.
func (c *Controller) checkLogin(ctx context.Context, name, password, from string) (Account, error) {
	wrong := fmt.Errorf("%w: wrong name or password", ErrUnauthenticated)
	if checkUserName(name) != nil || len(password) > MaxPasswordLen {
		name = "?" // no user has this name
	}
	limits := loginLimits(name, from)
	if err := c.throttle(ctx, limits); err != nil {
		return Account{}, err
	}
	var u Account
	err := c.view(ctx, func(tx Tx) (err error) {
		u, _, err = lookup(ctx, tx.Accounts(), name)
		return err
	})
	if err != nil {
		return Account{}, err
	}
	hash := u.PasswordHash
	if hash == "" {
		if hash, err = c.decoyHash(ctx); err != nil {
			return Account{}, err
		}
	}
	ok, err := c.verifyPassword(ctx, password, hash)
	if err != nil {
		return Account{}, err
	}
	if !ok || u.PasswordHash == "" || u.Disabled {
		who := Actor{Kind: ActorNobody, Name: name, From: from}
		if err := c.update(ctx, who,
			func(_ Tx, j *journal) error { j.event("login.failed", "user "+name); return nil }); err != nil {
			return Account{}, err
		}
		return Account{}, wrong
	}
	return u, c.forgive(ctx, limits)
}

// forgive clears failures after a success.
func (c *Controller) forgive(ctx context.Context, limits []limit) error {
	return c.store.Update(ctx, func(tx Tx) error {
		for _, l := range limits {
			if err := tx.Throttles().Delete(ctx, l.name, 0); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

// Login starts a session. from is the address without a port. Errors match
// ErrUnauthenticated or ErrThrottled.
func (c *Controller) Login(ctx context.Context, name, password, from string) (NewSession, error) {
	u, err := c.checkLogin(ctx, name, password, from)
	if err != nil {
		return NewSession{}, err
	}
	var out NewSession
	who := Actor{Kind: ActorUser, Name: name, User: name, From: from}
	err = c.update(ctx, who, func(tx Tx, j *journal) error {
		now, err := find(ctx, tx.Accounts(), "user", name)
		if err != nil {
			return err
		}
		if now.Disabled || now.PasswordHash != u.PasswordHash {
			return ErrUnauthenticated // changed while the hash was computed
		}
		now.LastLogin = c.now()
		if err := tx.Accounts().Put(ctx, &now); err != nil {
			return err
		}
		at := c.now()
		cred := Credential{Kind: CredentialSession, Subject: name, From: from, LastUsed: at,
			Expires: at.Add(c.cfg.SessionLife), Idle: at.Add(c.cfg.SessionIdle)}
		secret, err := c.issue(ctx, tx, &cred, "plx_")
		if err != nil {
			return err
		}
		j.event("login", "user "+name)
		out = NewSession{Session: sessionOf(cred, now.Role, secret), Secret: secret}
		return nil
	})
	return out, err
}

func sessionOf(cred Credential, role Role, secret string) Session {
	return Session{ID: cred.ID, User: cred.Subject, Role: role, Created: cred.Created, Expires: cred.Expires,
		CSRF: csrf(secret)}
}

// csrf derives the CSRF token from the session's secret: a page of another site
// that makes the browser send the cookie cannot compute it, and nothing more
// need be stored.
func csrf(secret string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte("peerload csrf"))
	return hex.EncodeToString(m.Sum(nil))
}

// CheckCSRF compares what came with a request with the session's token. An
// error matches ErrForbidden.
func CheckCSRF(s Session, token string) error {
	if subtle.ConstantTimeCompare([]byte(s.CSRF), []byte(token)) != 1 {
		return fmt.Errorf("%w: the request lacks the session's CSRF token", ErrForbidden)
	}
	return nil
}

// ActorBySession returns the actor of a session's secret. An error matches
// ErrUnauthenticated.
func (c *Controller) ActorBySession(ctx context.Context, secret, from string) (Actor, Session, error) {
	cred, u, err := c.userBy(ctx, secret, CredentialSession, from)
	if err != nil {
		return Actor{}, Session{}, err
	}
	a := Actor{Kind: ActorUser, Name: u.Name, User: u.Name, From: from, Role: u.Role, session: cred.ID}
	return a, sessionOf(cred, u.Role, secret), nil
}

// userBy finds the credential of a secret and the user behind it, and notes
// the use.
func (c *Controller) userBy(ctx context.Context, secret string, kind CredentialKind,
	from string) (cred Credential, u Account, err error) {
	err = c.view(ctx, func(tx Tx) error {
		if cred, err = c.byHash(ctx, tx, secret, kind); err != nil {
			return err
		}
		var ok bool
		if u, ok, err = lookup(ctx, tx.Accounts(), cred.Subject); err == nil && (!ok || u.Disabled) {
			err = ErrUnauthenticated
		}
		return err
	})
	if err != nil {
		return cred, u, err
	}
	return cred, u, c.used(ctx, cred, from)
}

// used records the use of a credential, and keeps a session alive.
func (c *Controller) used(ctx context.Context, cred Credential, from string) error {
	now := c.now()
	if now.Sub(cred.LastUsed) < min(touchEvery, c.cfg.SessionIdle/4) && cred.From == from {
		return nil
	}
	err := c.store.Update(ctx, func(tx Tx) error {
		current, err := tx.Credentials().Get(ctx, cred.ID)
		if err != nil {
			return err
		}
		current.LastUsed, current.From = now, from
		if current.Kind == CredentialSession {
			current.Idle = now.Add(c.cfg.SessionIdle)
		}
		return tx.Credentials().Put(ctx, &current)
	})
	if errors.Is(err, ErrNotFound) {
		return ErrUnauthenticated // revoked meanwhile
	}
	return err
}

// Logout ends the actor's session.
func (c *Controller) Logout(ctx context.Context, a Actor) error {
	if a.Kind != ActorUser || a.session == "" {
		return ErrUnauthenticated
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		err := tx.Credentials().Delete(ctx, a.session, 0)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		j.event("logout", "user "+a.User)
		return err
	})
}

package domain

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/together"
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
	all, err := Collect(ctx, tx.Credentials(), f)
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
	found, err := c.credentialsOf(ctx, tx, []string{hashSecret(secret)})
	if err != nil {
		return Credential{}, err
	}
	return c.valid(found[0], kinds)
}

// credentialsOf finds credentials by the hashes of their secrets. One that is not there
// has no id.
func (c *Controller) credentialsOf(ctx context.Context, tx Tx, hashes []string) ([]Credential, error) {
	by := map[string]Credential{}
	for cred, err := range Each(ctx, tx.Credentials(), CredentialFilter{Hashes: hashes}) {
		if err != nil {
			return nil, err
		}
		by[cred.Hash] = cred
	}
	all := make([]Credential, len(hashes))
	for i, hash := range hashes {
		all[i] = by[hash]
	}
	return all, nil
}

// valid refuses a credential that is not there, not for this, or not valid now.
func (c *Controller) valid(cred Credential, kinds []CredentialKind) (Credential, error) {
	now := c.now()
	if cred.ID == "" {
		return Credential{}, ErrUnauthenticated
	}
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
	if secret == "" || len(secret) > maxSecretLen {
		return Credential{}, ErrUnauthenticated
	}
	if cred, err = c.groups.secrets.Ask(ctx, hashSecret(secret)); err != nil {
		return Credential{}, err
	}
	return c.valid(cred, kinds)
}

// limit throttles attempts under one name: the first free ones at once, then
// each failure doubles the wait, from one second up to most. Where every is not
// 0, the wait does not grow: after free attempts there is one in that time.
type limit struct {
	name  string
	free  int
	most  time.Duration
	every time.Duration
}

// next counts one more attempt at that time, or returns how long to wait first.
func (l limit) next(t *Throttle, now time.Time) (wait time.Duration) {
	if l.every > 0 {
		if t.Until.Before(now) {
			t.Until = now
		}
		if ahead := t.Until.Sub(now) - time.Duration(l.free-1)*l.every; ahead > 0 {
			return max(ahead, time.Second)
		}
		t.Failures, t.Until = t.Failures+1, t.Until.Add(l.every)
		return 0
	}
	if wait := t.Until.Sub(now); wait > 0 {
		return wait
	}
	if t.Changed.Before(now.Add(-throttleMemory)) {
		t.Failures = 0
	}
	t.Failures++
	if over := t.Failures - l.free; over > 0 {
		t.Until = now.Add(min(l.most, time.Second<<min(over-1, 20)))
	}
	return 0
}

// throttle counts an attempt as failed before it is made, so that attempts at
// the same time count too, or refuses it with a ThrottledError.
func (c *Controller) throttle(ctx context.Context, limits []limit) error {
	return c.store.Update(ctx, func(tx Tx) error {
		now := c.now()
		for _, l := range limits {
			t, ok, err := lookup(ctx, tx.Throttles(), l.name)
			if err != nil {
				return err
			}
			if wait := l.next(&t, now); wait > 0 {
				return &ThrottledError{RetryAfter: wait}
			}
			if !ok {
				if err := c.boundThrottles(ctx, tx, now); err != nil {
					return err
				}
			}
			t.Name = l.name
			c.stamp(&t.Meta)
			if err := tx.Throttles().Put(ctx, &t); err != nil {
				return err
			}
		}
		return nil
	})
}

// throttleGuess throttles those who do not know a secret of those kinds. The
// secrets are random and long: what counts is that guesses cost little and fill
// no log, and that whoever has one is not kept out by others.
func (c *Controller) throttleGuess(ctx context.Context, limits []limit, secret string, kinds ...CredentialKind) error {
	_, err := c.authenticate(ctx, secret, kinds...)
	if errors.Is(err, ErrUnauthenticated) {
		return c.throttle(ctx, limits)
	}
	return err
}

// boundThrottles makes room for a throttle, so that guesses under invented names
// and from many addresses cannot fill the disk: half of them go at a time, those
// first that hold somebody back for the shortest time, and the oldest of them.
func (c *Controller) boundThrottles(ctx context.Context, tx Tx, now time.Time) error {
	l, err := tx.Throttles().List(ctx, None{}, Page{Limit: 1})
	if err != nil || l.Total < c.cfg.MaxThrottles {
		return err
	}
	all, err := Collect(ctx, tx.Throttles(), None{})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b Throttle) int {
		left := func(t Throttle) time.Duration { return max(0, t.Until.Sub(now)) }
		return cmp.Or(cmp.Compare(left(a), left(b)), a.Changed.Compare(b.Changed))
	})
	for _, t := range all[:(len(all)+1)/2] {
		if err := tx.Throttles().Delete(ctx, t.Name, 0); err != nil {
			return err
		}
	}
	return nil
}

// forgetThrottles removes counts without a failure for a day.
func (c *Controller) forgetThrottles(ctx context.Context, tx Tx, now time.Time) error {
	all, err := Collect(ctx, tx.Throttles(), None{})
	if err != nil {
		return err
	}
	for _, t := range all {
		if t.Changed.Before(now.Add(-throttleMemory)) {
			if err := tx.Throttles().Delete(ctx, t.Name, 0); err != nil {
				return err
			}
		}
	}
	return nil
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

// maxKnown bounds the networks that are remembered of a user.
const maxKnown = 8

// loginLimits slow down guesses from one network and, where the user is not
// known there, guesses at one user from anywhere. Knowing a name must not be
// enough to lock its user out: from a network where the user has logged in
// before, guesses from elsewhere do not count, and from any other there are
// always two attempts a second for all of them together.
func loginLimits(name, from string, known []string) []limit {
	from = network(from)
	limits := []limit{{name: "login from " + from, free: 10, most: 15 * time.Minute},
		{name: "login " + name + " from " + from, free: 5, most: 15 * time.Minute}}
	if slices.Contains(known, from) {
		return limits
	}
	return append(limits, limit{name: "login " + name, free: 50, every: time.Second / 2})
}

// nowKnown puts a network first among those from which a user has logged in.
func nowKnown(known []string, from string) []string {
	from = network(from)
	others := slices.DeleteFunc(slices.Clone(known), func(n string) bool { return n == from })
	return append([]string{from}, others[:min(len(others), maxKnown-1)]...)
}

// checkLogin returns the account if the password is right. An error matches
// ErrUnauthenticated, always in the same words, or ErrThrottled.
func (c *Controller) checkLogin(ctx context.Context, name, text, from string) (Account, error) {
	wrong := fmt.Errorf("%w: wrong name or password", ErrUnauthenticated)
	if checkUserName(name) != nil || len(text) > passhash.MaxLen {
		name = "?" // no user has this name
	}
	var u Account
	err := c.viewAll(ctx, func(tx Tx) (err error) {
		u, _, err = lookup(ctx, tx.Accounts(), name)
		return err
	})
	if err != nil {
		return Account{}, err
	}
	limits := loginLimits(name, from, u.Known)
	if err := c.throttle(ctx, limits); err != nil {
		return Account{}, err
	}
	hash := u.PasswordHash
	if hash == "" {
		if hash, err = c.hasher.Decoy(ctx); err != nil {
			return Account{}, err
		}
	}
	ok, err := c.hasher.Verify(ctx, text, hash)
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

// forgive clears failures after a success; those that others may have caused
// stay.
func (c *Controller) forgive(ctx context.Context, limits []limit) error {
	return c.store.Update(ctx, func(tx Tx) error {
		for _, l := range limits {
			if l.every > 0 {
				continue
			}
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
	in, err := c.loginAs(ctx, name, password, entry{kind: CredentialSession, from: from})
	if err != nil {
		return NewSession{}, err
	}
	return in.session(), nil
}

func sessionOf(cred Credential, u User, secret string) Session {
	return Session{ID: cred.ID, User: cred.Subject, Role: u.Role, Sites: u.Sites, Created: cred.Created,
		Expires: cred.Expires, CSRF: csrf(secret)}
}

// csrf derives the CSRF token from the session's secret: a page of another site
// that makes the browser send the cookie cannot compute it, and nothing more
// need be stored.
func csrf(secret string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte("peerload csrf"))
	return hex.EncodeToString(m.Sum(nil))
}

// id tells the user from all others.
func (u Account) id() string { return cmp.Or(u.ID, u.Name) }

// maker is who has made something, as it is kept. Without an account it was made
// before users had ids.
type maker struct{ name, account string }

// made reports whether somebody has made what has this maker: a user with any of
// their tokens, a token by itself.
func (a Actor) made(by maker) bool {
	if by.account == "" {
		return by.name == a.Name && a.Account == a.User
	}
	return by.account == a.Account && (a.Kind != ActorToken || by.name == a.Name)
}

// wrote is made, of a rollout's plan.
func (a Actor) wrote(r rollout.Record) bool {
	return a.Account != "" && slices.Contains(r.AuthorIDs, a.Account) ||
		a.Account == a.User && slices.Contains(r.Authors, cmp.Or(a.User, a.Name))
}

// still returns the user behind somebody who has asked before. It refuses if his
// account is gone, or the token that he used was revoked or has expired.
func (c *Controller) still(ctx context.Context, tx Tx, was JobActor) (Account, error) {
	u, ok, err := lookup(ctx, tx.Accounts(), was.User)
	switch {
	case err != nil:
		return u, err
	case !ok || u.Disabled || u.id() != cmp.Or(was.Account, was.User):
		return u, fmt.Errorf("%w: user %s is gone or disabled", ErrForbidden, was.User)
	}
	if err := c.checkForeign(u); err != nil {
		return u, fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	if was.Credential == "" {
		return u, nil
	}
	cred, ok, err := lookup(ctx, tx.Credentials(), was.Credential)
	if err != nil {
		return u, err
	}
	if !ok || !cred.Expires.IsZero() && !c.now().Before(cred.Expires) {
		return u, fmt.Errorf("%w: %s was revoked or has expired", ErrForbidden, was.Name)
	}
	return u, nil
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
	return c.actorBy(ctx, secret, CredentialSession, from)
}

func (c *Controller) actorBy(ctx context.Context, secret string, kind CredentialKind,
	from string) (Actor, Session, error) {
	cred, u, err := c.userBy(ctx, secret, kind, from)
	if err != nil {
		return Actor{}, Session{}, err
	}
	a := Actor{Kind: ActorUser, Name: u.Name, User: u.Name, Account: u.id(), From: from, Role: u.Role,
		Realm: RealmOf(u.Sites), credential: cred.ID, browser: kind == CredentialSession}
	return a, sessionOf(cred, u.User, secret), nil
}

// userBy finds the credential of a secret and the user behind it, and notes
// the use.
func (c *Controller) userBy(ctx context.Context, secret string, kind CredentialKind,
	from string) (cred Credential, u Account, err error) {
	err = c.viewAll(ctx, func(tx Tx) error {
		if cred, err = c.byHash(ctx, tx, secret, kind); err != nil {
			return err
		}
		var ok bool
		if u, ok, err = lookup(ctx, tx.Accounts(), cred.Subject); err == nil && (!ok || u.Disabled) {
			err = ErrUnauthenticated
		}
		if err == nil {
			err = c.checkForeign(u)
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
		if !current.Idle.IsZero() {
			current.Idle = now.Add(c.cfg.SessionIdle)
		}
		return tx.Credentials().Put(ctx, &current)
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrUnauthenticated // revoked meanwhile
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, ErrAway):
		return nil // whoever reads needs nothing written
	}
	return err
}

// Logout ends the actor's session, or sign-in of a command line.
func (c *Controller) Logout(ctx context.Context, a Actor) error {
	if a.Kind != ActorUser || a.credential == "" {
		return ErrUnauthenticated
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		err := tx.Credentials().Delete(ctx, a.credential, 0)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		j.event("logout", "user "+a.User)
		return err
	})
}

const (
	// maxTogether bounds the reports of one transaction: others wait for it.
	maxTogether = 500
	// readers are how many transactions read at the same time for those who ask together.
	readers = 2
	// readTimeout bounds such a transaction, which no caller ends.
	readTimeout = 10 * time.Second
)

// groups have those who ask at the same time answered together.
type groups struct {
	// reports returns once a report is committed, or refused. A commit waits for the disk,
	// so all that came while one was under way are written by the next.
	reports *together.Group[told, error]
	// secrets finds credentials by the hashes of their secrets.
	secrets *together.Group[string, Credential]
	// desired says what devices should be, by their names.
	desired *together.Group[string, desiredOf]
}

// gather makes the groups of a controller.
func (c *Controller) gather() *Controller {
	c.groups = groups{
		reports: together.New(together.How[told, error]{Most: maxTogether, Turns: 1, All: away,
			Key: func(t told) string { return t.device },
			Answer: func(ctx context.Context, all []told) (errs []error, err error) {
				err = c.store.Update(ctx, func(tx Tx) error {
					errs, err = c.take(ctx, tx, all)
					return err
				})
				return errs, err
			}}),
		secrets: reading(c, c.credentialsOf),
		desired: reading(c, c.desiredOf),
	}
	return c
}

// away reports whether the store fails for all who ask.
func away(err error) bool { return errors.Is(err, ErrUnavailable) }

// reading is a group of those who read at the same time: one transaction reads for all.
// They see everything, as devices do.
func reading[Q, A any](c *Controller,
	read func(ctx context.Context, tx Tx, all []Q) ([]A, error)) *together.Group[Q, A] {
	return together.New(together.How[Q, A]{Most: maxTogether, Turns: readers, All: away,
		Answer: func(ctx context.Context, all []Q) (out []A, err error) {
			ctx, cancel := context.WithTimeout(ctx, readTimeout)
			defer cancel()
			err = c.viewAll(ctx, func(tx Tx) error {
				out, err = read(ctx, tx, all)
				return err
			})
			return out, err
		}})
}

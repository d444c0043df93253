package domain

import (
	"context"
	"fmt"
	"slices"
	"time"
)

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
		return invalid("a token lives for %s at most", MaxTokenLife)
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
		Created: cred.Created,
		Expires: cred.Expires, LastUsed: cred.LastUsed, From: cred.From}
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
	return Actor{Kind: ActorToken, Name: "token " + cred.Name + " of " + u.Name, User: u.Name, From: from, Role: role,
		Scopes: scopes}, nil
}

// Tokens lists the tokens of a user; "" means the actor's own, and an admin
// may name any user, or "*" for all.
func (c *Controller) Tokens(ctx context.Context, a Actor, user string, p Page) (l List[Token], err error) {
	f, err := tokenFilter(a, user)
	if err != nil {
		return l, err
	}
	err = c.view(ctx, func(tx Tx) error {
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

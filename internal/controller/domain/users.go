package domain

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// UserChange changes a user; what is nil stays.
type UserChange struct {
	FullName *string `json:"full_name,omitempty"`
	Role     *Role   `json:"role,omitempty"`
	Disabled *bool   `json:"disabled,omitempty"`
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
	if err := checkUserName(name); err != nil {
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
		if hash, err = c.hashPassword(ctx, *p); err != nil { // outside of the transaction: it takes its time
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
		if err := a.mayChange(u.User, change); err != nil {
			return err
		}
		return c.changeUser(ctx, tx, j, &u, change, hash, isNew)
	})
	return u.User, err
}

// mayChange refuses a change by which somebody could log in with more rights
// than the actor has: a password, a role, or the end of a ban. Taking rights
// away, or a name for people, is nobody's gain.
func (a Actor) mayChange(u User, change UserChange) error {
	role := u.Role
	if change.Role != nil {
		role = *change.Role
	}
	enables := change.Disabled != nil && u.Disabled && !*change.Disabled
	if change.Password == nil && role.rank() <= u.Role.rank() && !enables {
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
	if before.Role == RoleAdmin && !before.Disabled && (u.Role != RoleAdmin || u.Disabled) {
		if err := checkOtherAdmin(ctx, tx, u.Name); err != nil {
			return err
		}
	}
	c.stamp(&u.Meta)
	target := "user " + u.Name
	if isNew {
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
		if err := dropCredentials(ctx, tx, CredentialFilter{Kind: CredentialSession, Subject: u.Name}); err != nil {
			return err
		}
	}
	j.note("user.update", target, before.User, u.User)
	return tx.Accounts().Put(ctx, u)
}

// checkOtherAdmin refuses if no other user is an admin who can log in.
func checkOtherAdmin(ctx context.Context, tx Tx, name string) error {
	all, err := collect(ctx, tx.Accounts(), TextFilter{})
	if err != nil {
		return err
	}
	for _, u := range all {
		if u.Name != name && u.Role == RoleAdmin && !u.Disabled {
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
	if err := checkPassword(password); err != nil {
		return err
	}
	u, err := c.checkLogin(ctx, a.User, old, a.From)
	if err != nil {
		return err
	}
	hash, err := c.hashPassword(ctx, password)
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
		if u.Role == RoleAdmin && !u.Disabled {
			if err := checkOtherAdmin(ctx, tx, name); err != nil {
				return err
			}
		}
		for _, kind := range []CredentialKind{CredentialSession, CredentialToken} {
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
	err := c.view(ctx, func(tx Tx) (err error) {
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
	err = c.view(ctx, func(tx Tx) error {
		all, err := tx.Accounts().List(ctx, f, p)
		l = List[User]{Items: []User{}, Next: all.Next, Total: all.Total}
		for _, u := range all.Items {
			l.Items = append(l.Items, u.User)
		}
		return err
	})
	return l, err
}

// BeginSetup returns the secret of a new set-up link if there is no user yet,
// "" if there is one. Links from before are void from then on. The server
// calls it at its start and prints the link.
func (c *Controller) BeginSetup(ctx context.Context) (secret string, err error) {
	idle := false // there is a user, and no link: nothing need be written, as on a full disk nothing can
	err = c.view(ctx, func(tx Tx) error {
		users, err := tx.Accounts().List(ctx, TextFilter{}, Page{Limit: 1})
		if err != nil {
			return err
		}
		links, err := tx.Credentials().List(ctx, CredentialFilter{Kind: CredentialSetup}, Page{Limit: 1})
		idle = users.Total > 0 && links.Total == 0
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
		users, err := tx.Accounts().List(ctx, TextFilter{}, Page{Limit: 1})
		if err != nil || users.Total > 0 {
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
	hash, err := c.hashPassword(ctx, password)
	if err != nil {
		return User{}, err
	}
	var u Account
	err = c.update(ctx, who, func(tx Tx, j *journal) error {
		if _, err := c.byHash(ctx, tx, secret, CredentialSetup); err != nil {
			return err
		}
		users, err := tx.Accounts().List(ctx, TextFilter{}, Page{Limit: 1})
		if err != nil {
			return err
		}
		if users.Total > 0 {
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

package domain

import (
	"fmt"
	"slices"
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
	// User is the user behind a session or token, "" for all others.
	User string
	// From is the address that the actor came from, without a port.
	From string
	Role Role
	// Scopes of a token; nil means all that the role may.
	Scopes []Scope
	// session is the session's credential, for Logout.
	session string
}

// Local is the owner of the data directory, who may do everything, being able
// to write to the database anyway. name is the name of the system's user.
func Local(name string) Actor {
	return Actor{Kind: ActorLocal, Name: name, From: "local", Role: RoleAdmin}
}

// permission is what a use case needs: a role at least, and a scope.
type permission struct {
	role  Role
	scope Scope
}

// The permissions. Each use case names one.
var (
	mayRead       = permission{RoleViewer, ScopeRead}
	mayAudit      = permission{RoleOperator, ScopeRead}
	mayDevices    = permission{RoleOperator, ScopeDevices}
	mayLoads      = permission{RoleOperator, ScopeLoads}
	mayEnterprise = permission{RoleAdmin, ScopeEnterprise}
	mayAccess     = permission{RoleAdmin, ScopeAccess}
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
func (a Actor) Can(s Scope) bool {
	for _, p := range []permission{mayRead, mayDevices, mayLoads, mayEnterprise, mayAccess} {
		if p.scope == s {
			return a.may(p) == nil
		}
	}
	return false
}

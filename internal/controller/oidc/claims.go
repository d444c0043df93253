package oidc

import (
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/controller/domain"
)

// find returns a claim: under its name, or inside of others where the name has
// dots.
func find(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	for i, r := range name {
		if r != '.' {
			continue
		}
		if inner, ok := claims[name[:i]].(map[string]any); ok {
			if v := find(inner, name[i+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

func has(claims map[string]any, name string) bool { return find(claims, name) != nil }

// texts are the values of a claim: one text, or a list of texts.
func texts(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			if s, ok := e.(string); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

// role is the strongest that the values stand for, "" for none, and the sites
// that it is limited to, none for all of the fleet. Values are compared as they
// are: "Admins" is not "admins".
func (c Config) role(values []string) (role domain.Role, sites []string) {
	everywhere := false
	for _, r := range c.Roles {
		switch d := slices.Index(ranks, r.Role) - slices.Index(ranks, role); {
		case !slices.Contains(values, r.Value) || d < 0:
			continue
		case d > 0:
			role, sites, everywhere = r.Role, nil, false
		}
		if r.Site == "" {
			everywhere = true
		}
		sites = append(sites, r.Site)
	}
	if everywhere {
		return role, nil
	}
	return role, sites
}

// identity is who the claims are about.
func (p *Provider) identity(subject string, claims map[string]any) (domain.Identity, error) {
	id := domain.Identity{Issuer: p.cfg.Issuer, Subject: subject}
	id.Role, id.Sites = p.cfg.role(texts(find(claims, p.cfg.RoleClaim)))
	name, _ := find(claims, p.cfg.NameClaim).(string)
	if name == "" {
		return id, answer("it has no name for you in the claim %q (--oidc-name-claim)", p.cfg.NameClaim)
	}
	if verified, told := claims["email_verified"]; p.cfg.NameClaim == "email" && told && verified != true {
		return id, answer("the issuer has not checked that %.100q is yours", name)
	}
	id.Name = name
	id.FullName, _ = claims["name"].(string)
	id.FullName = strings.ToValidUTF8(id.FullName, "")
	return id, nil
}

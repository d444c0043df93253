package frame

import (
	"strings"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/pages/words"
	"github.com/peerload/peerload/internal/device/wording"
)

// targetKinds are the words with which the audit log says to what something was done; a
// name comes after each. One that begins like another comes before it.
var targetKinds = []string{"device", "profile", "model", "enterprise", "site", "load", "fileset", "release", "rollout",
	"order key", "order", "bulk job", "template", "user", "token", "enrolment", "webhook", "identity", "repository",
	"audit"}

// Target is the target of an entry of the audit log in the language of a page. One of a
// kind that is not known is itself.
func Target(ja bool, is string) string {
	table, isJob := strings.CutPrefix(is, "bulk job of ")
	if n, name, ok := strings.Cut(table, " rows"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
		if isJob {
			return words.Say(ja, "bulk change of %s {line|lines}", n) + name
		}
		return words.Say(ja, "%s {line|lines}", n) + name
	}
	for _, kind := range targetKinds {
		name, ok := strings.CutPrefix(is, kind)
		if ok && (name == "" || name[0] == ' ') {
			return words.Say(ja, "target "+kind) + name
		}
	}
	return is
}

// Why is a reason of a device, or of a rollout for one, in the language of a page.
func Why(ja bool, code, message string) string {
	if words.Known("why " + code) {
		return words.Say(ja, "why "+code) + " (" + code + ")"
	}
	return wording.Why(ja, code, message)
}

// Actor is who has done something, by the kind of actor and the name that the audit log
// has of them, in the language of a page.
func Actor(ja bool, kind, name string) string {
	switch domain.ActorKind(kind) {
	case domain.ActorToken:
		if token, user, ok := strings.Cut(strings.TrimPrefix(name, "token "), " of "); ok {
			return words.Say(ja, "token %[1]s of %[2]s", token, user)
		}
	case domain.ActorSystem:
		if user, ok := strings.CutPrefix(name, "job of "); ok {
			return words.Say(ja, "bulk change of %s", user)
		}
		if words.Known("actor " + name) {
			return words.Say(ja, "actor "+name)
		}
		if id, ok := strings.CutPrefix(name, "issuer "); ok {
			return words.Say(ja, "sign-in service %s", id)
		}
		return Target(ja, name)
	}
	return name
}

package api

import (
	"context"
	"net/http"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/inprocess"
)

// The parameters of paths, to embed in requests.
type (
	// DevicePath names a device.
	DevicePath struct {
		Device string `path:"device" doc:"SEP and the MAC address, or the MAC address in any way of writing it"`
	}
	// ProfilePath names a common profile.
	ProfilePath struct {
		Profile string `path:"profile" doc:"the profile's name"`
	}
	// SitePath names a site.
	SitePath struct {
		Site string `path:"site" doc:"the site's name"`
	}
	// ModelPath names a model.
	ModelPath struct {
		Model string `path:"model" doc:"the model by any way of writing it"`
	}
	// EnterprisePath stands for the enterprise, which needs no name.
	EnterprisePath struct{}
	// LoadPath names a load.
	LoadPath struct {
		Load string `path:"load" doc:"the load's name"`
	}
	// FileSetPath names a file set.
	FileSetPath struct {
		FileSet string `path:"fileset" doc:"the file set's name"`
	}
	// ReleasePath names a release.
	ReleasePath struct {
		Release string `path:"release" doc:"the release's name"`
	}
	// UserPath names a user.
	UserPath struct {
		User string `path:"user" doc:"the user's name"`
	}
	// TokenPath names an API token.
	TokenPath struct {
		Token string `path:"token" doc:"the token's id"`
	}
	// EnrolmentPath names an enrolment token.
	EnrolmentPath struct {
		Enrolment string `path:"enrolment" doc:"the enrolment token's id"`
	}
	// WebhookPath names a webhook.
	WebhookPath struct {
		Webhook string `path:"webhook" doc:"the webhook's name"`
	}
	// OrderPath names an order.
	OrderPath struct {
		Order string `path:"order" doc:"the order's id"`
	}
	// JobPath names a bulk job.
	JobPath struct {
		Job string `path:"job" doc:"the job's id"`
	}
	// TemplatePath names a template.
	TemplatePath struct {
		Template string `path:"template" doc:"the template's name"`
	}
	// RolePath names a role of the repository.
	RolePath struct {
		Role string `path:"role" doc:"root, targets, snapshot or timestamp"`
	}
)

func (p DevicePath) target() domain.Target   { return domain.DeviceTarget(p.Device) }
func (p ProfilePath) target() domain.Target  { return domain.ProfileTarget(p.Profile) }
func (p ModelPath) target() domain.Target    { return domain.ModelTarget(p.Model) }
func (EnterprisePath) target() domain.Target { return domain.EnterpriseTarget() }

// A change of something at a level, with a body.
type (
	atDevice[B any] struct {
		DevicePath
		Changing[B]
	}
	atProfile[B any] struct {
		ProfilePath
		Changing[B]
	}
	atModel[B any] struct {
		ModelPath
		Changing[B]
	}
	atEnterprise[B any] struct {
		EnterprisePath
		Changing[B]
	}
)

// targeted is a request to a level; guarded is one that changes it, changing
// one with a body.
type (
	targeted interface{ target() domain.Target }
	guarded  interface {
		targeted
		version() (int64, error)
	}
	changing[B any] interface {
		guarded
		body() B
	}
)

// local calls a server in this process.
type local struct {
	server *Server
	actor  domain.Actor
}

// RoundTrip implements http.RoundTripper.
func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(context.WithValue(r.Context(), localKey{}, l.actor))
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "local"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	w := inprocess.NewAnswer(http.Header{})
	l.server.ServeHTTP(w, in)
	return w.Response(r), nil
}

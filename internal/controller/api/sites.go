package api

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/forecast"
	"github.com/peerload/peerload/internal/controller/livesite"
	"github.com/peerload/peerload/internal/live"
)

// NewSite is a site to make.
type NewSite struct {
	Name string `json:"name"`
	domain.SiteChange
}

// Silence is how long a device must be silent to count as silent.
type Silence struct {
	Silent int64 `query:"silent_s" minimum:"1" maximum:"31536000" default:"3600" doc:"seconds after which a device counts as silent"`
}

func (s Silence) after() time.Duration { return time.Duration(s.Silent) * time.Second }

// AtSite narrows an answer to the devices of one site.
type AtSite struct {
	Site string `query:"site" maxLength:"64" doc:"of devices that belong to this site"`
}

func (s *Server) sites() {
	register(s, op(http.MethodGet, "/sites", "list-sites", "List sites, each with its counts", needRead),
		func(ctx context.Context, in *struct {
			TextQuery
			Silence
		}) (*plain[domain.List[domain.SiteRow]], error) {
			l, err := s.ctl.Sites(ctx, actor(ctx), domain.TextFilter{Text: in.Text}, in.after(), in.page())
			return answer(s, ctx, l, err)
		})
	register(s, op(http.MethodPost, "/sites", "create-site", "Make a site", needDevices),
		func(ctx context.Context, in *struct{ Body NewSite }) (*versioned[domain.Site], error) {
			v, err := s.ctl.CreateSite(ctx, actor(ctx), in.Body.Name, in.Body.SiteChange)
			return answerVersion(s, ctx, v, v.Version, 0, err)
		})
	register(s, op(http.MethodGet, "/sites/{site}", "get-site", "A site with its counts", needRead),
		func(ctx context.Context, in *SitePath) (*versioned[domain.SiteRow], error) {
			v, err := s.ctl.Site(ctx, actor(ctx), in.Site, fleetSilent)
			return answerVersion(s, ctx, v, v.Version, 0, err)
		})
	plan := op(http.MethodGet, "/sites/{site}/plan", "plan-site",
		"What it would take to bring a load or a release to all devices of a site", needRead)
	plan.Errors = append(plan.Errors, http.StatusConflict)
	register(s, plan, func(ctx context.Context, in *struct {
		SitePath
		Load    string `query:"load" maxLength:"255" doc:"the load to bring; or a release"`
		Release string `query:"release" maxLength:"64" doc:"the release to bring"`
	}) (*plain[forecast.SitePlan], error) {
		p, err := s.cfg.Forecast.Site(ctx, actor(ctx), in.Site, forecast.Ask{Load: in.Load, Release: in.Release})
		return answer(s, ctx, p, err)
	})
	register(s, op(http.MethodPatch, "/sites/{site}", "update-site", "Change a site", needDevices),
		func(ctx context.Context, in *struct {
			SitePath
			Changing[domain.SiteChange]
		}) (*versioned[domain.Site], error) {
			asked, err := in.version()
			if err != nil {
				return nil, err
			}
			v, err := s.ctl.UpdateSite(ctx, actor(ctx), in.Site, in.Body, asked)
			return answerVersion(s, ctx, v, v.Version, asked, err)
		})
	register(s, op(http.MethodDelete, "/sites/{site}", "delete-site",
		"Remove a site that no device belongs to", needDevices),
		func(ctx context.Context, in *struct {
			SitePath
			Match
		}) (*struct{}, error) {
			asked, err := in.version()
			if err != nil {
				return nil, err
			}
			return nothing(s, ctx, asked, s.ctl.DeleteSite(ctx, actor(ctx), in.Site, asked))
		})
}

// live registers the operations on upgrades while they go on.
func (s *Server) live() {
	tell := op(http.MethodPost, "/devices/{device}/live", "tell-live",
		"A device tells how upgrades go on: its own, and those of the devices that it carries for", needDevice)
	tell.DefaultStatus, tell.MaxBodyBytes, tell.SkipValidateBody = http.StatusNoContent, live.MaxPacked, true
	register(s, tell, func(ctx context.Context, in *struct {
		DevicePath
		RawBody []byte `contentType:"application/octet-stream"`
	}) (*struct{}, error) {
		err := s.cfg.Live.Take(ctx, actor(ctx), s.cfg.Orders.Carries(in.Device), in.RawBody)
		return nothing(s, ctx, 0, err)
	}, detail{before: takesBytes})
	follow := op(http.MethodGet, "/sites/{site}/live", "follow-site", "The upgrades of a site while they go on", needRead)
	events := detail{before: func(o *huma.Operation, schemas huma.Registry) {
		o.Responses = map[string]*huma.Response{"200": {Description: "Server-sent events, each with an id and a " +
			"picture as data. The event snapshot tells how all devices stand, the event change those that have changed " +
			"since. Who sends the last id again gets what came after it, or a snapshot. The stream ends after some " +
			"minutes, and is to be asked for again.", Content: map[string]*huma.MediaType{
			eventsType: {Schema: schemas.Schema(typeOf[livesite.Picture](), true, "")}}}}
	}}
	register(s, follow, func(_ context.Context, in *struct {
		SitePath
		After string `header:"Last-Event-ID" maxLength:"64" doc:"the id of the last event that was seen"`
	}) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(c huma.Context) { s.follow(c, in.Site, in.After) }}, nil
	}, events)
	register(s, op(http.MethodGet, "/sites/{site}/live/last", "get-last-upgrade",
		"The last upgrade of a site from its beginning on, or the one under way", needRead),
		func(ctx context.Context, in *SitePath) (*plain[livesite.Replay], error) {
			r, err := s.cfg.Live.Last(ctx, actor(ctx), in.Site)
			return answer(s, ctx, r, err)
		})
}

// eventsType is the media type of server-sent events.
const eventsType = "text/event-stream"

// follow writes the events of a site as they come.
func (s *Server) follow(c huma.Context, site, after string) {
	ctx := c.Context()
	r, w := humago.Unwrap(c)
	out := s.stream(w)
	err := s.cfg.Live.Follow(ctx, actor(ctx), site, after, s.followed(c, r, out))
	out.end()
	if err != nil && !out.begun {
		refuse(c, s.fail(ctx, err, 0))
	}
}

// errOther ends a stream: who asks again is told why.
var errOther = errors.New("the session has ended, or has other rights than at the beginning")

// followed writes one event. With each sign of life it is found out anew who looks, as if
// they asked just now: a session may end, and rights may change, while a stream goes on.
func (s *Server) followed(c huma.Context, r *http.Request, out *stream) func(*livesite.Event) error {
	began := actor(c.Context())
	return func(e *livesite.Event) error {
		if e == nil && out.begun {
			now, err := s.identify(r, needRead)
			if err != nil {
				return err
			}
			if !reflect.DeepEqual(now.actor, began) {
				return errOther
			}
		}
		out.begin(c, eventsType)
		return out.write(e.Text())
	}
}

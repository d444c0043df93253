package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
)

// NewRelease is a release to make.
type NewRelease struct {
	Name string `json:"name"`
	domain.ReleaseChange
}

// ReleaseRef names a release to assign.
type ReleaseRef struct {
	Release string `json:"release" maxLength:"64" doc:"the release's name, empty for none at this level"`
}

func (s *Server) releases() {
	huma.Register(s.api, op(http.MethodGet, "/releases", "list-releases", "List releases", needRead),
		func(ctx context.Context, in *TextQuery) (*plain[domain.List[domain.Release]], error) {
			l, err := s.ctl.Releases(ctx, actor(ctx), domain.TextFilter{Text: in.Text}, in.page())
			return answer(s, ctx, l, err)
		})
	huma.Register(s.api, op(http.MethodPost, "/releases", "create-release",
		"Make one name for the loads of several models", needLoads),
		func(ctx context.Context, in *struct{ Body NewRelease }) (*versioned[domain.Release], error) {
			r, err := s.ctl.CreateRelease(ctx, actor(ctx), in.Body.Name, in.Body.ReleaseChange)
			return answerVersion(s, ctx, r, r.Version, 0, err)
		})
	huma.Register(s.api, op(http.MethodGet, "/releases/{release}", "get-release", "A release", needRead),
		func(ctx context.Context, in *ReleasePath) (*versioned[domain.Release], error) {
			r, err := s.ctl.Release(ctx, actor(ctx), in.Release)
			return answerVersion(s, ctx, r, r.Version, 0, err)
		})
	huma.Register(s.api, op(http.MethodPatch, "/releases/{release}", "update-release",
		"Change a release; its loads stay while it is assigned", needLoads),
		func(ctx context.Context, in *struct {
			ReleasePath
			Changing[domain.ReleaseChange]
		}) (*versioned[domain.Release], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			r, err := s.ctl.UpdateRelease(ctx, actor(ctx), in.Release, in.Body, v)
			return answerVersion(s, ctx, r, r.Version, v, err)
		})
	huma.Register(s.api, op(http.MethodDelete, "/releases/{release}", "delete-release",
		"Remove a release that is assigned nowhere; its loads stay", needLoads),
		func(ctx context.Context, in *struct {
			ReleasePath
			Match
		}) (*struct{}, error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			return nothing(s, ctx, v, s.ctl.DeleteRelease(ctx, actor(ctx), in.Release, v))
		})
	releaseAt[atDevice[ReleaseRef]](s, "/devices/{device}", "device", needDevices)
	releaseAt[atProfile[ReleaseRef]](s, "/profiles/{profile}", "profile", needDevices)
	releaseAt[atModel[ReleaseRef]](s, "/models/{model}", "model", needEnterprise)
	releaseAt[atEnterprise[ReleaseRef]](s, "/enterprise", "enterprise", needEnterprise)
}

// releaseAt assigns a release at one level.
func releaseAt[W changing[ReleaseRef]](s *Server, path, word string, may need) {
	huma.Register(s.api, op(http.MethodPut, path+"/release", "assign-"+word+"-release", "Assign a release at this level",
		may),
		func(ctx context.Context, in *W) (*versioned[domain.Assigned], error) {
			v, err := (*in).version()
			if err != nil {
				return nil, err
			}
			a, err := s.ctl.AssignRelease(ctx, actor(ctx), (*in).target(), (*in).body().Release, v)
			return answerVersion(s, ctx, a, a.Version, v, err)
		})
}

package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
)

// LoadRef names a load to assign.
type LoadRef struct {
	Load string `json:"load" maxLength:"255" doc:"the load's name, empty for none at this level"`
}

// targeted makes the target of a request.
type targeted func(context.Context) domain.Target

func atDevice(ctx context.Context) domain.Target  { return domain.DeviceTarget(at(ctx, "device")) }
func atProfile(ctx context.Context) domain.Target { return domain.ProfileTarget(at(ctx, "profile")) }
func atModel(ctx context.Context) domain.Target   { return domain.ModelTarget(at(ctx, "model")) }
func atEnterprise(context.Context) domain.Target  { return domain.EnterpriseTarget() }

// NewProfile is a profile to make.
type NewProfile struct {
	Name string `json:"name"`
	domain.ProfileChange
}

type textQuery struct {
	Paged
	Text string `query:"text" maxLength:"100" doc:"part of the name or description"`
}

func (s *Server) levels() {
	s.enterprise()
	s.profiles()
	settings(s, atDevice, "/devices/{device}", "device", needDevices)
	settings(s, atProfile, "/profiles/{profile}", "profile", needDevices)
	settings(s, atEnterprise, "/enterprise", "enterprise", needEnterprise)
	assignments(s, atDevice, "/devices/{device}", "device", needDevices)
	assignments(s, atProfile, "/profiles/{profile}", "profile", needDevices)
	assignments(s, atModel, "/models/{model}", "model", needEnterprise)
	assignments(s, atEnterprise, "/enterprise", "enterprise", needEnterprise)
}

// settings are the settings of one level.
func settings(s *Server, target targeted, path, word string, may need) {
	huma.Register(s.api, op(http.MethodGet, path+"/settings", "get-"+word+"-settings", "All settings of this level, set "+
		"or not", needRead),
		func(ctx context.Context, _ *struct{}) (*versioned[domain.LevelSettings], error) {
			l, err := s.ctl.Settings(ctx, actor(ctx), target(ctx))
			return answerVersion(s, ctx, l, l.Version, 0, err)
		})
	huma.Register(s.api, op(http.MethodPatch, path+"/settings", "change-"+word+"-settings", "Set and unset settings of "+
		"this level", may),
		func(ctx context.Context, in *Changing[domain.SettingsChange]) (*versioned[domain.LevelSettings], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			l, err := s.ctl.ChangeSettings(ctx, actor(ctx), target(ctx), in.Body, v)
			return answerVersion(s, ctx, l, l.Version, v, err)
		})
}

// assignments are the loads of one level.
func assignments(s *Server, target targeted, path, word string, may need) {
	huma.Register(s.api, op(http.MethodPut, path+"/load", "assign-"+word+"-load", "Assign a load at this level", may),
		func(ctx context.Context, in *Changing[LoadRef]) (*versioned[domain.Assigned], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			a, err := s.ctl.AssignLoad(ctx, actor(ctx), target(ctx), in.Body.Load, v)
			return answerVersion(s, ctx, a, a.Version, v, err)
		})
	huma.Register(s.api, does(op(http.MethodPost, path+"/load/roll-back", "roll-back-"+word+"-load", "Assign the load "+
		"that was assigned before", may)),
		func(ctx context.Context, in *IfMatchInput) (*versioned[domain.Assigned], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			a, err := s.ctl.RollBackLoad(ctx, actor(ctx), target(ctx), v)
			return answerVersion(s, ctx, a, a.Version, v, err)
		})
}

func (s *Server) enterprise() {
	huma.Register(s.api, op(http.MethodGet, "/enterprise", "get-enterprise",
		"What holds for all devices, and the switches", needRead),
		func(ctx context.Context, _ *struct{}) (*versioned[domain.Enterprise], error) {
			e, err := s.ctl.Enterprise(ctx, actor(ctx))
			return answerVersion(s, ctx, e, e.Version, 0, err)
		})
	huma.Register(s.api, op(http.MethodPatch, "/enterprise", "update-enterprise", "Change the switches", needEnterprise),
		func(ctx context.Context, in *Changing[domain.EnterpriseChange]) (*versioned[domain.Enterprise], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			e, err := s.ctl.UpdateEnterprise(ctx, actor(ctx), in.Body, v)
			return answerVersion(s, ctx, e, e.Version, v, err)
		})
}

func (s *Server) profiles() {
	huma.Register(s.api, op(http.MethodGet, "/profiles", "list-profiles", "List common profiles", needRead),
		func(ctx context.Context, in *textQuery) (*plain[domain.List[domain.Profile]], error) {
			l, err := s.ctl.Profiles(ctx, actor(ctx), domain.TextFilter{Text: in.Text}, in.page())
			return answer(s, ctx, l, err)
		})
	huma.Register(s.api, op(http.MethodPost, "/profiles", "create-profile", "Make a common profile", needDevices),
		func(ctx context.Context, in *struct{ Body NewProfile }) (*versioned[domain.Profile], error) {
			p, err := s.ctl.CreateProfile(ctx, actor(ctx), in.Body.Name, in.Body.ProfileChange)
			return answerVersion(s, ctx, p, p.Version, 0, err)
		})
	huma.Register(s.api, op(http.MethodGet, "/profiles/{profile}", "get-profile", "A common profile", needRead),
		func(ctx context.Context, _ *struct{}) (*versioned[domain.Profile], error) {
			p, err := s.ctl.Profile(ctx, actor(ctx), at(ctx, "profile"))
			return answerVersion(s, ctx, p, p.Version, 0, err)
		})
	huma.Register(s.api, op(http.MethodPatch, "/profiles/{profile}", "update-profile", "Change a common profile",
		needDevices),
		func(ctx context.Context, in *Changing[domain.ProfileChange]) (*versioned[domain.Profile], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			p, err := s.ctl.UpdateProfile(ctx, actor(ctx), at(ctx, "profile"), in.Body, v)
			return answerVersion(s, ctx, p, p.Version, v, err)
		})
	huma.Register(s.api, op(http.MethodDelete, "/profiles/{profile}", "delete-profile",
		"Remove a profile that no device has", needDevices),
		func(ctx context.Context, in *IfMatchInput) (*struct{}, error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			return nothing(s, ctx, v, s.ctl.DeleteProfile(ctx, actor(ctx), at(ctx, "profile"), v))
		})
}

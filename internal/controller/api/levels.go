package api

import (
	"context"
	"net/http"

	"github.com/peerload/peerload/internal/controller/domain"
)

// LoadRef names a load to assign.
type LoadRef struct {
	Load string `json:"load" maxLength:"255" doc:"the load's name, empty for none at this level"`
}

// NewProfile is a profile to make.
type NewProfile struct {
	Name string `json:"name"`
	domain.ProfileChange
}

// TextQuery asks for what has a text in its name or in what people say of it.
type TextQuery struct {
	Paged
	Text string `query:"text" maxLength:"100" doc:"part of the name, or of the description, note or full name"`
}

func (s *Server) levels() {
	s.enterprise()
	s.profiles()
	settings[DevicePath, atDevice[domain.SettingsChange]](s, "/devices/{device}", "device", needDevices)
	settings[ProfilePath, atProfile[domain.SettingsChange]](s, "/profiles/{profile}", "profile", needDevices)
	settings[EnterprisePath, atEnterprise[domain.SettingsChange]](s, "/enterprise", "enterprise", needEnterprise)
	assignments[atDevice[LoadRef], struct {
		DevicePath
		Match
	}](s, "/devices/{device}", "device", needDevices)
	assignments[atProfile[LoadRef], struct {
		ProfilePath
		Match
	}](s, "/profiles/{profile}", "profile", needDevices)
	assignments[atModel[LoadRef], struct {
		ModelPath
		Match
	}](s, "/models/{model}", "model", needEnterprise)
	assignments[atEnterprise[LoadRef], struct {
		EnterprisePath
		Match
	}](s, "/enterprise", "enterprise", needEnterprise)
}

// settings are the settings of one level, which R reads and W changes.
func settings[R targeted, W changing[domain.SettingsChange]](s *Server, path, word string, may need) {
	register(s, op(http.MethodGet, path+"/settings", "get-"+word+"-settings", "All settings of this level, set "+
		"or not", needRead),
		func(ctx context.Context, in *R) (*versioned[domain.LevelSettings], error) {
			l, err := s.ctl.Settings(ctx, actor(ctx), (*in).target())
			return answerVersion(s, ctx, l, l.Version, 0, err)
		})
	register(s, op(http.MethodPatch, path+"/settings", "change-"+word+"-settings", "Set and unset settings of "+
		"this level", may),
		func(ctx context.Context, in *W) (*versioned[domain.LevelSettings], error) {
			v, err := (*in).version()
			if err != nil {
				return nil, err
			}
			l, err := s.ctl.ChangeSettings(ctx, actor(ctx), (*in).target(), (*in).body(), v)
			return answerVersion(s, ctx, l, l.Version, v, err)
		})
}

// assignments are the loads of one level, which W assigns and B rolls back.
func assignments[W changing[LoadRef], B guarded](s *Server, path, word string, may need) {
	register(s, op(http.MethodPut, path+"/load", "assign-"+word+"-load", "Assign a load at this level", may),
		func(ctx context.Context, in *W) (*versioned[domain.Assigned], error) {
			v, err := (*in).version()
			if err != nil {
				return nil, err
			}
			a, err := s.ctl.AssignLoad(ctx, actor(ctx), (*in).target(), (*in).body().Load, v)
			return answerVersion(s, ctx, a, a.Version, v, err)
		})
	register(s, does(op(http.MethodPost, path+"/load/roll-back", "roll-back-"+word+"-load", "Assign the load "+
		"that was assigned before", may)),
		func(ctx context.Context, in *B) (*versioned[domain.Assigned], error) {
			v, err := (*in).version()
			if err != nil {
				return nil, err
			}
			a, err := s.ctl.RollBackLoad(ctx, actor(ctx), (*in).target(), v)
			return answerVersion(s, ctx, a, a.Version, v, err)
		})
}

func (s *Server) enterprise() {
	register(s, op(http.MethodGet, "/enterprise", "get-enterprise",
		"What holds for all devices, and the switches", needRead),
		func(ctx context.Context, _ *struct{}) (*versioned[domain.Enterprise], error) {
			e, err := s.ctl.Enterprise(ctx, actor(ctx))
			return answerVersion(s, ctx, e, e.Version, 0, err)
		})
	register(s, op(http.MethodPatch, "/enterprise", "update-enterprise", "Change the switches", needEnterprise),
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
	register(s, op(http.MethodGet, "/profiles", "list-profiles", "List common profiles", needRead),
		func(ctx context.Context, in *TextQuery) (*plain[domain.List[domain.Profile]], error) {
			l, err := s.ctl.Profiles(ctx, actor(ctx), domain.TextFilter{Text: in.Text}, in.page())
			return answer(s, ctx, l, err)
		})
	register(s, op(http.MethodPost, "/profiles", "create-profile", "Make a common profile", needDevices),
		func(ctx context.Context, in *struct{ Body NewProfile }) (*versioned[domain.Profile], error) {
			p, err := s.ctl.CreateProfile(ctx, actor(ctx), in.Body.Name, in.Body.ProfileChange)
			return answerVersion(s, ctx, p, p.Version, 0, err)
		})
	register(s, op(http.MethodGet, "/profiles/{profile}", "get-profile", "A common profile", needRead),
		func(ctx context.Context, in *ProfilePath) (*versioned[domain.Profile], error) {
			p, err := s.ctl.Profile(ctx, actor(ctx), in.Profile)
			return answerVersion(s, ctx, p, p.Version, 0, err)
		})
	register(s, op(http.MethodPatch, "/profiles/{profile}", "update-profile", "Change a common profile",
		needDevices),
		func(ctx context.Context, in *struct {
			ProfilePath
			Changing[domain.ProfileChange]
		}) (*versioned[domain.Profile], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			p, err := s.ctl.UpdateProfile(ctx, actor(ctx), in.Profile, in.Body, v)
			return answerVersion(s, ctx, p, p.Version, v, err)
		})
	register(s, op(http.MethodDelete, "/profiles/{profile}", "delete-profile",
		"Remove a profile that no device has", needDevices),
		func(ctx context.Context, in *struct {
			ProfilePath
			Match
		}) (*struct{}, error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			return nothing(s, ctx, v, s.ctl.DeleteProfile(ctx, actor(ctx), in.Profile, v))
		})
}

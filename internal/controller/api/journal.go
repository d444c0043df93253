package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
)

// Between is a span of time.
type Between struct {
	Since  time.Time `query:"since" doc:"at that time or after"`
	Before time.Time `query:"before" doc:"before that time"`
}

// HistoryQuery asks for a part of the history.
type HistoryQuery struct {
	Paged
	Between
	Kind string `query:"kind" maxLength:"64" enum:"state,load,file,failure,restart,address,known"`
}

func (s *Server) journal() {
	huma.Register(s.api, op(http.MethodGet, "/overview", "get-overview", "Counts of devices and bytes", needRead),
		func(ctx context.Context, in *struct {
			Silent int64 `query:"silent_s" minimum:"1" maximum:"31536000" default:"3600" doc:"seconds after which a device counts as silent"`
		}) (*plain[domain.Overview], error) {
			o, err := s.ctl.Overview(ctx, actor(ctx), time.Duration(in.Silent)*time.Second)
			return answer(s, ctx, o, err)
		})
	list := func(ctx context.Context, in *HistoryQuery, device string) (*plain[domain.List[domain.HistoryEntry]], error) {
		l, err := s.ctl.History(ctx, actor(ctx), domain.HistoryFilter{Device: device, Kind: in.Kind, Since: in.Since,
			Before: in.Before}, in.page())
		return answer(s, ctx, l, err)
	}
	huma.Register(s.api, op(http.MethodGet, "/history", "list-history", "What happened to devices, the latest first",
		needRead),
		func(ctx context.Context, in *HistoryQuery) (*plain[domain.List[domain.HistoryEntry]], error) {
			return list(ctx, in, "")
		})
	huma.Register(s.api, op(http.MethodGet, "/devices/{device}/history", "list-device-history",
		"What happened to a device, the latest first", needSelf),
		func(ctx context.Context, in *struct {
			DevicePath
			HistoryQuery
		}) (*plain[domain.List[domain.HistoryEntry]], error) {
			return list(ctx, &in.HistoryQuery, in.Device)
		})
	huma.Register(s.api, op(http.MethodGet, "/audit", "list-audit", "Who changed what, the latest first", needRead),
		func(ctx context.Context, in *struct {
			Paged
			Between
			Actor  string `query:"actor" maxLength:"200"`
			Action string `query:"action" maxLength:"100"`
			Target string `query:"target" maxLength:"300"`
		}) (*plain[domain.List[domain.AuditEntry]], error) {
			l, err := s.ctl.Audit(ctx, actor(ctx), domain.AuditFilter{Actor: in.Actor, Action: in.Action, Target: in.Target,
				Since:  in.Since,
				Before: in.Before}, in.page())
			return answer(s, ctx, l, err)
		})
}

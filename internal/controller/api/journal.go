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
			Silence
			AtSite
		}) (*plain[domain.Overview], error) {
			o, err := s.ctl.Overview(ctx, actor(ctx), in.Site, in.after())
			return answer(s, ctx, o, err)
		})
	list := func(ctx context.Context, in *HistoryQuery,
		device, site string) (*plain[domain.List[domain.HistoryEntry]], error) {
		l, err := s.ctl.History(ctx, actor(ctx), domain.HistoryFilter{Device: device, Site: site, Kind: in.Kind,
			Since: in.Since, Before: in.Before}, in.page())
		return answer(s, ctx, l, err)
	}
	huma.Register(s.api, op(http.MethodGet, "/history", "list-history", "What happened to devices, the latest first",
		needRead),
		func(ctx context.Context, in *struct {
			HistoryQuery
			AtSite
		}) (*plain[domain.List[domain.HistoryEntry]], error) {
			return list(ctx, &in.HistoryQuery, "", in.Site)
		})
	huma.Register(s.api, op(http.MethodGet, "/devices/{device}/history", "list-device-history",
		"What happened to a device, the latest first", needSelf),
		func(ctx context.Context, in *struct {
			DevicePath
			HistoryQuery
		}) (*plain[domain.List[domain.HistoryEntry]], error) {
			return list(ctx, &in.HistoryQuery, in.Device, "")
		})
	huma.Register(s.api, op(http.MethodGet, "/audit", "list-audit", "Who changed what, the latest first", needRead),
		func(ctx context.Context, in *struct {
			Paged
			Between
			AtSite
			PartOf string `query:"part_of" maxLength:"64" doc:"parts of the entry of this id"`
			Actor  string `query:"actor" maxLength:"200"`
			Action string `query:"action" maxLength:"100"`
			Target string `query:"target" maxLength:"300"`
		}) (*plain[domain.List[domain.AuditEntry]], error) {
			l, err := s.ctl.Audit(ctx, actor(ctx), domain.AuditFilter{Actor: in.Actor,
				Action: in.Action,
				Target: in.Target, PartOf: in.PartOf,
				Site: in.Site, Since: in.Since, Before: in.Before}, in.page())
			return answer(s, ctx, l, err)
		})
}

// changes are the orders that may touch many devices.
func (s *Server) changes() {
	o := does(op(http.MethodPost, "/changes", "change", "Change many devices as one, or say what would be touched",
		needDevices))
	o.Description = "The order is carried out whole or not at all; of rows, each by itself, and the answer says which " +
		"were refused. A dry run refuses what the order would refuse, and changes nothing. The answer has the id of the " +
		"entry of the audit log by which the change can be undone."
	o.Errors = append(o.Errors, http.StatusNotFound)
	o.MaxBodyBytes, o.BodyReadTimeout = bulkBytes, time.Minute
	huma.Register(s.api, o, func(ctx context.Context, in *struct {
		DryRun bool `query:"dry_run" doc:"change nothing, and say what would be touched"`
		Body   domain.Order
	}) (*plain[domain.Changed], error) {
		c, err := s.ctl.Change(ctx, actor(ctx), in.Body, in.DryRun)
		return answer(s, ctx, c, err)
	})
}

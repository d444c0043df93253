package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
)

// changes are the orders that may touch many devices.
func (s *Server) changes() {
	o := does(op(http.MethodPost, "/changes", "change", "Change many devices as one, or say what would be touched",
		needDevices))
	o.Description = "The order is carried out whole or not at all. A dry run refuses what the order would refuse, and " +
		"changes nothing. The answer has the id of the entry of the audit log by which the change can be undone."
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

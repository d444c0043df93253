package api

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/peerload/peerload/internal/controller/bulk"
	"github.com/peerload/peerload/internal/controller/bulk/table"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/summary"
	"github.com/peerload/peerload/internal/durable"
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
	Kind string `query:"kind" maxLength:"64" enum:"state,load,file,file-set,failure,restart,address,known"`
}

func (s *Server) journal() {
	register(s, op(http.MethodGet, "/overview", "get-overview", "Counts of devices and bytes", needRead),
		func(ctx context.Context, in *struct {
			Silence
			AtSite
		}) (*plain[domain.Overview], error) {
			o, err := s.ctl.Overview(ctx, actor(ctx), in.Site, in.after())
			if free, size, unknown := durable.Room(s.cfg.Spool); unknown == nil && in.Site == "" && !actor(ctx).Realm.Limited() {
				o.DiskFree, o.DiskSize = &free, &size
			}
			return answer(s, ctx, o, err)
		})
	s.failures()
	list := func(ctx context.Context, in *HistoryQuery,
		device, site string) (*plain[domain.List[domain.HistoryEntry]], error) {
		l, err := s.ctl.History(ctx, actor(ctx), domain.HistoryFilter{Device: device, Site: site, Kind: in.Kind,
			Since: in.Since, Before: in.Before}, in.page())
		return answer(s, ctx, l, err)
	}
	register(s, op(http.MethodGet, "/history", "list-history", "What happened to devices, the latest first",
		needRead),
		func(ctx context.Context, in *struct {
			HistoryQuery
			AtSite
		}) (*plain[domain.List[domain.HistoryEntry]], error) {
			return list(ctx, &in.HistoryQuery, "", in.Site)
		})
	register(s, op(http.MethodGet, "/devices/{device}/history", "list-device-history",
		"What happened to a device, the latest first", needSelf),
		func(ctx context.Context, in *struct {
			DevicePath
			HistoryQuery
		}) (*plain[domain.List[domain.HistoryEntry]], error) {
			return list(ctx, &in.HistoryQuery, in.Device, "")
		})
	register(s, op(http.MethodGet, "/audit", "list-audit", "Who changed what, the latest first", needRead),
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

// SavingsQuery says which savings are summed up.
type SavingsQuery struct {
	AtSite
	Load    string   `query:"load" maxLength:"255" doc:"of this load or file set"`
	Release string   `query:"release" maxLength:"64" doc:"of the loads that are in this release"`
	Since   string   `query:"since" maxLength:"7" doc:"from this month on, by UTC: 2026-11"`
	Until   string   `query:"until" maxLength:"7" doc:"up to this month"`
	By      []string `query:"by,explode" maxItems:"4" enum:"site,load,release,month" doc:"one row for each of these"`
}

// FailureQuery finds failures.
type FailureQuery struct {
	Paged
	AtSite
	AboutLoad
}

// failures are the operations that tell who failed, and what was saved.
func (s *Server) failures() {
	register(s, op(http.MethodGet, "/failures", "list-failures",
		"What devices tell of that did not succeed: upgrades and file sets", needRead), func(ctx context.Context,
		in *FailureQuery) (*plain[domain.List[summary.Failure]], error) {
		l, err := s.cfg.Summary.Failures(ctx, actor(ctx), summary.FailureQuery{Site: in.Site, Load: in.About}, in.page())
		return answer(s, ctx, l, err)
	})
	o := op(http.MethodGet, "/savings", "get-savings", "What sharing among peers has saved", needRead)
	o.Description = "Bytes that came from servers, beside those that would have come from there if each device had " +
		"fetched by itself what it did not hold. A load that is in several releases counts in the row of each, and once in " +
		"the total."
	o.Errors = append(o.Errors, http.StatusNotFound)
	register(s, o, func(ctx context.Context, in *SavingsQuery) (*plain[summary.Savings], error) {
		v, err := s.cfg.Summary.Savings(ctx, actor(ctx), summary.SavingQuery{Site: in.Site, Load: in.Load,
			Release: in.Release, Since: in.Since, Until: in.Until, By: in.By})
		return answer(s, ctx, v, err)
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
	register(s, o, func(ctx context.Context, in *struct {
		DryRun bool `query:"dry_run" doc:"change nothing, and say what would be touched"`
		Body   domain.Order
	}) (*plain[domain.Changed], error) {
		c, err := s.ctl.Change(ctx, actor(ctx), in.Body, in.DryRun)
		return answer(s, ctx, c, err)
	})
}

// jobBytes bounds the body of a job: a table in base64.
const jobBytes = table.MaxBytes/3*4 + 1<<20

// JobQuery asks for rows of a job.
type JobQuery struct {
	JobPath
	Paged
	Bad bool `query:"bad" doc:"only rows with a problem"`
}

// jobs are the operations of bulk jobs.
func (s *Server) jobs() {
	plan := does(op(http.MethodPost, "/jobs/plan", "plan-job", "What would become of each row of a table or query",
		needDevices))
	plan.MaxBodyBytes, plan.BodyReadTimeout = jobBytes, 5*time.Minute
	plan.Errors = append(plan.Errors, http.StatusNotFound)
	register(s, plan, func(ctx context.Context, in *struct{ Body bulk.Request }) (*plain[bulk.Plan], error) {
		p, err := s.cfg.Jobs.Plan(ctx, actor(ctx), in.Body)
		return answer(s, ctx, p, err)
	})
	create := op(http.MethodPost, "/jobs", "create-job", "Change the devices of a table or query, in steps", needDevices)
	create.MaxBodyBytes, create.BodyReadTimeout = jobBytes, 5*time.Minute
	create.Errors = append(create.Errors, http.StatusNotFound)
	register(s, create, func(ctx context.Context, in *struct{ Body bulk.Request }) (*plain[domain.Job], error) {
		j, err := s.cfg.Jobs.Create(ctx, actor(ctx), in.Body)
		return answer(s, ctx, j, err)
	})
	register(s, op(http.MethodGet, "/jobs", "list-jobs", "List bulk jobs, the oldest first", needRead),
		func(ctx context.Context, in *struct {
			Paged
			Site string `query:"site" maxLength:"64" doc:"those that have devices of this site, or move them there"`
		}) (*plain[domain.List[domain.Job]], error) {
			l, err := s.cfg.Jobs.Jobs(ctx, actor(ctx), in.Site, in.page())
			return answer(s, ctx, l, err)
		})
	register(s, op(http.MethodGet, "/jobs/{job}", "get-job", "How far a bulk job is", needRead),
		func(ctx context.Context, in *JobPath) (*plain[domain.Job], error) {
			j, err := s.cfg.Jobs.Job(ctx, actor(ctx), in.Job)
			return answer(s, ctx, j, err)
		})
	register(s, op(http.MethodGet, "/jobs/{job}/rows", "list-job-rows", "The rows of a bulk job", needRead),
		func(ctx context.Context, in *JobQuery) (*plain[domain.List[domain.JobRow]], error) {
			l, err := s.cfg.Jobs.Rows(ctx, actor(ctx), in.Job, in.Bad, in.page())
			return answer(s, ctx, l, err)
		})
	register(s, does(op(http.MethodPost, "/jobs/{job}/undo", "undo-job", "Take back what a bulk job has changed",
		needDevices)), func(ctx context.Context, in *struct {
		JobPath
		SkipBad bool `query:"skip_bad" doc:"keep rows that cannot be taken back, and take back the others"`
	}) (*plain[domain.Job], error) {
		j, err := s.cfg.Jobs.Undo(ctx, actor(ctx), in.Job, in.SkipBad)
		return answer(s, ctx, j, err)
	})
	export := does(op(http.MethodPost, "/jobs/export", "export-devices", "Devices as a table that imports to no change",
		needDevices))
	export.Errors = append(export.Errors, http.StatusNotFound)
	register(s, export, func(ctx context.Context, in *struct {
		Format string `query:"format" enum:"csv,xlsx" default:"csv"`
		Body   bulk.Query
	}) (*plain[ExportAnswer], error) {
		t, err := s.cfg.Jobs.Export(ctx, actor(ctx), in.Body)
		if err != nil {
			return nil, s.fail(ctx, err, 0)
		}
		var b bytes.Buffer
		if in.Format == "xlsx" {
			err = table.WriteXLSX(&b, t)
		} else {
			err = table.WriteCSV(&b, t)
		}
		return answer(s, ctx, ExportAnswer{len(t.Rows), b.Bytes()}, err)
	})
	s.templates()
}

// ExportAnswer is a table of devices.
type ExportAnswer struct {
	Rows  int    `json:"rows"`
	Table []byte `json:"table"`
}

// TemplateChange is what a template says.
type TemplateChange struct {
	Note   string              `json:"note,omitempty"`
	Change domain.DeviceChange `json:"change"`
}

// templates are the operations of templates of bulk jobs.
func (s *Server) templates() {
	register(s, op(http.MethodGet, "/templates", "list-templates", "List templates of bulk jobs", needRead),
		func(ctx context.Context, in *Paged) (*plain[domain.List[domain.Template]], error) {
			l, err := s.cfg.Jobs.Templates(ctx, actor(ctx), in.page())
			return answer(s, ctx, l, err)
		})
	register(s, op(http.MethodPut, "/templates/{template}", "put-template", "Make or replace a template",
		needDevices), func(ctx context.Context, in *struct {
		TemplatePath
		Changing[TemplateChange]
	}) (*versioned[domain.Template], error) {
		v, err := in.version()
		if err != nil {
			return nil, err
		}
		t, err := s.cfg.Jobs.PutTemplate(ctx, actor(ctx), in.Template, in.Body.Note, in.Body.Change, v)
		return answerVersion(s, ctx, t, t.Version, v, err)
	})
	register(s, op(http.MethodDelete, "/templates/{template}", "delete-template", "Remove a template",
		needDevices),
		func(ctx context.Context, in *TemplatePath) (*struct{}, error) {
			return nothing(s, ctx, 0, s.cfg.Jobs.DeleteTemplate(ctx, actor(ctx), in.Template))
		})
}

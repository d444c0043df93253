package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/report"
)

// NewDevice is a device to create.
type NewDevice struct {
	// Name in any spelling of the name or the MAC address.
	Name string `json:"name"`
	domain.DeviceChange
}

// Enrolment is what a device sends to enrol; its enrolment token or site key is
// the bearer token.
type Enrolment struct {
	Device string `json:"device" doc:"the device's name or MAC address"`
	Model  string `json:"model,omitempty"`
	Secret string `json:"secret" minLength:"32" maxLength:"128" doc:"made by the device, at random; it is the device's bearer token from then on"`
}

// BulkRequest are rows to write.
type BulkRequest struct {
	Rows []domain.BulkRow `json:"rows" maxItems:"10000"`
}

// BulkAnswer has the result of each row.
type BulkAnswer struct {
	// OK counts the rows that were written, read back and found as asked.
	OK      int                 `json:"ok"`
	Failed  int                 `json:"failed"`
	Results []domain.BulkResult `json:"results"`
}

// checkInBytes bounds the body of a check-in.
const checkInBytes = 4 << 20

// bulkBytes bounds the body of a bulk write.
const bulkBytes = 16 << 20

type deviceQuery struct {
	Paged
	Text      string `query:"text" maxLength:"100" doc:"part of the name or description"`
	Model     string `query:"model" maxLength:"180"`
	Profile   string `query:"profile" maxLength:"64"`
	NoProfile bool   `query:"no_profile" doc:"devices that have no profile"`
	AtSite
	Registration string `query:"origin" enum:"administrator,auto-registered,enrolled"`
	Load         string `query:"load" maxLength:"255" doc:"assigned at the level of the device"`
	Release      string `query:"release" maxLength:"64" doc:"assigned at the level of the device"`
	State        string `query:"state" maxLength:"64" doc:"as last reported"`
	Active       string `query:"active" maxLength:"300" doc:"the load that runs, as last reported"`
	AboutLoad
	Failed bool  `query:"failed" doc:"devices that tell of a failure: of their upgrade or of a file set"`
	Silent int64 `query:"silent_s" minimum:"1" maximum:"315360000" doc:"devices that have not reported for so many seconds"`
}

// AboutLoad finds devices by a load.
type AboutLoad struct {
	About string `query:"about" maxLength:"300" doc:"a load that the device runs, or is to run, as last reported"`
}

func (s *Server) deviceFilter(in *deviceQuery) domain.DeviceFilter {
	f := domain.DeviceFilter{Text: in.Text, Model: in.Model, Profile: in.Profile, NoProfile: in.NoProfile, Site: in.Site,
		Registration: in.Registration, Load: in.Load, Release: in.Release, State: in.State, Active: in.Active,
		About: in.About, Failed: in.Failed}
	if in.Silent > 0 {
		f.Silent = s.ctl.Time().Add(-time.Duration(in.Silent) * time.Second)
	}
	return f
}

func (s *Server) devices() {
	register(s, op(http.MethodGet, "/devices", "list-devices", "List devices", needRead),
		func(ctx context.Context, in *deviceQuery) (*plain[domain.List[domain.DeviceRow]], error) {
			l, err := s.ctl.Devices(ctx, actor(ctx), s.deviceFilter(in), in.page())
			return answer(s, ctx, l, err)
		})
	register(s, op(http.MethodPost, "/devices", "create-device", "Make a device known", needDevices),
		func(ctx context.Context, in *struct{ Body NewDevice }) (*versioned[domain.Device], error) {
			d, err := s.ctl.CreateDevice(ctx, actor(ctx), in.Body.Name, in.Body.DeviceChange)
			return answerVersion(s, ctx, d, d.Version, 0, err)
		})
	register(s, op(http.MethodGet, "/devices/{device}", "get-device", "A device and the last that is known of it",
		needSelf),
		func(ctx context.Context, in *DevicePath) (*versioned[domain.DeviceRow], error) {
			d, err := s.ctl.Device(ctx, actor(ctx), in.Device)
			return answerVersion(s, ctx, d, d.Version, 0, err)
		})
	register(s, op(http.MethodPatch, "/devices/{device}", "update-device", "Change a device", needDevices),
		func(ctx context.Context, in *struct {
			DevicePath
			Changing[domain.DeviceChange]
		}) (*versioned[domain.Device], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			d, err := s.ctl.UpdateDevice(ctx, actor(ctx), in.Device, in.Body, v)
			return answerVersion(s, ctx, d, d.Version, v, err)
		})
	register(s, op(http.MethodDelete, "/devices/{device}", "delete-device",
		"Forget a device and its history; its secret too, if the caller may reset identities", needDevices),
		func(ctx context.Context, in *struct {
			DevicePath
			Match
		}) (*struct{}, error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			return nothing(s, ctx, v, s.ctl.DeleteDevice(ctx, actor(ctx), in.Device, v))
		})
	bulk := does(op(http.MethodPost, "/bulk", "bulk-devices", "Write many devices, each read back", needDevices))
	bulk.MaxBodyBytes, bulk.BodyReadTimeout = bulkBytes, time.Minute
	register(s, bulk, func(ctx context.Context, in *struct{ Body BulkRequest }) (*plain[BulkAnswer], error) {
		results, err := s.ctl.Bulk(ctx, actor(ctx), in.Body.Rows)
		out := BulkAnswer{Results: results}
		for _, r := range results {
			if r.OK {
				out.OK++
			} else {
				out.Failed++
			}
		}
		return answer(s, ctx, out, err)
	})
	s.deviceSide()
}

// deviceSide registers the operations that devices call.
func (s *Server) deviceSide() {
	register(s, does(op(http.MethodPost, "/enrol", "enrol", "Give a device its identity", needEnrol)),
		func(ctx context.Context, in *struct{ Body Enrolment }) (*plain[order.Enrolled], error) {
			c := callerOf(ctx)
			err := s.ctl.Enrol(ctx, domain.EnrolRequest{Device: in.Body.Device, Model: in.Body.Model,
				Secret: in.Body.Secret, Token: c.secret, From: c.from})
			return answer(s, ctx, order.Enrolled{OrderKey: s.cfg.Orders.ToPin()}, err)
		})
	register(s, op(http.MethodGet, "/devices/{device}/desired", "get-desired",
		"What a device should be and do, and why", needSelf),
		func(ctx context.Context, in *DevicePath) (*plain[domain.Desired], error) {
			d, err := s.ctl.Desired(ctx, actor(ctx), in.Device)
			return answer(s, ctx, d, err)
		})
	checkIn := quiet(op(http.MethodPost, "/devices/{device}/check-in", "check-in", "A device reports itself", needDevice))
	// A device of a newer version may send fields that this version does not
	// know, and must be accepted all the same. Package domain bounds what it
	// says.
	checkIn.SkipValidateBody, checkIn.MaxBodyBytes = true, checkInBytes
	register(s, checkIn, func(ctx context.Context, in *struct {
		DevicePath
		RawBody []byte `contentType:"application/json"`
	}) (*struct{}, error) {
		r, err := readCheckIn(in.RawBody)
		if err != nil {
			return nil, s.fail(ctx, err, 0)
		}
		return nothing(s, ctx, 0, s.ctl.Report(ctx, actor(ctx), r))
	}, mayGrow[report.Device]())
	register(s, quiet(op(http.MethodPost, "/devices/{device}/reset-identity", "reset-identity",
		"Take a device's secret away: it must enrol anew", needAccess)),
		func(ctx context.Context, in *DevicePath) (*struct{}, error) {
			return nothing(s, ctx, 0, s.ctl.ResetIdentity(ctx, actor(ctx), in.Device))
		})
}

// readCheckIn reads the body of a check-in.
func readCheckIn(body []byte) (r report.Device, err error) {
	if err := json.Unmarshal(body, &r); err != nil {
		return report.Device{}, errors.Join(domain.ErrInvalid, err)
	}
	return r, nil
}

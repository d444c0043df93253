package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/orders"
	"github.com/peerload/peerload/internal/order"
)

const (
	// resultBytes bounds the body with results.
	resultBytes = 4 << 20
	// helloBytes bounds what asks for a feed: mandates are most of it.
	helloBytes = 2*order.MaxMandates*order.MandateSize + 1024
	// linesType is the media type of a feed.
	linesType = "application/x-ndjson"
	// lineTime is how long a device may take to read a line.
	lineTime = 30 * time.Second
)

func (s *Server) orders() {
	register(s, op(http.MethodGet, "/orders", "list-orders", "Orders that were sent to devices, the oldest first",
		needRead), func(ctx context.Context, in *struct {
		Paged
		Kind string `query:"kind" maxLength:"64"`
		Open bool   `query:"open" doc:"those that are neither cancelled nor expired"`
		Site string `query:"site" maxLength:"64" doc:"those that went to a device of this site"`
	}) (*plain[domain.List[orders.Tally]], error) {
		f := domain.SentOrderFilter{Kind: in.Kind}
		if in.Open {
			f.OpenAt = s.ctl.Time()
		}
		l, err := s.cfg.Orders.List(ctx, actor(ctx), in.Site, f, in.page())
		return answer(s, ctx, l, err)
	})
	send := does(op(http.MethodPost, "/orders", "send-order", "Tell devices to do something now", needDevices))
	send.Errors = append(send.Errors, http.StatusNotFound)
	register(s, send, func(ctx context.Context, in *struct {
		DryRun bool `query:"dry_run" doc:"send nothing, and say whom the order would reach"`
		Body   orders.Request
	}) (*plain[orders.Sent], error) {
		out, err := s.cfg.Orders.Send(ctx, actor(ctx), in.Body, in.DryRun)
		return answer(s, ctx, out, err)
	})
	register(s, op(http.MethodGet, "/orders/{order}", "get-order", "An order, and how many have answered",
		needRead), func(ctx context.Context, in *OrderPath) (*plain[orders.Tally], error) {
		t, err := s.cfg.Orders.Get(ctx, actor(ctx), in.Order)
		return answer(s, ctx, t, err)
	})
	register(s, op(http.MethodGet, "/orders/{order}/devices", "list-order-devices",
		"The devices of an order, and what each has answered", needRead), func(ctx context.Context, in *struct {
		OrderPath
		Paged
		Standing string `query:"standing" maxLength:"64" doc:"waiting, expired, cancelled, or what the device answered"`
	}) (*plain[domain.List[domain.OrderDevice]], error) {
		l, err := s.cfg.Orders.Devices(ctx, actor(ctx), in.Order, in.Standing, in.page())
		return answer(s, ctx, l, err)
	})
	register(s, does(op(http.MethodPost, "/orders/{order}/cancel", "cancel-order",
		"Take an order back from devices that have not answered", needDevices)),
		func(ctx context.Context, in *OrderPath) (*plain[orders.Tally], error) {
			t, err := s.cfg.Orders.Cancel(ctx, actor(ctx), in.Order)
			return answer(s, ctx, t, err)
		})
	register(s, op(http.MethodGet, "/order-key", "get-order-key", "The key that orders are signed with",
		needRead),
		func(ctx context.Context, _ *struct{}) (*plain[orders.KeyState], error) {
			k, err := s.cfg.Orders.Key(ctx, actor(ctx))
			return answer(s, ctx, k, err)
		})
	register(s, does(op(http.MethodPost, "/order-key/rotate", "rotate-order-key",
		"Make the next order key, which the one in use states", needAccess)),
		func(ctx context.Context, _ *struct{}) (*plain[orders.KeyState], error) {
			k, err := s.cfg.Orders.RotateKey(ctx, actor(ctx))
			return answer(s, ctx, k, err)
		})
	s.deviceOrders()
}

// deviceOrders registers the operations that devices call. A device of a newer
// version may say more than this one knows.
func (s *Server) deviceOrders() {
	results := does(op(http.MethodPost, "/devices/{device}/results", "answer-orders",
		"Hand over results of orders, each sealed by its device", needDevice))
	results.SkipValidateBody, results.MaxBodyBytes = true, resultBytes
	register(s, results, func(ctx context.Context, in *struct {
		DevicePath
		RawBody []byte `contentType:"application/json"`
	}) (*plain[order.Acks], error) {
		r, err := readResults(in.RawBody)
		if err != nil {
			return nil, s.fail(ctx, err, 0)
		}
		acks, err := s.cfg.Orders.Answer(ctx, actor(ctx), r.Results)
		return answer(s, ctx, acks, err)
	}, mayGrow[order.Results]())
	reports := does(op(http.MethodPost, "/devices/{device}/reports", "hand-over-reports",
		"Hand over reports of devices, each sealed by its own", needDevice))
	reports.MaxBodyBytes, reports.SkipValidateBody = order.MaxPackedReports, true
	register(s, reports, func(ctx context.Context, in *struct {
		DevicePath
		RawBody []byte `contentType:"application/octet-stream"`
	}) (*plain[order.Acks], error) {
		acks, err := s.cfg.Orders.Reports(ctx, actor(ctx), in.RawBody)
		return answer(s, ctx, acks, err)
	}, detail{before: takesBytes})
	feed := does(op(http.MethodPost, "/devices/{device}/feed", "follow-orders",
		"The orders of a device, as they come", needDevice))
	feed.SkipValidateBody, feed.MaxBodyBytes = true, helloBytes
	lines := detail{before: func(o *huma.Operation, schemas huma.Registry) {
		o.Responses = map[string]*huma.Response{"200": {Description: "One line of JSON for each order, beat or key",
			Content: map[string]*huma.MediaType{linesType: {Schema: schemas.Schema(typeOf[order.Line](), true, "")}}}}
	}}
	register(s, feed, func(ctx context.Context, in *struct {
		DevicePath
		RawBody []byte `contentType:"application/json"`
	}) (*huma.StreamResponse, error) {
		h, err := readHello(in.RawBody)
		if err != nil {
			return nil, s.fail(ctx, err, 0)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) { s.feed(c, h) }}, nil
	}, mayGrow[order.Hello](), lines)
}

// mayGrow has an operation take a JSON body that may have more fields than this
// version knows. The operation says itself that huma does not hold the body to its schema.
func mayGrow[T any]() detail {
	return detail{before: func(o *huma.Operation, schemas huma.Registry) {
		o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {Schema: schemas.Schema(typeOf[T](), true, "")}}}
		schemas.Map()[schemaName(typeOf[T](), "")].AdditionalProperties = true
	}}
}

// takesBytes has an operation take a body that is not read as JSON.
func takesBytes(o *huma.Operation, _ huma.Registry) {
	o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}
}

// readHello and readResults read what devices send.
func readHello(body []byte) (h order.Hello, err error) {
	if err := json.Unmarshal(body, &h); err != nil {
		return order.Hello{}, errors.Join(domain.ErrInvalid, err)
	}
	return h, nil
}

func readResults(body []byte) (r order.Results, err error) {
	if err := json.Unmarshal(body, &r); err != nil {
		return order.Results{}, errors.Join(domain.ErrInvalid, err)
	}
	return r, nil
}

// feed writes the lines of a feed as they come. What goes wrong before the first is
// answered as always; after it the feed ends, and the device asks for another.
func (s *Server) feed(c huma.Context, h order.Hello) {
	ctx := c.Context()
	_, w := humago.Unwrap(c)
	out := s.stream(w)
	err := s.cfg.Orders.Feed(ctx, actor(ctx), h, func(l order.Line) error {
		out.begin(c, linesType)
		text, err := l.Marshal()
		if err != nil {
			return err
		}
		return out.write(text)
	})
	out.end()
	if err != nil && !out.begun {
		refuse(c, s.fail(ctx, err, 0))
	}
}

// stream is an answer that is written as it comes.
type stream struct {
	w     http.ResponseWriter
	out   *http.ResponseController
	limit time.Duration // for each write
	begun bool
}

func (s *Server) stream(w http.ResponseWriter) *stream {
	out := http.NewResponseController(w)
	// The request was read; what bounds the time to read it must not end the answer.
	_ = out.SetReadDeadline(time.Time{})
	return &stream{w: w, out: out, limit: s.lineTime}
}

// begin writes the head, once.
func (s *stream) begin(c huma.Context, mediaType string) {
	if s.begun {
		return
	}
	s.begun = true
	c.SetHeader("Content-Type", mediaType)
	c.SetHeader("X-Accel-Buffering", "no") // of nginx
	c.SetStatus(http.StatusOK)
}

func (s *stream) write(text []byte) error {
	_ = s.out.SetWriteDeadline(time.Now().Add(s.limit))
	if _, err := s.w.Write(text); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	// In HTTP/2 a deadline that passes ends the answer, though nothing is written.
	return s.out.SetWriteDeadline(time.Time{})
}

func (s *stream) end() { _ = s.out.SetWriteDeadline(time.Now().Add(s.limit)) }

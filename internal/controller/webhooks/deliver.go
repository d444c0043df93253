package webhooks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/webhook"
)

const (
	// timeout bounds one try.
	timeout = 20 * time.Second
	// maxAnswer bounds what is read of an answer, so that the connection can be used
	// again. Nobody sees it.
	maxAnswer = 64 << 10
	// maxError bounds a text that is kept.
	maxError = 300
	// early is how much before its time a message may be tried: the queue has a clock
	// of its own.
	early = time.Second
)

// errAddress says that an address is not one of a receiver.
var errAddress = errors.New("no receiver is at such an address")

// client delivers messages. A receiver may be on the same host or in a private
// network, as the controller is; addresses of the link are not, because services of
// a cloud are there that trust whoever asks.
func client() *http.Client {
	dialer := &net.Dialer{Timeout: timeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if ip := at.Addr().Unmap(); err != nil || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
			return fmt.Errorf("%w: %s", errAddress, address)
		}
		return nil
	}}
	return &http.Client{Timeout: timeout,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
			TLSHandshakeTimeout: timeout, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Deliver tries a message that is due. An error is worth another try of the job; that
// a receiver did not take it is none.
func (s *Service) Deliver(ctx context.Context, id string) error {
	var d domain.Delivery
	var w domain.Webhook
	read := func(tx domain.Tx) (err error) {
		if d, err = tx.Deliveries().Get(ctx, id); err != nil {
			return err
		}
		w, err = tx.Webhooks().Get(ctx, d.Webhook)
		return err
	}
	err := s.ctl.View(ctx, domain.Actor{}, read)
	if errors.Is(err, domain.ErrNotFound) {
		return nil // it was delivered, or its webhook is no more
	}
	if err != nil {
		return err
	}
	if d.State != webhook.Pending || s.ctl.Time().Add(early).Before(d.Next) {
		return nil
	}
	tries, failure := d.Tries, s.post(ctx, w.Hook, d.Delivery)
	if ctx.Err() != nil {
		return ctx.Err() // the controller stops; the message was perhaps delivered, and is once more
	}
	return s.ctl.Update(ctx, domain.Actor{}, func(tx domain.Tx, _ domain.Note) error {
		switch err := read(tx); {
		case errors.Is(err, domain.ErrNotFound):
			return nil
		case err != nil:
			return err
		case d.State != webhook.Pending || d.Tries != tries:
			return nil // somebody else has tried it
		}
		return s.tried(ctx, tx, d, w, failure)
	})
}

// tried notes what came of a try.
func (s *Service) tried(ctx context.Context, tx domain.Tx, d domain.Delivery, w domain.Webhook, failure error) error {
	now := s.ctl.Time()
	w.LastTried, w.LastError = now, ""
	if failure == nil {
		w.LastSent = now
		w.Sent++
		return errors.Join(tx.Webhooks().Put(ctx, &w), tx.Deliveries().Delete(ctx, d.ID, 0))
	}
	w.LastError = cut(failure.Error())
	d.Error, d.Changed = w.LastError, now
	if d.Tries++; d.Tries <= len(s.cfg.Pauses) {
		d.Next = now.Add(s.cfg.Pauses[d.Tries-1])
		return errors.Join(tx.Webhooks().Put(ctx, &w), tx.Deliveries().Put(ctx, &d),
			s.cfg.Queue.Deliver(ctx, tx, d.ID, d.Next))
	}
	s.cfg.Log.Error("a message of a webhook is given up", "webhook", w.Name, "message", d.ID, "event", d.Event, "tries",
		d.Tries, "error", w.LastError)
	d.State, d.Next = webhook.Dead, time.Time{}
	if err := errors.Join(tx.Webhooks().Put(ctx, &w), tx.Deliveries().Put(ctx, &d)); err != nil {
		return err
	}
	return forget(ctx, tx, w.Name)
}

// forget removes the oldest dead message of a webhook that has too many.
func forget(ctx context.Context, tx domain.Tx, name string) error {
	dead, err := tx.Deliveries().List(ctx, domain.DeliveryFilter{Webhook: name, State: webhook.Dead},
		domain.Page{Limit: 1})
	if err != nil || dead.Total <= maxDead {
		return err
	}
	return tx.Deliveries().Delete(ctx, dead.Items[0].ID, 0)
}

// post sends a message; nil says that the receiver has taken it.
func (s *Service) post(ctx context.Context, w webhook.Hook, d webhook.Delivery) error {
	now := s.ctl.Time()
	signature, err := webhook.Sign(w.Secret, d.ID, now, d.Body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, strings.NewReader(d.Body))
	if err != nil {
		return errors.New("the webhook's URL is damaged: remove the webhook, and add it again")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "peerload-server")
	req.Header.Set(webhook.IDHeader, d.ID)
	req.Header.Set(webhook.TimeHeader, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(webhook.SignatureHeader, signature)
	res, err := s.cfg.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer)
	switch {
	case res.StatusCode >= 200 && res.StatusCode <= 299:
		return nil
	case res.StatusCode >= 300 && res.StatusCode <= 399:
		return fmt.Errorf("status %d: it leads elsewhere, which is not followed; give the webhook the URL itself",
			res.StatusCode)
	}
	return fmt.Errorf("status %d", res.StatusCode)
}

// cut bounds a text.
func cut(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxError)], "")
}

// Try is what came of a test.
type Try struct {
	OK bool `json:"ok"`
	// Error is why the message was not taken.
	Error string `json:"error,omitempty"`
}

// Test sends a message at once, past the queue, and says what came of it.
func (s *Service) Test(ctx context.Context, a domain.Actor, name string) (t Try, err error) {
	if err := a.Check(domain.ScopeAccess); err != nil {
		return t, err
	}
	var w domain.Webhook
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		w, err = find(ctx, tx, name)
		return err
	})
	if err != nil {
		return t, err
	}
	now := s.ctl.Time()
	body, err := json.Marshal(Message{webhook.Test, now, Trial{name, a.Name}})
	if err != nil {
		return t, err
	}
	failure := s.post(ctx, w.Hook, webhook.Delivery{ID: s.id(now), Event: webhook.Test, At: now, Body: string(body)})
	if t.OK = failure == nil; !t.OK {
		t.Error = cut(failure.Error())
	}
	return t, s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		if w, err = find(ctx, tx, name); err != nil {
			return err
		}
		w.LastTried, w.LastError = s.ctl.Time(), t.Error
		note("webhook.test", target(name), nil, struct {
			Result string `json:"result"`
		}{cmp.Or(t.Error, "delivered")})
		return tx.Webhooks().Put(ctx, &w)
	})
}

// Rebuild puts all messages that wait into the queue, which is no part of a backup.
func (s *Service) Rebuild(ctx context.Context) error {
	for after, more := "", true; more; {
		err := s.ctl.Update(ctx, domain.Actor{}, func(tx domain.Tx, _ domain.Note) error {
			l, err := tx.Deliveries().List(ctx, domain.DeliveryFilter{State: webhook.Pending},
				domain.Page{After: after, Limit: domain.MaxPage})
			if err != nil {
				return err
			}
			for _, d := range l.Items {
				if err := s.cfg.Queue.Deliver(ctx, tx, d.ID, d.Next); err != nil {
					return err
				}
			}
			after, more = l.Next, l.Next != ""
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

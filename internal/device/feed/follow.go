package feed

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/device/inbox"
	"github.com/peerload/peerload/internal/order"
)

const (
	// feedLife is how long a feed is asked for. The mandates of a feed say that the
	// devices behind it live: that must be less than the hour after which a controller
	// takes a device for silent.
	feedLife = 45 * time.Minute
	// silence ends a feed in which nothing came for so long: the controller sends a
	// beat each minute.
	silence = 150 * time.Second
	// firstRetry is the wait after a feed that failed; it doubles up to lastRetry.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// seldom is the wait where only people can help: an older controller, a key that
	// is not the pinned one.
	seldom = time.Hour
	// steady is how long a feed must last for its end to be no failure.
	steady = 10 * time.Second
	// answerTime bounds the handing over of results.
	answerTime = 30 * time.Second
	// atOnce bounds the results that are handed over together.
	atOnce = 64
)

// errSeldom is of what no other try soon would help.
var errSeldom = errors.New("it is tried again in an hour")

// Alone follows one feed after the other by a connection of this device's own until
// ctx ends.
func (f *Follower) Alone(ctx context.Context) {
	wait, said := firstRetry, ""
	for ctx.Err() == nil {
		began := time.Now()
		err := f.Once(ctx, nil, func(order.Line) {})
		switch {
		case ctx.Err() != nil:
			return
		case err == nil, time.Since(began) > steady:
			wait, said = firstRetry, ""
		case err.Error() != said:
			said = err.Error()
			f.cfg.Log.Warn("no orders from the controller", "error", err)
		}
		d := wait
		wait = min(2*wait, lastRetry)
		if errors.Is(err, errSeldom) {
			d = seldom
		}
		// With jitter: the devices of a site must not come back together.
		if !pause(ctx, d/2+rand.N(d)) {
			return
		}
	}
}

// Once follows one feed to its end, for those too who have given the mandates, and
// says of each line that it has come and was genuine. nil: the controller has ended it.
func (f *Follower) Once(ctx context.Context, mandates []byte, came func(order.Line)) error {
	c, err := f.cfg.Controller()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errors.New("the controller has said nothing for some minutes")) })
	defer quiet.Stop()
	f.mu.Lock()
	hello := order.Hello{KeyVersion: f.key.Version, Wait: int(cmp.Or(f.cfg.Life, feedLife) / time.Second),
		Mandates: mandates}
	f.mu.Unlock()
	if s, ok := f.stamp(); ok {
		hello.Stamp = s[:]
	}
	body, err := f.post(ctx, c, "feed", hello)
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	defer body.Close()
	f.wakeAnswers() // what could not be handed over before
	err = f.lines(body, c.URL, func(l order.Line) {
		quiet.Reset(silence)
		came(l)
	})
	return cmp.Or(context.Cause(ctx), err)
}

// lines takes the lines of a feed, and says of each that it came.
func (f *Follower) lines(body io.Reader, controller string, came func(order.Line)) error {
	text := bufio.NewScanner(body)
	text.Buffer(nil, order.MaxLine)
	for text.Scan() {
		l, err := order.ParseLine(text.Bytes())
		if err == nil {
			err = f.take(l, controller)
		}
		if err != nil {
			return err
		}
		came(l)
	}
	return text.Err()
}

// post sends a request below the path of the device.
func (f *Follower) post(ctx context.Context, c Controller, what string, in any) (io.ReadCloser, error) {
	b, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return f.send(ctx, c, what, "application/json", b)
}

// Live tells the controller how upgrades go on, as live.Pack makes it.
func (f *Follower) Live(ctx context.Context, packed []byte) error {
	c, err := f.cfg.Controller()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	res, err := f.send(ctx, c, "live", "application/octet-stream", packed)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res, 1024)) // or the connection cannot be used again
	return errors.Join(err, res.Close())
}

// send sends a request with a body of some type.
func (f *Follower) send(ctx context.Context, c Controller, what, mediaType string, b []byte) (io.ReadCloser, error) {
	at := strings.TrimSuffix(c.URL, "/") + "/api/v1/devices/" + f.cfg.Device + "/" + what
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Authorization", "Bearer "+c.Secret)
	res, err := c.Client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusNoContent {
		return res.Body, nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
	res.Body.Close()
	err = fmt.Errorf("the controller answers %s: %s", res.Status, text)
	if res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed {
		err = fmt.Errorf("%w: it has no orders; %w", err, errSeldom)
	}
	return nil, err
}

// take takes one line of a feed.
func (f *Follower) take(l order.Line, controller string) error {
	switch {
	case l.Key != nil:
		return f.first(l.Key, controller)
	case l.Next != nil:
		return f.next(l.Next)
	case l.Beat != nil:
		return f.heard(l.Beat)
	case l.Order != nil:
		return f.got(l.Order)
	case l.Watch != nil && f.cfg.Watch != nil:
		f.cfg.Watch(*l.Watch)
	}
	return nil // of a newer controller
}

// Enrolled pins the order key that a controller gave this device when it enrolled.
// Without one, or over a way on which somebody could exchange it, nothing is pinned: the
// feed brings the key. One that is pinned stays.
func (f *Follower) Enrolled(e order.Enrolled, controller string) error {
	if len(e.OrderKey) == 0 || !pinnable(controller) {
		return nil
	}
	return f.first(e.OrderKey, controller)
}

// first pins the first key: over TLS, or from this very host.
func (f *Follower) first(text []byte, controller string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.key.Version != 0 {
		return nil // a key that is pinned is left by a statement only
	}
	if !pinnable(controller) {
		return fmt.Errorf("an order key is pinned over https only, and the controller is at http; %w", errSeldom)
	}
	k, err := order.ParseKey(text)
	if err != nil {
		return err
	}
	f.cfg.Log.Info("the controller's order key is pinned", "version", k.Version)
	return f.pin(k)
}

// pinnable reports whether nobody between here and there can exchange a key.
func pinnable(controller string) bool {
	u, err := url.Parse(controller)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || err == nil && a.IsLoopback()
}

// next follows statements from the pinned key on.
func (f *Follower) next(statements [][]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.key
	for _, s := range statements {
		var err error
		if k, err = k.Next(s); err != nil {
			return fmt.Errorf("the pinned order key does not lead to the controller's: %w; %w", err, errSeldom)
		}
	}
	if k.Version == f.key.Version {
		return nil
	}
	f.cfg.Log.Info("the controller has another order key", "version", k.Version)
	return f.pin(k)
}

// signed says what to do about a key that is not the pinned one.
func signed(err error) error {
	if errors.Is(err, order.ErrSignature) {
		return fmt.Errorf("%w that this device has pinned: if the controller is right, remove the file %s from the state "+
			"directory; %w", err, KeyName, errSeldom)
	}
	return err
}

// heard takes a beat.
func (f *Follower) heard(sealed []byte) error {
	f.mu.Lock()
	b, err := f.key.OpenBeat(sealed)
	if err == nil {
		f.beat, f.came = b, time.Now()
	}
	f.mu.Unlock()
	if err != nil {
		return signed(err)
	}
	f.step(inbox.Tick{}) // the time may be another one
	return nil
}

// got takes an order.
func (f *Follower) got(sealed []byte) error {
	f.mu.Lock()
	o, err := f.key.Open(sealed, f.cfg.Device, f.now())
	f.mu.Unlock()
	switch {
	case errors.Is(err, order.ErrExpired), errors.Is(err, order.ErrNotForMe):
		return nil
	case err != nil:
		return signed(err)
	}
	f.step(inbox.Got{Order: o})
	return nil
}

// answer hands over results as they come, until ctx ends.
func (f *Follower) answer(ctx context.Context) {
	wait := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.said:
		}
		for {
			more, err := f.hand(ctx)
			if err != nil && ctx.Err() == nil {
				f.cfg.Log.Warn("results of orders were not handed over", "error", err)
				if !pause(ctx, wait/2+rand.N(wait)) {
					return
				}
				wait = min(2*wait, lastRetry)
				continue
			}
			if wait = firstRetry; !more {
				break
			}
		}
	}
}

// hand hands over the first results that wait, and reports whether there are more.
func (f *Follower) hand(ctx context.Context) (more bool, err error) {
	f.mu.Lock()
	all := slices.Concat(f.again, f.box.Answers())
	f.mu.Unlock()
	if len(all) == 0 {
		return false, nil
	}
	more = len(all) > atOnce
	all = all[:min(len(all), atOnce)]
	c, err := f.cfg.Controller()
	if err != nil {
		return more, err
	}
	secret := order.NewSecret(c.Secret)
	sealed := map[string][]byte{}
	var body order.Results
	for _, e := range all {
		b, err := secret.Seal(order.Result{Order: e.ID, Device: f.cfg.Device, Outcome: e.Outcome, Text: e.Text, At: e.At})
		if err != nil {
			return more, err
		}
		sealed[e.ID] = b
		body.Results = append(body.Results, b)
	}
	taken := 0
	count := func(acks order.Acks) {
		for _, a := range acks.Acks {
			if b := sealed[a.Order]; b != nil && a.Device == f.cfg.Device && secret.Acked(b, a.Code) {
				f.taken(a.Order)
				delete(sealed, a.Order)
				taken++
			}
		}
	}
	if f.cfg.Up != nil {
		count(f.cfg.Up(ctx, body.Results))
	}
	if taken == 0 { // nobody carries for this device, or badly
		acks, err := f.Hand(ctx, body.Results)
		if err != nil {
			return more, err
		}
		count(acks)
	}
	if taken == 0 {
		return more, errors.New("the controller has acknowledged nothing: does it have another secret of this device?")
	}
	return more || len(sealed) > 0, nil
}

// Hand hands results over to the controller, of this device or of others, and returns
// what it says.
func (f *Follower) Hand(ctx context.Context, results [][]byte) (order.Acks, error) {
	c, err := f.cfg.Controller()
	if err != nil {
		return order.Acks{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return acked(f.post(ctx, c, "results", order.Results{Results: results}))
}

// acked reads the acknowledgements of an answer.
func acked(res io.ReadCloser, err error) (order.Acks, error) {
	if err != nil {
		return order.Acks{}, err
	}
	defer res.Close()
	text, err := io.ReadAll(io.LimitReader(res, order.MaxAcks+1))
	if err != nil {
		return order.Acks{}, err
	}
	return order.ParseAcks(text)
}

// taken forgets a result that the controller has.
func (f *Follower) taken(id string) {
	f.mu.Lock()
	f.again = slices.DeleteFunc(f.again, func(e inbox.Entry) bool { return e.ID == id })
	f.mu.Unlock()
	f.step(inbox.Taken{ID: id})
}

package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/orders"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// Over the API an order goes to a device, and its answer comes back.
func TestOrders(t *testing.T) {
	s := newRig(t)
	text, _ := s.want(200, "POST", "/orders?dry_run=true", object{"kind": "restart", "all": true})
	if sent := decode[orders.Sent](t, text); !sent.DryRun || sent.Reach.Devices != 2 {
		t.Fatal(text)
	}
	text, _ = s.want(200, "POST", "/orders", object{"kind": "collect-log", "devices": []string{one}})
	id := decode[orders.Sent](t, text).Order.ID
	code, text, h := s.call("POST", Prefix+"/devices/"+one+"/feed", s.devices[one], object{"colour": "red"})
	if code != 200 || h.Get("Content-Type") != linesType {
		t.Fatal(code, text)
	}
	var key order.Key
	var got []order.Order
	for lines := bufio.NewScanner(bytes.NewReader([]byte(text))); lines.Scan(); {
		l, err := order.ParseLine(lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if l.Key != nil {
			if key, err = order.ParseKey(l.Key); err != nil {
				t.Fatal(err)
			}
		}
		if l.Order != nil {
			o, err := key.Open(l.Order, one, s.ctl.Time())
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, o)
		}
	}
	if text, _ := s.want(200, "GET", "/order-key", nil); !reflect.DeepEqual(decode[orders.KeyState](t, text),
		orders.KeyState{Version: key.Version, Public: s.pinned.Public}) || !s.pinned.Public.Equal(key.Public) {
		t.Errorf("the devices were given %+v when they enrolled, and now there is %s", s.pinned, text)
	}
	if len(got) != 1 || got[0].ID != id || got[0].Lines == 0 {
		t.Fatalf("%+v", got)
	}
	secret := order.NewSecret(s.devices[one])
	sealed, err := secret.Seal(order.Result{Order: id, Device: one, Outcome: order.Done, Text: "a line\n"})
	if err != nil {
		t.Fatal(err)
	}
	code, text, _ = s.call("POST", Prefix+"/devices/"+one+"/results", s.devices[one],
		object{"results": []string{base64.StdEncoding.EncodeToString(sealed)}})
	acks, err := order.ParseAcks([]byte(text))
	if code != 200 || err != nil || len(acks.Acks) != 1 || !secret.Acked(sealed, acks.Acks[0].Code) {
		t.Fatal(code, text)
	}
	text, _ = s.want(200, "GET", "/orders/"+id+"/devices?standing=done", nil)
	if l := decode[domain.List[domain.OrderDevice]](t, text); len(l.Items) != 1 || l.Items[0].Text != "a line\n" {
		t.Error(text)
	}
	text, _ = s.want(200, "GET", "/orders?open=true&kind=collect-log", nil)
	if l := decode[domain.List[orders.Tally]](t, text); len(l.Items) != 1 || l.Items[0].Standings["done"] != 1 {
		t.Error(text)
	}
	s.want(200, "POST", "/orders/"+id+"/cancel", nil)
	s.want(409, "POST", "/orders/"+id+"/cancel", nil)
	s.want(404, "GET", "/orders/none", nil)
	s.want(404, "GET", "/orders/none/devices", nil)
	s.want(422, "POST", "/orders", object{"kind": "restrt", "all": true})
	text, _ = s.want(200, "POST", "/order-key/rotate", nil)
	if k := decode[orders.KeyState](t, text); k.Version != 2 {
		t.Error(text)
	}
	s.want(200, "GET", "/order-key", nil)
}

// A feed is not ended by the limits of other requests, and tells at once.
func TestFeedIsSent(t *testing.T) {
	s := newRig(t)
	body, err := json.Marshal(order.Hello{Wait: 60})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+Prefix+"/devices/"+one+"/feed",
		bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+s.devices[one])
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for range 2 { // the key and a beat, while the feed goes on
		line, err := lines.ReadBytes('\n')
		if _, err2 := order.ParseLine(line); err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
	}
}

// In HTTP/2 a deadline that passes ends an answer though nothing is written: between
// the lines of a feed none runs.
func TestFeedOutlivesItsDeadline(t *testing.T) {
	tiers.Long(t, "it waits for what a stream tells")
	s := newRig(t)
	beating, err := orders.New(orders.Config{Controller: s.ctl, Keys: t.TempDir(), Random: rand.Reader,
		Beat: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s.srv.cfg.Orders, s.srv.lineTime = beating, 100*time.Millisecond
	h := httptest.NewUnstartedServer(s.srv)
	h.EnableHTTP2 = true
	h.StartTLS()
	defer h.Close()
	ctx, end := context.WithCancel(t.Context())
	defer end() // before the server waits for its requests
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+Prefix+"/devices/"+one+"/feed",
		strings.NewReader(`{"wait_s":60}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+s.devices[one])
	resp, err := h.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatal(resp.Proto)
	}
	lines := bufio.NewReader(resp.Body)
	for i := range 4 {
		if _, err := lines.ReadBytes('\n'); err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
	}
}

// FuzzDevice: what a device sends is read or refused.
func FuzzDevice(f *testing.F) {
	f.Add([]byte(`{"key_version":1,"wait_s":3600,"results":["AQID"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := readHello(body)
		r, err2 := readResults(body)
		if err2 == nil && err == nil && len(r.Results) > len(body) {
			t.Errorf("%d results of %d bytes", len(r.Results), len(body))
		}
	})
}

// Package webhook has the nouns of webhooks: who is told of what, what is to be
// delivered, and how a message is signed.
//
// What lives here: the types, the names of events, the signature, and when a message
// is tried again. What must not: where they are kept, who may change them, HTTP.
//
// The signature is that of the convention "Standard Webhooks", so that its libraries
// verify it.
//
// Read Hook, Delivery, then Sign.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// The events that somebody can be told of.
const (
	// DeviceFailed: an upgrade or a file set did not succeed on a device.
	DeviceFailed = "device.failed"
	// RolloutChanged: a rollout came into another state.
	RolloutChanged = "rollout.changed"
)

// Test is the event of a message that somebody has asked for to try a webhook.
const Test = "webhook.test"

// Events are those that a webhook can have.
func Events() []string { return []string{DeviceFailed, RolloutChanged} }

// The headers of a message.
const (
	IDHeader        = "Webhook-Id"
	TimeHeader      = "Webhook-Timestamp"
	SignatureHeader = "Webhook-Signature"
)

const (
	// SecretBytes is how long the secrets are that sign messages.
	SecretBytes = 32
	// secretPrefix begins a secret; the rest is base64.
	secretPrefix = "whsec_"
)

// Hook says who is told of what.
type Hook struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Events are some of Events.
	Events []string `json:"events"`
	// AllowHTTP says that the URL may be one of http.
	AllowHTTP bool `json:"allow_http,omitempty"`
	// Secret signs the messages.
	Secret string `json:"secret,omitempty"`
	// By is who made it.
	By string `json:"by"`
	// Sent counts the messages that were delivered, Dropped those that were not even
	// kept, because too many waited.
	Sent    int64 `json:"sent"`
	Dropped int64 `json:"dropped"`
	// LastSent is when a message was last delivered, LastTried when one was last tried,
	// and LastError why it was not delivered, "" if it was.
	LastSent  time.Time `json:"last_sent,omitzero"`
	LastTried time.Time `json:"last_tried,omitzero"`
	LastError string    `json:"last_error,omitempty"`
}

// State says what becomes of a message.
type State string

// The states of messages. One that was delivered is not kept.
const (
	// Pending: it is tried, or tried again.
	Pending State = "pending"
	// Dead: it is given up.
	Dead State = "dead"
)

// Delivery is a message to one receiver.
type Delivery struct {
	// ID is that of the message, the same for each try.
	ID      string `json:"id"`
	Webhook string `json:"webhook"`
	Event   string `json:"event"`
	// At is when it happened.
	At time.Time `json:"at"`
	// Body is what is sent.
	Body  string `json:"body"`
	State State  `json:"state"`
	// Tries counts them, Next is when the next is due, Error why the last failed.
	Tries int       `json:"tries"`
	Next  time.Time `json:"next,omitzero"`
	Error string    `json:"error,omitempty"`
}

// NewSecret writes random bytes as a secret.
func NewSecret(random []byte) string { return secretPrefix + base64.StdEncoding.EncodeToString(random) }

var errSecret = errors.New("the webhook's secret is damaged: remove the webhook, and add it again")

// Sign is the signature, by a secret, of a message that is sent at that time: of its
// id, the time in seconds and the body, with dots between them. An error says that the
// secret is none of NewSecret.
func Sign(secret, id string, at time.Time, body string) (string, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	random, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil {
		return "", errSecret
	}
	sum := hmac.New(sha256.New, random)
	sum.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "." + body))
	return "v1," + base64.StdEncoding.EncodeToString(sum.Sum(nil)), nil
}

// Pauses are the times between the tries of a message: after the last of them it is
// tried once more, and then dead. Together they are a little more than a day, in which
// somebody comes to work.
func Pauses() []time.Duration {
	return []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour}
}

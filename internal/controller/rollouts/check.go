package rollouts

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
)

const (
	// checkTimeout bounds a question to an external check.
	checkTimeout = 20 * time.Second
	// maxAnswer bounds its answer, in bytes.
	maxAnswer = 64 << 10
	// secretBytes is how long the secret is that signs the questions.
	secretBytes = 32
	maxURL      = 1000
)

// SignatureHeader has the signature of a question: "sha256=" and the HMAC-SHA-256
// of the body under the secret of the rollout, in hexadecimal digits.
const SignatureHeader = "Peerload-Signature"

// Question is what an external check is asked.
type Question struct {
	Rollout string `json:"rollout"`
	// Wave is the last that is open, from 1; the question is whether the next may
	// open.
	Wave int `json:"wave"`
	// Number of the question in the rollout.
	Number int `json:"number"`
	// Time of the question, so that an old one is known as such.
	Time time.Time `json:"time"`
	// Counts of that wave.
	Counts rollout.Counts `json:"counts"`
}

// checkURL refuses what cannot be asked; "" is none.
func checkURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURL || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" ||
		u.User != nil || u.Fragment != "" {
		return invalid("the external check is a URL such as https://monitor.example/go, without a user and #")
	}
	return nil
}

// ask asks the external check of a rollout, and tells the answer.
func (s *Service) ask(ctx context.Context, j keeper.Job) error {
	var r domain.Rollout
	err := s.ctl.View(ctx, domain.Actor{}, func(tx domain.Tx) (err error) {
		r, err = find(ctx, tx, j.Rollout, 0)
		return err
	})
	if err != nil {
		return err
	}
	c := r.Record
	if c.State != rollout.Running || c.Asks != j.Number || c.Asked.IsZero() || c.Open == 0 {
		return nil // another question has taken its place, or none is open
	}
	q := Question{c.ID, c.Open, c.Asks, s.ctl.Time(), c.Waves[c.Open-1].Counts}
	yes, said := s.question(ctx, r.Ask.Check, r.Secret, q)
	who := domain.Actor{Kind: domain.ActorSystem, Name: "external check", From: host(r.Ask.Check), Role: domain.RoleAdmin}
	return s.ctl.Update(ctx, who, func(tx domain.Tx, note domain.Note) error {
		if err := s.keeper(tx).Order(ctx, s.ctl.Time(), c.ID, rollout.Answer{Asked: q.Number, Go: yes}); err != nil {
			return err
		}
		r, err := find(ctx, tx, c.ID, 0)
		if err != nil {
			return err
		}
		r.Answered, r.Answer = q.Time, said
		if r.Record.Open > c.Open {
			before := ordered(r)
			before.Open = c.Open
			note("rollout.next", target(c.ID), before, ordered(r))
		}
		return tx.Rollouts().Put(ctx, &r)
	})
}

// host is who was asked, for the audit log.
func host(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// question asks, and says what came of it. Only a 2xx with an explicit go is one.
func (s *Service) question(ctx context.Context, to, secret string, q Question) (yes bool, said string) {
	body, err := json.Marshal(q)
	if err != nil {
		return false, err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return false, "it cannot be asked: its URL is none"
	}
	sum := hmac.New(sha256.New, []byte(secret))
	sum.Write(body)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(sum.Sum(nil)))
	res, err := s.cfg.HTTP.Do(req)
	if err != nil {
		return false, cut("no answer: " + err.Error())
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return false, cut("no whole answer: " + err.Error())
	case len(text) > maxAnswer:
		return false, fmt.Sprintf("an answer of more than %d bytes", maxAnswer)
	case res.StatusCode < 200 || res.StatusCode > 299:
		return false, fmt.Sprintf("status %d", res.StatusCode)
	}
	return parseAnswer(text)
}

// parseAnswer reads the body of an answer.
func parseAnswer(text []byte) (yes bool, said string) {
	var a struct {
		Go *bool `json:"go"`
	}
	switch err := json.Unmarshal(text, &a); {
	case err != nil:
		return false, "the answer is no JSON object such as {\"go\": true}"
	case a.Go == nil:
		return false, "the answer says nothing of go"
	case !*a.Go:
		return false, "not yet"
	}
	return true, "go"
}

// cut bounds a text.
func cut(text string) string {
	const most = 200
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

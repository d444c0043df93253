package storesuite

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/saving"
	"github.com/peerload/peerload/internal/controller/webhook"
	"github.com/peerload/peerload/internal/controller/window"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

// One of each, with every field that can be lost.
var (
	sampleMeta       = domain.Meta{Created: at, Changed: at.Add(time.Second)}
	sampleAssignment = domain.Assignment{Load: "new", Previous: "old", HasPrevious: true}
	sampleReleased   = domain.Assignment{Release: "9.4(2)", PreviousRelease: "9.3", HasPrevious: true}
	sampleProfile    = domain.Profile{Meta: sampleMeta, Name: "offices", Description: "all offices",
		Settings: policy.Values{"load-server": ""}, Load: sampleReleased}
	sampleDevice = domain.Device{Meta: sampleMeta, Name: "SEP001122334455", Description: "d", Model: "CP-7961G",
		Profile: "offices", Site: "oslo", Registration: domain.RegistrationByEnrolment,
		Settings: policy.Values{"peer-sharing": "on"}, Load: sampleAssignment}
	sampleEnterprise = domain.Enterprise{Meta: sampleMeta, Settings: policy.Values{"peer-sharing": "off"},
		Load: sampleAssignment, AutoRegistration: true, RegisterProfile: "offices"}
	sampleModel = domain.ModelEntry{Meta: sampleMeta, Name: "Camera 1", Row: &policy.ModelRow{
		Name: "Camera 1", Aliases: []string{"C1"}, Provision: "Camera", TypeNumber: 7, Family: "camera", CanShare: true,
		Group: "g", Defaults: map[string]string{"timing": "classic"}, DefaultLoad: "l", Lacks: []string{"unsigned"}},
		Load: sampleAssignment}
	sampleLoad = domain.Load{Meta: sampleMeta, Name: "new", Release: "9.4", Models: []string{"CP-7961G"}, Size: 5,
		Components: []domain.LoadComponent{{Name: "a.sbn", Size: 5, SHA256: "ab"}},
		Signed:     true, Retired: true, Missing: true}
	sampleRelease = domain.Release{Meta: sampleMeta, Name: "9.4(2)", Note: "n", Loads: []string{"a", "b"}}
	sampleSite    = domain.Site{Meta: sampleMeta, Name: "oslo", Note: "n", TimeZone: "Europe/Oslo",
		Networks: []string{"10.0.0.0/24"}, WANRate: 1_250_000, Window: "22:00-05:00",
		Limits: domain.SiteLimits{Transfers: 2, Rate: 500_000}}
	sampleFinal = report.Final{File: "a.sbn", URL: "http://h/a.sbn", Size: 5, SHA256: "ab", Source: "peer",
		Role: "leaf", Parent: "10.0.0.1", BytesFromPeers: 5,
		Fallbacks: []report.Fallback{{AtS: 1.5, From: "10.0.0.2", Reason: "stalled"}}, ElapsedS: 2.25}
	sampleState = domain.DeviceState{Meta: sampleMeta, Device: "SEP001122334455", Last: report.Device{
		Schema: 1, State: "idle", Active: "new", Inactive: "old", Role: "leaf", Children: []string{"10.0.0.3"}, Percent: 100},
		From: "10.0.0.9", Site: "oslo", LastSeen: at, Asked: at,
		AskedFrom: "10.0.0.8", Reported: at, Since: at, Files: []report.Final{sampleFinal},
		Failures: []domain.FailureAt{{At: at, Failure: report.Failure{Load: "l", File: "f", Reason: "r", Message: "m"}}},
		Traffic:  domain.Traffic{FromOrigin: 1, FromPeers: 1 << 62, FromCache: 3, ToPeers: 4}}
	sampleSaving = domain.Saving{Meta: sampleMeta, Record: saving.Record{Group: saving.Group{Month: "2026-03",
		Site: "oslo", Load: "new"}, Counts: saving.Counts{Done: 2, Failed: 1, FromOrigin: 1, FromPeers: 2,
		FromCache: 3, Classic: 3, Last: at, LastDevice: "SEP001122334455", Fallbacks: map[string]int{"a-reason": 2}}}}
	sampleWebhook = domain.Webhook{Meta: sampleMeta, Hook: webhook.Hook{Name: "chat", URL: "https://h/",
		Events: []string{webhook.DeviceFailed}, AllowHTTP: true, Secret: "s", By: "ann", Sent: 1, Dropped: 2, LastSent: at,
		LastTried: at, LastError: "e"}}
	sampleDelivery = domain.Delivery{Meta: sampleMeta, Delivery: webhook.Delivery{ID: "m1", Webhook: "chat",
		Event: webhook.DeviceFailed, At: at, Body: "{}", State: webhook.Dead, Tries: 3, Next: at, Error: "e"}}
	sampleAccount = domain.Account{User: domain.User{Meta: sampleMeta, Name: "ann", FullName: "Ann",
		Role: domain.RoleAdmin, Disabled: true, LastLogin: at}, PasswordHash: "$argon2id$"}
	sampleCredential = domain.Credential{Meta: sampleMeta, ID: "c1", Kind: domain.CredentialToken, Subject: "ann",
		Hash: "h", Name: "n", Role: domain.RoleViewer, Scopes: []domain.Scope{domain.ScopeRead},
		Expires: at, Idle: at, LastUsed: at, From: "10.0.0.1", Uses: 2, Profile: "offices", Site: "oslo",
		Networks: []string{"10.0.0.0/8"}}
	sampleFileSet = domain.FileSet{Load: domain.Load{Meta: sampleMeta, Name: "jp", Release: "1",
		Models: []string{"CP-7961G"}, Size: 3, Components: []domain.LoadComponent{{Name: "a", Size: 3, SHA256: "0"}},
		Signed: true, Retired: true, Missing: true}, Directory: "locale"}
	sampleThrottle = domain.Throttle{Meta: sampleMeta, Name: "login ann", Failures: 3, Until: at}
	sampleSpan     = window.Span{From: at, Until: at.Add(time.Hour)}
	sampleRollout  = domain.Rollout{Record: rollout.Record{ID: "r1", Authors: []string{"ann", "bob"}, Created: at,
		Plan: rollout.Default(), State: rollout.Paused, Since: at, By: "ann", Why: "w", Listed: true,
		LeftOut: map[string]int{rollout.ReasonClaimed: 2}, Open: 1,
		Waves:  []rollout.WaveRecord{{Counts: rollout.Counts{Granted: 1, Failed: 2}, Opened: at, Acknowledged: 1}},
		Passed: at, Asks: 3, Asked: at, Era: 4, Reasons: map[string]int{rollout.ReasonLost: 2},
		Replaced: []rollout.Replacement{{From: "old", To: "new"}}, Outages: []window.Span{sampleSpan}}}
	sampleRolloutDevice = domain.RolloutDevice{Rollout: "r1", Row: rollout.Row{Device: "SEP001122334455", Site: "oslo",
		Wave: 1, Load: "new", Ran: "old", Standing: rollout.Granted, Reason: "r", Since: at, Era: 4, Step: "between",
		Try: 2, Download: sampleSpan, Activate: sampleSpan, Counted: 1, Failures: 1, Steps: 1, First: at, After: at,
		Bad: []string{"worse"}, Due: at}}
	sampleVerdict   = domain.Verdict{Device: "SEP001122334455", Load: "worse", Reason: "does-not-start", At: at}
	sampleSentOrder = domain.SentOrder{Meta: sampleMeta, ID: "o1", Kind: "collect-log", By: "ann", Issued: at,
		Expires: at.Add(time.Hour), Moment: at.Add(time.Minute), Lines: 5, Devices: 2, Cancelled: at}
	sampleOrderDevice = domain.OrderDevice{Meta: sampleMeta, Order: "o1", Device: "SEP001122334455", Site: "oslo",
		Standing: "done", Text: "t", Answered: at}
	sampleActor = domain.JobActor{Kind: domain.ActorToken, Name: "token x of ann", User: "ann", From: "10.0.0.1",
		Role: domain.RoleOperator, Scopes: []domain.Scope{domain.ScopeDevices}}
	sampleText   = "d"
	sampleChange = domain.DeviceChange{Description: &sampleText, Model: &sampleText, Profile: &sampleText,
		Site: &sampleText, Load: &sampleText, Release: &sampleText, Settings: domain.SettingsChange{
			Set: policy.Values{"peer-sharing": "on"}, Unset: []string{"timing"}}}
	sampleJob = domain.Job{Meta: sampleMeta, ID: "j1", Name: "phones.csv", State: domain.JobUndoing, Problem: "p", At: at,
		By: sampleActor, JobOptions: domain.JobOptions{Create: true, SkipBad: true, AnyModel: true}, Steps: 3, Next: 2,
		Verified: 1, Counts: domain.JobCounts{Rows: 6, Created: 1, Changed: 1, Unchanged: 1, Refused: 1, Undone: 1, Kept: 1},
		Undoer: &sampleActor, UndoID: "u1"}
	sampleStep = domain.JobStep{Meta: sampleMeta, Job: "j1", N: 1, Rows: []domain.JobRow{{Line: 2,
		Device: "SEP001122334455", Change: sampleChange, Outcome: domain.RowKept, Problem: "p", Version: 7,
		Changes: []domain.FieldChange{{Field: "settings.peer-sharing", Old: &sampleOld}}}}}
	sampleTemplate = domain.Template{Meta: sampleMeta, Name: "t", Note: "n", Change: sampleChange}
	sampleHistory  = domain.HistoryEntry{ID: "1", At: at, Device: "SEP001122334455", Kind: domain.HistoryFile,
		Old: "o", New: "n", Load: "l", File: "f", Reason: "r", Message: "m", Final: &sampleFinal}
	sampleOld   = "off"
	sampleAudit = domain.AuditEntry{ID: "1", At: at, Actor: "ann", Kind: domain.ActorUser, From: "10.0.0.1",
		PartOf: "0", Action: "settings.change", Target: "enterprise",
		Changes: []domain.FieldChange{{Field: "settings.peer-sharing", Old: &sampleOld}}}
)

// Fill puts one of each thing into a store.
func Fill(t *testing.T, s domain.Store) { t.Helper(); fill(t, s) }

// fill puts one of each into a store. Nil and empty lists are alike.
func fill(t *testing.T, s domain.Store) {
	t.Helper()
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		p, d, e, m, l, st := sampleProfile, sampleDevice, sampleEnterprise, sampleModel, sampleLoad, sampleState
		so, od := sampleSentOrder, sampleOrderDevice
		ro, rd, ve := sampleRollout, sampleRolloutDevice, sampleVerdict
		jo, js, te := sampleJob, sampleStep, sampleTemplate
		fs, sv := sampleFileSet, sampleSaving
		wh, de := sampleWebhook, sampleDelivery
		a, c, th, si, re := sampleAccount, sampleCredential, sampleThrottle, sampleSite, sampleRelease
		return errors.Join(tx.Profiles().Put(ctx, &p), tx.Devices().Put(ctx, &d), tx.Enterprises().Put(ctx, &e),
			tx.Models().Put(ctx, &m), tx.Loads().Put(ctx, &l), tx.States().Put(ctx, &st),
			tx.Sites().Put(ctx, &si), tx.Releases().Put(ctx, &re), tx.FileSets().Put(ctx, &fs), tx.Savings().Put(ctx, &sv),
			tx.Accounts().Put(ctx, &a), tx.Credentials().Put(ctx, &c), tx.Throttles().Put(ctx, &th),
			tx.Rollouts().Put(ctx, &ro), tx.RolloutDevices().Put(ctx, &rd), tx.Verdicts().Put(ctx, &ve),
			tx.SentOrders().Put(ctx, &so), tx.OrderDevices().Put(ctx, &od),
			tx.Jobs().Put(ctx, &jo), tx.JobSteps().Put(ctx, &js), tx.Templates().Put(ctx, &te),
			tx.Webhooks().Put(ctx, &wh), tx.Deliveries().Put(ctx, &de),
			tx.History().Append(ctx, sampleHistory), tx.Audit().Append(ctx, sampleAudit))
	})
}
